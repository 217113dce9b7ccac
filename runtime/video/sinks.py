"""Where results go: a window, a web page, a video file, a folder of PNGs, or nowhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from runtime.errors import UserError, writing
from runtime.files import replace_file
from runtime.video.frames import EndedEarly, Result, Source
from runtime.video.overlay import Overlay
from runtime.video.web.server import web_sink

VIDEO_SUFFIXES = frozenset({".avi", ".mkv", ".mp4"})

_RESERVE_MIB = 16  # free space that a video leaves, so that its index can still be written
_ESCAPE = 27

Paint = Callable[[Result], np.ndarray]


class Sink(Protocol):
    """Takes results one by one, until it wants no more."""

    def wants_more(self) -> bool:
        """False once the user has closed it. Called often, which lets a window answer the user."""

    def write(self, result: Result) -> None:
        """Take the next result. Raises UserError where it cannot be written."""


def open_sink(
    text: str, source: Source, overlay: Overlay, title: str, stop: threading.Event
) -> AbstractContextManager[Sink]:
    """The sink that ``text`` names: ``window``, ``http://HOST:PORT``, a video by its suffix, a folder, or ``none``.

    Entering it makes sure that it can be written; leaving it completes the output, and leaving it with an error
    discards what is half written. ``overlay`` draws what is seen of a result; ``title`` names the model on a web page;
    ``stop`` ends a window's or a page's wait for its user. Raises UserError, also on entering and leaving.
    """
    path = Path(text)
    suffix = path.suffix.lower()

    def paint(result: Result) -> np.ndarray:
        caption = "" if source.still else f"{result.fps:.1f} FPS   {result.latency_ms:.1f} ms"
        return overlay.paint(result.frame.rgb, result.labels, caption)

    if text == "none":
        return no_sink()
    if text == "window":
        return window_sink(source, paint, stop)
    if is_web(text):
        return web_sink(text, overlay, title, stop, source)
    if suffix in VIDEO_SUFFIXES and not path.is_dir():
        return video_sink(path, source.fps, paint)
    if not suffix or path.is_dir():
        return folder_sink(path, paint)
    known = " ".join(sorted(VIDEO_SUFFIXES))
    raise UserError(
        f"cannot write {text}: {suffix} is not a kind of video. "
        f"Give a {known} file, a folder, window, http://HOST:PORT or none."
    )


def is_web(text: str) -> bool:
    """Whether ``text`` names a web page, rightly or not."""
    return text.lower().startswith(("http://", "https://"))


@contextmanager
def no_sink() -> Iterator[Sink]:
    """Drop the results: for measuring."""
    yield _NoSink()


class _NoSink:
    def wants_more(self) -> bool:
        return True

    def write(self, result: Result) -> None:
        pass


@contextmanager
def folder_sink(folder: Path, paint: Paint) -> Iterator[Sink]:
    """Write NAME_overlay.png and NAME_labels.png (class indices) for every frame; each file appears complete."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    yield _FolderSink(folder, paint)


