"""Place QuantizeLinear and DequantizeLinear (Q/DQ) where TensorRT makes INT8 kernels of them.

TensorRT's rules for explicit quantisation, and what follows from them here:

- A convolution runs in INT8 if its input and its weight come from a DequantizeLinear. The input has one scale, the
  weight one for each output channel; all are symmetric. The bias, the output and the operators of our own, whose
  plugin has no INT8 kernel, stay as they are.
- A residual Add becomes part of an INT8 convolution if the Add's other input, the skip, is quantised too. Of two
  convolutions, as in ResNet's downsampling blocks, the second input of the Add is the skip.
- TensorRT moves Q and DQ past operators that only move values, to where they cost least, if the scales on both sides
  are equal. So all quantised tensors that such operators tie together share one scale.
- A pair of Q and DQ that serves no INT8 kernel only costs time. So one pair serves all chosen readers of a tensor, and
  its other readers keep the float tensor.

Weights stay float initializers in front of their own Q/DQ, since TensorRT 8.6 does not read int8 ones reliably.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from math import isfinite

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper

from calibration.layers import attributes_of, shapes_of, weighted_layers
from export.operators import register_schemas
from runtime.errors import UserError

LEVELS = 127  # of int8 above zero; QuantizeLinear has one more below, -128, for what lies beyond the threshold

_VALUE_MOVERS = {"Concat", "Expand", "Identity", "MaxPool", "Pad", "Reshape", "Resize", "Slice", "Transpose"}

_Read = tuple[int, int]  # which node of the graph, and which of its inputs


def place_qdq(bare: ModelProto, thresholds: Mapping[str, float], layers: Collection[str]) -> ModelProto:
    """Return a copy of a bare FP32 model whose convolutions named in ``layers`` are quantised, with Q/DQ as above.

    ``thresholds`` says by tensor which magnitude becomes 127, for the inputs of the layers and of their residual Adds.
    The result passes the checker and strict shape inference. Raises UserError for a model that has Q/DQ already, an
    unknown layer, a threshold that is missing or not finite, and weights that are not finite.
    """
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in bare.graph.node):
        raise UserError("the model is already quantised. Give the FP32 file, NAME.fp32.onnx.")
    chosen = _choose(bare, layers)
    activations = {(position, 0) for position in chosen} | _skips(bare, chosen)
    rewired = activations | {(position, 1) for position in chosen}
    scales = _activation_scales(bare.graph, thresholds, activations) | _weight_scales(bare.graph, chosen)

    quantised = ModelProto()
    quantised.CopyFrom(bare)
    del quantised.graph.node[:]
    types = _types(bare.graph)
    dequantised: dict[str, str] = {}
    for position, node in enumerate(bare.graph.node):
        reader = NodeProto()
        reader.CopyFrom(node)
        for index, tensor in enumerate(node.input):
            if (position, index) not in rewired:
                continue
            if tensor not in dequantised:
                dequantised[tensor] = _append_qdq(quantised.graph, tensor, types[tensor], scales[tensor])
            reader.input[index] = dequantised[tensor]
        quantised.graph.node.append(reader)
    register_schemas()
    onnx.checker.check_model(quantised, full_check=True)
    return quantised


def _choose(bare: ModelProto, names: Collection[str]) -> dict[int, str]:
    """Find the layers' Conv nodes: the layer's name by the node's position in the graph."""
    layers = {layer.name: layer for layer in weighted_layers(bare)}
    for name in names:
        if name not in layers:
            close = ", ".join(get_close_matches(name, layers)) or "none"
            raise UserError(
                f"the model has no layer {name}; close matches: {close}. Is the recipe that of another model?"
            )
        if layers[name].op_type != "Conv":
            raise UserError(f"{name} is a {layers[name].op_type}, which has no INT8 kernel. Take it off the recipe.")
    positions = {node.name: position for position, node in enumerate(bare.graph.node)}
    return {positions[layers[name].node]: name for name in names}


def _skips(bare: ModelProto, chosen: Collection[int]) -> set[_Read]:
    """Find the skip inputs of the Adds that the chosen convolutions can take in."""
    graph, shapes = bare.graph, shapes_of(bare)
    constants = {constant.name for constant in graph.initializer}
    readers = Counter(tensor for node in graph.node for tensor in node.input)
    readers.update(output.name for output in graph.output)
    convolved = {graph.node[position].output[0] for position in chosen}
    skips = set()
    for position, node in enumerate(graph.node):
        if node.op_type != "Add" or shapes[node.input[0]] != shapes[node.input[1]] or constants & set(node.input):
            continue
        for index, tensor in enumerate(node.input):
            if tensor in convolved and readers[tensor] == 1:
                skips.add((position, 1 - index))
                break
    return skips


