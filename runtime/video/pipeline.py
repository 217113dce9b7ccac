"""Capture, inference and display, each in a thread of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from runtime.video.frames import EndedEarly, Frame, Result
from runtime.video.sinks import Sink
from runtime.video.sources import Source

Item = TypeVar("Item")

_QUEUED_FRAMES = 4  # enough to even out jitter; a 1080p frame takes 6 MB
_POLL_S = 0.02  # how often the main thread looks at Ctrl-C and at the window
_JOIN_S = 5.0  # a camera that no longer answers must not keep the command from ending


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
            if self._newest_wins:
                self.dropped += len(self._items)
                self._items.clear()
            else:
                self._changed.wait_for(lambda: self._cancelled or len(self._items) < _QUEUED_FRAMES)
            self._items.append(item)
            self._changed.notify_all()
            return not self._cancelled

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

    latencies_ms: list[float]
    elapsed_s: float
    dropped: int  # frames of a live source that came faster than they were segmented or shown
    ended_early: EndedEarly | None


def run(
    source: Source,
    segment: Callable[[np.ndarray], np.ndarray],
    sink: Sink,
    *,
    stop: threading.Event,
    on_result: Callable[[Result], object] = lambda result: None,
) -> Summary:
    """Carry the source's frames through ``segment`` (frame_rgb -> labels) into the entered sink.

    Three threads: capture, inference, and the caller's, which feeds the sink because windows belong to the main
    thread. Files lose no frame and keep their order; of a live source the newest frame wins. Ends with the source,
    when ``stop`` is set, or when the user closes the sink. An EndedEarly is returned in the summary if there are
    frames to keep; every other error, in whichever thread, is raised here.
    """
    frames: Channel[Frame] = Channel(newest_wins=source.live)
    results: Channel[Result] = Channel(newest_wins=source.live)
    threads = [
        threading.Thread(target=_capture, args=(source, frames), name="capture", daemon=True),
        threading.Thread(target=_infer, args=(frames, segment, results), name="inference", daemon=True),
    ]
    latencies_ms: list[float] = []
    ended_early: EndedEarly | None = None
    start_s = time.monotonic()
    for thread in threads:
        thread.start()
    try:
        while not stop.is_set() and sink.wants_more():
            result = results.receive(timeout_s=_POLL_S)
            if result is not None:
                sink.write(result)
                latencies_ms.append(result.latency_ms)
                on_result(result)
    except Closed:
        pass
    except EndedEarly as error:
        if not latencies_ms:
            raise
        ended_early = error
    finally:
        frames.cancel()
        results.cancel()
        for thread in threads:
            thread.join(_JOIN_S)
    return Summary(latencies_ms, time.monotonic() - start_s, frames.dropped + results.dropped, ended_early)


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


def _infer(frames: Channel[Frame], segment: Callable[[np.ndarray], np.ndarray], results: Channel[Result]) -> None:
    finished_s: deque[float] = deque(maxlen=30)
    with _closing_with_errors(results):
        while (frame := frames.receive()) is not None:
            start_s = time.perf_counter()
            labels = segment(frame.rgb)
            finished_s.append(time.perf_counter())
            latency_ms = (finished_s[-1] - start_s) * 1000
            if not results.send(Result(frame, labels, latency_ms, _rate(finished_s, start_s))):
                break


def _rate(finished_s: deque[float], start_s: float) -> float:
    """Frames per second over the last frames; of a single one, what its own duration allows."""
    if len(finished_s) == 1:
        return 1 / max(finished_s[0] - start_s, 1e-9)
    return (len(finished_s) - 1) / (finished_s[-1] - finished_s[0])
