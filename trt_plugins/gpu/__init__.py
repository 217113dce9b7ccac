"""Proof of the CUDA kernels on a GPU: the kernels' own sources as PyTorch functions, checked and timed."""
