"""The library in the ONNX Runtime backend: whole networks with it and without."""

import hashlib
import json
import platform
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.bundle import info_of_model
from export.dead_paths import drop_dead_paths
from export.fold import fold_batchnorm
from export.graph import onnx_from_model
from export.operators import attach_functions
from runtime.backends import onnx_runtime
from runtime.backends.onnx_operators import library as module
from runtime.backends.onnx_runtime import OnnxRuntimeBackend
from runtime.errors import UserError
from runtime.segmenter import Segmenter
from tests.runtime.backends.onnx_operators.conftest import NAME, SOURCES


@pytest.fixture
def built(library, monkeypatch):
    monkeypatch.setattr(module, "BUILT_LIBRARY", library)


def stamp(folder):
    """Write what the build writes beside a library."""
    paths = [folder / NAME, *SOURCES.glob("*.cpp"), *SOURCES.glob("*.h")]
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  ./{path.name}" for path in paths]
    (folder / f"{NAME}.sha256").write_text("\n".join(lines))


def profiled_operators(monkeypatch, tmp_path, path, **arguments):
    """Run a network once; count the operators that ONNX Runtime ran, by their names."""
    plain = onnx_runtime._session_options

    def profiling(threads):
        options = plain(threads)
        options.enable_profiling = True
        options.profile_file_prefix = str(tmp_path / "profile")
        return options

    monkeypatch.setattr(onnx_runtime, "_session_options", profiling)
    backend = OnnxRuntimeBackend(path, **arguments)
    backend.labels(np.zeros((1, backend.info.height, backend.info.width, 3), np.uint8))
    events = json.loads(Path(backend._session.end_profiling()).read_text())
    return Counter(event["args"]["op_name"] for event in events if event.get("cat") == "Node")


@pytest.mark.parametrize("variant", ["street-tiny", "cityscapes-m"])
def test_logits_and_labels_are_the_bodies(variant, random_bundle, built):
    """Sums of float32 in another order, through fifty layers and more."""
    bundle = random_bundle(variant)
    path = bundle.onnx("fp32")
    with_library, without = (OnnxRuntimeBackend(path, operators=operators) for operators in (True, False))
    assert (with_library.uses_operators, without.uses_operators) == (True, False)
    size = (bundle.info.height, bundle.info.width)
    for n in (1, 3):
        images = np.random.default_rng(n).integers(0, 256, (n, *size, 3), np.uint8)
        expected = without.logits(images)
        np.testing.assert_allclose(
            with_library.logits(images), expected, rtol=1e-5, atol=1e-5 * float(np.abs(expected).max())
        )
        assert np.mean(with_library.labels(images) == without.labels(images)) > 0.999


def test_operators_win_over_the_bodies_in_the_file(random_bundle, built, monkeypatch, tmp_path):
    path = random_bundle("street-tiny").onnx("fp32")
    ran = profiled_operators(monkeypatch, tmp_path, path)
    ours = {"DPWConv": 1, "DPWConvLevel": 2, "DPWInvertedResidualLevel": 2, "LabelHead": 1, "MBConv": 2}
    assert {name: ran[name] for name in (*ours, "Scan")} == {**ours, "Scan": 0}
    assert "Scan" in profiled_operators(monkeypatch, tmp_path, path, operators=False)


def test_files_of_the_unfused_network_run_too(random_model, built, monkeypatch, tmp_path):
    model = random_model("street-tiny")
    info = info_of_model(model, (64, 128))
    bare = onnx_from_model(drop_dead_paths(fold_batchnorm(model))[0], info, logits=True)
    onnx.save(attach_functions(bare), tmp_path / "street-tiny.fp32.onnx")
    ran = profiled_operators(monkeypatch, tmp_path, tmp_path / "street-tiny.fp32.onnx")
    assert (ran["DPWConv"], ran["DPWInvertedResidual"], ran["Scan"]) == (3, 2, 0)
    with_library, without = (
        Segmenter(tmp_path / "street-tiny.fp32.onnx", operators=operators) for operators in (True, False)
    )
    assert (with_library.description, without.description) == ("onnxruntime with compiled operators", "onnxruntime")
    frame = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    assert np.mean(with_library(frame) == without(frame)) > 0.999


def test_without_the_package_onnx_the_encoder_stays_as_it_is(random_bundle, built, monkeypatch, tmp_path):
    path = random_bundle("street-tiny").onnx("fp32")
    monkeypatch.setitem(sys.modules, "onnx", None)
    ran = profiled_operators(monkeypatch, tmp_path, path)
    assert (ran["MBConv"], ran["LabelHead"]) == (0, 1)
    assert "decoder only: the package onnx" in Segmenter(path).description


