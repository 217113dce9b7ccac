"""What every viewer sees: painted and encoded once for all of them, and only while there is one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from runtime.video.frames import Result
from runtime.video.overlay import Overlay
from runtime.video.web.history import History

MAX_VIEWERS = 16

_MAX_PICTURE_PX = 1280  # the longer side of a streamed picture; a snapshot keeps the frame's size
_MAX_PICTURES_PER_S = 40  # above a camera's 30, so that its jitter costs no frame
_JPEG_QUALITY = 85


class TooManyViewers(Exception):
    """Another viewer would be one too many."""


@dataclass(frozen=True)
class Picture:
    """What the viewers see; ``number`` counts up."""

    number: int
    jpeg: bytes
    result: Result


class Broadcast:
    """Stands between the pipeline, which never waits, and the viewers, who get the newest picture when they can.

    Pausing freezes what is shown, for every viewer; the pipeline goes on. A change of opacity repaints the frozen
    frame.
    """

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay
        self._history = History()
        self._lock = threading.Lock()
        self._to_paint = threading.Condition(self._lock)
        self._painted = threading.Condition(self._lock)
        self._state_changed = threading.Condition(self._lock)
        self._newest: Result | None = None
        self._shown: Result | None = None  # the newest, or the one at which it was paused
        self._picture: Picture | None = None  # of the shown result, while there are viewers
        self._stale = False  # the picture is not what it should show
        self._pictures = 0
        self._viewers: list[str] = []
        self._changes = 0
        self._paused = False
        self._finished = False
        self._closed = threading.Event()
        self._error: Exception | None = None
        self._last_frame_s = time.monotonic()
        self._painter = threading.Thread(target=self._paint, name="painter", daemon=True)
        self._painter.start()

    def write(self, result: Result) -> None:
        """Take the pipeline's next result. Raises what went wrong while painting."""
        with self._lock:
            if self._error is not None:
                raise self._error
            self._last_frame_s = time.monotonic()
            self._history.add(self._last_frame_s, result.fps, result.latency_ms)
            self._newest = result
            if not self._paused or self._shown is None:
                resized = self._shown is None or self._shown.labels.shape != result.labels.shape
                self._shown = result
                self._repaint()
                if resized:  # at once, so that the page does not take its shape half a second after the picture
                    self._changed()

    def finish(self) -> None:
        """Tell the viewers that no frame will follow; they keep the last one."""
        with self._lock:
            self._finished = True
            self._changed()

    def close(self) -> None:
        """Let every waiting thread go."""
        with self._lock:
            self._finished = True
            self._closed.set()
            self._to_paint.notify_all()
            self._painted.notify_all()
            self._state_changed.notify_all()
        self._painter.join()

    @property
    def closed(self) -> bool:
        """True once nothing will follow, for anyone."""
        return self._closed.is_set()

    def set_opacity(self, opacity: float) -> None:
        """Paint with another opacity, 0 to 1, from now on."""
        with self._lock:
            self._overlay.opacity = opacity
            self._repaint()
            self._changed()

    def set_paused(self, paused: bool) -> None:
        """Freeze what is shown, or show the newest result again."""
        with self._lock:
            if paused and not self._paused and self._picture is not None:
                self._shown = self._picture.result  # what they see, though a newer one may be about to be painted
            elif not paused:
                self._shown = self._newest
            self._paused = paused
            self._repaint()
            self._changed()

    @contextmanager
    def viewing(self, viewer: str = "") -> Iterator[None]:
        """Count one viewer, by whatever name, for whom pictures are made. Raises TooManyViewers."""
        with self._lock:
            if len(self._viewers) == MAX_VIEWERS:
                raise TooManyViewers
            self._viewers.append(viewer)
            self._repaint()
        try:
            yield
        finally:
            with self._lock:
                self._viewers.remove(viewer)
                if not self._viewers:
                    self._picture = None  # it grows old unseen

    def next_picture(self, after: int, timeout_s: float) -> Picture | None:
        """Wait for a picture beyond number ``after``; then the newest, whichever it is, or None while there is none."""
        with self._lock:
            self._painted.wait_for(
                lambda: self.closed or (self._picture is not None and self._picture.number > after), timeout_s
            )
            return self._picture

    def snapshot(self) -> tuple[str, np.ndarray] | None:
        """The name of the shown frame and the frame, painted at full size, RGB; None before the first."""
        with self._lock:
            result = self._shown if self._paused or self._picture is None else self._picture.result
        if result is None:
            return None
        return result.frame.name, self._overlay.blend(result.frame.rgb, result.labels)

    def wait_for_change(self, after: int, timeout_s: float) -> int:
        """Wait for a change beyond number ``after``, of steering or size, or the end; how many there were."""
        with self._lock:
            self._state_changed.wait_for(lambda: self.closed or self._changes > after, timeout_s)
            return self._changes

    def state(self, viewer: str = "") -> dict[str, Any]:
        """What a page shows beside the picture, ready for JSON.

        ``shares`` are of the shown frame, one per class; ``watching`` tells whether this viewer gets the pictures.
        """
        with self._lock:
            now_s = time.monotonic()
            shown = self._shown
            state = {
                "paused": self._paused,
                "finished": self._finished,
                "opacity": self._overlay.opacity,
                "viewers": len(self._viewers),
                "watching": viewer in self._viewers,
                "silent_s": round(now_s - self._last_frame_s, 1),
                "history": self._history.series(now_s),
            }
        if shown is None:
            return state | {"size": None, "shares": [0.0] * len(self._overlay.rows)}
        height, width = shown.labels.shape
        return state | {"size": [width, height], "shares": class_shares(shown.labels, len(self._overlay.rows))}

    def _repaint(self) -> None:
        self._stale = True
        self._to_paint.notify_all()

    def _changed(self) -> None:
        self._changes += 1
        self._state_changed.notify_all()

    def _paint(self) -> None:
        try:
            while (result := self._next_to_paint()) is not None:
                due_s = time.monotonic() + 1 / _MAX_PICTURES_PER_S
                jpeg = _jpeg_of(self._overlay, result)
                with self._lock:
                    self._pictures += 1
                    if self._viewers:
                        self._picture = Picture(self._pictures, jpeg, result)
                    self._painted.notify_all()
                self._closed.wait(max(0.0, due_s - time.monotonic()))
        except Exception as error:  # nobody reads a thread's traceback: the pipeline gets it with its next result
            with self._lock:
                self._error = error

    def _next_to_paint(self) -> Result | None:
        with self._lock:
            self._to_paint.wait_for(
                lambda: self.closed or (self._stale and len(self._viewers) > 0 and self._shown is not None)
            )
            self._stale = False
            return None if self.closed else self._shown


def class_shares(labels: np.ndarray, num_classes: int) -> list[float]:
    """The share of each class in labels uint8 [H, W], 0 to 1."""
    pixels = cv2.calcHist([labels], [0], None, [256], [0, 256])[:num_classes, 0]  # ten times as fast as bincount
    return [round(float(count) / labels.size, 6) for count in pixels]


def _jpeg_of(overlay: Overlay, result: Result) -> bytes:
    rgb, labels = result.frame.rgb, result.labels
    height, width = labels.shape
    shrink = _MAX_PICTURE_PX / max(height, width)
    if shrink < 1:
        size = (round(width * shrink), round(height * shrink))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    picture_bgr = cv2.cvtColor(overlay.blend(rgb, labels), cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode(".jpg", picture_bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return jpeg.tobytes()
