"""The command line of training/: what a user sees."""

import json
import subprocess
import sys

import pytest

from training import create_model, save_model


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "training", *map(str, arguments)], capture_output=True, text=True)


def test_describe_prints_every_variant_as_json():
    result = run("describe", "--json")
    assert result.returncode == 0, result.stderr
    described = json.loads(result.stdout)
    assert described["voc-l"]["parameters"] == 39_680_458
    assert described["cityscapes-m"]["signal_split"] == [416, 224, 128, 192, 320]
    assert described["cityscapes-m"]["signal_offsets"] == [0, 416, 640, 768, 960]


def test_describe_prints_text():
    result = run("describe", "camvid-s", "--signal-offsets", "zero")
    assert result.returncode == 0, result.stderr
    assert "9,949,064" in result.stdout
    assert "multiples of 64, and not 64x64" in result.stdout
    assert "0 0 0 0 0 (zero)" in result.stdout


def test_evaluate_prints_iou_of_each_class_and_its_protocol(tmp_path):
    save_model(create_model("street-tiny"), tmp_path / "model.ckpt")
    result = run("evaluate", tmp_path / "model.ckpt", "--scenes", 1, "--size", "64x128")
    assert result.returncode == 0, result.stderr
    assert "single scale, no flip" in result.stdout
    assert "traffic light" in result.stdout
    assert "mIoU" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["describe", "hyperseg-x"], "there is no variant"),
        (["fit", "--config", "none.yaml"], "cannot read"),
        (["fit", "--config", "training/configs/street-tiny.yaml", "--resume", "none.ckpt"], "does not exist"),
        (["fit", "--config", "training/configs/street-tiny.yaml", "--out", "/proc/nowhere"], "cannot write"),
        (["evaluate", "none.ckpt"], "does not exist"),
        (["evaluate", "LICENSE"], "cannot be read as a checkpoint"),
        (["evaluate", "x.ckpt", "--scenes", "0"], "no whole number above 0"),
        ([], "required"),
    ],
)
def test_bad_input_exits_with_2_and_a_message(arguments, message):
    result = run(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
