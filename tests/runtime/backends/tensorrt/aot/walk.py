"""The steps in which TensorRT asks an AOT plugin for its kernel, through its real Python bindings and without a GPU.

Only a program of ``real_bindings`` can import this. What TensorRT makes in C++ is played: dimensions are functions of
the batch, so that the launch can be worked out for any.
"""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import tensorrt as trt
import tensorrt.plugin as trtp

from runtime.backends.tensorrt.aot import prepare
from runtime.backends.tensorrt.aot.choice import DpwConv, LabelHead, Node

_OPERATIONS = {
    trt.DimensionOperation.SUM: lambda a, b: a + b,
    trt.DimensionOperation.PROD: lambda a, b: a * b,
    trt.DimensionOperation.FLOOR_DIV: lambda a, b: a // b,
}


_DIMENSIONS: list[Any] = []  # TensorRT keeps pointers to them


class _Dimension(trt.IDimensionExpr):
    value: Any  # a number, or a function from the batch to one

    def is_constant(self):
        return isinstance(self.value, int)

    def get_constant_value(self):
        return self.value

    def at(self, batch: int) -> int:
        return self.value if self.is_constant() else self.value(batch)


class _Builder(trt.IExprBuilder):
    def constant(self, value):
        return _dimension(value)

    def operation(self, op, first, second):
        return _dimension(lambda batch: _OPERATIONS[op](first.at(batch), second.at(batch)))


def _dimension(value: Any) -> _Dimension:
    dimension = _Dimension.__new__(_Dimension)  # TensorRT alone has a constructor
    dimension.value = value
    _DIMENSIONS.append(dimension)
    return dimension


def _expressions(shape: list[int]) -> list[_Dimension]:
    return [_dimension(size if size >= 0 else lambda batch: batch) for size in shape]


def _tensor(shape: list[int], dtype: Any) -> Any:
    tensor = trt.DynamicPluginTensorDesc()
    tensor.desc.dims, tensor.desc.type, tensor.desc.format = trt.Dims(shape), dtype, trt.TensorFormat.LINEAR
    return tensor


def operator_of(node: Node) -> tuple[str, dict[str, Any], list[list[int]], list[int]]:
    """A node's operator, its attributes, and the shapes of its inputs and its output; the batch is -1."""
    size = [node.height, node.width]
    if isinstance(node, LabelHead):
        output = [-1, *(pixels * node.scale for pixels in size)]
        return "LabelHead", {"scale": node.scale}, [[-1, node.classes, *size]], output
    attributes: dict[str, Any] = {
        "out_channels": node.out_channels,
        "kernel_shape": [node.kernel_height, node.kernel_width],
        "pad_mode": node.pad_mode,
        "activation": node.activation,
        "weight_offset": node.weight_offset,
    }
    if isinstance(node, DpwConv):
        name, attributes["group"], biases = "DPWConv", node.group, [node.out_channels]
    else:
        name, attributes["hidden_channels"] = "DPWInvertedResidual", node.hidden_channels
        biases = [node.hidden_channels, node.hidden_channels, node.out_channels]
    shapes = [[-1, node.skip_channels, *size]]
    if node.previous_channels:
        name, attributes["positions"] = name + "Level", node.positions
        shapes.append([-1, node.previous_channels, *(pixels // 2 for pixels in size)])
    elif not isinstance(node, DpwConv):
        attributes["residual"] = node.residual
    shapes.append([-1, node.weight_channels, node.grid_height, node.grid_width])
    return name, attributes, [*shapes, *([length] for length in biases)], [-1, node.out_channels, *size]


def create(name: str, attributes: dict[str, Any]) -> Any:
    """The plugin that TensorRT's parser would create of a node."""
    char, int32 = trt.PluginFieldType.CHAR, trt.PluginFieldType.INT32
    fields = [
        trt.PluginField(key, value.encode() + b"\0", char)
        if isinstance(value, str)
        else trt.PluginField(key, np.atleast_1d(value).astype(np.int32), int32)
        for key, value in attributes.items()
    ]
    creator = trt.get_plugin_registry().get_creator(name, "1", "hyperseg")
    request = trt.QuickPluginCreationRequest.UNKNOWN
    return creator.create_plugin(name, "hyperseg", trt.PluginFieldCollection(fields), trt.TensorRTPhase.BUILD, request)


def walk(node: Node, batches: list[int]) -> dict[int, dict[str, Any]]:
    """What TensorRT learns of a node, by tactic: the kernel, and its launch for each of the batches."""
    trtp._tensor.SymExprImpl = lambda expression: expression._expr  # TensorRT's own cannot be read again
    name, attributes, shapes, output = operator_of(node)
    dtype = {"float32": trt.float32, "float16": trt.float16}[node.dtype]
    plugin, builder, count = create(name, attributes), _Builder(), len(shapes)
    assert plugin.get_output_data_types([dtype] * count, [len(shape) for shape in shapes]) == [dtype]
    inputs = [_expressions(shape) for shape in shapes]
    plugin.get_output_shapes(inputs, [], builder)  # whose result Python cannot look into
    assert [size._expr.at(5) for size in plugin.output_descs[0].shape_expr] == [5, *output[1:]]
    tensors = [_tensor(shape, dtype) for shape in (*shapes, output)]
    combination = plugin.get_supported_format_combinations(tensors, count)
    assert [(tensor.type, tensor.format) for tensor in combination] == [(dtype, trt.TensorFormat.LINEAR)] * (count + 1)
    plugin.configure_plugin(tensors[:count], tensors[count:])

    kernels = {}
    for tactic in plugin.get_valid_tactics():
        plugin.set_tactic(tactic)
        launch, extras = types.SimpleNamespace(), type("Extras", (dict,), {})()
        plugin.get_launch_params(inputs, tensors, count, launch, extras, builder)
        assert extras.nbSymExprs == len(extras) == 1
        kernel, ptx = plugin.get_kernel([tensor.desc for tensor in tensors[:count]], [tensors[count].desc])
        kernels[tactic] = {
            "kernel": kernel,
            "ptx": ptx.decode(),
            "launches": [{key: value.at(batch) for key, value in vars(launch).items()} for batch in batches],
            "extras": [extras[0].at(batch) for batch in batches],
        }
    return kernels


__all__ = ["create", "operator_of", "prepare", "walk"]
