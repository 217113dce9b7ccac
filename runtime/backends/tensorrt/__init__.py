"""TensorRT: ``build`` turns an ONNX file into an engine, ``engine_file`` opens it, ``backend`` runs it.

Importing a file of this folder imports neither TensorRT nor CUDA; that happens when something is built or opened.
"""