def _activation_scales(
    graph: GraphProto, thresholds: Mapping[str, float], reads: Collection[_Read]
) -> dict[str, np.ndarray]:
    """Give each tensor that is read quantised its scale: that of the largest among those it is tied to."""
    readers = {graph.node[position].input[index]: graph.node[position].name for position, index in sorted(reads)}
    for tensor, reader in readers.items():
        if not isfinite(thresholds.get(tensor, np.nan)):
            raise UserError(
                f"{reader} reads the tensor {tensor}, whose range is not known. "
                "The calibration is probably that of another model: calibrate this one."
            )
    ties = _ties(graph)
    return {
        tensor: _scale(np.array(max(thresholds[tied] for tied in ties.get(tensor, {tensor}) & readers.keys())))
        for tensor in readers
    }


def _ties(graph: GraphProto) -> dict[str, set[str]]:
    """Map the tensors around operators that only move values to all tensors they are so tied to, with themselves."""
    ties: dict[str, set[str]] = {}
    for node in graph.node:
        if _only_moves_values(node, graph):
            moved = node.input if node.op_type == "Concat" else node.input[:1]
            tied = set().union(*(ties.get(tensor, {tensor}) for tensor in (*moved, *node.output)))
            ties.update(dict.fromkeys(tied, tied))
    return ties


def _only_moves_values(node: NodeProto, graph: GraphProto) -> bool:
    """Say whether the node's output holds only values of its input, or zeros."""
    attributes = attributes_of(node)
    if node.op_type == "Resize":
        return bool(attributes["mode"] == b"nearest")
    if node.op_type == "Pad" and attributes.get("mode", b"constant") == b"constant" and len(node.input) > 2:
        padding = [numpy_helper.to_array(constant) for constant in graph.initializer if constant.name == node.input[2]]
        return bool(padding) and not padding[0].any()
    return node.op_type in _VALUE_MOVERS


def _weight_scales(graph: GraphProto, chosen: Mapping[int, str]) -> dict[str, np.ndarray]:
    """Give each output channel of each chosen weight its scale, by its largest magnitude."""
    constants = {constant.name: constant for constant in graph.initializer}
    scales = {}
    for position, layer in chosen.items():
        weight = graph.node[position].input[1]
        if weight not in constants:
            raise UserError(f"{layer} has no constant weight, so it cannot be quantised. Take it off the recipe.")
        values = numpy_helper.to_array(constants[weight])
        if not np.isfinite(values).all():
            raise UserError(
                f"the weights of {layer} hold NaN or infinity. Its training went wrong: export another one."
            )
        scales[weight] = _scale(np.abs(values).reshape(len(values), -1).max(1))
    return scales


def _scale(thresholds: np.ndarray) -> np.ndarray:
    return np.where(thresholds > 0, thresholds / LEVELS, 1).astype(np.float32)  # of what is 0 throughout, any would do


def _types(graph: GraphProto) -> dict[str, TypeProto]:
    """Map each tensor to its type and shape."""
    weights = {value.name: helper.make_tensor_type_proto(value.data_type, value.dims) for value in graph.initializer}
    return weights | {value.name: value.type for value in (*graph.input, *graph.value_info, *graph.output)}


def _append_qdq(graph: GraphProto, tensor: str, tensor_type: TypeProto, scale: np.ndarray) -> str:
    """Append a Q/DQ pair: one scale for all of the tensor, or one for each index of axis 0; return DQ's output."""
    constants = {f"{tensor}_scale": scale, f"{tensor}_zero_point": np.zeros_like(scale, np.int8)}
    graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in constants.items())
    quantised, dequantised = f"{tensor}_quantised", f"{tensor}_dequantised"
    for op_type, source, target in (
        ("QuantizeLinear", tensor, quantised),
        ("DequantizeLinear", quantised, dequantised),
    ):
        node = helper.make_node(op_type, [source, *constants], [target], f"{op_type}_{tensor}")
        if scale.ndim:
            node.attribute.append(helper.make_attribute("axis", 0))
        graph.node.append(node)
        graph.value_info.add(name=target, type=tensor_type)
    graph.value_info[-2].type.tensor_type.elem_type = TensorProto.INT8
    return dequantised
