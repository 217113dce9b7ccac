"""The published checkpoint file: a pickled dictionary, of which only tensors and plain values are let in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from runtime.errors import UserError

# The best mIoU is a numpy float64, of which numpy 1 and numpy 2 pickle the constructor under different names.
_SCALAR = np.float64(0).__reduce__()[0]
_NUMPY_SCALAR: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype("float64")),
]


@dataclass(frozen=True)
class PublishedFile:
    """What a published checkpoint holds that an import needs; None where the file does not say it."""

    path: Path
    state: dict[str, Tensor]  # published key to tensor, without the prefix of DataParallel
    epoch: int | None
    best_iou: float | None
    arch: str | None  # the constructor call, as text


def read_published(path: Path) -> PublishedFile:
    """Read a checkpoint on the CPU. Whatever is no tensor or plain value is refused unrun.

    Raises UserError for a file that is missing, truncated, holds other objects, or has no state dict.
    """
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {what}. Name a checkpoint of the published HyperSeg code, a .pth file.")
    try:
        with torch.serialization.safe_globals(_NUMPY_SCALAR):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror or error}. Check that the file is yours to read."
        ) from error
    except Exception as error:  # bytes that are no checkpoint fail in the unpickler in any way there is
        raise UserError(_unreadable(path, str(error))) from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state:
        raise UserError(
            f"{path} is a PyTorch file, but no checkpoint of the published HyperSeg code: it has no `state_dict`. "
            "For a checkpoint of this project no import is needed."
        )
    if strange := [key for key, value in state.items() if not (isinstance(key, str) and _is_plain_tensor(value))]:
        raise UserError(
            f"the state_dict in {path} holds something else than named tensors, first of all {strange[0]!r}."
        )
    epoch, best_iou, arch = content.get("epoch"), content.get("best_iou"), content.get("arch")
    return PublishedFile(
        path,
        _without_data_parallel(state),
        epoch if isinstance(epoch, int) else None,
        float(best_iou) if isinstance(best_iou, float) else None,  # a numpy float64 is a float
        arch if isinstance(arch, str) else None,
    )


def _unreadable(path: Path, reason: str) -> str:
    """Say why; torch's own message advises loading the file with its code, which is not to be repeated."""
    if found := re.search(r"GLOBAL ([\w.]+)|<class '([\w.]+)'>", reason):
        name = found[1] or found[2]
        return (
            f"{path} holds the Python object {name}, which weights do not need and which could run any code. It was "
            "not run, and nothing was imported. Get the file from where it was published."
        )
    first_line = reason.strip().splitlines()[0] if reason.strip() else "it is empty"
    return (
        f"{path} cannot be read as a PyTorch file ({first_line}). "
        "It is truncated, or no checkpoint. Download it again and compare its size."
    )


def _is_plain_tensor(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided


def _without_data_parallel(state: dict[str, Tensor]) -> dict[str, Tensor]:
    if not all(key.startswith("module.") for key in state):
        return dict(state)
    return {key.removeprefix("module."): value for key, value in state.items()}
