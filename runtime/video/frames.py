"""What travels from source to sink."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from runtime.errors import UserError


@dataclass(frozen=True)
class Frame:
    """One picture of a source. ``rgb`` is uint8 [H, W, 3]; ``name`` is a file stem for it."""

    name: str
    rgb: np.ndarray
    time_s: float  # since the source's first frame


@dataclass(frozen=True)
class Result:
    """A frame and its labels, uint8 [H, W]."""

    frame: Frame
    labels: np.ndarray
    latency_ms: float  # frame in to labels out
    fps: float  # frames segmented per second lately


class EndedEarly(UserError):
    """A stream ended before its time; every frame before that is good and is kept."""
