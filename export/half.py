"""A model in FP16: from version 10 on, TensorRT computes in the precision that the tensors of the file have.

The ready-made converter, ``onnxruntime.transformers.float16``, does not serve. Between two operators that stay FP32 it
casts to FP16 and back, where the value overflows; it clips weights that FP16 cannot hold; it casts a scale that several
Resizes share once for each of them, by one name; and all its casts stand at the end of the graph, out of order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from export.operators import DOMAIN, register_schemas

# Three bits of the exponent stay free: other images reach further than those of the calibration, and a kernel that
# accumulates in FP16 forms partial sums larger than the sum.
FP16_MAX_SAFE = float(np.finfo(np.float16).max) / 8

# FP16's smallest normal number: a scale below it has fewer bits, and its reciprocal may overflow. So a channel whose
# weights are all below 127 times this, 0.0078, gets coarser steps than it could, but no coarser than FP16's at 0.1.
SMALLEST_SCALE = 2.0**-14

_FLOAT, _HALF = int(TensorProto.FLOAT), int(TensorProto.FLOAT16)
_SUFFIX = {_FLOAT: "_fp32", _HALF: "_fp16"}


def to_half(model: ModelProto, wide: Collection[str] = ()) -> ModelProto:
    """Return a copy of a bare FP32 model, with or without Q/DQ, whose float tensors are FP16 but for those in ``wide``.

    ``wide`` are names of tensors. A node runs in FP32 if one of its inputs or outputs is wide, if FP16 cannot hold one
    of its weights, and, being an operator of ours, if another node of its operator does: that has only one body. Q, DQ
    and casts of labels run in the type of the tensor before them, Q and DQ in FP32 also if all that read the result do.
    Casts stand around nodes in FP32, though not behind a DQ, of which they get a copy in FP32, and at the graph's ends,
    which keep their types. What is FP32 by ONNX, such as a Resize's scales, stays so. The result passes the checker and
    strict shape inference; all its tensors have known types and shapes. Raises ValueError for a wide tensor that the
    model does not have.
    """
    register_schemas()
    half = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    graph = half.graph
    if unknown := set(wide).difference(*(node.output for node in graph.node), *(node.input for node in graph.node)):
        raise ValueError(f"the model has no tensors {sorted(unknown)}")
    _lift_constants(graph)
    opsets = {opset.domain: opset.version for opset in half.opset_import}
    single = _nodes_in_fp32(graph, wide)
    writer = _Writer(graph)
    for index, node in enumerate(graph.node):
        writer.append(node, _FLOAT if index in single else _HALF, opsets[node.domain])
    writer.finish(graph)
    onnx.checker.check_model(half, full_check=True)
    return half


def _lift_constants(graph: GraphProto) -> None:
    """Turn Constant nodes of a float into initializers, which are retyped for each reader."""
    for node in [node for node in graph.node if node.op_type == "Constant"]:
        (attribute,) = node.attribute
        value = helper.get_attribute_value(attribute)
        if attribute.name in ("value_float", "value_floats"):
            value = numpy_helper.from_array(np.array(value, np.float32))
        if isinstance(value, TensorProto) and value.data_type == _FLOAT:
            graph.node.remove(node)
            graph.initializer.add().CopyFrom(value)
            graph.initializer[-1].name = node.output[0]


def _nodes_in_fp32(graph: GraphProto, wide: Collection[str]) -> set[int]:
    """Return the positions of the nodes that run in FP32: see ``to_half``."""
    wide = {*wide, *(constant.name for constant in graph.initializer if _overflows(constant))}
    single: set[int] = set()
    readers: dict[str, list[int]] = defaultdict(list)
    quantised: set[str] = set()  # int8 tensors that hold a wide tensor
    for index, node in enumerate(graph.node):
        for name in node.input:
            readers[name].append(index)
        if node.op_type == "QuantizeLinear" and node.input[0] in wide:
            quantised.add(node.output[0])
        if node.op_type == "DequantizeLinear" and node.input[0] in quantised:
            wide.add(node.output[0])
        if wide.intersection((*node.input, *node.output)):
            single.add(index)
    ours = {graph.node[index].op_type for index in single if graph.node[index].domain == DOMAIN}
    single |= {i for i, node in enumerate(graph.node) if node.domain == DOMAIN and node.op_type in ours}
    made = {name for index in single for name in graph.node[index].output}
    single |= {i for i, node in enumerate(graph.node) if _is_cast_from_float(node) and node.input[0] in made}
    for index, node in reversed(list(enumerate(graph.node))):  # or there would be Q and DQ in a type that none reads
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and single.issuperset(readers[node.output[0]]):
            single.add(index)
    return single


def _is_cast_from_float(node: NodeProto) -> bool:
    return node.op_type == "Cast" and helper.get_node_attr_value(node, "to") != _FLOAT


def _overflows(constant: TensorProto) -> bool:
    if constant.data_type != _FLOAT:
        return False
    values = numpy_helper.to_array(constant)
    return bool(np.any(np.isinf(_as_half(values)) & np.isfinite(values)))


def _as_half(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Round to FP16. What is too small becomes 0: an error of 3e-8 at most, far below that of the larger weights."""
    with np.errstate(over="ignore", under="ignore"):
        return values.astype(np.float16)


