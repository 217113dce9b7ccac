"""How predictions and latencies are scored; the same functions serve training, parity and the demo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def confusion_matrix(labels: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    """Count pixels by (true class, predicted class).

    ``labels`` and ``truth`` are integer arrays of one shape. Pixels whose truth lies outside [0, num_classes), such as
    the "ignore" label 255, are skipped; so are predictions outside it. Returns int64 [num_classes, num_classes], rows
    truth, columns prediction; the matrices of several images add up.
    """
    if labels.shape != truth.shape:
        raise ValueError(f"labels {labels.shape} and truth {truth.shape} differ in shape")
    labels, truth = labels.ravel().astype(np.int64), truth.ravel().astype(np.int64)
    counted = (truth >= 0) & (truth < num_classes) & (labels >= 0) & (labels < num_classes)
    cells = truth[counted] * num_classes + labels[counted]
    counts: np.ndarray = np.bincount(cells, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def iou_per_class(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union of each class, float64 [num_classes]; a class that never occurs scores 0.

    ``diag / (row + column - diag + 1e-6)``, over one confusion matrix of the whole set.
    """
    intersection = np.diag(confusion).astype(np.float64)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - intersection
    iou: np.ndarray = intersection / (union + 1e-6)
    return iou


def mean_iou(confusion: np.ndarray) -> float:
    """The plain mean of :func:`iou_per_class` over all classes, those that never occur included."""
    return float(iou_per_class(confusion).mean())


@dataclass(frozen=True)
class Latency:
    """Median and tail of a series of latencies, in milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float

    @property
    def fps(self) -> float:
        """Frames per second at the median latency."""
        return 1000.0 / self.p50_ms


def latency_of(latencies_ms: Sequence[float]) -> Latency:
    """Summarise at least one latency in milliseconds."""
    p50, p95, p99 = np.percentile(np.asarray(latencies_ms), (50, 95, 99))
    return Latency(p50_ms=float(p50), p95_ms=float(p95), p99_ms=float(p99))
