from __future__ import annotations

import dataclasses
import json
import shlex

import pytest

from runtime.backends.tensorrt.build import BuildOptions, build_engine
from runtime.backends.tensorrt.engine_file import (
    EngineRecord,
    Here,
    open_engine,
    read_record,
    rebuild_command,
    record_path,
    stale_reasons,
    write_record,
)
from runtime.backends.tensorrt.gpu import Gpu
from runtime.errors import UserError
from runtime.files import sha256_of
from tests.runtime.backends.tensorrt.conftest import use_gpu, write_library
from tests.runtime.backends.tensorrt.models import write_tensorrt_bundle
from tests.runtime.tiny_models import COLOUR_INFO

RECORD = EngineRecord(
    info=COLOUR_INFO,
    precision="fp16",
    batches=(1, 4),
    tensorrt="10.3.0",
    gpu="Orin",
    compute_capability="8.7",
    plugin_sha256="p",
    onnx="colours.fp16.trt.onnx",
    onnx_sha256="o",
    engine_sha256="e",
    created="2026-01-01T00:00:00+00:00",
)
HERE = Here("10.3.0", "Orin", "8.7", "p", "o", "e")


@pytest.fixture
def built(use_tensorrt, bundle):
    """A double of TensorRT 10.3 and the engine that it built."""
    trt = use_tensorrt("10.3.0")
    write_library(bundle, 10)
    engine = build_engine(bundle, options=BuildOptions(batches=(1, 4))).engine
    trt._calls.clear()
    return trt, engine


def test_a_record_comes_back_as_it_was(tmp_path):
    engine = tmp_path / "colours.fp16.engine"
    write_record(RECORD, engine)
    assert record_path(engine) == tmp_path / "colours.fp16.engine.json"
    assert read_record(engine) == RECORD
    assert json.loads(record_path(engine).read_text())["batches"] == [1, 4]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda fields: fields.pop("gpu"), "the field 'gpu' is missing"),
        (lambda fields: fields.update(version=3), 'does not say "format"'),
        (lambda fields: fields.update(plugin="elsewhere"), "kernels are in 'elsewhere', neither library nor aot"),
        (lambda fields: fields.update(batches=3), "a field has the wrong type"),
        (lambda fields: fields.update(batches=[]), "no list of numbers above 0"),
        (lambda fields: fields.update(tensorrt="new"), "'new' is no version"),
        (lambda fields: fields["info"].pop("classes"), "the field 'classes' is missing"),
    ],
)
def test_a_broken_record_is_a_clear_message(tmp_path, spoil, message):
    engine = tmp_path / "an engine.engine"
    fields = json.loads(RECORD.to_json())
    spoil(fields)
    record_path(engine).write_text(json.dumps(fields))
    with pytest.raises(UserError, match=message) as error:
        read_record(engine)
    assert f"python -m runtime build BUNDLE --out {shlex.quote(str(engine))}" in str(error.value)


def test_a_record_from_before_engines_held_kernels_is_read(tmp_path):
    engine = tmp_path / "colours.fp16.engine"
    fields = {**json.loads(RECORD.to_json()), "version": 1}
    del fields["plugin"]
    record_path(engine).write_text(json.dumps(fields))
    assert read_record(engine) == RECORD


def test_text_that_is_no_json_is_a_clear_message(tmp_path):
    record_path(tmp_path / "x.engine").write_text("{")
    with pytest.raises(UserError, match="is not an engine's record"):
        read_record(tmp_path / "x.engine")


def test_a_fresh_engine_has_no_reason_against_it():
    assert stale_reasons(RECORD, HERE) == []
    assert stale_reasons(RECORD, dataclasses.replace(HERE, onnx_sha256=None)) == []  # the engine alone was copied
    assert stale_reasons(RECORD, dataclasses.replace(HERE, tensorrt="10.3")) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tensorrt": "10.16.1.11"}, "built by TensorRT 10.3.0, older than 10.16.1.11"),
        ({"tensorrt": "8.6.1"}, "built by TensorRT 10.3.0, newer than 8.6.1"),
        (
            {"gpu": "NVIDIA A10", "compute_capability": "8.6"},
            "for the GPU Orin (compute capability 8.7), here",
        ),
        ({"gpu": "Orin Nano"}, "for the GPU Orin"),
        ({"plugin_sha256": "x"}, "another plugin library"),
        ({"onnx_sha256": "x"}, "colours.fp16.trt.onnx has changed since"),
        ({"engine_sha256": "x"}, "copied only in part"),
    ],
)
def test_each_change_is_a_reason_of_its_own(change, reason):
    (only,) = stale_reasons(RECORD, dataclasses.replace(HERE, **change))
    assert reason in only


