"""The ONNX file that an engine is built from, without function bodies.

TensorRT must see the operators themselves: given a file with function bodies, some versions take the body, hundreds of
standard operators, in place of the plugin.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from runtime.backends.tensorrt.versions import PRECISIONS
from runtime.bundle import MANIFEST_NAME, ONNX_METADATA_KEY, ModelInfo, open_bundle
from runtime.errors import UserError
from runtime.files import sha256_of

EXPORT_AGAIN = "Give a file that scripts/export.sh wrote, or export the checkpoint again."


@dataclass(frozen=True)
class ModelFile:
    """An ONNX file for TensorRT. ``content`` is what to parse; ``stripped`` are the functions it lost on the way."""

    path: Path
    sha256: str  # of the file as it is on the disk
    content: bytes
    info: ModelInfo
    stripped: tuple[str, ...] = ()


def read_model(path: Path, precision: str) -> ModelFile:
    """Read the ONNX file of a precision from a bundle folder, or one .onnx file.

    Of a bundle it is the file made for TensorRT, ``NAME.PRECISION.trt.onnx``. A portable file loses its function bodies
    in memory, for which the library ``onnx`` is needed. Raises UserError for a file that is missing, broken, of another
    precision by its name, or not an exported HyperSeg.
    """
    if path.is_dir():
        bundle = open_bundle(path)
        bundle.onnx(precision)  # says which precisions there are
        path = path / f"{bundle.info.name}.{precision}.trt.onnx"
        if path.name not in bundle.manifest.files:
            raise UserError(f"{bundle.folder} has no {path.name}, the file for TensorRT. {EXPORT_AGAIN}")
    elif not path.is_file():
        raise UserError(f"{path} does not exist. Give a bundle folder or a .onnx file; scripts/export.sh makes both.")
    elif path.suffix != ".onnx":
        raise UserError(f"{path} is no .onnx file. {EXPORT_AGAIN}")
    if (named := _precision_in_name(path)) not in (None, precision):
        raise UserError(f"{path} is {named} by its name, not {precision}. Write --precision {named}.")
    info = _info_from_manifest(path)
    if path.name.endswith(".trt.onnx") and info is not None:
        return ModelFile(path, sha256_of(path), path.read_bytes(), info)  # the usual way, which needs no library
    return _read_with_onnx(path, info)


def engine_beside(onnx: Path) -> Path:
    """Where the engine of an ONNX file goes by default: NAME.fp16.trt.onnx and NAME.fp16.onnx to NAME.fp16.engine."""
    return onnx.with_name(onnx.name.removesuffix(".onnx").removesuffix(".trt") + ".engine")


def _precision_in_name(path: Path) -> str | None:
    match = re.search(rf"\.({'|'.join(PRECISIONS)})(\.trt)?\.onnx$", path.name)
    return match[1] if match else None


def _info_from_manifest(path: Path) -> ModelInfo | None:
    """The model's description from the bundle that the file belongs to, if it does; the file is checked against it."""
    if not (path.parent / MANIFEST_NAME).is_file():
        return None
    bundle = open_bundle(path.parent)
    if path.name not in bundle.manifest.files:
        return None
    bundle.verify_file(path)
    return bundle.info


def _read_with_onnx(path: Path, info: ModelInfo | None) -> ModelFile:
    try:
        import onnx
    except ImportError:
        raise UserError(
            f"reading {path} takes the library onnx, which is not installed: pip install onnx. "
            "A bundle folder, with its file for TensorRT, needs no such library."
        ) from None
    content = path.read_bytes()
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's own; which class it is depends on its version
        raise UserError(f"{path} is no ONNX file, or not a whole one. {EXPORT_AGAIN}") from error
    properties = {prop.key: prop.value for prop in model.metadata_props}
    try:
        info = info or ModelInfo.from_json(properties[ONNX_METADATA_KEY])
    except KeyError:
        raise UserError(f"{path} is an ONNX file, but not one of HyperSeg. {EXPORT_AGAIN}") from None
    except ValueError as error:
        raise UserError(f"the metadata in {path} cannot be read: {error}. {EXPORT_AGAIN}") from error
    stripped = tuple(function.name for function in model.functions)
    if stripped:
        del model.functions[:]
        content = model.SerializeToString()
    return ModelFile(path, sha256_of(path), content, info, stripped)
