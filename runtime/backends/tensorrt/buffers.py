"""What memory the network's input and outputs need, and where. Plain arithmetic, no CUDA."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from runtime.bundle import ModelInfo
from runtime.errors import UserError

IMAGE, LABELS, LOGITS = "image", "labels", "logits"

_LABEL_TYPES = {"UINT8": np.uint8, "INT8": np.int8, "INT32": np.int32, "INT64": np.int64}
_LOGIT_TYPES = {"FLOAT": np.float32, "HALF": np.float16}
_FOREIGN = "It was built from another network: build it from the bundle, python -m runtime build BUNDLE"


class Place(enum.Enum):
    """Where a tensor's memory lies."""

    MAPPED = "page-locked host memory that an integrated GPU reads and writes itself: nothing is copied"
    STAGED = "page-locked host memory and device memory, copied on the stream"
    DEVICE = "device memory alone, fetched only when asked for"


@dataclass(frozen=True)
class EngineTensor:
    """An input or output as the engine describes it; ``dtype`` is the name of TensorRT's DataType, -1 any length."""

    name: str
    is_input: bool
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Buffer:
    """Memory for one tensor of one batch."""

    name: str
    is_input: bool
    dtype: np.dtype
    shape: tuple[int, ...]
    place: Place

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def check_tensors(tensors: Iterable[EngineTensor], info: ModelInfo) -> None:
    """Raise UserError unless these are the tensors of an exported HyperSeg: image, labels and perhaps logits."""
    by_name = {tensor.name: tensor for tensor in tensors}
    size = (info.height, info.width)
    for name, is_input, dtypes, shape in (
        (IMAGE, True, {"UINT8": np.uint8}, (*size, 3)),
        (LABELS, False, _LABEL_TYPES, size),
        (LOGITS, False, _LOGIT_TYPES, (len(info.classes), *size)),
    ):
        tensor = by_name.pop(name, None)
        if tensor is None and name == LOGITS:
            continue
        kind = "input" if is_input else "output"
        expected = f"{kind} {name} of type {' or '.join(dtypes)} and shape {['N', *shape]}"
        if tensor is None:
            raise UserError(f"the engine has no {expected}. {_FOREIGN}")
        if tensor.is_input != is_input or tensor.dtype not in dtypes or tensor.shape[1:] != shape:
            found = f"{'input' if tensor.is_input else 'output'} of type {tensor.dtype} and shape {list(tensor.shape)}"
            raise UserError(f"the engine's {name} is an {found}, where {expected} belongs. {_FOREIGN}")
    if by_name:
        raise UserError(f"the engine has the tensor {min(by_name)}, which no exported HyperSeg has. {_FOREIGN}")


def plan_buffers(tensors: Iterable[EngineTensor], batch: int, *, integrated: bool) -> tuple[Buffer, ...]:
    """The buffers for a batch, in the engine's order; ``tensors`` have passed :func:`check_tensors`.

    Logits stay on the device, even of an integrated GPU: a number for every class and pixel, which few ask for.
    """
    frame = Place.MAPPED if integrated else Place.STAGED
    dtypes = {**_LABEL_TYPES, **_LOGIT_TYPES}
    return tuple(
        Buffer(
            name=tensor.name,
            is_input=tensor.is_input,
            dtype=np.dtype(dtypes[tensor.dtype]),
            shape=(batch, *tensor.shape[1:]),
            place=Place.DEVICE if tensor.name == LOGITS else frame,
        )
        for tensor in tensors
    )
