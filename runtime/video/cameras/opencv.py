"""A camera that OpenCV reads."""

from __future__ import annotations

import time

import cv2
import numpy as np

from runtime.video.cameras.live import SILENCE_S, Lost
from runtime.video.files import plausible_fps

_ATTEMPTS = 10  # a damaged picture in a stream fails like a lost camera, and the next one is whole again


class OpenCvCapture:
    """Frames of an open ``cv2.VideoCapture``, which must give up after SILENCE_S without a frame."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self.fps = plausible_fps(capture)
        self._capture = capture

    def read(self) -> np.ndarray:
        """Wait for the next frame, uint8 RGB [H, W, 3]. Raises Lost."""
        give_up_s = time.monotonic() + SILENCE_S
        for _ in range(_ATTEMPTS):
            arrived, frame_bgr = self._capture.read()
            if arrived:
                return cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2RGB)
            if time.monotonic() >= give_up_s:
                break
        raise Lost("sends no frames")

    def release(self) -> None:
        """Close it."""
        self._capture.release()
