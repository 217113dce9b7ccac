"""A model in forms that TensorRT 8.6, 10 and 11 all read.

8.6's ONNX parser does not refuse what is too new for it, it builds another network: it overlooks a ReduceMean's axes
if they are an input, and ``start`` and ``end`` of a Shape; the FP16 scale of a Q or DQ it reads as if it were FP32, but
takes the same scale from a Cast. Later parsers read these forms as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

OPSET = 17
QUANTISED_OPSET = 19  # the first whose Q and DQ know FP16; what stands in our models means the same in both

# What opset 18 and 19 added to Resize, with the values that mean what it did before.
_RESIZE_ADDED = {"antialias": 0, "keep_aspect_ratio_policy": b"stretch"}


def downgrade(model: ModelProto) -> ModelProto:
    """Return a copy of a model without function bodies in these forms, in ``OPSET`` or, with Q/DQ, ``QUANTISED_OPSET``.

    It passes the checker. Raises ValueError for a node that says what its older form cannot.
    """
    older = ModelProto()
    older.CopyFrom(model)
    graph = older.graph
    del graph.node[:]
    cast: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "ReduceMean":
            graph.node.append(_reduce_mean(node, graph))
        elif node.op_type == "Resize":
            graph.node.append(_resize(node))
        elif node.op_type == "Shape" and node.attribute:
            graph.node.extend(_shape(node, graph))
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            graph.node.extend(_quantise(node, graph, cast))
        else:
            graph.node.append(node)
    _drop_unread_constants(graph)
    quantised = any(node.op_type == "QuantizeLinear" for node in graph.node)
    for opset in older.opset_import:
        if opset.domain == "":
            opset.version = QUANTISED_OPSET if quantised else OPSET
    onnx.checker.check_model(older, full_check=True)
    return older


def _reduce_mean(node: NodeProto, graph: GraphProto) -> NodeProto:
    """The mean over height and width, the only one there is, has an operator that no opset changed."""
    x, axes = node.input
    (values,) = (numpy_helper.to_array(constant) for constant in graph.initializer if constant.name == axes)
    (dims,) = (value.type.tensor_type.shape.dim for value in graph.value_info if value.name == x)
    over = sorted(axis % len(dims) for axis in values.tolist())
    if len(dims) != 4 or over != [2, 3] or not _attributes(node).get("keepdims", 1):
        raise ValueError(f"{node.name} is no mean over height and width: it has no form that all versions read")
    return helper.make_node("GlobalAveragePool", [x], node.output, node.name)


def _resize(node: NodeProto) -> NodeProto:
    attributes = _attributes(node)
    for name, before in _RESIZE_ADDED.items():
        if (value := attributes.pop(name, before)) != before:
            raise ValueError(f"{node.name} has {name} = {value}, which opset {OPSET} cannot say")
    return helper.make_node("Resize", node.input, node.output, node.name, **attributes)


def _shape(node: NodeProto, graph: GraphProto) -> list[NodeProto]:
    """Ask for the whole shape and slice it."""
    attributes, (part,) = {"start": 0} | _attributes(node), node.output
    if "end" not in attributes:
        raise ValueError(f"{node.name} has no end, so it has no form that all versions read")
    for name in ("start", "end"):
        graph.initializer.append(numpy_helper.from_array(np.array([attributes[name]]), f"{part}_{name}"))
    return [
        helper.make_node("Shape", node.input, [f"{part}_whole"], node.name),
        helper.make_node("Slice", [f"{part}_whole", f"{part}_start", f"{part}_end"], [part], f"{node.name}_slice"),
    ]


def _quantise(node: NodeProto, graph: GraphProto, cast: set[str]) -> list[NodeProto]:
    """Read an FP16 scale through a Cast, one for all that share it; the names of these scales are put into ``cast``."""
    scale = node.input[1]
    if scale in cast:
        return [node]
    (constant,) = (constant for constant in graph.initializer if constant.name == scale)
    if constant.data_type != TensorProto.FLOAT16:
        return [node]
    values = numpy_helper.to_array(constant).astype(np.float32)
    constant.CopyFrom(numpy_helper.from_array(values, f"{scale}_uncast"))
    cast.add(scale)
    to_half = helper.make_node("Cast", [constant.name], [scale], f"{scale}_to_fp16", to=TensorProto.FLOAT16)
    return [to_half, node]


def _drop_unread_constants(graph: GraphProto) -> None:
    read = {name for node in graph.node for name in node.input}
    for constant in [constant for constant in graph.initializer if constant.name not in read]:
        graph.initializer.remove(constant)


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
