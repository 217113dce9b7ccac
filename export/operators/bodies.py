"""The operators written in standard ONNX operators, each for one node's attributes and sizes; the batch stays open.

A body walks over the rows of patches with one Scan, so that a row's windows stay in the cache while they are convolved,
and one Conv convolves all patches of a row, each as a group of its own. Conv takes its number of groups as a literal,
and ONNX Runtime would compute all other sizes anew for each image, because the batch is not known when it loads a
model: so all are literals. Comments give the shape of the value made on their line.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from export.operators.builder import Builder
from export.operators.patches import Literals, Patches, activate, linspace, pad, split


def write_dpwconv(op: Builder, node: Literals, x: str, weight: str, bias: str) -> str:
    """Write DPWConv(X, W, B); return the name of Y."""
    patches, group = Patches.of(node), node["group"]
    filter_shape = [patches.channels // group, *patches.kernel_shape]
    row_bias = repeat(op, bias, patches.columns)

    def convolve(op: Builder, windows: str, theta: str) -> str:
        filters = op.Reshape(theta, [-1, *filter_shape])
        return activate(op, op.Conv(windows, filters, row_bias, group=patches.columns * group), node["activation"])

    return scan_rows(op, node, x, weight, node["out_channels"] * prod(filter_shape), convolve)


def write_dpw_inverted_residual(
    op: Builder, node: Literals, x: str, weight: str, bias1: str, bias2: str, bias3: str
) -> str:
    """Write DPWInvertedResidual(X, W, B1, B2, B3); return the name of Y."""
    patches, hidden, activation = Patches.of(node), node["hidden_channels"], node["activation"]
    channels, columns, out_channels = patches.channels, patches.columns, node["out_channels"]
    sizes = [hidden * channels, hidden * prod(patches.kernel_shape), out_channels * hidden]
    shapes = [[-1, channels, 1, 1], [-1, 1, *patches.kernel_shape], [-1, hidden, 1, 1]]
    row_bias1, row_bias2, row_bias3 = (repeat(op, bias, columns) for bias in (bias1, bias2, bias3))

    def convolve(op: Builder, windows: str, theta: str) -> str:
        expand, depthwise, project = split(op, theta, 1, sizes, shapes)
        y = activate(op, op.Conv(windows, expand, row_bias1, group=columns), activation)
        y = activate(op, op.Conv(y, depthwise, row_bias2, group=columns * hidden), activation)
        return op.Conv(y, project, row_bias3, group=columns)

    y = scan_rows(op, node, x, weight, sum(sizes), convolve)
    return op.Add(x, y) if node.get("residual") else y


def write_dpwconv_level(op: Builder, node: Literals, skip: str, previous: str, weight: str, bias: str) -> str:
    """Write DPWConvLevel(S, P, W, B); return the name of Y."""
    return write_dpwconv(op, with_level_input(node), level_input(op, node, skip, previous), weight, bias)


def write_dpw_inverted_residual_level(
    op: Builder, node: Literals, skip: str, previous: str, weight: str, *biases: str
) -> str:
    """Write DPWInvertedResidualLevel(S, P, W, B1, B2, B3); return the name of Y."""
    x = level_input(op, node, skip, previous)
    return write_dpw_inverted_residual(op, with_level_input(node), x, weight, *biases)


def write_label_head(op: Builder, node: Literals, logits: str) -> str:
    """Write LabelHead(X); return the name of Y. Enlarged logits are compared as floats, in either type."""
    if node["scale"] > 1:
        wide = logits if op.element_type == TensorProto.FLOAT else op.Cast(logits, to=TensorProto.FLOAT)
        logits = enlarge(op, wide, node["scale"])
    return op.Cast(op.ArgMax(logits, axis=1, keepdims=0), to=op.element_type)


def with_level_input(node: Literals) -> Literals:
    """Return what a level's literals are for the operator that stands behind its stacked maps."""
    (skip_channels, *size), (previous_channels, *_) = node["S"], node["P"]
    return {**node, "X": (2 * node["positions"] + skip_channels + previous_channels, *size)}


