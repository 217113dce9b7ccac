"""Gives a model the function bodies of the operators it uses, and takes them away again."""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import ModelProto, helper

from export.operators.bodies import (
    write_dpw_inverted_residual,
    write_dpw_inverted_residual_level,
    write_dpwconv,
    write_dpwconv_level,
    write_label_head,
)
from export.operators.branches import literals_of, write_branches
from export.operators.builder import Builder
from export.operators.schemas import (
    DOMAIN,
    DPW_INVERTED_RESIDUAL,
    DPW_INVERTED_RESIDUAL_LEVEL,
    DPWCONV,
    DPWCONV_LEVEL,
    LABEL_HEAD,
    VERSION,
    register_schemas,
)

OPSET = 20
_WRITERS: dict[str, Callable[..., str]] = {
    DPWCONV: write_dpwconv,
    DPWCONV_LEVEL: write_dpwconv_level,
    DPW_INVERTED_RESIDUAL: write_dpw_inverted_residual,
    DPW_INVERTED_RESIDUAL_LEVEL: write_dpw_inverted_residual_level,
    LABEL_HEAD: write_label_head,
}


def attach_functions(model: ModelProto) -> ModelProto:
    """Return a copy of the model with a function body for each of our operators that it uses.

    The batch may be symbolic, nothing else may. The nodes of one operator must all be float or all be float16, because
    its one body has one type. ValueError otherwise.
    """
    attached = strip_functions(model)
    register_schemas()
    graph = onnx.shape_inference.infer_shapes(attached, strict_mode=True).graph
    types = {value.name: value.type.tensor_type for value in (*graph.input, *graph.value_info, *graph.output)}
    for op_type, write in _WRITERS.items():
        nodes = [node for node in graph.node if (node.domain, node.op_type) == (DOMAIN, op_type)]
        if not nodes:
            continue
        element_types = {types[node.input[0]].elem_type for node in nodes}
        if len(element_types) > 1:
            raise ValueError(f"the {op_type} nodes differ in type, but an operator has only one function body")
        schema = onnx.defs.get_schema(op_type, VERSION, DOMAIN)
        inputs = [parameter.name for parameter in schema.inputs]
        op = Builder(element_types.pop())
        every = [literals_of(node, types) for node in nodes]
        cases = [case for index, case in enumerate(every) if case not in every[:index]]
        y = write(op, cases[0], *inputs) if len(cases) == 1 else write_branches(op, cases, inputs, write)
        attached.functions.append(
            helper.make_function(
                DOMAIN,
                op_type,
                inputs=inputs,
                outputs=[y],
                nodes=op.nodes,
                opset_imports=[helper.make_opsetid("", OPSET)],
                attributes=[name for name, attribute in schema.attributes.items() if attribute.required],
                attribute_protos=[a.default_value for a in schema.attributes.values() if not a.required],
            )
        )
    return attached


def strip_functions(model: ModelProto) -> ModelProto:
    """Return a copy of the model without our operators' bodies: the form that TensorRT takes."""
    stripped = ModelProto()
    stripped.CopyFrom(model)
    del stripped.functions[:]
    stripped.functions.extend(function for function in model.functions if function.domain != DOMAIN)
    return stripped
