"""What travels from source to sink, and what a source is."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np

from runtime.errors import UserError


@dataclass(frozen=True)
class Frame:
    """One picture of a source. ``rgb`` is uint8 [H, W, 3]; ``name`` is a file stem for it."""

    name: str
    rgb: np.ndarray
    time_s: float  # since the source's first frame, without the time that a camera was away


@dataclass(frozen=True)
class Source:
    """Frames and how they arrive. Close ``frames`` in the thread that reads it; it may raise EndedEarly."""

    title: str
    frames: Generator[Frame, None, None]
    fps: float
    length: int | None  # None: until someone stops it
    live: bool = False  # frames come in real time, whoever is too slow misses some
    still: bool = False  # images, to be looked at rather than played
    stop: threading.Event = field(default_factory=threading.Event)  # set it, and a wait for a lost camera ends


@dataclass(frozen=True)
class Result:
    """A frame and its labels, uint8 [H, W]."""

    frame: Frame
    labels: np.ndarray
    latency_ms: float  # frame in to labels out
    fps: float  # frames segmented per second lately


class EndedEarly(UserError):
    """A stream ended before its time; every frame before that is good and is kept."""
