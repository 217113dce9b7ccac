"""Writes ONNX nodes the way one writes Python: ``y = op.Add(x, 1)`` appends a node and returns the name of y."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from onnx import AttributeProto, GraphProto, NodeProto, ValueInfoProto, helper

INT, INTS, STRING = AttributeProto.INT, AttributeProto.INTS, AttributeProto.STRING


@dataclass(frozen=True)
class AttributeOf:
    """Stands for the value of an attribute of the function whose body is being written."""

    name: str
    kind: AttributeProto.AttributeType


@dataclass
class Builder:
    """The nodes of a function body, or of a subgraph in it, which sees the values around it."""

    element_type: int  # of the function's tensors: TensorProto.FLOAT or FLOAT16
    nodes: list[NodeProto] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)  # shared with subgraphs: no name comes twice

    def __getattr__(self, op_type: str) -> Callable[..., str]:
        """Return what appends a node of that type; its inputs are names, or integers for an int64 constant."""

        def append(*inputs: str | int | list[int], **attributes: Any) -> str:
            names = [value if isinstance(value, str) else self._integers(value) for value in inputs]
            output = self.new_name(op_type)
            node = helper.make_node(op_type, names, [output])
            for name, value in attributes.items():
                if isinstance(value, AttributeOf):
                    node.attribute.add(name=name, ref_attr_name=value.name, type=value.kind)
                else:
                    node.attribute.append(helper.make_attribute(name, value))
            self.nodes.append(node)
            return output

        return append

    def subgraph(self) -> Builder:
        """Return a builder for a subgraph."""
        return Builder(self.element_type, numbers=self.numbers)

    def graph(self, inputs: list[ValueInfoProto], output: str) -> GraphProto:
        """Return the nodes as a subgraph with one output of the function's element type."""
        output_info = helper.make_tensor_value_info(output, self.element_type, None)
        return helper.make_graph(self.nodes, self.new_name("graph"), inputs, [output_info])

    def new_name(self, stem: str) -> str:
        """Return a name that nothing else in the function has."""
        return f"{stem}_{next(self.numbers)}"

    def _integers(self, value: int | list[int]) -> str:
        return self.Constant(value_int=value) if isinstance(value, int) else self.Constant(value_ints=value)
