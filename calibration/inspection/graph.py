"""An ONNX graph as an inspection reads it: who makes and who reads each tensor, and what it is without Q/DQ."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from calibration.layers import attributes_of, weighted_layers

Q, DQ = "QuantizeLinear", "DequantizeLinear"

WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
"""What TensorRT computes in INT8 where both its input and its weight are dequantised."""

_X, _W = 0, 1  # the inputs of a weighted operator


class Graph:
    """A model without function bodies. Raises ValueError or KeyError where a layer's shape cannot be inferred."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.nodes = list(graph.node)
        self.inputs = {value.name for value in graph.input}
        self.outputs = {value.name for value in graph.output}
        self.maker = {name: node for node in graph.node for name in node.output if name}
        self.readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in dict.fromkeys(node.input):
                self.readers[name].append(node)
        self._constants: dict[str, TensorProto] = {constant.name: constant for constant in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and "value" in (attributes := attributes_of(node)):
                self._constants[node.output[0]] = attributes["value"]
            elif node.op_type == "Cast" and node.input[0] in self._constants:  # TensorRT folds it
                dtype = helper.tensor_dtype_to_np_dtype(attributes_of(node)["to"])
                value = numpy_helper.to_array(self._constants[node.input[0]]).astype(dtype)
                self._constants[node.output[0]] = numpy_helper.from_array(value)

        # Q/DQ in the types and forms of older opsets stop ONNX's inference; without them the graph is a plain one.
        plain = onnx.shape_inference.infer_shapes(_without_quantisers(model, self))
        self.types, self.shapes = _types_and_shapes(plain.graph)
        self.layers = weighted_layers(plain)
        self._names = {layer.output: layer.name or layer.output for layer in self.layers}

    def attributes(self, node: NodeProto) -> dict[str, Any]:
        """The attributes of a node."""
        return attributes_of(node)

    def constant(self, name: str) -> np.ndarray | None:
        """The value of a constant; None if the tensor is computed."""
        constant = self._constants.get(name)
        return None if constant is None else numpy_helper.to_array(constant)

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is a constant."""
        return name in self._constants

    def made_by(self, name: str, *op_types: str) -> NodeProto | None:
        """The node that makes a tensor, if it is one of these operators."""
        node = self.maker.get(name)
        return node if node is not None and node.op_type in op_types else None

    def is_int8(self, node: NodeProto | None) -> bool:
        """Whether a node is a weighted operator whose input and weight both come from a DequantizeLinear."""
        return (
            node is not None
            and node.op_type in WEIGHTED
            and all(self.made_by(name, DQ) is not None for name in (node.input[_X], node.input[_W]))
        )

    def int8_epilogue(self, name: str, add: NodeProto) -> bool:
        """Whether an INT8 convolution makes this tensor for ``add`` alone, so that one kernel can compute both."""
        return self.is_int8(self.made_by(name, "Conv")) and self.readers[name] == [add] and name not in self.outputs

    def weight_shape(self, node: NodeProto) -> tuple[int, ...] | None:
        """The shape of a weighted operator's weight, in front of Q/DQ and casts; None if it is computed."""
        name = node.input[_W]
        while (before := self.made_by(name, Q, DQ, "Cast")) is not None:
            name = before.input[0]
        return tuple(self._constants[name].dims) if name in self._constants else None

    def name(self, node: NodeProto) -> str:
        """A node as the user knows it: a layer by its module, another by operator and name."""
        return self._names.get(node.output[0]) or f"{node.op_type} {node.name or node.output[0]}"

    def role(self, quantiser: NodeProto) -> str:
        """What a Q or DQ stands before: ``input of LAYER``, ``weight of LAYER``, ..."""
        readers = self.readers[quantiser.output[0]]
        if quantiser.op_type == Q and (after := [node for node in readers if node.op_type == DQ]):
            return self.role(after[0])
        if not readers:
            return self.name(quantiser)
        place = list(readers[0].input).index(quantiser.output[0])
        word = ("input", "weight", "bias")[place] if readers[0].op_type in WEIGHTED else "input"
        more = f" and {len(readers) - 1} more" if len(readers) > 1 else ""
        return f"{word} of {self.name(readers[0])}{more}"


def _without_quantisers(model: ModelProto, graph: Graph) -> ModelProto:
    """Let the readers of a DQ read what its Q reads; a weight stored as INT8 becomes a float one, its values lost."""
    plain = ModelProto()
    plain.CopyFrom(model)
    origins: dict[str, str] = {}
    for node in graph.nodes:
        if node.op_type == DQ and node.output[0] not in graph.outputs:
            source = graph.made_by(node.input[0], Q)
            if source is not None:
                origins[node.output[0]] = origins.get(source.input[0], source.input[0])
            elif graph.is_constant(node.input[0]):
                origins[node.output[0]] = node.input[0]
                _as_float(plain.graph, node.input[0], graph.constant(node.input[1]))
    read = set(graph.outputs)
    kept: list[NodeProto] = []
    for node in reversed(graph.nodes):  # a Q/DQ stays only where something still reads it
        if node.op_type in (Q, DQ) and read.isdisjoint(node.output):
            continue
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [origins.get(name, name) for name in node.input]
        read.update(copy.input)
        kept.append(copy)
    del plain.graph.node[:]
    plain.graph.node.extend(reversed(kept))
    return plain


def _as_float(graph: GraphProto, name: str, scale: np.ndarray | None) -> None:
    for constant in graph.initializer:
        if constant.name == name:
            dtype = np.float32 if scale is None else scale.dtype
            constant.CopyFrom(numpy_helper.from_array(np.zeros(tuple(constant.dims), dtype), name))


def _types_and_shapes(graph: GraphProto) -> tuple[dict[str, int], dict[str, tuple[int | None, ...]]]:
    """Element types and shapes by tensor; a dimension that is not fixed is None."""
    values = [*graph.input, *graph.value_info, *graph.output]
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    shapes = {
        value.name: tuple(dim.dim_value or None for dim in value.type.tensor_type.shape.dim)
        for value in values
        if value.type.tensor_type.HasField("shape")
    }
    return types | {constant.name: constant.data_type for constant in graph.initializer}, shapes
