"""From a published checkpoint to our model, with a report of what was found in the file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from runtime.errors import UserError
from training.network.decoder import coordinates
from training.network.model import HyperSeg
from training.official.architecture import compare_architecture, parse_architecture
from training.official.forensics import Forensics, examine
from training.official.keys import COORDINATES
from training.official.read import PublishedFile, read_published
from training.official.recognise import Recognised, recognise

_DATA = {"cityscapes": "Cityscapes", "camvid": "CamVid", "camvid-11": "CamVid", "voc": "PASCAL VOC 2012 and SBD"}


@dataclass(frozen=True)
class Imported:
    """The model, in eval mode on the CPU, and sentences for the terminal."""

    model: HyperSeg
    report: tuple[str, ...]


def import_official(
    path: Path, name: str | None = None, normalisation: Literal["imagenet", "half"] = "imagenet"
) -> Imported:
    """Read a checkpoint of the published code and rebuild its network here, checked key by key.

    ``name`` is the variant the file is believed to be; without it the tensors tell. ``normalisation`` "half" writes
    mean and std 0.5 into the config: what the published test of VOC used, while its training used ImageNet's.
    Raises UserError for a file that cannot be read or is no published network, or not the one named.
    """
    file = read_published(Path(path))
    try:
        recognised = recognise(file.state, name)
        arch = compare_architecture(parse_architecture(file.arch), recognised.config, recognised.layout)
        dropped = _check_values(file.state)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    evidence = examine(file.state, recognised.layout, recognised.signal_channels)

    config = replace(recognised.config, signal_offsets=evidence.signal_offsets)
    if normalisation == "half":
        config = replace(config, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    with torch.device("meta"):
        model = HyperSeg(config)
    model.load_state_dict({ours: file.state[theirs] for ours, theirs in recognised.keys.items()}, assign=True)
    data = _DATA.get(config.labels.name, config.labels.name)
    model.training_data = f"{data}, published weights {file.path.stem} ({_training(file)})"
    report = _report(file, recognised, name, arch, dropped, evidence)
    return Imported(model.eval(), (*report, f"input: normalised with mean {config.mean}, std {config.std}"))


def _check_values(state: dict[str, Tensor]) -> list[str]:
    """Return the coordinate buffers, which ours computes; UserError if those differ, or a weight is not finite."""
    buffers = [key for key in state if COORDINATES.fullmatch(key)]
    for key in buffers:
        found = state[key]
        # 1e-5: float32 values up to 1 that another release of PyTorch may round differently.
        is_map = found.dim() == 4 and found.shape[1] == 2 and found.is_floating_point()
        if not (is_map and torch.allclose(found, coordinates(found), rtol=0, atol=1e-5)):
            raise UserError(f"{key} does not hold x and y from -1 to 1, which this code would compute in its place.")
    if broken := [key for key, value in state.items() if not torch.isfinite(value).all()]:
        raise UserError(f"{broken[0]} holds values that are no finite numbers. The file is damaged.")
    return buffers


def _training(file: PublishedFile) -> str:
    epoch = "unknown" if file.epoch is None else file.epoch
    best_iou = "unknown" if file.best_iou is None else f"{file.best_iou:.4f}"
    return f"epoch {epoch}, best mIoU {best_iou}"


def _report(
    file: PublishedFile,
    recognised: Recognised,
    name: str | None,
    arch: list[str],
    dropped: list[str],
    evidence: Forensics,
) -> list[str]:
    config = recognised.config
    how = "by its tensors" if name is None else "as named, and its tensors agree"
    return [
        f"{file.path.name}: {config.name}, recognised {how}: laid out as by hyperseg_{recognised.layout}, "
        f"{config.backbone}, {len(config.kernel_sizes)} levels, {config.num_classes} classes; "
        f"{len(recognised.keys)} of {len(file.state)} entries taken",
        *(f"unlike the published {config.name}: {what}" for what in recognised.adapted),
        _training(file),
        *arch,
        f"dropped, since computed here: {', '.join(dropped) or 'nothing'}",
        *(str(part) for part in evidence.parts),
        f"signal offsets {evidence.signal_offsets}: {evidence.conclusion}",
    ]
