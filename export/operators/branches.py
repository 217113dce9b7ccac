"""One function body for nodes that differ: a branch for each, written for its attributes and sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, TensorProto, helper

from export.operators.builder import INT, INTS, STRING, AttributeOf, Builder
from export.operators.patches import Literals
from export.operators.schemas import VERSION

_SIZED = ("X", "S", "P", "W")  # inputs; the biases' sizes follow from the attributes


def literals_of(node: NodeProto, types: Mapping[str, onnx.TypeProto.Tensor]) -> Literals:
    """Return a node's attributes and its inputs' sizes. ValueError if one is not known."""
    schema = onnx.defs.get_schema(node.op_type, VERSION, node.domain)
    optional = (attribute.default_value for attribute in schema.attributes.values() if not attribute.required)
    literals = {attribute.name: _value(attribute) for attribute in (*optional, *node.attribute)}
    for parameter, name in zip(schema.inputs, node.input, strict=True):
        if parameter.name in _SIZED:
            sizes = literals[parameter.name] = tuple(dim.dim_value for dim in types[name].shape.dim[1:])
            if 0 in sizes:
                raise ValueError(
                    f"the size of {parameter.name} of {node.op_type} {node.name} is not known: export with a fixed "
                    "height and width"
                )
    return literals


def write_branches(op: Builder, cases: list[Literals], inputs: list[str], write: Callable[..., str]) -> str:
    """Write a branch for each case; the one runs whose attributes, or else sizes, are the node's. Return Y's name.

    Attributes are constants as soon as a body is inlined: ONNX Runtime drops the branches that they rule out. Before,
    its shape inference enters all, and would refuse a model whose sizes do not fit there: so each branch begins with a
    Reshape to the sizes that its inputs have where it runs. The Ifs follow each other, each passing on what the one
    before it gave, because ONNX Runtime 1.31 can crash where it resolves one within another.
    """
    y = op.Identity(np.empty((0, 0, 0, 0)))
    for case in cases:
        here, elsewhere = op.subgraph(), op.subgraph()
        fitting = (here.Reshape(name, [0, *case[name]]) if name in case else name for name in inputs)
        y = op.If(
            _is_the_node(op, case, cases),
            then_branch=here.graph([], write(here, case, *fitting)),
            else_branch=elsewhere.graph([], elsewhere.Identity(y)),
        )
    return y


def _is_the_node(op: Builder, case: Literals, cases: list[Literals]) -> str:
    """Compare with the node what distinguishes a case from each of the others, sizes only if attributes do not."""
    asked: list[str] = []
    for other in cases:
        different = [name for name in case if case[name] != other[name]]
        if different and not set(different) & set(asked):
            asked.append(different[0])
    first, *others = (_equals(op, name, case[name]) for name in asked)
    return reduce(op.And, others, first)


def _equals(op: Builder, name: str, value: int | str | tuple[int, ...]) -> str:
    """Compare an attribute, or an input's sizes, with a literal."""
    if isinstance(value, int):
        return op.Equal(op.Constant(value_int=AttributeOf(name, INT)), value)
    if isinstance(value, str):
        return op.RegexFullMatch(op.Constant(value_string=AttributeOf(name, STRING)), pattern=value)
    sizes = op.Constant(value_ints=AttributeOf(name, INTS)) if name == "kernel_shape" else op.Shape(name, start=1)
    equal = op.Cast(op.Equal(sizes, list(value)), to=TensorProto.INT64)
    return op.Cast(op.ReduceMin(equal, keepdims=0), to=TensorProto.BOOL)


def _value(attribute: AttributeProto) -> int | str | tuple[int, ...]:
    value = helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else tuple(value) if isinstance(value, list) else value
