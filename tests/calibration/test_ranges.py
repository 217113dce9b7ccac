import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from calibration import ranges
from calibration.images import CalibrationImages, ImageRecord
from calibration.ranges import TensorRange, collect_ranges
from calibration.thresholds import BINS, find_thresholds
from export.bundle import info_from_config
from export.dead_paths import drop_dead_paths
from export.fold import fold_batchnorm
from export.graph import onnx_from_model
from export.operators import attach_functions
from runtime.errors import UserError

SIZE = (8, 10)
SCALE = np.array([[2, -1, 0], [0.5, 0, 0.25], [0, 0, -3]], np.float32)  # what a 1x1 convolution does to a pixel


def images_of(pixels: np.ndarray) -> CalibrationImages:
    """Images uint8 [N, H, W, 3] that lie in memory."""
    records = tuple(ImageRecord(f"image {index}", "0" * 64) for index in range(len(pixels)))
    return CalibrationImages("pixels", 0, records, lambda index: pixels[index])


PIXELS = np.random.default_rng(0).integers(0, 256, (9, *SIZE, 3), np.uint8)
PIXELS[4, 2, 3] = 255  # the largest is not in the first image, nor in the last


def model_of(*nodes: onnx.NodeProto, output: str, **constants: np.ndarray) -> onnx.ModelProto:
    """A graph that turns the image into x, float [N, 3, H, W], before the nodes."""
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["nhwc"], "cast", to=TensorProto.FLOAT),
            helper.make_node("Transpose", ["nhwc"], ["x"], "transpose", perm=[0, 3, 1, 2]),
            *nodes,
        ],
        "small",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *SIZE, 3])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model)


def two_convolutions() -> onnx.ModelProto:
    """relu(conv(x)), which a second convolution reads and an Add adds to that one's result."""
    return model_of(
        helper.make_node("Conv", ["x", "network.first.weight"], ["a"], "conv_1"),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "network.second.weight"], ["c"], "conv_2"),
        helper.make_node("Add", ["b", "c"], ["d"], "add"),
        helper.make_node("Shape", ["d"], ["shape"], "shape"),
        output="d",
        **{
            "network.first.weight": SCALE[:, :, None, None],
            "network.second.weight": np.float32(0.5) * SCALE[:, :, None, None],
        },
    )


def by_hand() -> dict[str, np.ndarray]:
    """The tensors of ``two_convolutions``, with the channels last."""
    x = PIXELS.astype(np.float32)
    a = x @ SCALE.T
    b = np.maximum(a, 0)
    c = b @ (SCALE.T / 2)
    return {"nhwc": x, "x": x, "a": a, "b": b, "c": c, "d": b + c}


def test_ranges_are_those_computed_by_hand():
    measured = collect_ranges(two_convolutions(), images_of(PIXELS))
    expected = by_hand()
    assert list(measured) == list(expected), "the float tensors, in the graph's order"
    for name, values in expected.items():
        # The sums of three products are exact in float32, whatever their order.
        assert measured[name].largest == np.abs(values).max()
    assert {name for name in measured if measured[name].thresholds} == {"x", "b", "c"}
    assert {name: tensor.layers for name, tensor in measured.items() if tensor.layers} == {
        "x": ("first",),
        "b": ("second",),
    }


def test_histograms_hold_every_value_of_every_image():
    measured, expected = collect_ranges(two_convolutions(), images_of(PIXELS)), by_hand()
    for name in ("x", "b", "c"):
        magnitudes = np.abs(expected[name])
        counts, _ = np.histogram(magnitudes, BINS, (0, magnitudes.max()))
        assert measured[name].thresholds == find_thresholds(counts, float(magnitudes.max()))


def test_in_how_many_runs_changes_nothing(monkeypatch):
    at_once = collect_ranges(two_convolutions(), images_of(PIXELS))
    monkeypatch.setattr(ranges, "_MAX_BYTES_A_RUN", 1)
    assert collect_ranges(two_convolutions(), images_of(PIXELS)) == at_once


def test_a_run_returns_no_more_than_it_may(monkeypatch):
    monkeypatch.setattr(ranges, "_MAX_BYTES_A_RUN", 400)
    chunks = list(ranges._chunks({"a": 50, "b": 50, "c": 1, "d": 200, "e": 10, "f": 90}))
    assert chunks == [["a", "b"], ["c"], ["d"], ["e", "f"]]


