"""The network's operators for ONNX Runtime on the CPU, in C++. scripts/build_cpu_operators.sh builds the library."""
