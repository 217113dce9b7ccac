import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.video.cameras import live
from runtime.video.cameras.live import Camera, Lost, live_source
from runtime.video.frames import Frame, Source


class FakeCapture:
    """Frames of one value, then the cable is pulled."""

    fps = 20.0

    def __init__(self, value: int, frames: int) -> None:
        self.value, self.left = value, frames
        self.released = False

    def read(self) -> np.ndarray:
        assert not self.released
        self.left -= 1
        if self.left < 0:
            raise Lost("sends no frames")
        return np.full((4, 4, 3), self.value, np.uint8)

    def release(self) -> None:
        self.released = True


class Cable:
    """What the attempts to open the camera meet, one after the other: a number of frames, or None for a failure."""

    def __init__(self, *attempts: int | None) -> None:
        self.attempts: Iterator[int | None] = iter(attempts)
        self.captures: list[FakeCapture] = []

    def open(self) -> FakeCapture:
        assert all(capture.released for capture in self.captures)  # a camera that is still open cannot be opened
        frames = next(self.attempts)
        if frames is None:
            raise UserError("camera 0 does not open.")
        self.captures.append(FakeCapture(len(self.captures), frames))
        return self.captures[-1]

    def camera(self) -> Camera:
        return Camera("camera 0", "camera0", self.open, "Check its cable.")


def without_waiting(source: Source) -> list[float]:
    """Let no time pass while waiting for the camera; fills the returned list with how long it would have been."""
    waits: list[float] = []

    def wait(timeout_s: float) -> bool:
        waits.append(timeout_s)
        return False

    source.stop.wait = wait
    return waits


def take(count: int, frames: Iterator[Frame]) -> list[Frame]:
    return [next(frames) for _ in range(count)]


def test_a_camera_that_comes_back_goes_on(capsys: pytest.CaptureFixture[str]):
    cable = Cable(3, None, 0, 2, 10)
    source = live_source(cable.camera())
    waits = without_waiting(source)
    assert (source.title, source.fps, source.length, source.live) == ("camera 0", 20, None, True)
    frames = take(6, source.frames)
    assert [int(frame.rgb[0, 0, 0]) for frame in frames] == [0, 0, 0, 2, 2, 3]
    assert [frame.name for frame in frames] == [f"camera0_00000{number}" for number in range(6)]
    assert waits == [1, 2, 4, 1]  # the second loss begins anew
    assert capsys.readouterr().err.splitlines() == [
        "next attempt in 1 s: camera 0 sends no frames.",
        "next attempt in 2 s: camera 0 does not open.",
        "next attempt in 4 s: camera 0 sends no frames. Check its cable.",
        "camera 0 is back after 0 s.",
        "next attempt in 1 s: camera 0 sends no frames.",
        "camera 0 is back after 0 s.",
    ]
    source.frames.close()
    assert all(capture.released for capture in cable.captures)


def test_it_is_tried_for_ever_at_most_every_30_seconds():
    source = live_source(Cable(1, *[None] * 9, 1).camera())
    waits = without_waiting(source)
    take(2, source.frames)
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30, 30, 30]


def test_the_time_away_does_not_count(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live, "_FIRST_WAITS_S", (0.5,))
    before, after = take(2, live_source(Cable(1, 1).camera()).frames)
    assert 0 <= after.time_s - before.time_s < 0.4  # waiting alone took 0.5


def test_the_first_connection_must_succeed():
    with pytest.raises(UserError, match=r"^camera 0 does not open\.$"):
        live_source(Cable(None).camera())
    silent = Cable(0)
    with pytest.raises(UserError, match=r"^camera 0 sends no frames\. Check its cable\.$"):
        live_source(silent.camera())
    assert silent.captures[0].released


def test_stop_ends_the_wait_for_a_camera():
    source = live_source(Cable(1, *[None] * 9).camera())
    threading.Timer(0.1, source.stop.set).start()
    start_s = time.monotonic()
    assert len(list(source.frames)) == 1
    assert time.monotonic() - start_s < 0.9  # the first wait alone would take 1 s


def test_an_error_that_is_no_loss_is_not_hidden():
    class Broken(FakeCapture):
        def read(self) -> np.ndarray:
            raise MemoryError

    capture = Broken(0, 0)
    with pytest.raises(MemoryError):
        live_source(Camera("camera 0", "camera0", lambda: capture, ""))
    assert capture.released
