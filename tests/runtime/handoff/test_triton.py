import argparse
import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.backends.onnx_operators import library
from runtime.bundle import Bundle
from runtime.errors import UserError
from runtime.files import sha256_of
from runtime.handoff import triton
from runtime.handoff.triton import LOADER_SOURCE, model_config, write_model_repository
from runtime.segmenter import open_backend
from tests.runtime.handoff import text_proto

IMAGE = {"name": "image", "data_type": "TYPE_UINT8", "dims": [32, 48, 3]}
LABELS = {"name": "labels", "data_type": "TYPE_UINT8", "dims": [32, 48]}
LOGITS = {"name": "logits", "data_type": "TYPE_FP32", "dims": [3, 32, 48]}


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_an_engine_goes_to_the_tensorrt_backend(bundle: Bundle, plugin: Path, add_engine: Callable, tmp_path: Path):
    engine = add_engine()
    folder = write_model_repository(bundle, "fp16", tmp_path / "models", plugin=plugin)
    assert folder == tmp_path / "models" / "colours"
    assert tree(folder) == [
        "1/model.plan",
        "config.pbtxt",
        "labels.txt",
        "plugin/libhyperseg_plugins.so",
        "plugin/load_hyperseg.cpp",
    ]
    assert (folder / "1/model.plan").read_bytes() == engine.read_bytes()
    assert sha256_of(folder / "plugin/libhyperseg_plugins.so") == sha256_of(plugin)
    assert (folder / "labels.txt").read_text().split() == ["red", "green", "blue"]
    assert text_proto.read((folder / "config.pbtxt").read_text()) == {
        "name": "colours",
        "backend": "tensorrt",
        "max_batch_size": 1,
        "input": [IMAGE],
        "output": [LABELS, LOGITS],  # the fixture is exported with logits
        "instance_group": [{"kind": "KIND_GPU", "count": 1, "profile": ["0"]}],
    }


def test_an_engine_that_holds_its_kernels_goes_without_a_library(
    bundle: Bundle, add_engine: Callable, tmp_path: Path, capsys
):
    add_engine(holds_kernels=True)
    parser = argparse.ArgumentParser()
    triton.add_arguments(parser)
    out = tmp_path / "models"
    triton.main(parser.parse_args([str(bundle.folder), "--out", str(out), "--precision", "fp16"]))
    assert tree(out / "colours") == ["1/model.plan", "config.pbtxt", "labels.txt"]
    assert f"start Triton on it:\n  tritonserver --model-repository={out}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("batches", "largest", "profiles"),
    [((1,), 1, ["0"]), ((1, 4), 1, ["0"]), ((4, 2, 1, 3), 4, ["2", "1", "3", "0"]), ((1, 2, 8), 2, ["0", "1"])],
)
def test_only_batches_that_have_a_profile(
    bundle: Bundle, plugin: Path, add_engine: Callable, tmp_path: Path, batches, largest, profiles
):
    add_engine(batches)
    folder = write_model_repository(bundle, "fp16", tmp_path, plugin=plugin)
    config = text_proto.read((folder / "config.pbtxt").read_text())
    assert config["max_batch_size"] == largest
    assert config["instance_group"][0]["profile"] == profiles
    assert ("dynamic_batching" in config) == (largest > 1)


def test_without_an_engine_the_onnx_file_goes_to_onnx_runtime(bundle: Bundle, tmp_path: Path):
    folder = write_model_repository(bundle, "fp32", tmp_path / "models")
    assert tree(folder) == ["1/model.onnx", "config.pbtxt", "labels.txt"]
    assert sha256_of(folder / "1/model.onnx") == bundle.manifest.files["colours.fp32.onnx"]
    config = text_proto.read((folder / "config.pbtxt").read_text())
    assert (config["backend"], config["max_batch_size"]) == ("onnxruntime", 8)
    assert config["dynamic_batching"] == {}
    assert "instance_group" not in config


def test_a_broken_library_of_compiled_operators_is_no_matter_here(bundle: Bundle, tmp_path: Path, monkeypatch):
    (tmp_path / "broken.so").write_text("not a library")
    monkeypatch.setattr(library, "BUILT_LIBRARY", tmp_path / "broken.so")
    with pytest.raises(UserError):
        open_backend(bundle.folder)
    assert write_model_repository(bundle, "fp32", tmp_path / "models").is_dir()


def test_names_are_quoted(bundle: Bundle):
    info = dataclasses.replace(bundle.info, name='a "street"\\\tä')
    odd = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, info=info))
    config = text_proto.read(model_config(odd, logits=False, engine=None))
    assert config["name"] == info.name
    assert config["output"] == [LABELS]


