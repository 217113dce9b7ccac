"""Our operators: as ONNX sees them, two of them as PyTorch ops, and all as functions of standard ONNX operators."""

from export.operators.functions import attach_functions, strip_functions
from export.operators.schemas import (
    DOMAIN,
    DPW_INVERTED_RESIDUAL,
    DPW_INVERTED_RESIDUAL_LEVEL,
    DPWCONV,
    DPWCONV_LEVEL,
    LABEL_HEAD,
    VERSION,
    register_schemas,
)
from export.operators.torch_ops import dpw_inverted_residual, dpwconv, translation_table

__all__ = [
    "DOMAIN",
    "DPWCONV",
    "DPWCONV_LEVEL",
    "DPW_INVERTED_RESIDUAL",
    "DPW_INVERTED_RESIDUAL_LEVEL",
    "LABEL_HEAD",
    "VERSION",
    "attach_functions",
    "dpw_inverted_residual",
    "dpwconv",
    "register_schemas",
    "strip_functions",
    "translation_table",
]
