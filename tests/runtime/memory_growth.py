"""How much memory a process gains per frame; measured in a process of its own, where nothing else allocates."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np

from runtime import Segmenter

SMAPS = Path("/proc/self/smaps_rollup")


def anonymous_bytes() -> int:
    """Resident memory without the pages of files, such as code that runs for the first time.

    The kernel counts these pages when asked; the sums in /proc/self/statm leave out what each CPU has yet to add.
    """
    return int(re.search(r"^Anonymous: +(\d+) kB", SMAPS.read_text(), re.M)[1]) * 1024


def growth(model: Path, warm_up: int = 1_000, frames: int = 10_000) -> tuple[int, int]:
    """Segment frames after the warm-up and return how many bytes and blocks of Python's memory that has cost."""
    frames_rgb = np.random.default_rng(0).integers(0, 256, (7, 120, 160, 3), np.uint8)
    with Segmenter(model, threads=1) as segmenter:
        for number in range(warm_up + frames):
            if number == warm_up:  # by then the allocators hold all they will ever need
                bytes_before, blocks_before = anonymous_bytes(), sys.getallocatedblocks()
            segmenter.start(frames_rgb[number % 7]).labels()
        return anonymous_bytes() - bytes_before, sys.getallocatedblocks() - blocks_before
