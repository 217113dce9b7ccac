"""A TensorRT, a GPU and a plugin library that are none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from runtime.backends.tensorrt import build, engine_file, plugin
from runtime.backends.tensorrt.gpu import Gpu
from tests.runtime.backends.tensorrt.models import write_tensorrt_bundle
from tests.runtime.backends.tensorrt.tensorrt_double import make_tensorrt

ORIN = Gpu("Orin", "8.7")


@pytest.fixture
def use_tensorrt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], ModuleType]:
    """Let ``import tensorrt`` give the double of a version, on an Orin, in a project without plugin libraries."""
    monkeypatch.setattr(plugin, "_PROJECT", tmp_path / "project")
    monkeypatch.delenv(plugin.LIBRARY_VARIABLE, raising=False)
    use_gpu(monkeypatch, ORIN)

    def use(version: str) -> ModuleType:
        trt = make_tensorrt(version)
        monkeypatch.setitem(sys.modules, "tensorrt", trt)
        return trt

    return use


def use_gpu(monkeypatch: pytest.MonkeyPatch, gpu: Gpu) -> None:
    for module in (build, engine_file):
        monkeypatch.setattr(module, "current_gpu", lambda: gpu)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tensorrt_bundle(tmp_path / "bundle")


def write_library(folder: Path, major: int, content: str = "") -> Path:
    """Write what passes for the plugin library of a major version."""
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / plugin.LIBRARY_NAME
    library.write_text(f"ELF hyperseg_plugins for TensorRT {major} {content}", encoding="utf-8")
    return library
