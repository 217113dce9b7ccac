"""Capture, the two ends of the network, and display, each in a thread of its own."""

from __future__ import annotations

import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from runtime.video.frames import EndedEarly, Frame, Result, Source
from runtime.video.sinks import Sink

Item = TypeVar("Item")

_QUEUED_FRAMES = 4  # enough to even out jitter; a 1080p frame takes 6 MB
_POLL_S = 0.02  # how often the main thread looks at Ctrl-C and at the window
_CAPTURE_JOIN_S = 1.0  # a camera that no longer answers must not keep the command from ending


class Closed(Exception):
    """The channel's sender is done and everything it sent has been received."""


class Channel(Generic[Item]):
    """A bounded queue from one thread to one other, ended by either side.

    A full channel makes the sender wait, so that nothing is lost; with ``newest_wins`` it holds one item, and a newer
    one takes its place, counted in ``dropped``.
    """

    def __init__(self, *, newest_wins: bool) -> None:
        self.dropped = 0
        self._newest_wins = newest_wins
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._closed = False  # by the sender: nothing more will come
        self._cancelled = False  # by the receiver: nothing more is wanted
        self._error: BaseException | None = None

    def send(self, item: Item) -> bool:
        """Hand an item over, waiting for room. Returns False once the receiver wants no more."""
        with self._changed:
            if not self._newest_wins:
                self._changed.wait_for(lambda: self._cancelled or len(self._items) < _QUEUED_FRAMES)
            if self._cancelled:
                return False
            if self._newest_wins:
                self.dropped += len(self._items)
                self._items.clear()
            self._items.append(item)
            self._changed.notify_all()
            return True

    def close(self, error: BaseException | None = None) -> None:
        """End the channel as its sender; the receiver first gets what is queued, then ``error`` or Closed."""
        with self._changed:
            self._closed, self._error = True, error
            self._changed.notify_all()

    def cancel(self) -> None:
        """End the channel from outside: the sender stops, and the receiver gets Closed at once."""
        with self._changed:
            self._cancelled = True
            self._items.clear()
            self._changed.notify_all()

    def receive(self, timeout_s: float | None = None) -> Item | None:
        """Take the next item, or None if none came in time.

        Raises Closed, or the sender's error, after the last item.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed or self._cancelled, timeout_s)
            if self._cancelled:
                raise Closed
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._closed:
                raise self._error or Closed
            return None


@dataclass(frozen=True)
class Summary:
    """How a run went."""

    latencies_ms: Sequence[float]
    elapsed_s: float
    dropped: int  # frames of a live source that came faster than they were segmented or shown
    failure: Exception | None  # that ended it; every frame before it is good and in the sink


class Labels(Protocol):
    """A frame under way; see ``runtime.segmenter.Pending``."""

    def labels(self) -> np.ndarray:
        """Wait for the frame's labels, uint8 [H, W]. May be called in another thread than ``start``."""


class Starts(Protocol):
    """What segments the frames; see ``runtime.segmenter.Segmenter``."""

    @property
    def in_flight(self) -> int:
        """How many frames may be under way at once."""

    def start(self, frame_rgb: np.ndarray) -> Labels:
        """Begin a frame, uint8 RGB [H, W, 3]."""


@dataclass(frozen=True)
class _Started:
    frame: Frame
    pending: Labels
    start_s: float


def run(
    source: Source,
    segmenter: Starts,
    sink: Sink,
    *,
    stop: threading.Event,
    on_result: Callable[[Result], object] = lambda result: None,
) -> Summary:
    """Carry the source's frames through the network into the entered sink.

    Four threads, so that a frame is captured, a second resized and uploaded, a third awaited from the device, and a
    fourth drawn at the same time: capture, start, finish, and the caller's, which feeds the sink because windows belong
    to the main thread. Each frame is handed on as soon as it is done. Files lose no frame and keep their order; of a
    live source the newest frame wins. Ends with the source, when ``stop`` is set, or when the user closes the sink; no
    frame is then still under way. An error of the source or the network, in whichever thread, and an EndedEarly of the
    sink are returned in the summary if there are frames to keep, so that the sink can complete them; every other error
    is raised.
    """
    frames: Channel[Frame] = Channel(newest_wins=source.live)
    started: Channel[_Started] = Channel(newest_wins=False)
    results: Channel[Result] = Channel(newest_wins=source.live)
    room = threading.Semaphore(segmenter.in_flight)
    capture = threading.Thread(target=_capture, args=(source, frames), name="capture", daemon=True)
    starter = threading.Thread(target=_start, args=(frames, segmenter, room, started), name="start", daemon=True)
    finisher = threading.Thread(target=_finish, args=(started, room, results), name="finish", daemon=True)
    latencies_ms = array("d")  # of an endless run, millions: eight bytes each
    failure: Exception | None = None
    start_s = time.monotonic()
    for thread in (capture, starter, finisher):
        thread.start()
    try:
        while not stop.is_set() and sink.wants_more():
            try:
                result = results.receive(timeout_s=_POLL_S)
            except Closed:
                break
            except Exception as error:
                failure = error
                break
            if result is not None:
                sink.write(result)
                latencies_ms.append(result.latency_ms)
                on_result(result)
    except EndedEarly as error:
        failure = error
    finally:
        elapsed_s = time.monotonic() - start_s
        source.stop.set()
        frames.cancel()
        results.cancel()
        for thread in (starter, finisher):
            thread.join()  # however long the device takes: its memory must not be freed under it
        capture.join(_CAPTURE_JOIN_S)
    if failure is not None and not latencies_ms:
        raise failure
    return Summary(latencies_ms, elapsed_s, frames.dropped + results.dropped, failure)


@contextmanager
def _closing_with_errors(channel: Channel[Item]) -> Iterator[None]:
    """Close the channel when the block ends, and send its error along: nobody reads a thread's traceback."""
    try:
        yield
    except Closed:
        channel.close()
    except BaseException as error:
        channel.close(error)
    else:
        channel.close()


def _capture(source: Source, frames: Channel[Frame]) -> None:
    with _closing_with_errors(frames), closing(source.frames):
        for frame in source.frames:
            if not frames.send(frame):
                break


def _start(frames: Channel[Frame], segmenter: Starts, room: threading.Semaphore, started: Channel[_Started]) -> None:
    with _closing_with_errors(started):
        while True:
            room.acquire()  # first, so that the frame taken next is the newest there is when it can begin
            if (frame := frames.receive()) is None:
                break
            start_s = time.perf_counter()
            if not started.send(_Started(frame, segmenter.start(frame.rgb), start_s)):
                break


def _finish(started: Channel[_Started], room: threading.Semaphore, results: Channel[Result]) -> None:
    finished_s: deque[float] = deque(maxlen=30)
    with _closing_with_errors(results):
        try:
            while (begun := started.receive()) is not None:
                labels = begun.pending.labels()
                room.release()
                finished_s.append(time.perf_counter())
                latency_ms = (finished_s[-1] - begun.start_s) * 1000
                # Once the results are no longer wanted, what is under way is still waited for.
                results.send(Result(begun.frame, labels, latency_ms, _rate(finished_s, begun.start_s)))
        finally:
            started.cancel()
            room.release()


def _rate(finished_s: deque[float], start_s: float) -> float:
    """Frames per second over the last frames; of a single one, what its own duration allows."""
    if len(finished_s) == 1:
        return 1 / max(finished_s[0] - start_s, 1e-9)
    return (len(finished_s) - 1) / (finished_s[-1] - finished_s[0])