def test_writing_again_replaces_the_command_s_own_files_only(
    bundle: Bundle, plugin: Path, add_engine: Callable, tmp_path: Path
):
    out = tmp_path / "models"
    folder = write_model_repository(bundle, "fp32", out)
    for kept in (out / "other/config.pbtxt", folder / "2/model.onnx", folder / "notes.txt"):
        kept.parent.mkdir(exist_ok=True)
        kept.write_text("kept")
    add_engine()
    write_model_repository(bundle, "fp16", out, plugin=plugin)
    assert (out / "other/config.pbtxt").read_text() == "kept"
    assert (folder / "2/model.onnx").read_text() == (folder / "notes.txt").read_text() == "kept"
    assert not (folder / "1/model.onnx").exists()
    assert (folder / "1/model.plan").exists()


@pytest.mark.parametrize("config", [None, 'name: "colours"\n'])
def test_a_model_of_somebody_else_is_left_alone(bundle: Bundle, tmp_path: Path, config: str | None):
    mine = tmp_path / "colours/1/model.onnx"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    if config:
        (tmp_path / "colours/config.pbtxt").write_text(config)
    with pytest.raises(UserError, match="was not written by this command, so it is left alone"):
        write_model_repository(bundle, "fp32", tmp_path)
    assert mine.read_text() == "mine"


def refused(bundle: Bundle, plugin: Path, out: Path, match: str, precision: str = "fp16") -> None:
    with pytest.raises(UserError, match=match):
        write_model_repository(bundle, precision, out, plugin=plugin)
    assert not out.exists()


def test_bad_input_writes_nothing(bundle: Bundle, plugin: Path, add_engine: Callable, tmp_path: Path):
    out = tmp_path / "models"
    refused(bundle, plugin, out, "no ONNX file of precision 'int8'; it has: fp32", "int8")
    engine = add_engine(batches=(4,))
    refused(bundle, plugin, out, r"no optimisation profile for a batch of 1.*--batch 1,2,3,4")
    engine = add_engine()
    engine.write_bytes(b"engi")
    refused(bundle, plugin, out, r"copied only in part, or changed\. Build it again: python -m runtime build .*fp16")
    add_engine()
    plugin.write_bytes(b"another getCreators")
    refused(bundle, plugin, out, "another plugin library")
    engine.with_name(engine.name + ".json").unlink()
    refused(bundle, plugin, out, "is missing, without which nobody knows")
    (bundle.folder / "colours.fp32.onnx").write_bytes(b"broken")
    refused(bundle, plugin, out, "does not match the sha256", "fp32")


def test_a_full_disk_leaves_nothing(bundle: Bundle, tmp_path: Path, file_size_limit):
    with file_size_limit(200), pytest.raises(UserError, match="cannot write"):
        write_model_repository(bundle, "fp32", tmp_path / "models")
    assert tree(tmp_path / "models") == []


def test_the_command_says_how_to_start(bundle: Bundle, plugin: Path, add_engine: Callable, tmp_path: Path, capsys):
    parser = argparse.ArgumentParser()
    triton.add_arguments(parser)
    out = tmp_path / "models"
    triton.main(parser.parse_args([str(bundle.folder), "--out", str(out)]))
    assert f"python -m runtime build {bundle.folder} --precision fp32" in capsys.readouterr().out
    add_engine()
    words = [str(bundle.folder), "--out", str(out), "--precision", "fp16", "--plugin", str(plugin)]
    triton.main(parser.parse_args(words))
    printed = capsys.readouterr().out
    assert f"--backend-config=tensorrt,plugins={out}/colours/plugin/libload_hyperseg.so" in printed


# What the loader sees of TensorRT: loadLibrary, here one that tells its argument and has a library or not.
TENSORRT = r"""
#include <cstdio>
#include <cstring>
struct Registry {
    void* loadLibrary(char const* path) {
        std::printf("%s\n", path);
        std::fflush(stdout);
        return std::strstr(path, "missing") ? nullptr : this;
    }
};
inline Registry* getPluginRegistry() { static Registry registry; return &registry; }
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("folder", ["there", "missing"])
def test_the_loader_loads_the_plugins_beside_it(tmp_path: Path, folder: str):
    (tmp_path / "NvInferRuntime.h").write_text(TENSORRT)
    library = tmp_path / folder / "libload_hyperseg.so"
    library.parent.mkdir()
    options = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{tmp_path}"]
    subprocess.run(["g++", *options, LOADER_SOURCE, "-o", library], check=True)
    program = f"import ctypes; ctypes.CDLL({str(library)!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/")
    plugins = f"{library.parent}/libhyperseg_plugins.so"
    assert done.stdout.split() == [plugins]
    assert done.stderr == ("" if folder == "there" else f"HyperSeg: TensorRT cannot load {plugins}.\n")