def test_the_rebuild_command_builds_the_same_engine(tmp_path):
    bundle = write_tensorrt_bundle(tmp_path / "a bundle")
    own_place = rebuild_command(RECORD, bundle / "colours.fp16.engine")
    assert own_place == f"python -m runtime build '{bundle}' --precision fp16 --batch 1,4"
    elsewhere = tmp_path / "engines" / "e.engine"
    record = dataclasses.replace(RECORD, onnx="../a bundle/colours.fp16.trt.onnx", batches=(1,))
    onnx = bundle / "colours.fp16.trt.onnx"
    assert rebuild_command(record, elsewhere) == f"python -m runtime build '{onnx}' --precision fp16 --out {elsewhere}"
    aot = dataclasses.replace(RECORD, plugin="aot", plugin_sha256="")
    assert rebuild_command(aot, bundle / "colours.fp16.engine") == f"{own_place} --plugin aot"
    alone = dataclasses.replace(record, onnx="colours.fp16.trt.onnx")
    assert rebuild_command(alone, elsewhere) == f"python -m runtime build BUNDLE --precision fp16 --out {elsewhere}"


def test_an_engine_opens_after_the_library_is_loaded(built, bundle, use_tensorrt):
    _, engine = built
    trt = use_tensorrt("10.3.0")  # as in another process
    opened = open_engine(engine)
    assert opened.engine._asked["profiles"]
    assert (opened.path, opened.record, opened.trt) == (engine, read_record(engine), trt)
    assert opened.logger.take_errors() == []
    library = str(bundle / "libhyperseg_plugins.so")
    assert trt._calls == [("load_library", library), ("deserialize_cuda_engine",)]
    open_engine(engine)  # the library is there already, and would be refused
    assert trt._calls[2:] == [("deserialize_cuda_engine",)]


def test_the_library_beside_the_onnx_file_serves_an_engine_elsewhere(built, bundle, tmp_path):
    elsewhere = build_engine(bundle, tmp_path / "engines" / "e.engine").engine
    assert open_engine(elsewhere).record.onnx == "../bundle/colours.fp32.trt.onnx"


def test_a_named_library_is_taken(built, tmp_path, bundle):
    _, engine = built
    other = write_library(tmp_path / "other", 10, "of another build")
    with pytest.raises(UserError, match="another plugin library"):
        open_engine(engine, other)
    same = write_library(tmp_path / "same", 10)
    assert sha256_of(same) == sha256_of(bundle / same.name)


def refusal(engine) -> str:
    with pytest.raises(UserError) as error:
        open_engine(engine)
    return str(error.value)


def test_stale_engines_are_refused_before_tensorrt_sees_them(built, bundle, monkeypatch, use_tensorrt):
    trt, engine = built
    rebuild = f"Build it again: python -m runtime build {bundle} --precision fp32 --batch 1,4"
    content = engine.read_bytes()
    engine.write_bytes(content[:-5])
    assert "copied only in part" in refusal(engine)
    engine.write_bytes(content)

    onnx = bundle / "colours.fp32.trt.onnx"
    onnx_content = onnx.read_bytes()
    onnx.write_bytes(onnx_content + b"x")
    assert "colours.fp32.trt.onnx has changed since" in refusal(engine)
    onnx.write_bytes(onnx_content)

    with monkeypatch.context() as context:
        use_gpu(context, Gpu("NVIDIA GeForce RTX 4090", "8.9"))
        assert "here is NVIDIA GeForce RTX 4090 (8.9)" in refusal(engine)
        assert refusal(engine).endswith(rebuild)

    write_library(bundle, 10, "rebuilt")
    assert "another plugin library" in refusal(engine)
    assert trt._calls == []

    newer = use_tensorrt("10.16.1.11")
    assert "built by TensorRT 10.3.0, older than 10.16.1.11" in refusal(engine)
    assert newer._calls == []


def test_a_missing_engine_and_a_missing_record_are_clear_messages(built, tmp_path):
    _, engine = built
    assert "does not exist. Build it on this device" in refusal(tmp_path / "none.engine")
    record_path(engine).unlink()
    assert "colours.fp32.engine.json is missing" in refusal(engine)


def test_what_tensorrt_refuses_is_told_in_its_words(built):
    _, engine = built
    engine.write_bytes(b"something else")
    record = dataclasses.replace(read_record(engine), engine_sha256=sha256_of(engine))
    write_record(record, engine)
    message = refusal(engine)
    assert "TensorRT says: Serialization: magic tag does not match" in message
    assert "broken or incomplete" in message
    assert "python -m runtime build" in message


def test_a_tensorrt_that_cannot_start_is_told_in_its_words(built):
    trt, engine = built
    trt._faults.no_driver = True
    message = refusal(engine)
    assert "TensorRT cannot start. TensorRT says: CUDA initialization failure with error: 35" in message
    assert "driver" in message