def level_input(op: Builder, node: Literals, skip: str, previous: str) -> str:
    """Stack [x, y, skip map, enlarged previous level]: [N, Cin, H, W]."""
    _, height, width = node["S"]
    maps = [skip, enlarge(op, previous, 2)]
    if node["positions"]:
        shape = op.Concat(op.Shape(skip, end=1), [1, height, width], axis=0)
        maps = [op.Expand(linspace(width), shape), op.Expand(linspace(height)[:, np.newaxis], shape), *maps]
    return op.Concat(*maps, axis=1)


def repeat(op: Builder, bias: str, times: int) -> str:
    """Put a bias [size] behind itself: [times * size]. Tile would do, but has no FP16 in ONNX Runtime."""
    return op.Reshape(op.Expand(bias, [times, 1]), [-1])


def enlarge(op: Builder, x: str, scale: int) -> str:
    """Enlarge a map bilinearly; half-pixel is Resize's default."""
    scales = numpy_helper.from_array(np.array([1, 1, scale, scale], np.float32))  # float32 in either type
    return op.Resize(x, "", op.Constant(value=scales), mode="linear")


def scan_rows(
    op: Builder, node: Literals, x: str, weight: str, size: int, convolve: Callable[[Builder, str, str], str]
) -> str:
    """Apply ``convolve(op, windows, theta)`` to every row of patches; return Y [N, Cout, H, W].

    windows is [1, Nw * C, th, tw], the patches of a row with their halo; theta [Nw, size], their weights; the result
    must be [1, Nw * Cout, ph, pw].
    """
    patches, out_channels = Patches.of(node), node["out_channels"]
    channels, rows, columns = patches.channels, patches.rows, patches.columns
    (ph, pw), (th, tw), (padded_height, padded_width) = patches.shape, patches.window, patches.padded

    # Window row t of patch row i, channel c, sample n is pixel row (n C + c) * padded height + i ph + t.
    pixel_rows = op.Reshape(pad(op, patches, x), [-1, padded_width])
    top, channel = np.arange(rows)[:, np.newaxis, np.newaxis] * ph, np.arange(channels)[:, np.newaxis] * padded_height
    in_sample = (top + channel + np.arange(th)).reshape(rows, channels * th)
    pixel_row_count = op.Squeeze(op.Shape(pixel_rows, end=1), [0])
    sample = op.Reshape(op.Range(0, pixel_row_count, channels * padded_height), [-1, 1, 1])
    row_index = op.Reshape(op.Add(sample, in_sample), [-1, channels * th])
    # The columns of a window beyond its first pw: [Nw, 2 hw].
    tail_index = np.arange(1, columns + 1)[:, np.newaxis] * pw + np.arange(tw - pw)
    # Transposed in two steps, the second a row at a time, which stays in the cache: [N * Nh, size, Nw].
    theta = op.Slice(weight, [node["weight_offset"]], [node["weight_offset"] + size], [1])
    theta = op.Reshape(op.Transpose(theta, perm=[0, 2, 1, 3]), [-1, size, columns])

    row_op = op.subgraph()
    index, row_theta = row_op.new_name("row_index"), row_op.new_name("theta")
    row = row_op.Gather(pixel_rows, index)  # [C * th, padded width]
    if tw > pw:
        main = row_op.Reshape(row_op.Slice(row, [0], [patches.width], [1]), [-1, columns, pw])
        row = row_op.Concat(main, row_op.Gather(row, tail_index, axis=1), axis=2)  # [C * th, Nw, tw]
    windows = row_op.Transpose(row_op.Reshape(row, [channels, th, columns, tw]), perm=[2, 0, 1, 3])  # [Nw, C, th, tw]
    y = convolve(row_op, row_op.Reshape(windows, [1, -1, th, tw]), row_op.Transpose(row_theta, perm=[1, 0]))
    merged = row_op.Transpose(row_op.Reshape(y, [columns, out_channels, ph, pw]), perm=[1, 2, 0, 3])
    infos = [
        helper.make_tensor_value_info(name, kind, None)
        for name, kind in ((index, TensorProto.INT64), (row_theta, op.element_type))
    ]
    y = op.Scan(row_index, theta, body=row_op.graph(infos, merged), num_scan_inputs=2)  # [N * Nh, Cout, ph, Nw, pw]

    y = op.Transpose(op.Reshape(y, [-1, rows, out_channels, ph * patches.width]), perm=[0, 2, 1, 3])
    return op.Reshape(y, [-1, out_channels, patches.height, patches.width])
