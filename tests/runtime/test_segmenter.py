import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from runtime import Segmenter
from runtime.bundle import ModelInfo
from runtime.errors import UserError
from runtime.segmenter import open_backend
from tests.runtime.memory_growth import SMAPS, growth
from tests.runtime.tiny_models import colour_frame, write_onnx

BANDS = [0, 1, 2]


@pytest.fixture(scope="module", params=["onnxruntime", "torch"])
def segmenter(request: pytest.FixtureRequest, colour_bundle: Path) -> Segmenter:
    return Segmenter(colour_bundle, request.param, threads=1)


@pytest.mark.parametrize(("height", "width"), [(32, 48), (96, 128), (10, 15), (12, 96)])
def test_labels_have_the_frames_size(segmenter: Segmenter, height: int, width: int):
    labels = segmenter(colour_frame(height, width))
    assert labels.shape == (height, width)
    assert labels.dtype == np.uint8
    assert [labels[height // 2, width * (2 * band + 1) // 6] for band in BANDS] == BANDS


@pytest.mark.parametrize("size", [(32, 48), (48, 72)])
def test_caller_owns_the_labels(segmenter: Segmenter, size: tuple[int, int]):
    first = segmenter(colour_frame(*size))
    kept = first.copy()
    segmenter(colour_frame(*size)[:, ::-1])
    assert np.array_equal(first, kept)


def test_a_frame_may_be_a_view(segmenter: Segmenter):
    frame_rgb = colour_frame(32, 48)
    assert np.array_equal(segmenter(frame_rgb[:, ::-1]), segmenter(frame_rgb[:, ::-1].copy()))


@pytest.mark.parametrize(
    "frame",
    [np.zeros((32, 48, 3)), np.zeros((32, 48), np.uint8), np.zeros((32, 48, 4), np.uint8), np.zeros((0, 3, 3), "u1")],
)
def test_wrong_frames_are_refused(segmenter: Segmenter, frame: np.ndarray):
    with pytest.raises(ValueError, match=r"expected an RGB frame uint8 \[H, W, 3\]"):
        segmenter(frame)


def test_properties(segmenter: Segmenter, colour_info: ModelInfo):
    assert segmenter.info == colour_info
    assert segmenter.backend in {"onnxruntime", "torch"}


def test_one_onnx_file_is_enough(colour_bundle: Path, colour_info: ModelInfo):
    assert Segmenter(colour_bundle / "colours.fp32.onnx").info == colour_info


def test_model_pt2_can_be_given_itself(colour_bundle: Path):
    assert Segmenter(colour_bundle / "model.pt2", "torch").backend == "torch"


def test_every_integer_type_of_labels(tmp_path: Path, colour_info: ModelInfo):
    for labels_type in (TensorProto.INT32, TensorProto.INT64, TensorProto.INT8):
        path = write_onnx(tmp_path / f"{labels_type}.onnx", colour_info, np.eye(3), labels_type=labels_type)
        labels = Segmenter(path)(colour_frame())
        assert labels.dtype == np.uint8
        assert set(labels[24]) == set(BANDS)


def test_backends_agree_on_logits_and_batches(colour_bundle: Path):
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 48, 3), np.uint8)
    exported, reference = (open_backend(colour_bundle, name) for name in ("onnxruntime", "torch"))
    # One 1x1 convolution of normalised values below 4 in float32: a few units in the last place.
    np.testing.assert_allclose(exported.logits(images), reference.logits(images), atol=2e-6)
    assert np.array_equal(exported.labels(images), exported.logits(images).argmax(1))
    assert exported.labels(images[:1]).shape == (1, 32, 48)


def test_logits_must_have_been_exported(tmp_path: Path, colour_info: ModelInfo):
    path = write_onnx(tmp_path / "tiny.onnx", colour_info, np.eye(3))
    with pytest.raises(UserError, match="Export it with --logits"):
        open_backend(path).logits(colour_frame(32, 48)[None])


def test_a_backend_that_does_not_exist(colour_bundle: Path):
    with pytest.raises(UserError, match="unknown backend 'tpu'"):
        Segmenter(colour_bundle, "tpu")


