"""Writes ONNX nodes the way one writes Python: ``y = op.Add(x, 1)`` appends a node and returns the name of y."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

INT, INTS, STRING = AttributeProto.INT, AttributeProto.INTS, AttributeProto.STRING


@dataclass(frozen=True)
class AttributeOf:
    """Stands for the value of an attribute of the function whose body is being written."""

    name: str
    kind: AttributeProto.AttributeType


@dataclass
class Builder:
    """The nodes of a function body, of a subgraph in it, which sees the values around it, or of a part of a graph."""

    element_type: int  # of the operator's tensors: TensorProto.FLOAT or FLOAT16
    prefix: str = ""  # of all names
    nodes: list[NodeProto] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)  # shared with subgraphs: no name comes twice

    def __getattr__(self, op_type: str) -> Callable[..., str]:
        """Return what appends a node of that type; its inputs are names, or numbers for a constant.

        Integers become int64, floats and arrays of floats the operator's element type.
        """

        def append(*inputs: str | int | list[int] | float | NDArray[Any], **attributes: Any) -> str:
            names = [value if isinstance(value, str) else self.Constant(value=self._tensor(value)) for value in inputs]
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
        return Builder(self.element_type, self.prefix, numbers=self.numbers)

    def graph(self, inputs: list[ValueInfoProto], output: str) -> GraphProto:
        """Return the nodes as a subgraph with one output of the operator's element type."""
        output_info = helper.make_tensor_value_info(output, self.element_type, None)
        return helper.make_graph(self.nodes, self.new_name("graph"), inputs, [output_info])

    def new_name(self, stem: str) -> str:
        """Return a name that nothing else written with this prefix has."""
        return f"{self.prefix}{stem}_{next(self.numbers)}"

    def _tensor(self, value: int | list[int] | float | NDArray[Any]) -> TensorProto:
        values = np.asarray(value)
        dtype = helper.tensor_dtype_to_np_dtype(self.element_type) if values.dtype.kind == "f" else np.int64
        return numpy_helper.from_array(values.astype(dtype))
