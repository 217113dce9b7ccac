import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from runtime.bundle import ModelInfo, open_bundle
from runtime.errors import UserError


@pytest.fixture
def bundle_copy(colour_bundle: Path, tmp_path: Path) -> Path:
    return shutil.copytree(colour_bundle, tmp_path / "bundle")


def test_info_survives_json(colour_info: ModelInfo):
    assert ModelInfo.from_json(colour_info.to_json()) == colour_info


@pytest.mark.parametrize("text", ["{", "[]", "{}", '"text"', '{"name": "x"}', "null"])
def test_info_refuses_other_json(text: str):
    with pytest.raises(ValueError, match=r".+"):
        ModelInfo.from_json(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [("palette", ((0, 0, 0),)), ("mean", (0.5,)), ("height", 0), ("classes", tuple(map(str, range(257))))],
)
def test_info_refuses_contradictions(colour_info: ModelInfo, field: str, value: object):
    with pytest.raises(ValueError, match=r".+"):
        dataclasses.replace(colour_info, **{field: value})


def test_bundle_finds_its_files(colour_bundle: Path, colour_info: ModelInfo):
    bundle = open_bundle(colour_bundle)
    bundle.verify()
    assert bundle.info == colour_info
    assert bundle.precisions == ("fp32",)
    assert bundle.onnx() == colour_bundle / "colours.fp32.onnx"
    assert bundle.torch_reference == colour_bundle / "model.pt2"


def test_precisions_leave_out_the_tensorrt_files(colour_bundle: Path):
    bundle = open_bundle(colour_bundle)
    files = dict.fromkeys(["colours.fp32.onnx", "colours.fp32.trt.onnx", "colours.int8.onnx", "model.pt2"], "")
    manifest = dataclasses.replace(bundle.manifest, files=files)
    assert dataclasses.replace(bundle, manifest=manifest).precisions == ("fp32", "int8")


def test_unavailable_precision_names_the_available(colour_bundle: Path):
    with pytest.raises(UserError, match="no ONNX file of precision 'int8'; it has: fp32"):
        open_bundle(colour_bundle).onnx("int8")


def test_missing_folder(tmp_path: Path):
    with pytest.raises(UserError, match="does not exist"):
        open_bundle(tmp_path / "nothing")


def test_file_instead_of_folder(colour_bundle: Path):
    with pytest.raises(UserError, match="is a file, not a bundle folder"):
        open_bundle(colour_bundle / "model.pt2")


def test_missing_manifest(tmp_path: Path):
    with pytest.raises(UserError, match=r"it has no manifest\.json"):
        open_bundle(tmp_path)


@pytest.mark.parametrize("text", [b"{", b"", b"\xff\xfe", b"[]", b"{}", b'{"format": "hyperseg-bundle", "version": 1}'])
def test_broken_manifest(tmp_path: Path, text: bytes):
    (tmp_path / "manifest.json").write_bytes(text)
    with pytest.raises(UserError, match="is not a manifest"):
        open_bundle(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "its version is 2"),
        ({"files": {"../escape": ""}}, "outside the bundle"),
        ({"files": []}, "must be objects"),
        ({"info": None}, "wrong type"),
    ],
)
def test_manifest_with_a_wrong_field(bundle_copy: Path, change: dict[str, object], message: str):
    manifest = bundle_copy / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    with pytest.raises(UserError, match=message):
        open_bundle(bundle_copy)


def test_verify_names_a_missing_file(bundle_copy: Path):
    (bundle_copy / "model.pt2").unlink()
    with pytest.raises(UserError, match=r"model\.pt2 is missing.*scripts/export\.sh"):
        open_bundle(bundle_copy).verify()


def test_verify_names_a_changed_file(bundle_copy: Path):
    with (bundle_copy / "colours.fp32.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match=r"colours\.fp32\.onnx does not match the sha256"):
        open_bundle(bundle_copy).verify()