def test_precision_is_what_the_file_says(tmp_path: Path, colour_bundle: Path, colour_info: ModelInfo):
    assert Segmenter(colour_bundle).precision == "fp32"
    assert Segmenter(colour_bundle, "torch").precision == "fp32"
    for name, precision in [("tiny.fp16", "fp16"), ("tiny", "unknown"), ("tiny.v2", "unknown")]:
        assert Segmenter(write_onnx(tmp_path / f"{name}.onnx", colour_info, np.eye(3))).precision == precision


def test_a_bundle_without_an_engine_names_the_command(colour_bundle: Path):
    with pytest.raises(UserError, match=r"no TensorRT engine .*: python -m runtime build .*colours --precision int8$"):
        Segmenter(colour_bundle, "tensorrt", precision="int8")
    with pytest.raises(UserError, match="Build an engine from it"):
        Segmenter(colour_bundle / "colours.fp32.onnx", "tensorrt")


def test_missing_model(tmp_path: Path):
    with pytest.raises(UserError, match="does not exist"):
        Segmenter(tmp_path / "nothing.onnx")


def test_wrong_kind_of_file(tmp_path: Path, colour_bundle: Path):
    with pytest.raises(UserError, match="ONNX Runtime cannot run"):
        Segmenter(colour_bundle / "model.pt2")
    with pytest.raises(UserError, match="the torch backend cannot run"):
        Segmenter(colour_bundle / "colours.fp32.onnx", "torch")
    with pytest.raises(UserError, match="runs in fp32"):
        Segmenter(colour_bundle, "torch", precision="int8")


def test_broken_onnx_file(tmp_path: Path, colour_bundle: Path):
    whole = (colour_bundle / "colours.fp32.onnx").read_bytes()
    for name, content in [("truncated", whole[: len(whole) // 2]), ("foreign", b"not a model"), ("empty", b"")]:
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot load"):
            Segmenter(path)


def test_onnx_file_of_something_else(tmp_path: Path, colour_info: ModelInfo):
    path = write_onnx(tmp_path / "plain.onnx", colour_info, np.eye(3), metadata=False)
    with pytest.raises(UserError, match="not one of HyperSeg"):
        Segmenter(path)
    model = onnx.load(path)
    helper.set_model_props(model, {"hyperseg": "{}"})
    onnx.save(model, path)
    with pytest.raises(UserError, match=r"metadata in .* cannot be read"):
        Segmenter(path)
    helper.set_model_props(model, {"hyperseg": colour_info.to_json().replace('"height": 32', '"height": 48')})
    onnx.save(model, path)
    with pytest.raises(UserError, match=r"does not have the input image uint8 \[N, 48, 48, 3\]"):
        Segmenter(path)


def test_broken_torch_reference(tmp_path: Path, colour_bundle: Path):
    from runtime.backends.torch_reference import TorchBackend

    path = tmp_path / "model.pt2"
    path.write_bytes(b"not a program")
    with pytest.raises(UserError, match="cannot load"):
        TorchBackend(path, open_backend(colour_bundle).info)


def test_a_bundles_file_is_checked_before_it_runs(tmp_path: Path, colour_bundle: Path):
    folder = shutil.copytree(colour_bundle, tmp_path / "bundle")
    for name in ("colours.fp32.onnx", "model.pt2"):
        with (folder / name).open("ab") as file:
            file.write(b"x")
    for backend in ("onnxruntime", "torch"):
        with pytest.raises(UserError, match="does not match the sha256"):
            Segmenter(folder, backend)


@pytest.mark.slow
@pytest.mark.skipif(not SMAPS.exists(), reason=f"reads its memory from {SMAPS}")
def test_memory_stays_flat_over_10000_frames(tmp_path: Path, colour_info: ModelInfo):
    model = write_onnx(tmp_path / "tiny.onnx", colour_info, np.eye(3))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh_process:
        grown_bytes, grown_blocks = fresh_process.submit(growth, model).result()
    # Arrays and what is kept in C++: measured 20 KB. The limit is 40 bytes a frame, 4 MB in an hour at 30 frames per
    # second; a map of labels in every hundredth frame would be 1.9 MB.
    assert grown_bytes < 400_000
    # Python's own objects, which fit for long into memory that is resident already: not one in ten frames.
    assert grown_blocks < 1_000
