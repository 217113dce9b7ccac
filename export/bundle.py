"""Checkpoint to bundle: the folder that everything downstream works from."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch

from export.dead_paths import Dropped, drop_dead_paths
from export.downgrade import downgrade
from export.fold import fold_batchnorm
from export.fuse import fuse
from export.graph import onnx_from_model, quieten_exporter
from export.operators import VERSION, attach_functions
from runtime import street
from runtime.bundle import MANIFEST_NAME, TORCH_REFERENCE_NAME, Manifest, ModelInfo, open_bundle
from runtime.errors import UserError
from runtime.files import replace_folder, sha256_of
from runtime.segmenter import Segmenter
from training import HyperSeg, load_model
from training.network.config import HyperSegConfig, check_input_size

# Round-off moves the arg max only where two classes are within it of each other: about one pixel in 100,000.
MIN_LABEL_AGREEMENT = 0.999
CHECKED_SCENES = 4
TOOLS = ("torch", "timm", "onnx", "onnxscript", "onnxruntime")
_SOURCES = ("calibration", "export", "training/network")  # the folders of this project that decide what is in a bundle


@dataclass(frozen=True)
class Export:
    """What an export made."""

    folder: Path
    manifest: Manifest
    dropped: list[Dropped]
    label_agreement: dict[str, float]  # of each precision with PyTorch, share of pixels


def export_bundle(
    checkpoint: Path,
    out: Path | None = None,
    *,
    size: tuple[int, int] | None = None,
    logits: bool = False,
    fused: bool = True,
    add_precisions: Callable[[Path], None] = lambda fp32: None,
    progress: Callable[[str], None] = lambda step: None,
) -> Export:
    """Write the bundle of a checkpoint at ``size`` (height, width; the variant's published size by default).

    The folder ``out`` (default: out/bundles/VARIANT) appears complete or not at all; an old bundle there is replaced.
    Unless ``fused``, levels and labels are made by more and simpler nodes: see ``export.fuse``.
    ``add_precisions`` gets the path of the FP32 file and may put files made from it beside it, for the manifest to
    list. ``progress`` is told each step. Raises UserError for a bad checkpoint, an illegal size, an unwritable folder,
    and if the labels that ONNX Runtime gives in FP32 disagree with PyTorch's.
    """
    quieten_exporter()
    progress("read the checkpoint")
    model = load_model(checkpoint)
    _refuse_nan(model, checkpoint)
    info = info_of_model(model, size)
    out = out or default_bundle(info)
    with replace_folder(out, owned=_files_of_old_bundle(out)) as folder:
        progress("fold BatchNorm into the weight mappers")
        folded, dropped = drop_dead_paths(fold_batchnorm(model))
        progress("emit ONNX")
        bare = onnx_from_model(folded, info, logits=logits)
        bare = fuse(bare) if fused else bare
        progress("write the files")
        fp32 = save_both_forms(bare, folder / f"{info.name}.fp32.onnx")
        (folder / TORCH_REFERENCE_NAME).write_bytes(_reference(model, info.height, info.width))
        add_precisions(fp32)
        manifest = Manifest(
            info=info,
            checkpoint_sha256=sha256_of(checkpoint),
            training_data=model.training_data,
            files={path.name: sha256_of(path) for path in sorted(folder.iterdir())},
            tools=tool_versions(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        manifest.write(folder)
        progress("compare ONNX Runtime with PyTorch")
        agreement = label_agreement(folder)
        if agreement["fp32"] < MIN_LABEL_AGREEMENT:
            raise UserError(
                f"ONNX Runtime agrees with PyTorch on only {agreement['fp32']:.4%} of the pixels, less than "
                f"{MIN_LABEL_AGREEMENT:.1%}; nothing was written. A network with huge activations (diverged training?) "
                "does that; otherwise it is a fault of this program."
            )
    return Export(out, manifest, dropped, agreement)


def default_bundle(info: ModelInfo) -> Path:
    """Return the folder of a network's bundle unless the user names one."""
    return Path("out/bundles") / info.name


def info_of_model(model: HyperSeg, size: tuple[int, int] | None) -> ModelInfo:
    """Return the description of a network at ``size``, by default its published one. UserError for an illegal one."""
    height, width = size or model.config.input_size
    check_input_size(model.config, height, width)
    return info_from_config(model.config, height, width)


def save_both_forms(bare: onnx.ModelProto, portable: Path) -> Path:
    """Write a model without function bodies as NAME.onnx, with them, and as NAME.trt.onnx; return ``portable``."""
    onnx.save(downgrade(bare), portable.with_suffix(".trt.onnx"))
    onnx.save(attach_functions(bare), portable)
    return portable


def tool_versions() -> dict[str, str]:
    """Return what an export depends on beside its input: the libraries' versions, and a hash of our own sources."""
    digest, root = hashlib.sha256(), Path(__file__).parents[1]
    for source in sorted(source for folder in _SOURCES for source in (root / folder).rglob("*.py")):
        digest.update(source.read_bytes())
    return {tool: version(tool) for tool in TOOLS} | {"hyperseg-edge": f"sources {digest.hexdigest()[:12]}"}


def info_from_config(config: HyperSegConfig, height: int, width: int) -> ModelInfo:
    """Return what the runtime needs to know of a network exported at a size."""
    return ModelInfo(
        name=config.name,
        variant=config.name,
        classes=config.labels.classes,
        palette=config.labels.palette,
        mean=config.mean,
        std=config.std,
        height=height,
        width=width,
        operator_version=VERSION,
    )


def label_agreement(folder: Path) -> dict[str, float]:
    """Share of pixels on which ONNX Runtime, in each precision, and the unfolded PyTorch network give one label.

    On street scenes.
    """
    bundle = open_bundle(folder)
    size = {"height": bundle.info.height, "width": bundle.info.width}
    scenes = [street.render(seed, **size)[0] for seed in street.HELD_OUT_SEEDS[:CHECKED_SCENES]]
    pytorch = Segmenter(folder, "torch")
    expected = [pytorch(image) for image in scenes]
    agreement = {}
    for precision in bundle.precisions:
        # By the function bodies: they are what runs elsewhere.
        exported = Segmenter(folder, "onnxruntime", precision=precision, operators=False)
        agreement[precision] = float(np.mean([exported(image) for image in scenes] == np.array(expected)))
    return agreement


def _refuse_nan(model: HyperSeg, checkpoint: Path) -> None:
    for name, values in model.state_dict().items():
        if not values.isfinite().all():
            raise UserError(
                f"there is NaN or infinity in {name} of {checkpoint}. The training has diverged, or the file is "
                "damaged. Export a checkpoint whose mIoU is known to be good."
            )


def _reference(model: HyperSeg, height: int, width: int) -> bytes:
    """Capture the unfolded network as a file: input float32 [1, 3, H, W], normalised; output logits."""
    buffer = io.BytesIO()  # to a file, torch reports a full disk as one of its own errors
    with torch.no_grad():
        torch.export.save(torch.export.export(model, (torch.zeros(1, 3, height, width),)), buffer)
    return buffer.getvalue()


def _files_of_old_bundle(out: Path) -> set[str]:
    """Return the names a bundle at ``out`` consists of; refuse a folder that holds something else."""
    if not out.is_dir() or not any(out.iterdir()):
        return set()
    if not (out / MANIFEST_NAME).exists():
        raise UserError(f"{out} is not empty and holds no bundle; name another folder with --out.")
    return {MANIFEST_NAME, *open_bundle(out).manifest.files}
