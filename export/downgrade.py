"""A model in the opset of TensorRT 8.6.

Its ONNX parser does not refuse what is too new for it: it overlooks the axes of a ReduceMean if they are an input, and
``start`` and ``end`` of a Shape, and builds another network. Later parsers read the older forms as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

OPSET = 17

# What opset 18 and 19 added to Resize, with the values that mean what it did before.
_RESIZE_ADDED = {"antialias": 0, "keep_aspect_ratio_policy": b"stretch"}


def downgrade(model: ModelProto) -> ModelProto:
    """Return a copy of a model without function bodies, in ``OPSET`` and the forms above; it passes the checker.

    Raises ValueError for a node that says what its older form cannot.
    """
    older = ModelProto()
    older.CopyFrom(model)
    graph = older.graph
    del graph.node[:]
    for node in model.graph.node:
        if node.op_type == "ReduceMean":
            graph.node.append(_reduce_mean(node, graph))
        elif node.op_type == "Resize":
            graph.node.append(_resize(node))
        elif node.op_type == "Shape":
            graph.node.extend(_shape(node, graph))
        else:
            graph.node.append(node)
    _drop_unread_constants(graph)
    for opset in older.opset_import:
        if opset.domain == "":
            opset.version = OPSET
    onnx.checker.check_model(older, full_check=True)
    return older


def _reduce_mean(node: NodeProto, graph: GraphProto) -> NodeProto:
    x, axes = node.input
    (values,) = (numpy_helper.to_array(constant) for constant in graph.initializer if constant.name == axes)
    attributes = {"axes": values.tolist(), "keepdims": _attributes(node)["keepdims"]}
    return helper.make_node("ReduceMean", [x], node.output, node.name, **attributes)


def _resize(node: NodeProto) -> NodeProto:
    attributes = _attributes(node)
    for name, before in _RESIZE_ADDED.items():
        if (value := attributes.pop(name, before)) != before:
            raise ValueError(f"{node.name} has {name} = {value}, which opset {OPSET} cannot say")
    return helper.make_node("Resize", node.input, node.output, node.name, **attributes)


def _shape(node: NodeProto, graph: GraphProto) -> list[NodeProto]:
    """Ask for the whole shape and slice it."""
    attributes, (part,) = _attributes(node), node.output
    for name in ("start", "end"):
        graph.initializer.append(numpy_helper.from_array(np.array([attributes[name]]), f"{part}_{name}"))
    return [
        helper.make_node("Shape", node.input, [f"{part}_whole"], node.name),
        helper.make_node("Slice", [f"{part}_whole", f"{part}_start", f"{part}_end"], [part], f"{node.name}_slice"),
    ]


def _drop_unread_constants(graph: GraphProto) -> None:
    read = {name for node in graph.node for name in node.input}
    for constant in [constant for constant in graph.initializer if constant.name not in read]:
        graph.initializer.remove(constant)


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
