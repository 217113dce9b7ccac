"""What runs in which precision, what TensorRT will not fuse, and why: ``python -m calibration inspect``."""
