"""Training losses on logits [N, K, H, W] and class indices [N, H, W], where 255 marks pixels that do not count."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE_INDEX = 255


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over the pixels that count."""
    return F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX)


def bootstrapped_cross_entropy(
    logits: Tensor, labels: Tensor, *, hardest: int = 4096, threshold: float = 0.3
) -> Tensor:
    """Mean over the hard pixels of each image, then over the batch.

    Hard are the pixels whose loss exceeds ``threshold`` if more than ``hardest`` do, else the ``hardest`` worst ones.
    Pixels that do not count have loss 0. Raises ValueError unless an image has more than ``hardest`` pixels.
    """
    losses = F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="none").flatten(1)
    if losses.shape[1] <= hardest:
        raise ValueError(f"{losses.shape[1]} pixels an image; bootstrapping needs more than {hardest}")
    worst = losses.topk(hardest + 1, dim=1).values
    above = losses > threshold
    mean_above = (losses * above).sum(1) / above.sum(1).clamp(min=1)
    return torch.where(worst[:, hardest] > threshold, mean_above, worst[:, :hardest].mean(1)).mean()
