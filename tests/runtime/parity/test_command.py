import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.backends.onnx_runtime import OnnxRuntimeBackend
from runtime.bundle import open_bundle
from runtime.errors import UserError, run_command
from runtime.files import sha256_of
from runtime.parity import __main__ as command
from runtime.parity import compare as compare_module
from runtime.segmenter import open_backend
from tests.runtime.parity.fakes import FakeBackend, channels, write_image
from tests.runtime.tiny_models import write_onnx


@pytest.fixture
def run_parity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run the command into tmp_path / "report"; returns its exit code and parity.json, if there is one."""

    def run(*words: object):
        out = tmp_path / "report"
        monkeypatch.setattr(sys, "argv", ["parity", *map(str, words), "--threads", "1", "--out", str(out)])
        code = run_command(command.main)
        path = out / "parity.json"
        return code, json.loads(path.read_text(), parse_constant=pytest.fail) if path.exists() else None

    return run


def test_report_of_an_equal_network(street_bundle: Path, run_parity, tmp_path: Path):
    code, report = run_parity(street_bundle, "--scenes", 3)
    assert code == 0
    assert report["verdict"] == "passed"
    assert report["data"]["scenes"] == 3
    assert report["sha256"]["street.fp32.onnx"] == sha256_of(street_bundle / "street.fp32.onnx")
    assert report["environment"]["threads"] == 1
    assert report["environment"]["device"]["cpu"]
    assert {"python", "torch", "onnxruntime", "numpy"} <= set(report["environment"]["versions"])
    reference = report["reference"]
    assert (reference["backend"], reference["file"], len(reference["iou"])) == ("torch", "model.pt2", 19)
    first, *others = report["comparisons"]
    assert (first["backend"], first["precision"], first["status"]) == ("onnxruntime", "fp32", "passed")
    measured = first["measured"]
    assert measured["label_agreement"] >= 0.999
    assert measured["mean_iou"] == pytest.approx(reference["mean_iou"], abs=1e-3)
    assert measured["end_to_end"]["percentiles"]["p50_ms"] > 0
    assert len(measured["end_to_end"]["latencies_ms"]) == 100
    assert measured["network_alone"] is None
    assert measured["speedup"] > 0
    assert measured["logits"] is None
    assert len(others) == 5
    assert all(one["status"] == "not run" and one["reason"] and one["measured"] is None for one in others)
    assert report["layers"] is None
    text = (tmp_path / "report/parity.md").read_text()
    assert text.startswith("# Parity of street: passed\n")
    assert "Export it with --logits" in text
    for line in ("| bicycle ", "| TensorRT int8 ", "| mean "):
        assert line in text
    assert "<title>Parity of street: passed</title>" in (tmp_path / "report/parity.html").read_text()


def test_logits_are_compared_and_iou_needs_the_scenes_classes(colour_bundle: Path, run_parity, tmp_path: Path):
    code, report = run_parity(colour_bundle, "--scenes", 2, "--precisions", "fp32", "--layers")
    assert code == 0
    measured = report["comparisons"][0]["measured"]
    # Values below 4 in float32 through one 1x1 convolution: a few units in the last place.
    assert measured["logits"]["max_absolute"] < 2e-6
    assert 0 <= measured["logits"]["mean_absolute"] <= measured["logits"]["max_absolute"]
    assert measured["logits"]["relative"] < 1e-6
    assert sum(measured["logits_exponents"]) == 2 * 3 * 32 * 48
    assert report["reference"]["iou"] is None
    assert "mIoU not run: the street scenes have other classes" in (tmp_path / "report/parity.md").read_text()
    by_title = {one["title"]: one for one in report["layers"]}
    pytorch = by_title["ONNX Runtime fp32 against PyTorch fp32"]
    assert [layer["name"] for layer in pytorch["layers"]] == ["logits"]
    assert pytorch["first_departed"] is None


def test_a_different_network_fails(
    own_bundle, add_to_manifest, run_parity, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    add_to_manifest(
        own_bundle,
        write_onnx(own_bundle.onnx(), own_bundle.info, -np.random.default_rng(0).normal(size=(19, 3))),
    )
    code, report = run_parity(own_bundle.folder, "--scenes", 1)
    assert (code, report["verdict"]) == (1, "failed")
    assert "Parity of street: failed" in capsys.readouterr().out
    assert re.search(r"label agreement 0\.\d+ is below 0\.999", (tmp_path / "report/parity.md").read_text())


def test_a_lower_precision_is_held_to_its_own_budget(own_bundle, add_to_manifest, run_parity):
    for precision in ("fp16", "int8"):
        path = own_bundle.folder / f"street.{precision}.onnx"
        shutil.copy(own_bundle.onnx(), path)
        own_bundle = add_to_manifest(own_bundle, path)
    code, report = run_parity(own_bundle.folder, "--scenes", 1, "--backends", "torch,onnxruntime")
    assert code == 0
    assert [one["status"] for one in report["comparisons"]] == ["passed"] * 3


def test_a_folder_of_images(colour_bundle: Path, run_parity, tmp_path: Path):
    write_image(tmp_path / "photos/one.png", np.full((50, 50, 3), 90, np.uint8))
    code, report = run_parity(colour_bundle, "--data", tmp_path / "photos", "--precisions", "fp32")
    assert code == 0
    assert report["data"]["title"] == "folder photos, all 1 images"
    assert report["data"]["no_truth"]


def test_what_did_not_run_has_not_passed(street_bundle: Path, run_parity):
    code, report = run_parity(street_bundle, "--scenes", 1, "--backends", "torch,tensorrt")
    assert (code, report["verdict"]) == (1, "not run")


def test_without_pytorch_onnx_runtime_is_the_reference(own_bundle, add_to_manifest, run_parity, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # as on a device where it is not installed
    path = own_bundle.folder / "street.fp16.onnx"
    shutil.copy(own_bundle.onnx(), path)
    add_to_manifest(own_bundle, path)
    code, report = run_parity(
        own_bundle.folder, "--scenes", 1, "--backends", "onnxruntime", "--precisions", "fp32,fp16"
    )
    assert code == 0
    assert (report["reference"]["backend"], report["reference"]["precision"]) == ("onnxruntime", "fp32")
    assert [(one["backend"], one["precision"]) for one in report["comparisons"]] == [("onnxruntime", "fp16")]


def test_an_engine_is_judged_and_named_by_its_own_file(own_bundle, run_parity, monkeypatch):
    """TensorRT stands for whatever open_backend gives: here ONNX Runtime, with a device's own clock."""
    engine = own_bundle.folder / "street.fp32.engine"
    engine.write_bytes(b"an engine")

    class Engine(OnnxRuntimeBackend):
        name = "tensorrt"

        def network_ms(self, image_nhwc):
            return 1.5

    def opened(path, backend, **options):
        assert options["plugin"] == Path("lib.so")
        if backend != "tensorrt":
            return open_backend(path, backend, **options)
        if options["precision"] == "fp32":
            return Engine(own_bundle.onnx())
        raise UserError("there is no such engine")

    monkeypatch.setattr(compare_module, "open_backend", opened)
    code, report = run_parity(
        own_bundle.folder,
        "--scenes",
        1,
        "--backends",
        "torch,tensorrt",
        "--precisions",
        "fp32,fp16",
        "--plugin",
        "lib.so",
    )
    assert code == 0
    fp32, fp16 = report["comparisons"]
    assert fp32["status"] == "passed"
    assert (fp32["measured"]["file"], fp32["measured"]["sha256"]) == (engine.name, sha256_of(engine))
    assert fp32["measured"]["network_alone"]["percentiles"]["p50_ms"] == 1.5
    assert (fp16["status"], fp16["reason"]) == ("not run", "there is no such engine")


