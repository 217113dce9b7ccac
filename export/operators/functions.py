"""Gives a model the function bodies of the operators it uses, and takes them away again."""

from __future__ import annotations

import onnx
from onnx import ModelProto, NodeProto, helper

from export.operators.bodies import Literals, write_dpw_inverted_residual, write_dpwconv
from export.operators.builder import Builder
from export.operators.schemas import DOMAIN, DPW_INVERTED_RESIDUAL, DPWCONV, VERSION, register_schemas

OPSET = 20


def attach_functions(model: ModelProto) -> ModelProto:
    """Return a copy of the model with a function body for each of the two operators that it uses.

    The batch may be symbolic, a grid may not. The nodes of one operator must all be float or all be float16, because
    its one body has one type. ValueError otherwise.
    """
    attached = strip_functions(model)
    register_schemas()
    graph = onnx.shape_inference.infer_shapes(attached, strict_mode=True).graph
    types = {value.name: value.type.tensor_type for value in (*graph.input, *graph.value_info)}
    for op_type, write in ((DPWCONV, write_dpwconv), (DPW_INVERTED_RESIDUAL, write_dpw_inverted_residual)):
        nodes = [node for node in graph.node if (node.domain, node.op_type) == (DOMAIN, op_type)]
        if not nodes:
            continue
        element_types = {types[node.input[0]].elem_type for node in nodes}
        if len(element_types) > 1:
            raise ValueError(f"the {op_type} nodes differ in type, but an operator has only one function body")
        op = Builder(element_types.pop())
        y = write(op, sorted({_literals(node, types[node.input[1]]) for node in nodes}))
        schema = onnx.defs.get_schema(op_type, VERSION, DOMAIN)
        attached.functions.append(
            helper.make_function(
                DOMAIN,
                op_type,
                inputs=[parameter.name for parameter in schema.inputs],
                outputs=[y],
                nodes=op.nodes,
                opset_imports=[helper.make_opsetid("", OPSET)],
                attributes=list(schema.attributes),
            )
        )
    return attached


def strip_functions(model: ModelProto) -> ModelProto:
    """Return a copy of the model without the two operators' bodies: the form that TensorRT takes."""
    stripped = ModelProto()
    stripped.CopyFrom(model)
    del stripped.functions[:]
    stripped.functions.extend(function for function in model.functions if function.domain != DOMAIN)
    return stripped


def _literals(node: NodeProto, weight: onnx.TypeProto.Tensor) -> Literals:
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    columns = weight.shape.dim[3].dim_value
    if not columns:
        raise ValueError(f"the grid of {node.op_type} {node.name} is not known: export with a fixed height and width")
    kh, kw = attributes["kernel_shape"]
    group = attributes["group" if node.op_type == DPWCONV else "hidden_channels"]
    return Literals(columns, group, kh * kw)
