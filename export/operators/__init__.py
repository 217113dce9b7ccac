"""DPWConv and DPWInvertedResidual: as PyTorch ops, as ONNX operators, and as functions of standard ONNX operators."""

from export.operators.functions import attach_functions, strip_functions
from export.operators.schemas import DOMAIN, DPW_INVERTED_RESIDUAL, DPWCONV, VERSION, register_schemas
from export.operators.torch_ops import dpw_inverted_residual, dpwconv, translation_table

__all__ = [
    "DOMAIN",
    "DPWCONV",
    "DPW_INVERTED_RESIDUAL",
    "VERSION",
    "attach_functions",
    "dpw_inverted_residual",
    "dpwconv",
    "register_schemas",
    "strip_functions",
    "translation_table",
]
