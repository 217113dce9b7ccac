import time

import numpy as np
import pytest

from runtime.video.cameras import opencv
from runtime.video.cameras.live import Lost
from runtime.video.cameras.opencv import OpenCvCapture
from tests.runtime.tiny_models import colour_frame


class FakeStream:
    """Answers each read as told: a frame for 1, none for 0."""

    def __init__(self, *answers: int, pause_s: float = 0.0) -> None:
        self.answers, self.pause_s = list(answers), pause_s

    def get(self, which: int) -> float:
        return 25.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        time.sleep(self.pause_s)
        return (True, colour_frame()[..., ::-1].copy()) if self.answers.pop(0) else (False, None)


def test_a_damaged_picture_is_skipped():
    capture = OpenCvCapture(FakeStream(1, 0, 0, 1))
    assert capture.fps == 25
    for _ in range(2):
        assert np.array_equal(capture.read(), colour_frame())


def test_nothing_but_failures_is_a_loss():
    stream = FakeStream(*[0] * 10)
    with pytest.raises(Lost, match="sends no frames"):
        OpenCvCapture(stream).read()
    assert stream.answers == []


def test_a_read_that_took_all_the_time_is_not_repeated(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(opencv, "SILENCE_S", 0.05)
    stream = FakeStream(0, 0, pause_s=0.06)
    with pytest.raises(Lost):
        OpenCvCapture(stream).read()
    assert stream.answers == [0]
