"""Checkpoint to bundle, in every precision asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx

from calibration.cache import Calibration, calibrate, read_calibration
from calibration.images import CalibrationImages, choose_images
from calibration.layers import default_int8_layers
from calibration.quantise import Wide, check_recipe, fp16_model, int8_model, wide_tensors
from calibration.thresholds import DEFAULT_METHOD
from export.bundle import Export, default_bundle, export_bundle, info_of_model, save_both_forms, tool_versions
from export.operators import LABEL_HEAD, strip_functions
from runtime.bundle import MANIFEST_NAME, Bundle, ModelInfo, open_bundle
from runtime.errors import UserError
from runtime.files import refuse_unwritable, sha256_of
from training import load_model
from training.int8_recipe import Int8Recipe, read_int8_recipe


@dataclass(frozen=True)
class Request:
    """What a bundle shall hold beside FP32, and where the ranges for it come from.

    ``precisions`` are of fp16 and int8. ``data`` names a data set, which lies below ``root``, or is a folder of images
    or a film; ``count`` images are taken of it. ``cache`` is a calibration made before, and needs no images. ``recipe``
    is an int8 recipe, None the default one.
    """

    precisions: tuple[str, ...] = ()
    data: str | None = None
    root: Path | None = None
    count: int = 128
    cache: Path | None = None
    recipe: Path | None = None


@dataclass(frozen=True)
class Made:
    """What ``export_precisions`` made, or found; ``export`` is None if the bundle was current."""

    bundle: Bundle
    export: Export | None
    wide: tuple[Wide, ...] = ()  # tensors kept in FP32
    removed: tuple[str, ...] = ()  # precisions that the bundle before had


def calibration_path(folder: Path, info: ModelInfo) -> Path:
    """Where a bundle keeps the calibration that its FP16 and INT8 files were made by."""
    return folder / f"{info.name}.calibration.json"


def recipe_path(folder: Path, info: ModelInfo) -> Path:
    """Where a bundle keeps the recipe of its INT8 file."""
    return folder / f"{info.name}.int8.recipe.json"


def export_precisions(
    checkpoint: Path,
    out: Path | None,
    request: Request,
    *,
    size: tuple[int, int] | None = None,
    logits: bool = False,
    fused: bool = True,
    progress: Callable[[str], None] = lambda step: None,
) -> Made:
    """Write the bundle of a checkpoint (see ``export_bundle``) with FP16 and INT8 files, unless it is there already.

    It holds FP32, which the others are made from, what ``request`` asks for, and the calibration and recipe by which
    that was made. The calibration of the bundle that it replaces is used again if it is of the same FP32 file and
    images. Raises UserError for what cannot be read, measured, quantised or written; an old bundle is then unharmed.
    """
    info = info_of_model(load_model(checkpoint), size)
    out = out or default_bundle(info)
    recipe = _requested_recipe(request, info)
    refuse_unwritable(out.parent)
    source = _calibration_source(request, info)
    old = open_bundle(out) if (out / MANIFEST_NAME).is_file() else None
    before = _calibration_of(old) if old else None
    if (
        old
        and _is_current(old, checkpoint, info, request.precisions, logits, fused)
        and _is_of(before, source)
        and ("int8" not in request.precisions or _recipe_is(old, recipe))
    ):
        return Made(old, None, tuple(wide_tensors(before)) if before else ())

    wide: tuple[Wide, ...] = ()

    def add_precisions(fp32: Path) -> None:
        nonlocal wide
        if source is None:
            return
        progress("measure ranges")
        calibration = _calibration(fp32, source, before)
        calibration.write(calibration_path(fp32.parent, info))
        wide = tuple(wide_tensors(calibration))
        bare = strip_functions(onnx.load(fp32))
        if "fp16" in request.precisions:
            progress("write fp16")
            save_both_forms(fp16_model(bare, calibration), fp32.with_name(f"{info.name}.fp16.onnx"))
        if "int8" in request.precisions:
            progress("write int8")
            used = recipe or default_recipe(bare, info)
            used.write(recipe_path(fp32.parent, info))
            save_both_forms(int8_model(bare, calibration, used), fp32.with_name(f"{info.name}.int8.onnx"))

    export = export_bundle(
        checkpoint, out, size=size, logits=logits, fused=fused, add_precisions=add_precisions, progress=progress
    )
    removed = tuple(
        precision for precision in (old.precisions if old else ()) if precision not in ("fp32", *request.precisions)
    )
    return Made(open_bundle(out), export, wide, removed)


def default_recipe(bare: onnx.ModelProto, info: ModelInfo) -> Int8Recipe:
    """Return the recipe of an INT8 file for which none was searched."""
    return Int8Recipe(info.name, DEFAULT_METHOD, tuple(default_int8_layers(bare)), "by default, not searched")


def _requested_recipe(request: Request, info: ModelInfo) -> Int8Recipe | None:
    """Read and check the recipe, before the minutes that images take."""
    if request.recipe is None:
        return None
    if "int8" not in request.precisions:
        raise UserError(f"the int8 recipe {request.recipe} has no effect without int8. Add it: --precision fp16,int8.")
    recipe = read_int8_recipe(request.recipe)
    check_recipe(recipe, info.name)
    return recipe


def _calibration_source(request: Request, info: ModelInfo) -> Calibration | CalibrationImages | None:
    """Read the cache or choose the images; None if FP32 alone is asked for."""
    if not request.precisions:
        if request.data or request.cache:
            raise UserError(
                "fp32 needs no calibration. Say which precisions to make by it, e.g. --precision fp16,int8, or leave "
                "the calibration out."
            )
        return None
    if (request.data is None) == (request.cache is None):
        raise UserError(
            f"{' and '.join(request.precisions)} are made by ranges measured on images. Give either --calibration-data "
            "NAME, DIR or VIDEO, or --calibration-cache FILE, a calibration of the same checkpoint made before."
        )
    if request.cache is not None:
        return read_calibration(request.cache)
    assert request.data is not None
    return choose_images(request.data, request.root, info, count=request.count)


def _calibration(fp32: Path, source: Calibration | CalibrationImages, before: Calibration | None) -> Calibration:
    """Return the calibration of an FP32 file: the given one, or that of the bundle before, or a new one."""
    if isinstance(source, Calibration):
        source.check(fp32)
        return source
    if before and _is_of(before, source) and before.onnx_sha256 == sha256_of(fp32):
        return before
    return calibrate(fp32, source)


def _is_of(calibration: Calibration | None, source: Calibration | CalibrationImages | None) -> bool:
    """Whether a calibration is the given one, or one on the given images."""
    if calibration is None or not isinstance(source, CalibrationImages):
        return calibration == source
    theirs = (calibration.source, calibration.seed, calibration.images)
    return theirs == (source.source, source.seed, source.records)


def _is_current(
    old: Bundle, checkpoint: Path, info: ModelInfo, precisions: tuple[str, ...], logits: bool, fused: bool
) -> bool:
    """Whether the bundle, and nothing else, would come out again, its calibration and recipe aside."""
    manifest = old.manifest
    if (manifest.info, manifest.checkpoint_sha256) != (info, sha256_of(checkpoint)):
        return False
    if manifest.tools != tool_versions() or {*old.precisions} != {"fp32", *precisions}:
        return False
    try:
        old.verify()
    except UserError:  # files that were changed or lost are made again
        return False
    graph = onnx.load(old.onnx("fp32")).graph
    has_logits = any(output.name == "logits" for output in graph.output)
    is_fused = any(node.op_type == LABEL_HEAD for node in graph.node)
    return (has_logits, is_fused) == (logits, fused)


def _calibration_of(old: Bundle) -> Calibration | None:
    try:
        return read_calibration(calibration_path(old.folder, old.info))
    except UserError:  # there is none, or it was damaged: it is made again
        return None


def _recipe_is(old: Bundle, recipe: Int8Recipe | None) -> bool:
    """Whether the recipe of a bundle whose files are whole is the given one, or the default one."""
    bare = strip_functions(onnx.load(old.onnx("fp32")))
    return read_int8_recipe(recipe_path(old.folder, old.info)) == (recipe or default_recipe(bare, old.info))
