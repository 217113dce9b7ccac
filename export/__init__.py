"""From a checkpoint to ONNX: fold BatchNorm, emit the DPWConv operators, write the bundle."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.fold import fold_batchnorm

__all__ = ["fold_batchnorm"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `--help` and a mistyped argument need not wait for torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("export.fold"), name)
