"""Where two networks part: the same image through both, tensor by tensor in the order of the ONNX graph.

Three comparisons. PyTorch against ONNX Runtime, at the modules that both know by name. The ONNX file in FP32 against
those of lower precision, by the names of the tensors. ONNX Runtime against TensorRT, through Polygraphy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from runtime.bundle import Bundle
from runtime.errors import UserError
from runtime.parity.difference import Difference, difference_of
from runtime.parity.names import NetworkName
from runtime.parity.onnx_tensors import OnnxTensors, Tensor

THRESHOLDS = {"fp32": 1e-3, "fp16": 3e-2, "int8": 0.3}
"""Relative difference from which a tensor counts as departed.

Rounding alone stays far below: float32's 6e-8 grows to about 1e-5 through a hundred layers, float16's 5e-4 to about
1e-2; eight bits leave some percent at each layer.
"""

Item = TypeVar("Item")

_AT_A_TIME = 8  # tensors held of each network; all of a large network would fill the memory


@dataclass(frozen=True)
class Layer:
    """One tensor. ``name`` is the module that makes it, or the tensor's own name; ``op`` its ONNX operator."""

    name: str
    op: str
    difference: Difference


@dataclass(frozen=True)
class LayerComparison:
    """Two networks, layer by layer. ``not_run`` says why there are no layers, or is empty."""

    title: str
    threshold: float
    layers: tuple[Layer, ...] = ()
    not_run: str = ""

    def departed(self, layer: Layer) -> bool:
        """Whether a layer is beyond the threshold, or not a number."""
        return not layer.difference.relative <= self.threshold

    @property
    def first_departed(self) -> Layer | None:
        """The first layer beyond the threshold: look for the fault there."""
        return next((layer for layer in self.layers if self.departed(layer)), None)


def compare_layers(
    bundle: Bundle, networks: Sequence[NetworkName], image_rgb: np.ndarray, *, plugin: Path | None = None
) -> tuple[LayerComparison, ...]:
    """Compare each exported network with what it was made from, on one image uint8 [H, W, 3] of the bundle's size.

    ONNX Runtime's fp32 is compared with PyTorch, its other precisions with its fp32, and TensorRT with ONNX Runtime in
    the same precision. What cannot be compared here (no onnx, torch, polygraphy or TensorRT, no such file) says so.
    """
    image_nhwc = np.ascontiguousarray(image_rgb[None])
    comparisons = []
    for name in networks:
        if name.backend == "torch":
            continue
        if name.backend == "tensorrt":
            expected = NetworkName("onnxruntime", name.precision)
            layers = _tensorrt_layers(bundle, name.precision, image_nhwc, plugin)
        elif name.precision == "fp32":
            expected = NetworkName("torch", "fp32")
            layers = _module_layers(bundle, image_nhwc)
        else:
            expected = NetworkName("onnxruntime", "fp32")
            layers = _precision_layers(bundle, name.precision, image_nhwc)
        title, threshold = f"{name.title} against {expected.title}", THRESHOLDS[name.precision]
        bar = tqdm(layers, desc=f"layers of {name.title}", unit="layer", leave=False, disable=None)
        try:
            comparisons.append(LayerComparison(title, threshold, tuple(bar)))
        except UserError as error:
            comparisons.append(LayerComparison(title, threshold, not_run=str(error)))
    return tuple(comparisons)


def _module_layers(bundle: Bundle, image_nhwc: np.ndarray) -> Iterator[Layer]:
    """PyTorch against ONNX Runtime."""
    from runtime.parity.torch_tensors import TorchTensors

    exported = OnnxTensors(bundle.onnx("fp32"), image_nhwc)
    pytorch = TorchTensors(bundle, image_nhwc)
    modules = exported.modules
    for held in _chunks([module for module in pytorch.modules if module in modules]):
        expected = pytorch.run(held)
        actual = exported.run([modules[module].name for module in held])
        for module in held:
            tensor = modules[module]
            # The export drops channels at the end that nothing reads.
            expected_part = expected[module][:, : actual[tensor.name].shape[1]]
            yield Layer(module, tensor.op, difference_of(actual[tensor.name], expected_part))


def _precision_layers(bundle: Bundle, precision: str, image_nhwc: np.ndarray) -> Iterator[Layer]:
    """A lower precision against fp32, both in ONNX Runtime, by the names of the tensors."""
    lower, fp32 = OnnxTensors(bundle.onnx(precision), image_nhwc), OnnxTensors(bundle.onnx("fp32"), image_nhwc)
    names = {tensor.name for tensor in lower.tensors}
    for held in _chunks([tensor for tensor in fp32.tensors if tensor.name in names]):
        wanted = [tensor.name for tensor in held]
        yield from _differences(held, lower.run(wanted), fp32.run(wanted))


def _tensorrt_layers(bundle: Bundle, precision: str, image_nhwc: np.ndarray, plugin: Path | None) -> Iterator[Layer]:
    """TensorRT against ONNX Runtime, by the names of the tensors."""
    from runtime.parity.tensorrt_tensors import run_both

    tensors = OnnxTensors(bundle.onnx(precision), image_nhwc).tensors
    onnx_runtime, tensorrt = run_both(bundle, precision, image_nhwc, plugin)
    yield from _differences(tensors, tensorrt, onnx_runtime)


def _differences(
    tensors: Sequence[Tensor], actual: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> Iterator[Layer]:
    for tensor in tensors:
        one, other = actual.get(tensor.name), expected.get(tensor.name)
        # Shapes and indices have no distance, classes held as floats included; a builder may fuse a tensor away.
        if one is None or other is None or one.shape != other.shape or other.dtype.kind != "f":
            continue
        if tensor.op == "LabelHead":
            continue
        yield Layer(tensor.name, tensor.op, difference_of(one, other))


def _chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), _AT_A_TIME):
        yield items[start : start + _AT_A_TIME]
