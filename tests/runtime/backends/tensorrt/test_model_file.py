from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest

from runtime.backends.tensorrt.model_file import engine_beside, read_model
from runtime.errors import UserError
from runtime.files import sha256_of
from tests.runtime.backends.tensorrt.models import write_manifest, write_portable
from tests.runtime.tiny_models import COLOUR_INFO, write_onnx


@pytest.fixture
def without_onnx(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)


def test_of_a_bundle_the_file_for_tensorrt_is_taken_without_any_library(bundle, without_onnx):
    file = read_model(bundle, "fp16")
    assert file.path == bundle / "colours.fp16.trt.onnx"
    assert (file.content, file.sha256) == (file.path.read_bytes(), sha256_of(file.path))
    assert (file.info, file.stripped) == (COLOUR_INFO, ())
    assert read_model(file.path, "fp16") == file


def test_a_portable_file_loses_its_functions_and_nothing_else(bundle):
    file = read_model(bundle / "colours.fp32.onnx", "fp32")
    assert file.stripped == ("DPWConv",)
    assert file.sha256 == sha256_of(bundle / "colours.fp32.onnx")
    portable, stripped = onnx.load(file.path), onnx.load_model_from_string(file.content)
    assert stripped != portable
    del portable.functions[:]
    assert stripped == portable


def test_a_file_without_its_bundle_carries_its_own_description(bundle, tmp_path):
    alone = tmp_path / "alone.onnx"
    alone.write_bytes((bundle / "colours.int8.trt.onnx").read_bytes())
    file = read_model(alone, "int8")
    assert (file.info, file.stripped, file.content) == (COLOUR_INFO, (), alone.read_bytes())


def test_a_portable_file_without_the_library_onnx_is_a_clear_message(bundle, without_onnx):
    with pytest.raises(UserError, match=r"pip install onnx\. A bundle folder.*needs no such library"):
        read_model(bundle / "colours.fp32.onnx", "fp32")


def test_a_file_that_is_of_another_precision_by_its_name_is_refused(bundle):
    with pytest.raises(UserError, match=r"is fp16 by its name, not fp32\. Write --precision fp16"):
        read_model(bundle / "colours.fp16.trt.onnx", "fp32")


def test_a_bundle_without_the_precision_says_which_it_has(bundle):
    for path in bundle.glob("*.int8.*"):
        path.unlink()
    write_manifest(bundle)
    with pytest.raises(UserError, match="has no ONNX file of precision 'int8'; it has: fp16, fp32"):
        read_model(bundle, "int8")


def test_a_bundle_without_the_file_for_tensorrt_is_refused(bundle):
    (bundle / "colours.fp32.trt.onnx").unlink()
    write_manifest(bundle)
    with pytest.raises(UserError, match=r"has no colours\.fp32\.trt\.onnx, the file for TensorRT"):
        read_model(bundle, "fp32")


def test_a_file_that_differs_from_the_manifest_is_refused(bundle):
    path = bundle / "colours.fp32.trt.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    for given in (bundle, path):
        with pytest.raises(UserError, match="does not match the sha256"):
            read_model(given, "fp32")


def test_broken_missing_and_foreign_files_are_clear_messages(tmp_path):
    foreign = write_onnx(tmp_path / "foreign.onnx", COLOUR_INFO, np.eye(3), metadata=False)
    (tmp_path / "broken.onnx").write_bytes(foreign.read_bytes()[:100])
    (tmp_path / "model.pt").touch()
    model = onnx.load(foreign)
    onnx.helper.set_model_props(model, {"hyperseg": '{"name": "x"}'})
    onnx.save(model, tmp_path / "described.onnx")
    for name, message in {
        "foreign.onnx": "not one of HyperSeg",
        "broken.onnx": "no ONNX file, or not a whole one",
        "described.onnx": "the metadata in .* cannot be read: the field 'variant' is missing",
        "missing.onnx": "does not exist. Give a bundle folder",
        "model.pt": r"is no \.onnx file",
    }.items():
        with pytest.raises(UserError, match=message):
            read_model(tmp_path / name, "fp32")


def test_the_engine_goes_beside_its_file(tmp_path):
    for name in ("city.fp16.trt.onnx", "city.fp16.onnx"):
        assert engine_beside(tmp_path / name) == tmp_path / "city.fp16.engine"


def test_write_portable_adds_a_function(bundle, tmp_path):
    """The tests above stand on it."""
    portable = write_portable(bundle / "colours.fp32.trt.onnx", tmp_path / "p.onnx")
    assert [function.name for function in onnx.load(portable).functions] == ["DPWConv"]