def test_a_broken_package_onnx_counts_as_none(random_bundle, built, monkeypatch, tmp_path):
    """A protobuf that does not fit raises TypeError."""
    path = random_bundle("street-tiny").onnx("fp32")
    (tmp_path / "onnx.py").write_text("raise TypeError('Descriptors cannot be created directly')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnx")
    assert "decoder only" in OnnxRuntimeBackend(path).description


def test_a_file_that_only_the_library_refuses(random_bundle, built, monkeypatch):
    path = random_bundle("street-tiny").onnx("fp32")
    monkeypatch.setattr(onnx_runtime, "grouped_model", lambda path: b"not a model")
    with pytest.raises(UserError, match=rf"but not with .*{NAME} \(.*operators=False"):
        OnnxRuntimeBackend(path)
    OnnxRuntimeBackend(path, operators=False)


def test_a_file_that_is_broken_is_named_itself(built, tmp_path):
    (tmp_path / "broken.fp32.onnx").write_bytes(b"not a model")
    with pytest.raises(UserError, match="The file is broken"):
        OnnxRuntimeBackend(tmp_path / "broken.fp32.onnx")


@pytest.mark.parametrize("name", ["renamed.onnx", "street-tiny.fp16.onnx"])
def test_only_what_is_called_fp32_runs_with_it(name, random_bundle, built, tmp_path):
    shutil.copy(random_bundle("street-tiny").onnx("fp32"), tmp_path / name)
    assert not OnnxRuntimeBackend(tmp_path / name).uses_operators


def test_where_nothing_is_built_the_bodies_run(random_bundle, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "BUILT_LIBRARY", tmp_path / NAME)
    assert not OnnxRuntimeBackend(random_bundle("street-tiny").onnx("fp32")).uses_operators


def test_what_is_no_library_is_named(random_bundle, monkeypatch, tmp_path):
    (tmp_path / NAME).write_text("not a library")
    stamp(tmp_path)
    monkeypatch.setattr(module, "BUILT_LIBRARY", tmp_path / NAME)
    with pytest.raises(UserError, match=r"cannot use (?s:.*)build_cpu_operators\.sh"):
        OnnxRuntimeBackend(random_bundle("street-tiny").onnx("fp32"))


def without_a_stamp(folder):
    (folder / f"{NAME}.sha256").unlink()


def truncated(folder):
    start = (folder / NAME).read_bytes()[:5000]
    (folder / NAME).unlink()  # it is open in this process
    (folder / NAME).write_bytes(start)


def of_a_changed_source(folder):
    lines = (folder / f"{NAME}.sha256").read_text().splitlines()
    changed = [f"{'0' * 64}  ./gemm.h" if line.endswith("/gemm.h") else line for line in lines]
    assert changed != lines
    (folder / f"{NAME}.sha256").write_text("\n".join(changed))


def of_a_source_less(folder):
    lines = (folder / f"{NAME}.sha256").read_text().splitlines()
    (folder / f"{NAME}.sha256").write_text("\n".join(line for line in lines if not line.endswith("/mbconv.cpp")))


def with_a_stamp_of_something_else(folder):
    (folder / f"{NAME}.sha256").write_bytes(b"\xff\nnothing")


@pytest.mark.parametrize(
    "change", [without_a_stamp, truncated, of_a_changed_source, of_a_source_less, with_a_stamp_of_something_else]
)
def test_a_library_of_other_sources_is_not_loaded(change, library, random_bundle, monkeypatch, tmp_path):
    for name in (NAME, f"{NAME}.sha256"):
        shutil.copy(library.with_name(name), tmp_path)
    monkeypatch.setattr(module, "BUILT_LIBRARY", tmp_path / NAME)
    path = random_bundle("street-tiny").onnx("fp32")
    assert OnnxRuntimeBackend(path).uses_operators
    change(tmp_path)
    with pytest.raises(UserError, match=r"other sources than these, or is damaged(?s:.*)build_cpu_operators\.sh"):
        OnnxRuntimeBackend(path)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the library asks for nothing on other processors")
def test_a_library_of_another_cpu_is_refused(library, random_bundle, monkeypatch, tmp_path):
    """FMA4 was in no CPU after 2015, and never in one of Intel's."""
    needs = '-DHYPERSEG_CPU_FEATURES=NEEDS("fma4")'
    command = ["g++", "-std=c++17", "-O0", "-fPIC", "-shared", needs, *SOURCES.glob("*.cpp"), "-o", tmp_path / NAME]
    subprocess.run(command, check=True)
    stamp(tmp_path)
    monkeypatch.setattr(module, "BUILT_LIBRARY", tmp_path / NAME)
    with pytest.raises(UserError, match=r"a CPU that has fma4(?s:.*)build_cpu_operators\.sh"):
        OnnxRuntimeBackend(random_bundle("street-tiny").onnx("fp32"))
