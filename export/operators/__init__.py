"""DPWConv and DPWInvertedResidual: in PyTorch graphs, as ONNX operators, and as ONNX functions of standard operators."""

from export.operators.schemas import DOMAIN, DPW_INVERTED_RESIDUAL, DPWCONV, VERSION, register_schemas
from export.operators.torch_ops import dpw_inverted_residual, dpwconv, translation_table

__all__ = [
    "DOMAIN",
    "DPWCONV",
    "DPW_INVERTED_RESIDUAL",
    "VERSION",
    "dpw_inverted_residual",
    "dpwconv",
    "register_schemas",
    "translation_table",
]
