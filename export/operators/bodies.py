"""The two operators written in standard ONNX operators, for any shape, attribute and batch.

A body walks over the rows of patches with one Scan, so that a row's windows stay in the cache while they are convolved,
and one Conv convolves all patches of a row, each as a group of its own. Conv takes its number of groups as a literal:
a body is written for the numbers that the nodes of a model need, with one branch for each, and an If chooses by the
node's shapes and attributes. ONNX Runtime resolves that, and all arithmetic on shapes, when it loads the model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from onnx import TensorProto, helper

from export.operators.builder import INT, INTS, STRING, AttributeOf, Builder


class Groups(NamedTuple):
    """The literals of a branch: patches in a row, groups per patch of the convolution with the kernel, its taps."""

    columns: int
    per_patch: int
    taps: int


def write_dpwconv(op: Builder, groups: list[Groups]) -> str:
    """Y = activation(W * X + B), patch by patch; returns the name of Y."""
    sizes = Sizes.read(op)
    out_channels, group = int_attribute(op, "out_channels"), int_attribute(op, "group")
    theta, _ = row_weights(op, sizes, int_attribute(op, "weight_offset"), out_channels, op.Div(sizes.channels, group))
    bias = op.Tile("B", sizes.columns)
    low, high = activation_bounds(op)
    merged = merged_row_shape(op, sizes, out_channels)

    def branch(op: Builder, literal: Groups) -> str:
        row_windows = RowWindows.cut(op, sizes, halo=literal.taps > 1)

        def step(op: Builder, row_index: str, weight: str) -> str:
            y = op.Conv(row_windows.gather(op, row_index), weight, bias, group=literal.columns * literal.per_patch)
            return op.Transpose(op.Reshape(op.Clip(y, low, high), merged), perm=[1, 2, 0, 3])

        return scan_rows(op, row_windows.index, [theta], step)

    rows = choose(op, Groups(sizes.columns, group, sizes.taps), groups, branch)
    return merge_rows(op, sizes, rows, out_channels)
