"""Models of level operators and of LabelHead, made node by node, and ways to run them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import Tensor

from export import operators
from training.network import dpwconv as specification
from training.network.decoder import level_input

LEVELS = onnxruntime.GraphOptimizationLevel


@dataclass
class Level:
    """A node of a level operator, on the maps S and P and the weights W that ``inputs`` makes."""

    skip_channels: int
    previous_channels: int
    size: tuple[int, int]
    grid: tuple[int, int]
    out_channels: int = 3
    kernel_shape: tuple[int, int] = (1, 1)
    group: int = 1
    hidden_channels: int = 0  # of DPWInvertedResidualLevel
    positions: int = 1
    pad_mode: str = "reflect"
    activation: str = "relu6"
    weight_offset: int | None = None

    @property
    def name(self) -> str:
        return "DPWInvertedResidualLevel" if self.hidden_channels else "DPWConvLevel"

    @property
    def attributes(self) -> dict:
        names = ["out_channels", "kernel_shape", "pad_mode", "activation"]
        names += ["hidden_channels"] if self.hidden_channels else ["group"]
        names += [] if self.weight_offset is None else ["weight_offset"]
        return {name: getattr(self, name) for name in names}

    @property
    def channels(self) -> int:
        return 2 * self.positions + self.skip_channels + self.previous_channels

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        (height, width), taps = self.size, self.kernel_shape[0] * self.kernel_shape[1]
        hidden, read = self.hidden_channels, self.out_channels * self.channels // self.group * taps
        if hidden:
            read = hidden * (self.channels + taps + self.out_channels)
        return {
            "S": (self.skip_channels, height, width),
            "P": (self.previous_channels, height // 2, width // 2),
            "W": (read + (self.weight_offset or 0) + 3, *self.grid),
        }

    @property
    def biases(self) -> list[Tensor]:
        sizes = [self.hidden_channels] * 2 if self.hidden_channels else []
        return [torch.linspace(-1, 1, size) for size in (*sizes, self.out_channels)]

    def inputs(self, n: int) -> list[Tensor]:
        return [torch.randn(n, *shape) for shape in self.shapes.values()]

    def specified(self, skip: Tensor, previous: Tensor, weight: Tensor) -> np.ndarray:
        operator = specification.dpw_inverted_residual if self.hidden_channels else specification.dpwconv
        x = level_input(skip, previous, bool(self.positions))
        return operator(x, weight, *self.biases, **self.attributes).numpy()


def level_model(levels: list[Level], dtype: str = "float32", batch: int | str = "n") -> onnx.ModelProto:
    """A model of a node for each level, with inputs of its own."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = onnx.GraphProto(name="levels")
    for index, level in enumerate(levels):
        maps = [f"{name}{index}" for name in level.shapes]
        biases = [f"B{index}_{number}" for number, _ in enumerate(level.biases)]
        y, attributes = f"Y{index}", {**level.attributes, "positions": level.positions}
        for name, bias in zip(biases, level.biases, strict=True):
            graph.initializer.append(numpy_helper.from_array(bias.numpy().astype(dtype), name))
        for name, shape in zip(maps, level.shapes.values(), strict=True):
            graph.input.append(helper.make_tensor_value_info(name, kind, [batch, *shape]))
        graph.node.append(helper.make_node(level.name, [*maps, *biases], [y], domain="hyperseg", **attributes))
        graph.output.append(helper.make_tensor_value_info(y, kind, [batch, level.out_channels, *level.size]))
    return complete(graph)


def head_model(classes: int, size: tuple[int, int], scale: int, dtype: str = "float32") -> onnx.ModelProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    node = helper.make_node("LabelHead", ["X"], ["Y"], domain="hyperseg", scale=scale)
    x = helper.make_tensor_value_info("X", kind, ["n", classes, *size])
    y = helper.make_tensor_value_info("Y", kind, ["n", *(scale * pixels for pixels in size)])
    return complete(helper.make_graph([node], "head", [x], [y]))


def complete(graph: onnx.GraphProto) -> onnx.ModelProto:
    """The model of a graph, which passes the checker without and with bodies."""
    operators.register_schemas()
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("hyperseg", 1)]
    bare = helper.make_model(graph, ir_version=10, opset_imports=opsets)
    onnx.checker.check_model(bare, full_check=True)
    attached = operators.attach_functions(bare)
    onnx.checker.check_model(attached, full_check=True)
    return attached


def session_of(model: onnx.ModelProto, optimisation=LEVELS.ORT_ENABLE_ALL, optimised: str = ""):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = optimisation
    options.optimized_model_filepath = optimised
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def run(model: onnx.ModelProto, *inputs: Tensor, optimisation=LEVELS.ORT_ENABLE_ALL) -> list[np.ndarray]:
    return session_of(model, optimisation).run(None, feeds(model, *inputs))


def evaluate(model: onnx.ModelProto, *inputs: Tensor) -> list[np.ndarray]:
    return ReferenceEvaluator(model).run(None, feeds(model, *inputs))


def feeds(model: onnx.ModelProto, *inputs: Tensor) -> dict[str, np.ndarray]:
    return {info.name: value.numpy() for info, value in zip(model.graph.input, inputs, strict=True)}
