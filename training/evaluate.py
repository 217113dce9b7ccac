"""Per-class IoU and mIoU of a network on a data set, by the protocol of the published test configurations."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from runtime.data.cityscapes import label_ids_from_train_ids
from runtime.data.data_set import DataSet, LabelSet
from runtime.data.label_sets import CITYSCAPES, VOC
from runtime.errors import UserError
from runtime.files import replace_file
from runtime.metrics import confusion_matrix, iou_per_class
from training.network.config import HyperSegConfig, check_input_size, nearest_legal_sizes
from training.network.model import HyperSeg, normalise
from training.speed import inference_on

Size = tuple[int, int]  # height, width in pixels


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The result of ``evaluate``: IoU of each class as a share of 1, over ``images`` images."""

    model: str
    data: str
    protocol: str  # in words: all that the figures depend on
    classes: tuple[str, ...]
    iou: NDArray[np.float64]  # [classes]
    images: int

    @property
    def miou(self) -> float:
        """The plain mean over all classes, those that never occur included."""
        return float(self.iou.mean())


def evaluate(
    model: HyperSeg,
    data: DataSet,
    *,
    size: Size | None = None,
    flip: bool = False,
    scales: Sequence[float] = (1.0,),
    limit: int | None = None,
    save: Path | None = None,
    device: str = "cpu",
) -> Evaluation:
    """Score the model on the first ``limit`` images (default: all) of a data set.

    Protocol: the image is resized bilinearly to ``size`` (height, width; the variant's own by default), its aspect
    ratio not kept; the labels stay at their size, to which the logits are resized bilinearly before the arg max. VOC's
    images are padded right and below with black instead. One confusion matrix over the whole set; pixels labelled
    outside the classes do not count; absent classes count as 0. A data set may have fewer classes than the model if
    those are the model's first; the others are then left out of the arg max.

    No published figure uses ``flip`` (the maximum with the mirror image's logits) or other ``scales`` (of ``size``,
    rounded to the nearest legal size; the logits, at the first one's size, gathered by the published code's running
    mean, in which a later scale weighs more).

    ``save`` is a folder that gets colour/STEM.png (RGB), iou.json, and for Cityscapes' classes also
    results/STEM_labelIds.png, which Cityscapes' evaluation reads, all at the labels' size. The model is returned to
    its device and mode. Raises UserError for a model of other classes, an illegal size or scale, an image too large
    to be padded, nothing to evaluate, an unusable device, or files that cannot be written.
    """
    config = model.config
    size = size or config.input_size
    _check_classes(config.labels, data)
    check_input_size(config, *size)
    input_sizes = [_scaled_size(config, size, scale) for scale in scales]
    images = len(data) if limit is None else min(limit, len(data))
    if images < 1 or not input_sizes:
        raise UserError(f"there is nothing to evaluate: {images} images of {data.name}, {len(input_sizes)} scales.")

    num_classes = len(data.labels.classes)
    confusion = np.zeros((num_classes, num_classes), np.int64)
    label_sizes: set[Size] = set()
    with inference_on(device, model) as torch_device:
        for index in tqdm(range(images), desc="evaluating", unit="image", leave=False, disable=None):
            image, truth = data[index]
            label_size = truth.shape[0], truth.shape[1]
            label_sizes.add(label_size)
            padded = data.labels == VOC
            if padded:
                image = _pad(image, size, config, data.stem(index))
            inputs = [_input(image, input_size, config, torch_device) for input_size in input_sizes]
            logits = _gather(model, inputs, flip)[:, :num_classes]
            # Of a padded image the labels are a corner, which is what the slice cuts out.
            logits = _resize(logits, size if padded else label_size)[..., : label_size[0], : label_size[1]]
            labels = logits.max(1).indices[0].byte().cpu().numpy()  # on a CPU, max is twice as fast as argmax
            confusion += confusion_matrix(labels, truth, num_classes)
            if save is not None:
                _save_labels(labels, save, data.stem(index), config.labels)

    protocol = _protocol(config, data, images, size, flip, scales, input_sizes, label_sizes)
    evaluation = Evaluation(config.name, data.name, protocol, data.labels.classes, iou_per_class(confusion), images)
    if save is not None:
        _save_iou(evaluation, save / "iou.json")
    return evaluation


def format_iou(classes: tuple[str, ...], iou: NDArray[np.float64]) -> str:
    """Lay the IoU of each class and their mean out for a terminal."""
    rows = [*zip(classes, iou, strict=True), ("mIoU", iou.mean())]
    return "\n".join(f"  {name:<16}{100 * value:6.2f} %" for name, value in rows)


def _check_classes(ours: LabelSet, data: DataSet) -> None:
    theirs = data.labels
    if ours.classes[: len(theirs.classes)] != theirs.classes:
        raise UserError(
            f"the model predicts the {len(ours.classes)} classes of {ours.name}, but {data.name} is labelled with the "
            f"{len(theirs.classes)} of {theirs.name}. Choose the data set that the model was trained for."
        )


