"""`scripts/export.sh` and `python -m calibration`, as a user types them."""

import json
import re
import signal
import subprocess
import sys
import time

import onnx
import pytest

from calibration.__main__ import main
from tests.commands import run_here
from training import create_model, save_model

SIZE = "64x128"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.ckpt"
    save_model(create_model("street-tiny").eval(), path)
    return path


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "calibration", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.ckpt"], "does not exist"),
        (["{checkpoint}", "--size", "100x200"], "nearest legal sizes are 64x192 or 64x256 or 128x192 or 128x256"),
        (["{checkpoint}", "--size", "big"], "write HEIGHTxWIDTH"),
        (["{checkpoint}", "--precision", "fp8"], "'fp8' is none of fp32, fp16, int8"),
        (["{checkpoint}", "--precision", "fp16"], "fp16 are made by ranges measured on images. Give either"),
        (["{checkpoint}", "--precision", "fp32,int8"], "Give either --calibration-data"),
        (["{checkpoint}", "--precision", "int8", "--calibration-data", "streets"], "Did you mean street?"),
        (["{checkpoint}", "--precision", "int8", "--calibration-data", "cityscapes"], "no folder is given"),
        (["{checkpoint}", "--precision", "int8", "--calibration-data", "{checkpoint}"], "not a video"),
        (["{checkpoint}", "--precision", "int8", "--calibration-cache", "gone.json"], "gone.json does not exist"),
        (["{checkpoint}", "--precision", "int8", "--calibration-cache", "{checkpoint}"], "is not a calibration"),
        (
            ["{checkpoint}", "--precision", "int8", "--calibration-data", "street", "--calibration-images", "3"],
            "at least 8 images",
        ),
        (
            ["{checkpoint}", "--precision", "int8", "--calibration-data", "street", "--int8-recipe", "gone.json"],
            "cannot read the int8 recipe gone.json",
        ),
        (["{checkpoint}", "--calibration-data", "street"], "fp32 needs no calibration"),
        (["{checkpoint}", "--precision", "fp16", "--int8-recipe", "gone.json"], "has no effect without int8"),
        (["{checkpoint}", "--out", "{checkpoint}", "--size", SIZE], "is a file"),
        (["{checkpoint}", "--out", "/proc/nowhere/bundle", "--size", SIZE], "cannot write"),
    ],
)
def test_bad_input_exits_with_2_and_a_message(checkpoint, arguments, message):
    result = run_here(main, "export", *(argument.format(checkpoint=checkpoint) for argument in arguments))
    assert result.returncode == 2
    assert message in result.stderr


def test_a_message_comes_without_a_traceback():
    result = run("export", "missing.ckpt")
    assert result.returncode == 2
    assert "does not exist" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_command_says_what_it_made(checkpoint, tmp_path):
    out = tmp_path / "bundle"
    arguments = [
        "export",
        checkpoint,
        "--out",
        out,
        "--size",
        SIZE,
        "--precision",
        "fp16",
        "--calibration-data",
        "street",
    ]
    result = run(*arguments, "--calibration-images", "8")
    assert result.returncode == 0, result.stderr
    assert json.loads((out / "manifest.json").read_text())["info"]["height"] == 64
    for name in ("fp32.onnx", "fp32.trt.onnx", "fp16.onnx", "fp16.trt.onnx", "calibration.json"):
        assert re.search(rf"street-tiny\.{name} +\d+\.\d\d MB  \w", result.stdout)
    assert "ONNX Runtime in fp16 = PyTorch on" in result.stdout
    assert "nothing was done" not in result.stdout
    again = run(*arguments, "--calibration-images", "8")
    assert again.returncode == 0
    assert "nothing was done" in again.stdout


def test_unfused_is_another_bundle(checkpoint, tmp_path):
    arguments = ["export", str(checkpoint), "--out", str(tmp_path / "bundle"), "--size", SIZE]
    made = []
    for words in (["--unfused"], ["--unfused"], []):
        result = run_here(main, *arguments, *words)
        assert result.returncode == 0, result.stderr
        nodes = onnx.load(tmp_path / "bundle" / "street-tiny.fp32.trt.onnx").graph.node
        types = {node.op_type for node in nodes}
        assert types >= ({"ArgMax", "DPWInvertedResidual"} if words else {"LabelHead", "DPWInvertedResidualLevel"})
        assert not types & ({"LabelHead", "DPWConvLevel"} if words else {"ArgMax", "DPWInvertedResidual"})
        made.append("nothing was done" not in result.stdout)
    assert made == [True, False, True]


@pytest.mark.parametrize(
    ("signum", "arguments", "reached"),
    [
        (signal.SIGTERM, [], ".*.part"),
        (signal.SIGINT, ["--precision", "int8", "--calibration-data", "street"], ".*.part/model.pt2"),  # measuring
    ],
)
def test_an_interrupted_export_leaves_nothing(checkpoint, tmp_path, signum, arguments, reached):
    out = tmp_path / "bundles" / "street-tiny"
    process = subprocess.Popen(
        [sys.executable, "-m", "calibration", "export", str(checkpoint), "--out", str(out), "--size", SIZE, *arguments],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(tmp_path.glob(f"bundles/{reached}")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert list((tmp_path / "bundles").iterdir()) == []