def test_a_tensor_that_is_0_everywhere_can_be_quantised_and_is_told_of(capsys):
    model = model_of(
        helper.make_node("Neg", ["x"], ["negative"], "neg"),
        helper.make_node("Relu", ["negative"], ["dead"], "relu"),
        helper.make_node("Conv", ["dead", "network.layer.weight"], ["y"], "conv"),
        output="y",
        **{"network.layer.weight": SCALE[:, :, None, None]},
    )
    dead = collect_ranges(model, images_of(PIXELS))["dead"]
    assert dead == TensorRange(0.0, {"minmax": 1, "percentile": 1, "entropy": 1, "mse": 1}, ("layer",))
    assert "the tensor dead is 0 on all 9 images" in capsys.readouterr().err


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_weights_are_named(bad):
    model = two_convolutions()
    weight = SCALE[:, :, None, None].copy()
    weight[1, 2] = bad
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(weight, "network.second.weight"))
    with pytest.raises(UserError, match=r"NaN or infinity in the weights: second\.weight"):
        collect_ranges(model, images_of(PIXELS))


def test_the_layer_that_overflows_first_is_named():
    model = two_convolutions()
    huge = 1e36 * SCALE[:, :, None, None]
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(huge, "network.first.weight"))
    dark = PIXELS // 8  # three times 31e36 is within float32, three times 255e36 is not
    dark[6, 0, 0, 2] = 255
    with pytest.raises(UserError, match=r"overflow: first \(Conv\) gives infinity or NaN on the image image 6"):
        collect_ranges(model, images_of(dark))


def test_nan_among_numbers_is_found():
    """Where ONNX Runtime's ReduceMax sees only the numbers."""
    model = model_of(
        helper.make_node("Sub", ["x", "one"], ["shifted"], "sub"),
        helper.make_node("Sqrt", ["shifted"], ["root"], "sqrt"),
        output="root",
        one=np.float32(1),
    )
    pixels = np.maximum(PIXELS, 1)
    collect_ranges(model, images_of(pixels))
    pixels[3, 4, 5, 1] = 0
    with pytest.raises(UserError, match=r"overflow: sqrt \(Sqrt\) gives infinity or NaN on the image image 3"):
        collect_ranges(model, images_of(pixels))


def test_a_quantised_model_is_refused():
    model = model_of(
        helper.make_node("QuantizeLinear", ["x", "scale"], ["q"], "quantise", output_dtype=TensorProto.INT8),
        helper.make_node("DequantizeLinear", ["q", "scale"], ["y"], "dequantise"),
        output="y",
        scale=np.float32(1),
    )
    with pytest.raises(UserError, match="already quantised"):
        collect_ranges(model, images_of(PIXELS))


@pytest.fixture(scope="module")
def network(random_model, tmp_path_factory):
    """A street-tiny of random weights at its smallest size, as a bundle has it."""
    model, _ = drop_dead_paths(fold_batchnorm(random_model("street-tiny")))
    size = model.config.size_multiple
    bare = onnx_from_model(model, info_from_config(model.config, size, 2 * size))
    path = tmp_path_factory.mktemp("network") / "street-tiny.fp32.onnx"
    onnx.save(attach_functions(bare), path)
    return path


def test_every_convolution_of_a_network_gets_thresholds(network):
    graph = onnx.load(network).graph
    size = [dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim[1:]]
    pixels = np.random.default_rng(0).integers(0, 256, (2, *size), np.uint8)
    measured = collect_ranges(network, images_of(pixels))
    read = {node.input[0] for node in graph.node if node.op_type == "Conv"}
    assert {name for name, tensor in measured.items() if tensor.thresholds} == read
    made = {name for node in graph.node for name in node.output}
    assert {"conv2d", "silu", "dpwconv", "_to_copy"} <= measured.keys() <= made
    assert measured["_to_copy"].largest == pixels.max()


def test_a_file_for_tensorrt_is_refused(network):
    model = onnx.load(network)
    del model.functions[:]
    size = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    with pytest.raises(UserError, match=r"Give NAME\.fp32\.onnx, not"):
        collect_ranges(model, images_of(np.zeros((1, *size), np.uint8)))


MEASURE_MEMORY = """
import sys
from pathlib import Path
from calibration.cache import calibrate
from calibration.images import choose_images
from runtime.backends.onnx_runtime import OnnxRuntimeBackend

def peak_kib():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM:")).split()[1])

network, folder = map(Path, sys.argv[1:])
info = OnnxRuntimeBackend(network).info
for count in (8, 8, 256):  # the first time the libraries and allocators settle
    calibrate(network, choose_images(str(folder), None, info, count=count))
    print(peak_kib())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
def test_memory_stays_flat_from_8_to_256_images(network, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(256):
        Image.fromarray(rng.integers(0, 256, (64, 128, 3), np.uint8)).save(tmp_path / f"{number}.png")
    command = [sys.executable, "-c", MEASURE_MEMORY, str(network), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    _, few, many = map(int, done.stdout.split())
    # The 248 more images are 6 MiB, what is computed of them a hundred times that; seen were 2, whatever their number.
    assert many - few < 4 * 1024
