"""The HyperSeg network and how it is trained."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.checkpoint import load_model, save_model
    from training.network.model import HyperSeg, create_model

__all__ = ["HyperSeg", "create_model", "load_model", "save_model"]


def __getattr__(name: str) -> Any:
    """Import on first use, so that `--help` and a mistyped argument need not wait for torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "training.checkpoint" if name in ("load_model", "save_model") else "training.network.model"
    return getattr(import_module(module), name)
