import dataclasses
import json
import re

import numpy as np
import onnx
import pytest

from calibration.cache import Calibration, TensorRange, calibrate, read_calibration
from calibration.images import CalibrationImages, ImageRecord
from calibration.ranges import collect_ranges
from runtime.errors import UserError
from runtime.files import sha256_of
from tests.runtime.tiny_models import COLOUR_INFO, write_onnx

CALIBRATION = Calibration(
    model="street-tiny",
    onnx_sha256="ab" * 32,
    source="film drive.mp4, 2 of 100 images",
    seed=7,
    images=(ImageRecord("drive_000003", "01" * 32), ImageRecord('drive "ü"_000060', "02" * 32)),
    tensors={
        "conv2d": TensorRange(0.1 + 0.2),
        "silu": TensorRange(
            float(np.float32(1 / 3)),
            {"minmax": 1 / 3, "percentile": 5e-324, "entropy": 1.7976931348623157e308, "mse": 1e-7},
            ("backbone.trunk.blocks.0.0.conv", "decoder.mappers.1"),
        ),
        "dead": TensorRange(0.0, {}, ("decoder.levels.3",)),
    },
)


def test_what_is_read_is_what_was_written_to_the_last_bit(tmp_path):
    path = tmp_path / "model.calibration.json"
    CALIBRATION.write(path)
    read = read_calibration(path)
    assert read == CALIBRATION
    assert list(read.tensors) == list(CALIBRATION.tensors)


def test_a_calibration_of_nothing(tmp_path):
    empty = dataclasses.replace(CALIBRATION, images=(), tensors={})
    empty.write(tmp_path / "empty.json")
    assert read_calibration(tmp_path / "empty.json") == empty


def test_a_layers_numbers_are_on_its_line(tmp_path):
    path = tmp_path / "model.calibration.json"
    CALIBRATION.write(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if "decoder.mappers.1" in line)
    assert line.startswith('    "silu": {"largest": 0.3333333')
    assert '"mse": 1e-07' in line
    assert len(lines) == 17  # 2 braces, 6 of the head, 2 images, 3 tensors, 4 of their brackets


def test_calibrating_measures_the_file(tmp_path):
    path = write_onnx(tmp_path / "colours.fp32.onnx", COLOUR_INFO, np.eye(3))
    onnx.save(onnx.shape_inference.infer_shapes(onnx.load(path)), path)  # as exported ones, it notes its shapes
    pixels = np.random.default_rng(0).integers(0, 256, (3, COLOUR_INFO.height, COLOUR_INFO.width, 3), np.uint8)
    records = tuple(ImageRecord(f"{index}.png", f"{index:064}") for index in range(3))
    images = CalibrationImages("folder photos, 3 of 3 images", 5, records, lambda index: pixels[index])
    calibration = calibrate(path, images)
    assert calibration == Calibration(
        "colours", sha256_of(path), images.source, 5, records, collect_ranges(path, images)
    )
    assert calibration.tensors["float_nhwc"].largest == pixels.max()
    assert calibration.tensors["normalised"].thresholds["minmax"] == pytest.approx(2, rel=0.01)  # (1 - 0.5) / 0.25
    calibration.check(path)

    other = write_onnx(tmp_path / "other.fp32.onnx", COLOUR_INFO, 2 * np.eye(3))
    with pytest.raises(UserError, match=r"one of colours with .* but .*other\.fp32\.onnx has") as raised:
        calibration.check(other)
    assert sha256_of(path)[:12] in str(raised.value)
    assert sha256_of(other)[:12] in str(raised.value)


THRESHOLDS = {"minmax": 2.0, "percentile": 1.5, "entropy": 1.25, "mse": 1.0}


def broken(**changes):
    """The text of the calibration with other fields; None leaves a field out."""
    fields = {"format": "hyperseg-calibration", "version": 1, **dataclasses.asdict(CALIBRATION)}
    fields["tensors"] = {"silu": {"largest": 2.0, **THRESHOLDS, "layers": []}}
    return json.dumps({name: value for name, value in (fields | changes).items() if value is not None})


def test_the_text_that_the_broken_ones_are_made_from_is_whole(tmp_path):
    (tmp_path / "a.json").write_text(broken())
    assert read_calibration(tmp_path / "a.json").tensors == {"silu": TensorRange(2.0, THRESHOLDS)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting property name"),
        ("[]", 'does not say "format": "hyperseg-calibration"'),
        (broken(format="hyperseg-bundle"), 'does not say "format": "hyperseg-calibration"'),
        (broken(version=2), "its version is 2, this program reads version 1"),
        (broken(seed=None), "the field 'seed' is missing"),
        (broken(images=[{"name": "a"}]), "the field 'sha256' is missing"),
        (broken(images=3), "a field has the wrong type"),
        (broken(tensors=[]), "a field has the wrong type"),
        (broken(tensors={"x": 3}), "a field has the wrong type"),
        (broken(tensors={"x": {"largest": float("nan"), "layers": []}}), "the range of x is not one"),
        (broken(tensors={"x": {"largest": -1.0, "layers": []}}), "the range of x is not one"),
        (broken(tensors={"x": {"largest": float("inf"), "layers": []}}), "the range of x is not one"),
        (broken(tensors={"x": {"largest": 1.0, "mse": float("inf"), "layers": []}}), "the range of x is not one"),
        (broken(tensors={"x": {"largest": 1.0, "mse": 0.0, "layers": []}}), "the range of x is not one"),
        (broken(tensors={"x": {"largest": 1.0, "mse": 1.0, "layers": []}}), "lacks entropy, minmax, percentile"),
        (broken(tensors={"x": {"largest": "much", "layers": []}}), "could not convert string to float: 'much'"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, text, message):
    path = tmp_path / "model.calibration.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"model\.calibration\.json is not a calibration.*" + re.escape(message)):
        read_calibration(path)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not a calibration"):
        read_calibration(tmp_path / "a.json")


def test_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"a\.json does not exist"):
        read_calibration(tmp_path / "a.json")
