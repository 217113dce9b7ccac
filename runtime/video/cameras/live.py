"""A camera that may go away and come back."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain, count, repeat
from typing import Protocol

import numpy as np
from tqdm import tqdm

from runtime.errors import UserError
from runtime.video.frames import Frame, Source

SILENCE_S = 5  # without a frame for so long, a camera counts as lost

_FIRST_WAITS_S = (1, 2, 4, 8, 16)  # before each attempt to get it back
_LONGEST_WAIT_S = 30


class Lost(Exception):
    """The camera sends no more frames; the message says what is known, and reads on from the camera's name."""


class Capture(Protocol):
    """An open camera."""

    fps: float

    def read(self) -> np.ndarray:
        """Wait for the next frame, uint8 RGB [H, W, 3]. Raises Lost, after SILENCE_S at the latest."""

    def release(self) -> None:
        """Close it, so that it can be opened again."""


@dataclass(frozen=True)
class Camera:
    """How to open a camera and what to call it."""

    title: str  # for messages: no password in it
    stem: str  # of its frames' names
    open: Callable[[], Capture]  # raises UserError
    advice: str  # for a camera that opens and sends nothing

    def connect(self) -> tuple[Capture, np.ndarray]:
        """Open it and wait for its first frame. Raises UserError."""
        capture = self.open()
        try:
            return capture, capture.read()
        except Lost as lost:
            capture.release()
            raise UserError(f"{self.title} {lost}. {self.advice}") from lost
        except BaseException:
            capture.release()
            raise


def live_source(camera: Camera) -> Source:
    """Connect to a camera for the first time; from then on it is reconnected whenever it is lost.

    Raises UserError if it does not answer now: that is more likely a mistake than a bad moment.
    """
    capture, first_rgb = _first_connection(camera)
    stop = threading.Event()
    return Source(camera.title, _frames(camera, capture, first_rgb, stop), capture.fps, None, live=True, stop=stop)


def _first_connection(camera: Camera) -> tuple[Capture, np.ndarray]:
    """Connect in a thread of its own: OpenCV, while it waits for an answer, lets no Ctrl-C through."""
    connection: Future[tuple[Capture, np.ndarray]] = Future()

    def connect() -> None:
        try:
            connection.set_result(camera.connect())
        except BaseException as error:
            connection.set_exception(error)

    threading.Thread(target=connect, name="connect", daemon=True).start()
    return connection.result()


def _frames(camera: Camera, capture: Capture, rgb: np.ndarray, stop: threading.Event) -> Generator[Frame, None, None]:
    start_s = time.monotonic()
    try:
        for number in count():
            seen_s = time.monotonic()
            yield Frame(f"{camera.stem}_{number:06d}", rgb, seen_s - start_s)
            try:
                rgb = capture.read()
            except Lost as lost:
                capture.release()
                found = _reconnect(camera, f"{camera.title} {lost}.", stop)
                if found is None:
                    return
                capture, rgb = found
                # A recording goes on where it stopped: nobody wants to store an hour of a standing picture.
                start_s += time.monotonic() - seen_s
    finally:
        capture.release()


def _reconnect(camera: Camera, reason: str, stop: threading.Event) -> tuple[Capture, np.ndarray] | None:
    """Try until the camera is back, or until ``stop`` is set: then None."""
    lost_s = time.monotonic()
    for wait_s in chain(_FIRST_WAITS_S, repeat(_LONGEST_WAIT_S)):
        _note(f"next attempt in {wait_s} s: {reason}")
        if stop.wait(wait_s):
            return None
        try:
            found = camera.connect()
        except UserError as error:
            reason = str(error)
        else:
            _note(f"{camera.title} is back after {time.monotonic() - lost_s:.0f} s.")
            return found
    return None


def _note(text: str) -> None:
    tqdm.write(text, file=sys.stderr)  # unlike print, this leaves a progress bar whole
