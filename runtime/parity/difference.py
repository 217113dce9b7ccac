"""How far one tensor lies from another, gathered over many scenes without keeping them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

MIN_EXPONENT, MAX_EXPONENT = -40, 8
"""The histogram's bins: |difference| in [2^(e-1), 2^e), the first and the last bin holding what lies beyond."""

_CHUNK = 1 << 20  # elements that are looked at in double precision at a time: 8 MiB


@dataclass(frozen=True)
class Difference:
    """All four are 0 for equal tensors, and not finite where a value of the compared tensor is not."""

    max_absolute: float
    mean_absolute: float
    relative: float  # the difference's Euclidean norm over the expected tensor's
    cosine: float  # 1 - cosine of the angle between the two

    @property
    def finite(self) -> bool:
        """Whether every compared value was a number."""
        return math.isfinite(self.relative)


class DifferenceSum:
    """Adds up differences. ``exponents`` counts elements by the power of two of their absolute difference."""

    def __init__(self) -> None:
        self.exponents = np.zeros(MAX_EXPONENT - MIN_EXPONENT + 1, np.int64)
        self._count = 0
        self._largest = self._total = self._squares = 0.0
        self._actual_squares = self._expected_squares = 0.0

    def add(self, actual: np.ndarray, expected: np.ndarray) -> None:
        """Add one pair of tensors. Raises ValueError if their shapes differ."""
        if actual.shape != expected.shape:
            raise ValueError(f"the tensors {actual.shape} and {expected.shape} differ in shape")
        flat_actual, flat_expected = actual.ravel(), expected.ravel()
        with np.errstate(invalid="ignore", over="ignore"):  # what is not finite shows in the result
            for start in range(0, flat_actual.size, _CHUNK):
                part = slice(start, start + _CHUNK)
                self._add_chunk(flat_actual[part].astype(np.float64), flat_expected[part].astype(np.float64))

    def _add_chunk(self, actual: np.ndarray, expected: np.ndarray) -> None:
        difference = np.abs(actual - expected)
        self._count += difference.size
        # numpy's maximum keeps a NaN, Python's may lose it.
        self._largest = float(np.maximum(self._largest, difference.max()))
        self._total += float(difference.sum())
        self._squares += float(difference @ difference)
        self._actual_squares += float(actual @ actual)
        self._expected_squares += float(expected @ expected)
        finite = difference[np.isfinite(difference)]
        _, exponents = np.frexp(finite)
        exponents[finite == 0] = MIN_EXPONENT
        bins = np.clip(exponents, MIN_EXPONENT, MAX_EXPONENT) - MIN_EXPONENT
        self.exponents += np.bincount(bins, minlength=len(self.exponents))

    def result(self) -> Difference:
        """Return the difference of all that was added, at least one element."""
        norm, actual_norm, expected_norm = map(math.sqrt, (self._squares, self._actual_squares, self._expected_squares))
        # 1 - cos by the law of cosines: from the dot product it would be lost in rounding.
        angle = self._squares - (actual_norm - expected_norm) ** 2
        return Difference(
            max_absolute=self._largest,
            mean_absolute=self._total / self._count,
            relative=_ratio(norm, expected_norm),
            cosine=max(0.0, _ratio(angle, 2 * actual_norm * expected_norm)) if math.isfinite(angle) else math.nan,
        )


def difference_of(actual: np.ndarray, expected: np.ndarray) -> Difference:
    """Compare two tensors of one shape."""
    total = DifferenceSum()
    total.add(actual, expected)
    return total.result()


def _ratio(difference: float, scale: float) -> float:
    """Nothing over nothing is no difference; something over nothing has no measure."""
    if scale == 0:
        return 0.0 if difference == 0 else math.inf
    return difference / scale
