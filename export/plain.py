"""A model without our operators and without function bodies: what TensorRT would have to run without the plugin.

TensorRT cannot read the function bodies: If compares strings there, and Conv has a group for each patch. Here standard
operators run over all patches at once: a gather of their windows, a batched matrix product for a 1x1 convolution, a sum
of shifted products for a depthwise one. It is what the plugin is measured against, not a way to deploy.

Patches stand row-major, P = Nh * Nw of them; comments give the shape of the value made on their line.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import ModelProto, NodeProto

from export.operators import (
    DOMAIN,
    DPW_INVERTED_RESIDUAL,
    DPW_INVERTED_RESIDUAL_LEVEL,
    DPWCONV,
    DPWCONV_LEVEL,
    LABEL_HEAD,
    register_schemas,
    strip_functions,
)
from export.operators.bodies import enlarge, with_level_input
from export.operators.branches import literals_of
from export.operators.builder import Builder
from export.operators.patches import Literals, Patches, activate, linspace, pad, split


def plain(model: ModelProto) -> ModelProto:
    """Return a copy of a model in standard operators that opset 17 has already, for batch 1; all types stay.

    ValueError for a DPWConv that is neither 1x1 nor depthwise; HyperSeg has none.
    """
    register_schemas()
    copy = strip_functions(model)
    for info in (*copy.graph.input, *copy.graph.value_info, *copy.graph.output):
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(copy, strict_mode=True).graph
    types = {info.name: info.type.tensor_type for info in (*inferred.input, *inferred.value_info, *inferred.output)}
    del copy.graph.node[:]
    for node in inferred.node:
        for written in _written(node, types) if node.domain == DOMAIN else [node]:
            if written.op_type == "Constant":
                constant = copy.graph.initializer.add()
                constant.CopyFrom(written.attribute[0].t)
                (constant.name,) = written.output
            else:
                copy.graph.node.append(written)
    (ours,) = (opset for opset in copy.opset_import if opset.domain == DOMAIN)
    copy.opset_import.remove(ours)
    onnx.checker.check_model(copy, full_check=True)
    return copy


def _written(node: NodeProto, types: dict[str, onnx.TypeProto.Tensor]) -> list[NodeProto]:
    (y,) = node.output
    op = Builder(types[y].elem_type, prefix=f"{y}/")
    _WRITERS[node.op_type](op, literals_of(node, types), *node.input)
    op.nodes[-1].output[0] = y
    for written in op.nodes:
        (written.name,) = written.output
    return op.nodes


def write_dpwconv(op: Builder, node: Literals, x: str, weight: str, bias: str) -> None:
    """Write DPWConv(X, W, B)."""
    patches, group, out_channels = Patches.of(node), node["group"], node["out_channels"]
    channels, (kh, kw) = patches.channels, patches.kernel_shape
    windows = cut(op, patches, x)
    if group == kh == kw == 1:
        (filters,) = theta(op, node, weight, [[out_channels, channels]])
        y = pointwise(op, windows, filters, bias)
    elif group == channels == out_channels:
        (filters,) = theta(op, node, weight, [[channels, kh, kw]])
        y = depthwise(op, patches, windows, filters, bias)
    else:
        raise ValueError(f"a DPWConv of {group} groups, {channels} channels and kernel {kh}x{kw} has no plain form")
    merge(op, patches, activate(op, y, node["activation"]))


def write_dpw_inverted_residual(
    op: Builder, node: Literals, x: str, weight: str, bias1: str, bias2: str, bias3: str
) -> None:
    """Write DPWInvertedResidual(X, W, B1, B2, B3)."""
    patches, hidden, activation = Patches.of(node), node["hidden_channels"], node["activation"]
    shapes = [[hidden, patches.channels], [hidden, *patches.kernel_shape], [node["out_channels"], hidden]]
    expand, filters, project = theta(op, node, weight, shapes)
    y = activate(op, pointwise(op, cut(op, patches, x), expand, bias1), activation)
    y = activate(op, depthwise(op, patches, y, filters, bias2), activation)
    y = merge(op, patches, pointwise(op, y, project, bias3))
    if node.get("residual"):
        op.Add(x, y)


def write_dpwconv_level(op: Builder, node: Literals, skip: str, previous: str, *weights: str) -> None:
    """Write DPWConvLevel(S, P, W, B)."""
    write_dpwconv(op, with_level_input(node), level_input(op, node, skip, previous), *weights)


def write_dpw_inverted_residual_level(op: Builder, node: Literals, skip: str, previous: str, *weights: str) -> None:
    """Write DPWInvertedResidualLevel(S, P, W, B1, B2, B3)."""
    write_dpw_inverted_residual(op, with_level_input(node), level_input(op, node, skip, previous), *weights)


def write_label_head(op: Builder, node: Literals, logits: str) -> None:
    """Write LabelHead(X); enlarged FP16 logits are rounded here, as in any network without the operator."""
    enlarged = enlarge(op, logits, node["scale"]) if node["scale"] > 1 else logits
    op.Cast(op.ArgMax(enlarged, axis=1, keepdims=0), to=op.element_type)


def level_input(op: Builder, node: Literals, skip: str, previous: str) -> str:
    """Stack [x, y, skip map, enlarged previous level]: [1, Cin, H, W]."""
    _, height, width = node["S"]
    positions = np.stack(np.broadcast_arrays(linspace(width), linspace(height)[:, np.newaxis]))[np.newaxis]
    return op.Concat(*([positions] if node["positions"] else []), skip, enlarge(op, previous, 2), axis=1)


def theta(op: Builder, node: Literals, weight: str, shapes: list[list[int]]) -> list[str]:
    """Read the patches' filters, one set after another, from W: each [P, *shape]."""
    sizes, offset = [int(np.prod(shape)) for shape in shapes], node["weight_offset"]
    values = op.Slice(weight, [offset], [offset + sum(sizes)], [1])
    values = op.Reshape(op.Transpose(values, perm=[0, 2, 3, 1]), [-1, sum(sizes)])
    return split(op, values, 1, sizes, [[-1, *shape] for shape in shapes])


