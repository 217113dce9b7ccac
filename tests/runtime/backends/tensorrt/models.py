"""Bundles as TensorRT meets them, around the tiny network; their engines come from ``tensorrt_double``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from runtime.bundle import Manifest, ModelInfo
from runtime.files import sha256_of
from tests.runtime.tiny_models import COLOUR_INFO, write_onnx


def write_tensorrt_bundle(folder: Path, info: ModelInfo = COLOUR_INFO) -> Path:
    """Write a bundle of every precision; each has its file for TensorRT and a portable one with a function body."""
    folder.mkdir(parents=True)
    for precision in ("fp32", "fp16", "int8"):
        bare = write_onnx(folder / f"{info.name}.{precision}.trt.onnx", info, np.eye(3))
        write_portable(bare, folder / f"{info.name}.{precision}.onnx")
    write_manifest(folder, info)
    return folder


def write_manifest(folder: Path, info: ModelInfo = COLOUR_INFO) -> None:
    """Write the manifest of what lies in the folder now."""
    files = {path.name: sha256_of(path) for path in sorted(folder.glob("*.onnx"))}
    Manifest(info, "0" * 64, "none", files, {}, "2026-01-01T00:00:00+00:00").write(folder)


def write_portable(bare: Path, path: Path) -> Path:
    """Write the model with a function body attached, as the files for ONNX Runtime have them."""
    model = onnx.load(bare)
    body = [helper.make_node("Identity", ["x"], ["y"])]
    opset = helper.make_opsetid("", 17)
    model.functions.append(helper.make_function("hyperseg", "DPWConv", ["x"], ["y"], body, [opset]))
    model.opset_import.append(helper.make_opsetid("hyperseg", 1))
    onnx.save(model, path)
    return path


def write_other_bundle(folder: Path) -> Path:
    """A bundle of another name and size."""
    return write_tensorrt_bundle(folder, dataclasses.replace(COLOUR_INFO, name="other", height=16))