class _Writer:
    """Writes nodes in their types, with the casts between them and the initializers in each type that is read."""

    def __init__(self, graph: GraphProto) -> None:
        self.constants = {constant.name: constant for constant in graph.initializer if constant.data_type == _FLOAT}
        values = (*graph.input, *graph.value_info, *graph.output)
        floats = {value.name: value for value in values if value.type.tensor_type.elem_type == _FLOAT}
        self.infos = {name: value for name, value in floats.items() if name not in self.constants}
        self.ends = {value.name for value in graph.output}
        self.dequantisers = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
        quantisers = (node for node in graph.node if node.op_type == "QuantizeLinear")
        self.scales = {node.input[1] for node in (*quantisers, *self.dequantisers.values())}
        self.names: dict[tuple[str, int], str] = {}  # of a tensor or constant in a type
        self.names.update({(value.name, _FLOAT): value.name for value in graph.input})
        self.nodes: list[NodeProto] = []

    def append(self, node: NodeProto, element_type: int, opset: int) -> None:
        """Append a copy of a node that runs in ``element_type``, with the casts that it and the graph's ends need."""
        copy = NodeProto()
        copy.CopyFrom(node)
        for position, name in enumerate(node.input):
            if name in self.infos or name in self.constants:
                fixed = _is_fp32_by_onnx(node, position, opset)
                copy.input[position] = self._name(name, _FLOAT if fixed else element_type)
        for attribute in copy.attribute:
            if node.op_type == "Cast" and (attribute.name, attribute.i) == ("to", _FLOAT):
                attribute.i = element_type
        self.nodes.append(copy)
        for position, name in enumerate(node.output):
            if name in self.infos:
                is_end = name in self.ends and element_type != _FLOAT
                copy.output[position] = self.names[name, element_type] = name + is_end * _SUFFIX[element_type]
                if is_end:
                    self.names[name, _FLOAT] = name
                    self.nodes.append(_cast(copy.output[position], name, _FLOAT))

    def finish(self, graph: GraphProto) -> None:
        """Put what was written in place of the graph's nodes, float initializers and types."""
        others = [constant for constant in graph.initializer if constant.name not in self.constants]
        values = [value for value in graph.value_info if value.name not in self.infos | self.constants]
        for (name, element_type), typed in self.names.items():
            if name in self.constants:
                others.append(numpy_helper.from_array(self._numbers(name, element_type), typed))
            elif name in self.infos and typed not in self.ends:
                values.append(_info(self.infos[name], typed, element_type))
        for content, written in ((graph.node, self.nodes), (graph.initializer, others), (graph.value_info, values)):
            del content[:]
            content.extend(written)

    def _name(self, name: str, element_type: int) -> str:
        """Return what a tensor or constant is called in a type; add the cast, or the DQ, if there is none yet."""
        if (name, element_type) not in self.names:
            other = self.names.get((name, _HALF if element_type == _FLOAT else _FLOAT))
            typed = self.names[name, element_type] = name if other is None else name + _SUFFIX[element_type]
            if other is not None and name in self.infos:
                if element_type == _FLOAT and name in self.dequantisers:  # a cast would keep a Conv from INT8
                    self.nodes.append(self._dequantise_in_fp32(self.dequantisers[name], typed))
                else:
                    self.nodes.append(_cast(other, typed, element_type))
        return self.names[name, element_type]

    def _dequantise_in_fp32(self, node: NodeProto, output: str) -> NodeProto:
        copy = NodeProto()
        copy.CopyFrom(node)
        copy.name += _SUFFIX[_FLOAT]
        copy.input[1] = self._name(node.input[1], _FLOAT)
        copy.output[0] = output
        return copy

    def _numbers(self, name: str, element_type: int) -> NDArray[np.float32] | NDArray[np.float16]:
        """Return the values of a constant in a type; a scale that is read in both is FP16's in both."""
        numbers: NDArray[np.float32] = numpy_helper.to_array(self.constants[name])
        if name in self.scales and (name, _HALF) in self.names:
            numbers = _as_half(np.maximum(numbers, SMALLEST_SCALE)).astype(np.float32)
        return _as_half(numbers) if element_type == _HALF else numbers


def _is_fp32_by_onnx(node: NodeProto, position: int, opset: int) -> bool:
    inputs = onnx.defs.get_schema(node.op_type, opset, node.domain).inputs
    return bool(inputs[min(position, len(inputs) - 1)].type_str == "tensor(float)")


def _cast(tensor: str, cast: str, element_type: int) -> NodeProto:
    return helper.make_node("Cast", [tensor], [cast], f"{tensor}_to{_SUFFIX[element_type]}", to=element_type)


def _info(info: ValueInfoProto, name: str, element_type: int) -> ValueInfoProto:
    typed = ValueInfoProto()
    typed.CopyFrom(info)
    typed.name = name
    typed.type.tensor_type.elem_type = element_type
    return typed