def cut(op: Builder, patches: Patches, x: str) -> str:
    """Cut a map [1, C, H, W] into windows [P, C, th * tw]."""
    (ph, pw), (th, tw), (rows, columns) = patches.shape, patches.window, (patches.rows, patches.columns)
    if (th, tw) != (ph, pw):
        x = pad(op, patches, x)
        for axis, count, step, size in ((2, rows, ph, th), (3, columns, pw, tw)):
            index = np.arange(count)[:, np.newaxis] * step + np.arange(size)
            x = op.Gather(x, index.ravel(), axis=axis)  # finally [1, C, Nh * th, Nw * tw]
    x = op.Reshape(x, [patches.channels, rows, th, columns, tw])
    return op.Reshape(op.Transpose(x, perm=[1, 3, 0, 2, 4]), [rows * columns, patches.channels, th * tw])


def merge(op: Builder, patches: Patches, y: str) -> str:
    """Put patches [P, Cout, ph * pw] side by side: [1, Cout, H, W]."""
    y = op.Reshape(y, [patches.rows, patches.columns, -1, *patches.shape])
    return op.Reshape(op.Transpose(y, perm=[2, 0, 3, 1, 4]), [1, -1, patches.height, patches.width])


def pointwise(op: Builder, windows: str, filters: str, bias: str) -> str:
    """Convolve windows [P, C, pixels] with filters [P, Cout, C]: [P, Cout, pixels]."""
    return op.Add(op.MatMul(filters, windows), op.Reshape(bias, [-1, 1]))


def depthwise(op: Builder, patches: Patches, windows: str, filters: str, bias: str) -> str:
    """Convolve windows [P, C, th * tw] with filters [P, C, kh, kw]: [P, C, ph * pw]."""
    ph, pw = patches.shape
    y, windows = op.Reshape(bias, [-1, 1, 1]), op.Reshape(windows, [0, 0, *patches.window])
    for row, column in np.ndindex(*patches.kernel_shape):
        tap = op.Slice(filters, [row, column], [row + 1, column + 1], [2, 3])  # [P, C, 1, 1]
        shifted = op.Slice(windows, [row, column], [row + ph, column + pw], [2, 3])
        y = op.Add(op.Mul(shifted, tap), y)
    return op.Reshape(y, [0, 0, ph * pw])


_WRITERS: dict[str, Callable[..., None]] = {
    DPWCONV: write_dpwconv,
    DPWCONV_LEVEL: write_dpwconv_level,
    DPW_INVERTED_RESIDUAL: write_dpw_inverted_residual,
    DPW_INVERTED_RESIDUAL_LEVEL: write_dpw_inverted_residual_level,
    LABEL_HEAD: write_label_head,
}
