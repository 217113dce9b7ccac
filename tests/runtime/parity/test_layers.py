import math
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from runtime.bundle import Bundle
from runtime.parity import layers, tensorrt_tensors
from runtime.parity.difference import Difference
from runtime.parity.layers import Layer, LayerComparison, compare_layers
from runtime.parity.names import NetworkName
from runtime.parity.onnx_tensors import Tensor
from tests.runtime.backends.tensorrt.tensorrt_double import make_tensorrt

ORT16, TRT32 = NetworkName("onnxruntime", "fp16"), NetworkName("tensorrt", "fp32")
BEFORE_STD = ["float_nhwc", "float_nchw", "unit", "centred"]
WITH_NUMBERS = [*BEFORE_STD, "normalised", "logits"]  # indices and labels are not compared


@pytest.fixture
def image_rgb(own_bundle: Bundle) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (own_bundle.info.height, own_bundle.info.width, 3), np.uint8)


def write_changed(source: Path, target: Path, weight: str, change: float) -> Path:
    """Write the network with one element of one weight changed."""
    model = onnx.load(source)
    (found,) = [tensor for tensor in model.graph.initializer if tensor.name == weight]
    values = numpy_helper.to_array(found).copy()
    values.flat[0] += change
    found.CopyFrom(numpy_helper.from_array(values, weight))
    onnx.save(model, target)
    return target


@pytest.fixture
def with_fp16(own_bundle: Bundle, add_to_manifest):
    """Give the bundle an fp16 file in which an element of a weight is changed."""

    def make(weight: str, change: float) -> Bundle:
        path = own_bundle.folder / "street.fp16.onnx"
        return add_to_manifest(own_bundle, write_changed(own_bundle.onnx(), path, weight, change))

    return make


@pytest.mark.parametrize(("weight", "first"), [("std", "normalised"), ("kernel", "logits"), ("mean", "centred")])
@pytest.mark.parametrize("at_a_time", [1, 8])
def test_the_first_tensor_that_departs_is_named(with_fp16, image_rgb, monkeypatch, weight, first, at_a_time):
    monkeypatch.setattr(layers, "_AT_A_TIME", at_a_time)
    (comparison,) = compare_layers(with_fp16(weight, 5.0), [ORT16], image_rgb)
    assert comparison.title == "ONNX Runtime fp16 against ONNX Runtime fp32"
    assert [layer.name for layer in comparison.layers] == WITH_NUMBERS
    assert comparison.first_departed is not None
    assert comparison.first_departed.name == first
    untouched = comparison.layers[: WITH_NUMBERS.index(first)]
    assert all(layer.difference.max_absolute == 0 for layer in untouched)


def test_what_is_no_number_departs(with_fp16, image_rgb):
    (comparison,) = compare_layers(with_fp16("std", math.nan), [ORT16], image_rgb)
    assert comparison.first_departed is not None
    assert comparison.first_departed.name == "normalised"


def test_classes_are_not_compared_though_a_label_head_makes_floats():
    tensors = {"y": np.float32([1.0]), "classes": np.float32([0.0])}
    made_by = [Tensor("y", "Conv"), Tensor("classes", "LabelHead")]
    compared = layers._differences(made_by, tensors, {name: value + 9 for name, value in tensors.items()})
    assert [layer.name for layer in compared] == ["y"]


def test_equal_networks_do_not_depart(with_fp16, image_rgb):
    (comparison,) = compare_layers(with_fp16("std", 0.0), [ORT16], image_rgb)
    assert comparison.first_departed is None
    assert len(comparison.layers) == len(WITH_NUMBERS)


def test_pytorch_is_compared_where_both_have_a_name(own_bundle, image_rgb):
    (comparison,) = compare_layers(own_bundle, [NetworkName("onnxruntime", "fp32")], image_rgb)
    assert [(layer.name, layer.op) for layer in comparison.layers] == [("logits", "Conv")]
    assert comparison.first_departed is None


def test_tensorrt_is_compared_through_polygraphy(own_bundle, image_rgb, monkeypatch, tmp_path):
    """All of the way but TensorRT itself, for which another session of ONNX Runtime stands in."""
    from polygraphy.backend.onnxrt import OnnxrtRunner

    changed = write_changed(own_bundle.onnx(), tmp_path / "changed.onnx", "std", 5.0)
    runner = OnnxrtRunner(tensorrt_tensors._onnx_runtime_session(changed))
    monkeypatch.setattr(tensorrt_tensors, "_trt_runner", lambda *_: runner)
    monkeypatch.setitem(sys.modules, "tensorrt", make_tensorrt("10.3.0"))
    (comparison,) = compare_layers(own_bundle, [TRT32], image_rgb)
    assert comparison.title == "TensorRT fp32 against ONNX Runtime fp32"
    assert [layer.name for layer in comparison.layers] == WITH_NUMBERS
    assert comparison.first_departed is not None
    assert comparison.first_departed.name == "normalised"


@pytest.mark.parametrize(
    ("missing", "network", "message"),
    [
        ("onnx", ORT16, "needs the package onnx"),
        ("torch", NetworkName("onnxruntime", "fp32"), "needs PyTorch"),
        ("polygraphy.comparator", TRT32, "needs Polygraphy"),
        ("tensorrt", TRT32, "TensorRT's Python package is not installed"),
    ],
)
def test_what_is_missing_is_said(with_fp16, image_rgb, monkeypatch, missing, network, message):
    bundle = with_fp16("std", 0.0)
    monkeypatch.setitem(sys.modules, missing, None)
    (comparison,) = compare_layers(bundle, [network], image_rgb)
    assert message in comparison.not_run
    assert not comparison.layers


def test_a_file_that_is_not_there(own_bundle, image_rgb):
    (comparison,) = compare_layers(own_bundle, [ORT16], image_rgb)
    assert "no ONNX file of precision 'fp16'" in comparison.not_run


def test_the_threshold_itself_is_no_departure():
    def layer(relative: float) -> Layer:
        return Layer(str(relative), "Conv", Difference(1, 1, relative, 0))

    comparison = LayerComparison("x", 0.5, (layer(0.1), layer(0.5), layer(0.6), layer(0.1)))
    assert comparison.first_departed is comparison.layers[2]