class _FolderSink:
    def __init__(self, folder: Path, paint: Paint) -> None:
        self._folder = folder
        self._paint = paint

    def wants_more(self) -> bool:
        return True

    def write(self, result: Result) -> None:
        overlay_bgr = cv2.cvtColor(self._paint(result), cv2.COLOR_RGB2BGR)
        write_png(self._folder / f"{result.frame.name}_overlay.png", overlay_bgr)
        write_png(self._folder / f"{result.frame.name}_labels.png", result.labels)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a PNG, grey [H, W] or BGR [H, W, 3], complete or not at all. Raises UserError."""
    _, png = cv2.imencode(".png", image)
    with replace_file(path) as aside:
        aside.write_bytes(png.tobytes())  # unlike cv2.imwrite, this says why it fails


@contextmanager
def video_sink(path: Path, fps: float, paint: Paint) -> Iterator[Sink]:
    """Write a video that takes the place of ``path`` once it is complete."""
    with replace_file(path) as aside:
        aside.touch()
        sink = _VideoSink(path, aside, fps, paint)
        try:
            yield sink
        finally:
            sink.release()
        sink.check()


class _VideoSink:
    def __init__(self, path: Path, aside: Path, fps: float, paint: Paint) -> None:
        self._path = path
        self._aside = aside
        self._fps = fps
        self._paint = paint
        self._writer = cv2.VideoWriter()
        self._first_s = 0.0
        self._last_bgr: np.ndarray | None = None
        self._written = 0

    def wants_more(self) -> bool:
        return True

    def write(self, result: Result) -> None:
        frame_bgr = cv2.cvtColor(self._paint(result), cv2.COLOR_RGB2BGR)
        self._check_space()
        if self._last_bgr is None:
            self._open(frame_bgr, result.frame.time_s)
            self._last_bgr = frame_bgr
        if frame_bgr.shape != self._last_bgr.shape:
            (height, width), (first_height, first_width) = frame_bgr.shape[:2], self._last_bgr.shape[:2]
            raise EndedEarly(
                f"{result.frame.name} is {width}x{height}, but the video began with {first_width}x{first_height}, and "
                f"a video has one size, so it ends after {self._written} frames. Start again, or give a folder as the "
                f"sink."
            )
        # What a live source dropped is filled with the frame before, so that the video plays at the scene's speed.
        due = round((result.frame.time_s - self._first_s) * self._fps)
        while self._written < due:
            self._append(self._last_bgr)
        self._append(frame_bgr)
        self._last_bgr = frame_bgr

    def release(self) -> None:
        """Write the file's index and close it."""
        self._writer.release()

    def check(self) -> None:
        """Raise UserError unless the closed file holds every frame: OpenCV's writer reports no error."""
        if self._written == 0:
            raise UserError(f"no frame arrived, so {self._path} was not written.")
        capture = cv2.VideoCapture(str(self._aside))
        stored = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        if stored != self._written:
            raise UserError(
                f"{self._path} was not written: only {max(0, stored)} of {self._written} frames reached the disk. "
                f"It is probably full; free some space."
            )

    def _open(self, frame_bgr: np.ndarray, time_s: float) -> None:
        height, width = frame_bgr.shape[:2]
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        if not self._writer.open(str(self._aside), codec, self._fps, (width, height)):
            raise UserError(
                f"OpenCV {cv2.__version__} cannot write {width}x{height} video to {self._path}: it lacks the codec, or "
                f"the size is beyond it. Give a folder as the sink."
            )
        self._first_s = time_s

    def _append(self, frame_bgr: np.ndarray) -> None:
        self._writer.write(frame_bgr)
        self._written += 1

    def _check_space(self) -> None:
        free_mib = shutil.disk_usage(self._path.parent).free // 2**20
        if free_mib < _RESERVE_MIB:
            raise EndedEarly(
                f"the disk of {self._path} is full ({free_mib} MiB free, of which a video needs {_RESERVE_MIB} to end "
                f"well), so the video ends after {self._written} frames. Free some space."
            )


@contextmanager
def window_sink(source: Source, paint: Paint, stop: threading.Event) -> Iterator[Sink]:
    """Show the results at the source's speed; the last of some images stays until a key, or ``stop``, ends it."""
    _require_display()
    sink = _WindowSink(f"HyperSeg: {source.title}", None if source.live else source.fps, paint)
    try:
        yield sink
        while source.still and not stop.is_set() and sink.wants_more():
            pass
    finally:
        cv2.destroyAllWindows()


def _require_display() -> None:
    """Try a window in a process of its own: without a display, Qt ends the process that asks for one."""
    probe = "import cv2; cv2.namedWindow('probe'); cv2.waitKey(1)"
    if subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False).returncode != 0:
        raise UserError(
            "cannot open a window: there is no display (an SSH session or a container without one), or this OpenCV "
            "was built without windows (opencv-python-headless). Write a video instead: --sink out.mp4"
        )


class _WindowSink:
    def __init__(self, title: str, fps: float | None, paint: Paint) -> None:
        self._title = title
        self._interval_s = 1 / fps if fps else 0.0
        self._paint = paint
        self._due_s = 0.0  # when the next frame may be shown
        self._shown = False
        self._closed = False

    def wants_more(self) -> bool:
        if self._shown and not self._closed:
            key = cv2.waitKey(10) & 0xFF
            hidden = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
            self._closed = key in (ord("q"), _ESCAPE) or hidden
        return not self._closed

    def write(self, result: Result) -> None:
        frame_bgr = cv2.cvtColor(self._paint(result), cv2.COLOR_RGB2BGR)
        while time.monotonic() < self._due_s and self.wants_more():
            pass
        if not self._shown:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)
            height, width = frame_bgr.shape[:2]
            shrink = min(1.0, 1600 / width, 900 / height)
            cv2.resizeWindow(self._title, round(width * shrink), round(height * shrink))
            self._shown = True
        cv2.imshow(self._title, frame_bgr)
        now_s = time.monotonic()
        on_time = now_s - self._due_s < self._interval_s  # if not, what was missed is not caught up with
        self._due_s = (self._due_s if on_time else now_s) + self._interval_s