def test_an_engine_that_fails_in_its_first_run_is_not_run(street_bundle: Path, run_parity, monkeypatch):
    class Broken(FakeBackend):
        def labels(self, image_nhwc):
            raise UserError("the GPU is out of memory")

    closed = []

    class Closing(Broken):
        def close(self):
            closed.append(self)

    def opened(path, backend, **options):
        return Closing(channels) if backend == "tensorrt" else open_backend(path, backend, **options)

    monkeypatch.setattr(compare_module, "open_backend", opened)
    code, report = run_parity(street_bundle, "--scenes", 1, "--precisions", "fp32")
    assert code == 0
    assert report["comparisons"][1]["reason"] == "the GPU is out of memory"
    assert len(closed) == 1


def test_a_changed_bundle_is_refused(own_bundle, run_parity, capsys: pytest.CaptureFixture[str]):
    (own_bundle.folder / "model.pt2").unlink()
    code, report = run_parity(own_bundle.folder)
    assert (code, report) == (2, None)
    assert "model.pt2 is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "citiscapes"], "Did you mean cityscapes?"),
        (["--data", "cityscapes"], "--data-root DIR"),
        (["--data", "photos/2020"], "photos/2020 does not exist"),
        (["--backends", "tensorrt"], "there is no reference"),
    ],
)
def test_mistakes(street_bundle: Path, run_parity, capsys: pytest.CaptureFixture[str], words, message):
    assert run_parity(street_bundle, *words) == (2, None)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--backends", "onnx"], "'onnx' is none of torch, onnxruntime, tensorrt"),
        (["--precisions", "fp32,bf16"], "'bf16' is none of fp32, fp16, int8"),
        (["--scenes", "0"], "'0' is no whole number above 0"),
    ],
)
def test_words_that_are_no_choice(street_bundle: Path, run_parity, capsys: pytest.CaptureFixture[str], words, message):
    with pytest.raises(SystemExit) as end:
        run_parity(street_bundle, *words)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_bundles_are_untouched(street_bundle: Path):
    open_bundle(street_bundle).verify()
