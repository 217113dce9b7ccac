import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest

from export import bundle as bundle_module
from export.bundle import export_bundle
from runtime.bundle import open_bundle
from runtime.errors import UserError
from runtime.segmenter import Segmenter
from training import create_model, save_model

SIZE = (64, 128)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.ckpt"
    save_model(create_model("street-tiny").eval(), path)
    return path


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    return export_bundle(checkpoint, tmp_path_factory.mktemp("out") / "bundle", size=SIZE)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_bundle_is_whole(exported):
    bundle = open_bundle(exported.folder)
    bundle.verify()
    assert set(bundle.manifest.files) == {"street-tiny.fp32.onnx", "street-tiny.fp32.trt.onnx", "model.pt2"}
    assert (bundle.info.height, bundle.info.width) == SIZE
    assert exported.label_agreement > 0.999
    assert "random weights" in bundle.manifest.training_data
    assert bundle.manifest.tools["torch"]


def test_the_file_for_tensorrt_has_no_functions_and_the_other_runs_anywhere(exported):
    assert not onnx.load(exported.folder / "street-tiny.fp32.trt.onnx").functions
    segmenter = Segmenter(exported.folder / "street-tiny.fp32.onnx")
    assert segmenter(np.zeros((100, 150, 3), np.uint8)).shape == (100, 150)


def test_a_new_export_replaces_the_old_bundle_and_keeps_what_is_not_its_own(checkpoint, exported, tmp_path):
    out = tmp_path / "bundle"
    export_bundle(checkpoint, out, size=SIZE)
    (out / "my.engine").write_text("mine")
    (out / "street-tiny.fp32.onnx").write_text("changed")
    export_bundle(checkpoint, out, size=(64, 192))
    open_bundle(out).verify()
    assert open_bundle(out).info.width == 192
    assert (out / "my.engine").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("step", ["onnx_from_model", "attach_functions", "label_agreement"])
def test_a_failure_half_way_leaves_the_old_bundle(checkpoint, exported, monkeypatch, step):
    before = contents(exported.folder)

    def no_space(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle_module, step, no_space)
    with pytest.raises(UserError, match="No space left on device"):
        export_bundle(checkpoint, exported.folder, size=SIZE)
    assert contents(exported.folder) == before
    assert list(exported.folder.parent.iterdir()) == [exported.folder]


@pytest.mark.parametrize("limit", [1_000, 1_000_000, 2_000_000])  # the first file, an ONNX file, the PyTorch reference
def test_a_full_disk_leaves_the_old_bundle(checkpoint, exported, file_size_limit, limit):
    before = contents(exported.folder)
    with file_size_limit(limit), pytest.raises(UserError, match=r"cannot write .* File too large"):
        export_bundle(checkpoint, exported.folder, size=SIZE)
    assert contents(exported.folder) == before
    assert list(exported.folder.parent.iterdir()) == [exported.folder]


def test_disagreement_with_pytorch_is_an_error_and_writes_nothing(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_module, "label_agreement", lambda _: 0.5)
    with pytest.raises(UserError, match="agrees with PyTorch on only 50"):
        export_bundle(checkpoint, tmp_path / "bundle", size=SIZE)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_other_things_is_refused(checkpoint, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="holds no bundle"):
        export_bundle(checkpoint, tmp_path, size=SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def run(*arguments, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "export", *map(str, arguments)], capture_output=True, text=True, **kwargs
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.ckpt"], "does not exist"),
        (["{checkpoint}", "--size", "100x200"], "nearest legal sizes are 64x192 or 64x256 or 128x192 or 128x256"),
        (["{checkpoint}", "--size", "big"], "write HEIGHTxWIDTH"),
        (["{checkpoint}", "--precision", "fp16"], "only fp32 can be exported yet"),
        (["{checkpoint}", "--precision", "fp32,int8"], "only fp32 can be exported yet"),
        (["{checkpoint}", "--out", "{checkpoint}", "--size", "64x128"], "is a file"),
        (["{checkpoint}", "--out", "/proc/nowhere/bundle", "--size", "64x128"], "cannot write"),
    ],
)
def test_bad_input_exits_with_2_and_a_message(checkpoint, arguments, message):
    result = run(*(argument.format(checkpoint=checkpoint) for argument in arguments))
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_export_leaves_the_old_bundle_and_nothing_else(checkpoint, exported, signum):
    before = contents(exported.folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "export", str(checkpoint), "--out", str(exported.folder), "--size", "64x128"],
        stderr=subprocess.PIPE,
        text=True,
    )
    parts = exported.folder.parent
    while not [path for path in parts.iterdir() if path.name.endswith(".part")]:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert contents(exported.folder) == before
    assert list(parts.iterdir()) == [exported.folder]


def test_the_command_prints_what_it_made(checkpoint, tmp_path):
    result = run(checkpoint, "--out", tmp_path / "bundle", "--size", "64x128", "--logits", env=os.environ)
    assert result.returncode == 0, result.stderr
    assert "street-tiny.fp32.trt.onnx" in result.stdout
    assert "ONNX Runtime = PyTorch on" in result.stdout
    assert json.loads((tmp_path / "bundle" / "manifest.json").read_text())["info"]["height"] == 64
