"""Writing and reading small videos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

SIZE = (96, 128)


def numbered_frame(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """An RGB frame whose brightness tells its number, 0 to 19, even after compression."""
    return np.full((*size, 3), 10 * (index % 20) + 30, np.uint8)


def number_of(frame: np.ndarray) -> int:
    """The inverse of :func:`numbered_frame`."""
    return round((float(frame.mean()) - 30) / 10)


def write_video(path: Path, frames: int, *, fps: float = 25, size: tuple[int, int] = SIZE, noise: bool = False) -> Path:
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (size[1], size[0]))
    for index in range(frames):
        writer.write(rng.integers(0, 256, (*size, 3), np.uint8) if noise else numbered_frame(index, size))
    writer.release()
    return path


def read_video(path: Path) -> list[np.ndarray]:
    """Every frame, uint8 BGR, by decoding them all."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    capture.release()
    return frames
