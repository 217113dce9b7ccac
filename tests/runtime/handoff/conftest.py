"""A bundle with an engine, as far as handing it on goes: files, a record and a library, none of which can run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.backends.tensorrt.engine_file import EngineRecord, write_record
from runtime.bundle import Bundle, open_bundle
from runtime.files import sha256_of


@pytest.fixture
def bundle(colour_bundle: Path, tmp_path: Path) -> Bundle:
    return open_bundle(shutil.copytree(colour_bundle, tmp_path / "bundle"))


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    library = tmp_path / "tensorrt10" / "libhyperseg_plugins.so"
    library.parent.mkdir()
    library.write_bytes(b"\x7fELF getCreators")
    return library


@pytest.fixture
def add_engine(bundle: Bundle, plugin: Path) -> Callable[..., Path]:
    def add(batches: tuple[int, ...] = (1,), precision: str = "fp16", *, holds_kernels: bool = False) -> Path:
        engine = bundle.folder / f"{bundle.info.name}.{precision}.engine"
        engine.write_bytes(b"engine for " + precision.encode())
        record = EngineRecord(
            info=bundle.info,
            precision=precision,
            batches=batches,
            tensorrt="10.3.0",
            gpu="Orin",
            compute_capability="8.7",
            plugin="aot" if holds_kernels else "library",
            plugin_sha256="" if holds_kernels else sha256_of(plugin),
            onnx=f"{bundle.info.name}.fp32.trt.onnx",
            onnx_sha256="0" * 64,
            engine_sha256=sha256_of(engine),
            created="2026-01-01T00:00:00+00:00",
        )
        write_record(record, engine)
        return engine

    return add
