"""Bodies of the two operators in standard ONNX operators, so that any ONNX runtime can run a model that uses them.

A body walks over the rows of patches with one Scan: a row's windows stay in the cache while they are convolved. One
Conv convolves all patches of a row, each as a group of its own. Conv takes its number of groups as a literal, and a
model has one body per operator; so where its nodes need different numbers, the body has one branch for each, and an If
chooses among them by the node's attributes and shapes. ONNX Runtime resolves that when it loads the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper

from export.operators.builder import INT, INTS, STRING, AttributeOf, Builder
from export.operators.schemas import DOMAIN, DPW_INVERTED_RESIDUAL, DPWCONV, VERSION, register_schemas

OPSET = 20


def attach_functions(model: ModelProto) -> ModelProto:
    """Return a copy of the model with a function body for each of the two operators that it uses.

    The batch may be symbolic, a grid may not; the nodes of one operator must all be float or all be float16, because
    its one body has one type. Else ValueError.
    """
    attached = strip_functions(model)
    register_schemas()
    graph = onnx.shape_inference.infer_shapes(attached, strict_mode=True).graph
    types = {value.name: value.type.tensor_type for value in (*graph.input, *graph.value_info)}
    for op_type, body in ((DPWCONV, _dpwconv), (DPW_INVERTED_RESIDUAL, _dpw_inverted_residual)):
        nodes = [node for node in graph.node if (node.domain, node.op_type) == (DOMAIN, op_type)]
        if not nodes:
            continue
        element_types = {types[node.input[0]].elem_type for node in nodes}
        if len(element_types) > 1:
            raise ValueError(f"the {op_type} nodes differ in type, but share one function body")
        columns = {node.name: types[node.input[1]].shape.dim[3].dim_value for node in nodes}
        if not all(columns.values()):
            raise ValueError(f"the grid of {op_type} is not known: export the model with a fixed height and width")
        op = Builder(element_types.pop())
        body(op, sorted({_groups(node, columns[node.name]) for node in nodes}))
        attached.functions.append(_function(op_type, op))
    return attached


def strip_functions(model: ModelProto) -> ModelProto:
    """Return a copy of the model without the two operators' bodies: the form that TensorRT takes."""
    stripped = ModelProto()
    stripped.CopyFrom(model)
    del stripped.functions[:]
    stripped.functions.extend(function for function in model.functions if function.domain != DOMAIN)
    return stripped


@dataclass(frozen=True, order=True)
class _Groups:
    """What a body must know as literals: the patches in a row and the groups of the convolution with a kernel."""

    columns: int
    group: int

    @staticmethod
    def of(node: NodeProto, columns: int) -> _Groups:
        name = "group" if node.op_type == DPWCONV else "hidden_channels"
        return _Groups(columns, helper.get_node_attr_value(node, name))


def _function(op_type: str, op: Builder) -> FunctionProto:
    schema = onnx.defs.get_schema(op_type, VERSION, DOMAIN)
    return helper.make_function(
        DOMAIN,
        op_type,
        [parameter.name for parameter in schema.inputs],
        ["Y"],
        op.nodes,
        [helper.make_opsetid("", OPSET)],
        list(schema.attributes),
    )


def _dpwconv(op: Builder, groups: list[_Groups]) -> str:
    """DPWConv: patch_conv of the windows with theta, bias, activation."""
    sizes = _sizes(op)
    group = _int_attribute(op, "group")
    out_channels = _int_attribute(op, "out_channels")
    shape = [out_channels, op.Div(sizes.channels, group), sizes.kernel]
    theta = _patch_weights(op, _int_attribute(op, "weight_offset"), shape, sizes)
    bias = op.Tile("B", sizes.columns)
    activation = _Activation.of(op)
    

"""
"""
