"""Per-class IoU and mIoU of a checkpoint."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tqdm import tqdm

from runtime import street
from runtime.data.label_sets import CITYSCAPES
from runtime.errors import UserError
from runtime.metrics import confusion_matrix, iou_per_class
from training.model import HyperSeg, normalise
from training.street_data import tensors_from_scene
from training.variants import check_input_size


def evaluate_on_street(
    model: HyperSeg, *, scenes: int = 50, size: tuple[int, int] | None = None
) -> NDArray[np.float64]:
    """Return the IoU of each class over held-out scenes of ``size`` (height, width; the variant's own by default).

    Protocol: one scale, no flip; the logits are resized bilinearly to the labels' size before the arg max; one
    confusion matrix over the whole set; pixels labelled outside the classes do not count; absent classes count as 0.
    Raises UserError for a model of other classes or an illegal size.
    """
    config = model.config
    if config.labels.classes != CITYSCAPES.classes:
        raise UserError(f"{config.name} predicts the classes of {config.labels.name}, but `street` has Cityscapes'.")
    height, width = size or config.input_size
    check_input_size(config, height, width)
    confusion = np.zeros((config.num_classes, config.num_classes), np.int64)
    for seed in tqdm(street.HELD_OUT_SEEDS[:scenes], desc="evaluating", unit="scene", leave=False, disable=None):
        image, truth = tensors_from_scene(*street.render(seed, height=height, width=width))
        with torch.inference_mode():
            logits = model(normalise(image[None], config))
            logits = F.interpolate(logits, size=truth.shape, mode="bilinear", align_corners=False)
        confusion += confusion_matrix(logits.argmax(1)[0].numpy(), truth.numpy(), config.num_classes)
    return iou_per_class(confusion)


def format_iou(classes: tuple[str, ...], iou: NDArray[np.float64]) -> str:
    """Lay the IoU of each class and their mean out for a terminal."""
    rows = [*zip(classes, iou, strict=True), ("mIoU", iou.mean())]
    return "\n".join(f"  {name:<16}{100 * value:6.2f} %" for name, value in rows)
