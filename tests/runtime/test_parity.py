import dataclasses
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime import parity
from runtime.bundle import open_bundle
from runtime.errors import run_command
from runtime.files import sha256_of
from runtime.metrics import Latency
from runtime.parity_report import FAILED, NOT_RUN, PASSED, Comparison, Network, ParityReport, environment, judge
from tests.runtime.tiny_models import write_onnx


def run_parity(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["parity", *map(str, words)])
    return run_command(parity.main)


def network(*iou: float) -> Network:
    return Network("onnxruntime", "fp32", Latency(10, 11, 12), iou or None)


def test_report_of_an_equal_network(street_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert run_parity(monkeypatch, street_bundle, "--scenes", 3, "--threads", 1, "--out", tmp_path) == 0
    report = json.loads((tmp_path / "parity.json").read_text())
    assert report["verdict"] == "passed"
    assert report["scenes"] == {"data": "street", "first_seed": 1_000_000, "count": 3}
    assert report["sha256"]["street.fp32.onnx"] == sha256_of(street_bundle / "street.fp32.onnx")
    assert report["environment"]["threads"] == 1
    assert set(report["environment"]["versions"]) == {"python", "torch", "onnxruntime", "numpy", "opencv-python"}
    assert len(report["reference"]["iou"]) == 19
    first, *others = report["comparisons"]
    assert (first["backend"], first["precision"], first["status"]) == ("onnxruntime", "fp32", "passed")
    assert first["label_agreement"] >= 0.999
    assert first["network"]["mean_iou"] == pytest.approx(report["reference"]["mean_iou"], abs=1e-3)
    assert first["network"]["latency"]["p50_ms"] > 0
    assert first["speedup"] > 0
    assert first["logits"] is None
    assert len(others) == 5
    assert {comparison["status"] for comparison in others} == {"not run"}
    assert all(comparison["reason"] and comparison["network"] is None for comparison in others)
    text = (tmp_path / "parity.md").read_text()
    assert text.startswith("# Parity of street: passed\n")
    assert "export it with --logits" in text
    for line in ("| bicycle ", "| TensorRT int8 ", "| mean "):
        assert line in text


def test_logits_are_compared_and_iou_needs_the_scenes_classes(colour_bundle: Path):
    report = parity.compare(open_bundle(colour_bundle), scenes=2, threads=1)
    first = report.comparisons[0]
    assert report.passed
    # Values below 4 in float32 through one 1x1 convolution: a few units in the last place.
    assert first.logits.max_absolute < 2e-6
    assert 0 <= first.logits.mean_absolute <= first.logits.max_absolute
    assert first.logits.max_relative < 1e-6
    assert report.reference.iou is None
    assert "mIoU not run" in parity.markdown(report)


def test_a_different_network_fails(
    street_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = shutil.copytree(street_bundle, tmp_path / "bundle")
    bundle = open_bundle(folder)
    onnx_path = write_onnx(bundle.onnx(), bundle.info, -np.random.default_rng(0).normal(size=(19, 3)))
    files = bundle.manifest.files | {onnx_path.name: sha256_of(onnx_path)}
    dataclasses.replace(bundle.manifest, files=files).write(folder)
    assert run_parity(monkeypatch, folder, "--scenes", 1, "--out", tmp_path / "report") == 1
    assert "Parity of street: failed" in capsys.readouterr().out
    assert re.search(r"failed: label agreement 0\.\d+ is below 0\.999", (tmp_path / "report/parity.md").read_text())


def test_a_changed_bundle_is_refused(
    street_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    folder = shutil.copytree(street_bundle, tmp_path / "bundle")
    (folder / "model.pt2").unlink()
    assert run_parity(monkeypatch, folder, "--out", tmp_path / "report") == 2
    assert "model.pt2 is missing" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("agreement", "iou", "status", "reason"),
    [
        (0.999, 0.6, PASSED, ""),
        (0.9989, 0.6, FAILED, "label agreement 0.99890 is below 0.999"),
        (1.0, 0.5996, PASSED, ""),
        (1.0, 0.5994, FAILED, "mIoU is 0.060 points lower, more than 0.05"),
        (1.0, 0.7, PASSED, ""),
    ],
)
def test_budgets(agreement: float, iou: float, status: str, reason: str):
    comparison = judge(network(iou), network(0.6), agreement, None)
    assert (comparison.status, comparison.reason) == (status, reason)


def test_without_truth_the_agreement_decides():
    assert judge(network(), network(), 1.0, None).status == PASSED


@pytest.mark.parametrize(
    ("statuses", "passed"),
    [([PASSED, NOT_RUN], True), ([PASSED, FAILED], False), ([NOT_RUN], False), ([], False)],
)
def test_what_did_not_run_has_not_passed(street_bundle: Path, statuses: list[str], passed: bool):
    comparisons = [Comparison("onnxruntime", "fp32", status) for status in statuses]
    manifest = open_bundle(street_bundle).manifest
    assert ParityReport(manifest, environment(1), 0, 1, network(), comparisons).passed is passed
