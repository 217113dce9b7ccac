"""Thresholds from a histogram: which magnitude becomes 127, the largest INT8 number; what is beyond it is clipped.

A high threshold clips little but makes every step, threshold / 127, coarse.
"""

from __future__ import annotations

import numpy as np

BINS = 2048
METHODS = ("minmax", "percentile", "entropy", "mse")
DEFAULT_METHOD = "mse"

_MAGNITUDES = 128  # of int8: 0 to 127
_PERCENTILE = 99.99


def find_thresholds(counts: np.ndarray, largest: float) -> dict[str, float]:
    """Return a threshold by each of METHODS for a tensor of which ``counts`` is the histogram of |x|.

    ``counts`` [BINS] are those of equal bins from 0 to ``largest``, which is above 0.
    """
    # Zeros are exact at any threshold; left in, those of a ReLU would outweigh all else that is small.
    without_zeros = counts.astype(np.float64)
    without_zeros[0] = min(counts[:2])
    bins = {"percentile": _percentile(counts), "entropy": _entropy(without_zeros), "mse": _mse(without_zeros)}
    return {"minmax": largest} | {method: number * largest / len(counts) for method, number in bins.items()}


def _percentile(counts: np.ndarray) -> int:
    """The smallest number of bins that hold 99.99 % of all values."""
    return 1 + int(np.searchsorted(np.cumsum(counts), counts.sum() * (_PERCENTILE / 100)))


def _entropy(counts: np.ndarray) -> int:
    """The number of bins at which quantising loses least information, after NVIDIA's talk S7310 (GTC 2017).

    Of the values P, clipped to so many bins, the quantised values Q only tell how many are of each level: the threshold
    is ``argmin KL(P || Q)``.
    """
    beyond = counts.sum() - np.cumsum(counts)
    candidates = range(_MAGNITUDES, len(counts) + 1, 4)
    divergences = [_divergence(counts[:bins], beyond[bins - 1]) for bins in candidates]
    return candidates[int(np.argmin(divergences))]


def _divergence(kept: np.ndarray, clipped: float) -> float:
    """KL(P || Q), where ``clipped`` values lie beyond the bins that are kept."""
    kept = kept.copy()
    kept[-1] = max(kept[-1], 1e-4)  # so that Q is not 0 where the clipped ones go
    p = kept.copy()
    p[-1] += clipped
    filled = np.flatnonzero(kept)
    level = filled * _MAGNITUDES // len(kept)
    q = (np.bincount(level, kept[filled]) / np.maximum(np.bincount(level), 1))[level]
    p = p[filled]
    return float(p @ np.log(p / q) / p.sum() + np.log(q.sum() / p.sum()))


def _mse(counts: np.ndarray) -> int:
    """The number of bins at which the mean squared error of quantising, clipping included, is least."""
    candidates = np.arange(16, len(counts) + 1, 16)
    steps = candidates[:, None] / (_MAGNITUDES - 1)
    errors = np.zeros(len(candidates))
    for place in (np.arange(8) + 0.5) / 8:  # in the bins, over which the values are taken to be spread evenly
        x = np.arange(len(counts)) + place
        quantised = np.minimum(np.rint(x / steps), _MAGNITUDES - 1) * steps
        errors += np.square(x - quantised) @ counts
    return int(candidates[np.argmin(errors)])
