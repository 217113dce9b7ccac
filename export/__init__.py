"""From a checkpoint to ONNX: fold BatchNorm, emit the DPWConv operators, write the bundle."""

from export.fold import fold_batchnorm

__all__ = ["fold_batchnorm"]
