"""The layers of an exported graph that multiply and accumulate: what they are called, and what they cost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import Any

from onnx import ModelProto, NodeProto, helper

_DPW_PARTS = {"bias1": "expand", "bias2": "depthwise", "bias3": "project"}


@dataclass(frozen=True)
class Layer:
    """A Conv node, or one of DPWConv and DPWInvertedResidual or of their levels.

    ``macs`` are its multiply-accumulates for one image. As in the equations, they count each pixel of the output once:
    what a DPWInvertedResidual expands a second time in the halo of its patches is left out, and so is the enlargement
    within a level.
    """

    name: str  # the PyTorch module's path
    node: str
    op_type: str
    macs: int
    input: str  # of a level, the skip map
    output: str


def weighted_layers(bare: ModelProto) -> list[Layer]:
    """List the layers in the graph's order; with Q/DQ in the graph they are called the same.

    The graph must note its tensors' shapes, as exported ones do. Gemm and MatMul are left out: no HyperSeg has one.
    """
    shapes, origins = shapes_of(bare), tensor_origins(bare)
    nodes = [node for node in bare.graph.node if node.op_type in _MACS]
    names = [_module_path(node, origins) for node in nodes]
    # Layers of equal weights (zeros, in an untrained ResNet) share them in the file: then the node's name is used.
    shared = {name for name, count in Counter(names).items() if count > 1}
    return [
        Layer(
            name=node.name if name in shared else name,
            node=node.name,
            op_type=node.op_type,
            macs=_MACS[node.op_type](node, shapes),
            input=node.input[0],
            output=node.output[0],
        )
        for name, node in zip(names, nodes, strict=True)
    ]


def default_int8_layers(bare: ModelProto) -> list[str]:
    """Name every Conv for which INT8 has something to win and TensorRT a kernel.

    Left out are those of 1x1 maps (squeeze-excite, pooled context), which do next to nothing, and those in groups, the
    weight mappers and depthwise ones: TensorRT's INT8 kernels take groups of multiples of 4 channels
    (``IConvolutionLayer::setNbGroups``), and it finds none at all for a quantised depthwise convolution with SiLU on
    some versions and boards (NVIDIA/TensorRT issues 3385 and 4060), which would be the end of the whole build.
    """
    shapes = shapes_of(bare)
    groups = {node.name: attributes_of(node).get("group", 1) for node in bare.graph.node if node.op_type == "Conv"}
    return [
        layer.name
        for layer in weighted_layers(bare)
        if layer.op_type == "Conv" and prod(shapes[layer.output][2:]) > 1 and groups[layer.node] == 1
    ]


def shapes_of(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Map each tensor to the shape that the graph notes; a symbolic dimension, the batch, counts as 1."""
    graph = model.graph
    shapes = {
        value.name: tuple(dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    return shapes | {constant.name: tuple(constant.dims) for constant in graph.initializer}


def tensor_origins(model: ModelProto) -> dict[str, str]:
    """Map each output of a QuantizeLinear, DequantizeLinear or Cast to the tensor whose values it holds."""
    origins: dict[str, str] = {}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Cast"):
            origins[node.output[0]] = origins.get(node.input[0], node.input[0])
    return origins


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Read the attributes of a node."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _module_path(node: NodeProto, origins: dict[str, str]) -> str:
    """Name a Conv by its weight, an operator of ours by its last bias: the exporter keeps the parameters' names."""
    parameter = node.input[1] if node.op_type == "Conv" else node.input[-1]
    path, _, last = origins.get(parameter, parameter).removeprefix("network.").rpartition(".")
    if node.op_type in ("DPWConv", "DPWConvLevel") and last in _DPW_PARTS:  # a v0_1 level is three of them
        return f"{path}.{_DPW_PARTS[last]}"
    return path or str(last)


def _conv_macs(node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    return prod(shapes[node.output[0]][1:]) * prod(shapes[node.input[1]][1:])


def _dpwconv_macs(node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    attributes = attributes_of(node)
    channels = _in_channels(node, shapes) // attributes["group"]
    return int(prod(shapes[node.output[0]][1:]) * channels * prod(attributes["kernel_shape"]))


def _dpw_inverted_residual_macs(node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    attributes = attributes_of(node)
    per_hidden_value = _in_channels(node, shapes) + prod(attributes["kernel_shape"]) + attributes["out_channels"]
    return int(prod(shapes[node.output[0]][2:]) * attributes["hidden_channels"] * per_hidden_value)


def _in_channels(node: NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """Count the channels of a dynamic convolution's X; a level puts its X together from two maps and coordinates."""
    if not node.op_type.endswith("Level"):
        return shapes[node.input[0]][1]
    return 2 * int(attributes_of(node)["positions"]) + shapes[node.input[0]][1] + shapes[node.input[1]][1]


_MACS = {
    "Conv": _conv_macs,
    "DPWConv": _dpwconv_macs,
    "DPWConvLevel": _dpwconv_macs,
    "DPWInvertedResidual": _dpw_inverted_residual_macs,
    "DPWInvertedResidualLevel": _dpw_inverted_residual_macs,
}
