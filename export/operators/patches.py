"""Maps in patches, written in standard ONNX operators: what function bodies and the plain form have in common.

All sizes are literals but the batch. Comments give the shape of the value made on their line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.operators.builder import Builder

# A node's attributes, and the sizes (channels, height, width) of its inputs that have a batch, by name.
Literals = Mapping[str, Any]


@dataclass(frozen=True)
class Patches:
    """A map of C channels and H x W pixels in Nh x Nw patches, and the kernel that is to pass over it."""

    channels: int
    height: int
    width: int
    rows: int
    columns: int
    kernel_shape: tuple[int, int]
    pad_mode: str

    @classmethod
    def of(cls, node: Literals) -> Patches:
        """Read them from a node of DPWConv or DPWInvertedResidual."""
        (channels, height, width), (_, rows, columns) = node["X"], node["W"]
        return cls(channels, height, width, rows, columns, node["kernel_shape"], node["pad_mode"])

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a patch, ph and pw."""
        return self.height // self.rows, self.width // self.columns

    @property
    def halo(self) -> tuple[int, int]:
        """Rows above and below a patch, columns left and right of it, hh and hw, that its window has too."""
        return self.kernel_shape[0] // 2, self.kernel_shape[1] // 2

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of a patch with its halo, th and tw."""
        (ph, pw), (hh, hw) = self.shape, self.halo
        return ph + 2 * hh, pw + 2 * hw

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of the map with the halo of its outermost patches."""
        return self.height + 2 * self.halo[0], self.width + 2 * self.halo[1]


def pad(op: Builder, patches: Patches, x: str) -> str:
    """Put the halo around a map [N, C, H, W]."""
    margin = [0, 0, *patches.halo]
    return op.Pad(x, margin + margin, mode=patches.pad_mode) if any(margin) else x


def theta(op: Builder, weight: str, node: Literals, shape: list[int]) -> str:
    """Read the weights of each patch from W [N, K, Nh, Nw]; ``shape`` ends with their number, patches are row-major."""
    offset = node["weight_offset"]
    values = op.Slice(weight, [offset], [offset + shape[-1]], [1])
    return op.Reshape(op.Transpose(values, perm=[0, 2, 3, 1]), shape)


def split(op: Builder, values: str, axis: int, sizes: list[int], shapes: list[list[int]]) -> list[str]:
    """Cut an axis into parts of these sizes; each gets its shape."""
    ends = np.cumsum(sizes).tolist()
    return [
        op.Reshape(op.Slice(values, [end - size], [end], [axis]), shape)
        for end, size, shape in zip(ends, sizes, shapes, strict=True)
    ]


def activate(op: Builder, x: str, activation: str) -> str:
    """Append none, relu or relu6."""
    if activation == "none":
        return x
    return op.Relu(x) if activation == "relu" else op.Clip(x, 0.0, 6.0)


def linspace(size: int) -> NDArray[np.float32]:
    """Coordinates along an axis, from -1 to 1: PyTorch's own, whose last bits no formula in ONNX can be sure of."""
    values: NDArray[np.float32] = torch.linspace(-1, 1, size).numpy()
    return values
