"""Frames of the synthetic street drive."""

from __future__ import annotations

import time
from collections.abc import Generator

from runtime.errors import UserError
from runtime.street import render
from runtime.video.frames import Frame, Source

_FPS = 30.0  # what runtime.street's frames count


def open_synthetic(seed: str, size: tuple[int, int], in_real_time: bool) -> Source:
    """An endless drive of ``size`` (height, width); ``in_real_time`` it keeps its speed and skips what is too slow.

    Raises UserError for a seed or a size that cannot be rendered.
    """
    if not seed.isdecimal():
        raise UserError(
            f"{seed!r} is no seed. Write synthetic, or synthetic:SEED with a whole number, e.g. synthetic:7."
        )
    height, width = size
    try:
        first_rgb, _ = render(int(seed), 0, height=height, width=width)
    except ValueError as error:
        raise UserError(f"cannot render the street at {height}x{width}: {error}. Choose another --size.") from error

    def frames() -> Generator[Frame, None, None]:
        rgb, index = first_rgb, 0
        start_s = time.monotonic()
        while True:
            if in_real_time:
                time.sleep(max(0.0, start_s + index / _FPS - time.monotonic()))
            yield Frame(f"street{seed}_{index:06d}", rgb, index / _FPS)
            # In real time, a renderer that is too slow skips frames: the drive keeps its speed.
            due = int((time.monotonic() - start_s) * _FPS) if in_real_time else 0
            index = max(index + 1, due)
            rgb, _ = render(int(seed), index, height=height, width=width)

    return Source(f"synthetic street {seed}", frames(), _FPS, None, live=in_real_time)