def _scaled_size(config: HyperSegConfig, size: Size, scale: float) -> Size:
    """Return the legal size nearest to ``size`` x ``scale``."""
    if not 0 < scale < math.inf:
        raise UserError(f"{scale} is no scale: the scales are numbers above 0, such as 0.75 or 1.5.")
    height, width = round(size[0] * scale), round(size[1] * scale)
    candidates = nearest_legal_sizes(config, height, width)
    return min(candidates, key=lambda legal: abs(legal[0] - height) + abs(legal[1] - width))


def _pad(image_hwc: np.ndarray, size: Size, config: HyperSegConfig, stem: str) -> np.ndarray:
    """Pad an image right and below with black, uint8 [H, W, 3] to [*size, 3]."""
    height, width = image_hwc.shape[:2]
    if height > size[0] or width > size[1]:
        enough = nearest_legal_sizes(config, max(height, size[0]), max(width, size[1]))[-1]
        raise UserError(
            f"the image {stem} is {height}x{width} (height x width), larger than the {size[0]}x{size[1]} to which the "
            f"images of {VOC.name} are padded, not resized. Give a larger size, e.g. --size {enough[0]}x{enough[1]}."
        )
    return np.pad(image_hwc, ((0, size[0] - height), (0, size[1] - width), (0, 0)))


def _input(image_hwc: np.ndarray, size: Size, config: HyperSegConfig, device: torch.device) -> Tensor:
    """RGB image uint8 [H, W, 3] to the network's input, float32 [1, 3, *size]."""
    resized = Image.fromarray(image_hwc).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    image_nchw = torch.from_numpy(np.array(resized)).to(device).permute(2, 0, 1)[None].contiguous()
    return normalise(image_nchw, config)


def _gather(model: HyperSeg, inputs: Sequence[Tensor], flip: bool) -> Tensor:
    """Return the logits of one image given at several sizes, [1, K, H, W] of the first."""
    gathered = None
    for x_nchw in inputs:
        logits = model(x_nchw)
        if flip:
            logits = torch.maximum(logits, model(x_nchw.flip(-1)).flip(-1))
        gathered = logits if gathered is None else (_resize(logits, gathered.shape[-2:]) + gathered) / 2
    assert gathered is not None
    return gathered


def _resize(logits: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(logits, size=tuple(size), mode="bilinear", align_corners=False)


def _protocol(
    config: HyperSegConfig,
    data: DataSet,
    images: int,
    size: Size,
    flip: bool,
    scales: Sequence[float],
    input_sizes: Sequence[Size],
    label_sizes: set[Size],
) -> str:
    """Say in words what was evaluated and how."""
    count = f"{'the first ' if images < len(data) else ''}{images} of {len(data)} images"
    fitted = "padded with black" if data.labels == VOC else "resized"
    at_labels = f"the labels' {_text(*label_sizes)}" if len(label_sizes) == 1 else "each label image's own size"
    scaled = "single scale"
    if list(scales) != [1]:
        scaled = (
            f"scales {', '.join(f'{scale:g}' for scale in scales)} (inputs {_text(*input_sizes)}, running mean of "
            f"the logits at {_text(input_sizes[0])})"
        )
    num_classes, left_out = len(data.labels.classes), config.labels.classes[len(data.labels.classes) :]
    classes = f"{num_classes} classes, absent ones count as 0"
    if left_out:
        classes += f" (the model's {', '.join(left_out)} left out of the arg max)"
    return "; ".join(
        [
            f"{data.name}, {count}",
            f"images {fitted} to {_text(size)} (height x width)",
            f"{scaled}, {'maximum with the mirror image' if flip else 'no flip'}",
            f"logits {'cropped' if data.labels == VOC else 'resized'} to {at_labels} before the arg max",
            classes,
        ]
    )


def _text(*sizes: Size) -> str:
    return ", ".join(f"{height}x{width}" for height, width in sizes)


def _save_labels(labels: np.ndarray, folder: Path, stem: str, label_set: LabelSet) -> None:
    """Write one image's labels, class indices uint8 [H, W], as colours and, where it applies, as Cityscapes' ids."""
    with replace_file(folder / "colour" / f"{stem}.png") as aside:
        Image.fromarray(np.array(label_set.palette, np.uint8)[labels]).save(aside)
    if label_set.classes == CITYSCAPES.classes:
        # A folder of their own: Cityscapes' scripts take every file <city>_<sequence>_<frame>*.png for a result.
        with replace_file(folder / "results" / f"{stem}_labelIds.png") as aside:
            Image.fromarray(label_ids_from_train_ids(labels)).save(aside)


def _save_iou(evaluation: Evaluation, path: Path) -> None:
    content = {
        "format": "hyperseg-evaluation",
        "version": 1,
        "model": evaluation.model,
        "data": evaluation.data,
        "protocol": evaluation.protocol,
        "images": evaluation.images,
        "miou": evaluation.miou,
        "iou": dict(zip(evaluation.classes, evaluation.iou.tolist(), strict=True)),
    }
    with replace_file(path) as aside:
        aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
