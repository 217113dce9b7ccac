import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

from runtime.video.overlay import Overlay
from runtime.video.web.broadcast import MAX_VIEWERS, Broadcast, TooManyViewers, class_shares
from tests.runtime.tiny_models import COLOUR_INFO
from tests.runtime.video.web.viewer import overlay, result

NEVER_S = 20  # longer than anything here takes


class CountingOverlay(Overlay):
    """Counts how often it paints, and fails if told so."""

    def __init__(self) -> None:
        super().__init__(COLOUR_INFO.classes, COLOUR_INFO.palette)
        self.painted = 0
        self.fails = False

    def blend(self, frame_rgb: np.ndarray, labels: np.ndarray) -> np.ndarray:
        self.painted += 1
        if self.fails:
            raise MemoryError("no room")
        return super().blend(frame_rgb, labels)


@pytest.fixture
def counting() -> CountingOverlay:
    return CountingOverlay()


@pytest.fixture
def broadcast(counting: CountingOverlay) -> Iterator[Broadcast]:
    broadcast = Broadcast(counting)
    yield broadcast
    broadcast.close()


def shown(broadcast: Broadcast, name: str, after: int = 0) -> int:
    """Wait for the picture of a frame; its number."""
    picture = broadcast.next_picture(after, NEVER_S)
    while picture.result.frame.name != name:
        picture = broadcast.next_picture(picture.number, NEVER_S)
    return picture.number


def test_nothing_is_painted_while_nobody_watches(broadcast: Broadcast, counting: CountingOverlay):
    broadcast.write(result(0))
    time.sleep(0.2)  # enough for a painter that should not
    assert counting.painted == 0
    with broadcast.viewing():
        shown(broadcast, "frame 0")
    broadcast.write(result(1))
    with broadcast.viewing():
        assert broadcast.next_picture(0, NEVER_S).result.frame.name == "frame 1"  # not the old one from before


def test_a_picture_is_painted_once_for_all_viewers(broadcast: Broadcast, counting: CountingOverlay):
    seen: list[int] = []

    def watch() -> None:
        with broadcast.viewing():
            ready.wait()
            shown(broadcast, "frame 0")
            seen.append(shown(broadcast, "frame 1"))

    ready = threading.Barrier(9)
    viewers = [threading.Thread(target=watch) for _ in range(8)]
    with broadcast.viewing():
        for viewer in viewers:
            viewer.start()
        ready.wait()
        broadcast.write(result(0))
        shown(broadcast, "frame 0")
        broadcast.write(result(1))
        for viewer in viewers:
            viewer.join()
    assert len(seen) == 8
    assert len(set(seen)) == 1
    assert counting.painted <= 3  # frame 0 once more if a viewer came while it was painted


def test_pausing_keeps_the_frame_and_resuming_takes_the_newest(broadcast: Broadcast):
    with broadcast.viewing():
        broadcast.write(result(0))
        number = shown(broadcast, "frame 0")
        broadcast.set_paused(True)
        broadcast.write(result(1))
        broadcast.write(result(2))
        broadcast.set_opacity(0.25)
        number = shown(broadcast, "frame 0", after=number)
        assert broadcast.snapshot()[0] == "frame 0"
        broadcast.set_paused(False)
        while (picture := broadcast.next_picture(number, NEVER_S)).result.frame.name == "frame 0":
            number = picture.number
        assert picture.result.frame.name == "frame 2"


def test_pausing_before_the_first_frame_keeps_the_first(broadcast: Broadcast):
    broadcast.set_paused(True)
    assert broadcast.snapshot() is None
    assert broadcast.state()["size"] is None
    broadcast.write(result(0))
    broadcast.write(result(1))
    assert broadcast.snapshot()[0] == "frame 0"


def test_speed_goes_on_while_paused(broadcast: Broadcast):
    broadcast.write(result(0))
    broadcast.set_paused(True)
    broadcast.write(result(20))
    state = broadcast.state()
    assert max(value or 0 for value in state["history"]["worst_latency_ms"]) == 40
    assert state["paused"]


def test_large_frames_are_streamed_smaller_and_saved_whole(broadcast: Broadcast):
    with broadcast.viewing():
        broadcast.write(result(3, size=(1080, 1920)))
        jpeg = np.frombuffer(broadcast.next_picture(0, NEVER_S).jpeg, np.uint8)
    assert cv2.imdecode(jpeg, cv2.IMREAD_COLOR).shape == (720, 1280, 3)
    assert broadcast.snapshot()[1].shape == (1080, 1920, 3)
    assert broadcast.state()["size"] == [1920, 1080]


def test_what_fails_while_painting_reaches_the_pipeline(broadcast: Broadcast, counting: CountingOverlay):
    counting.fails = True

    def write_on() -> None:
        for index in range(100_000):
            broadcast.write(result(index))

    with broadcast.viewing(), pytest.raises(MemoryError, match="no room"):
        write_on()


def test_viewers_are_limited_and_make_room(broadcast: Broadcast):
    def fill(left: int) -> None:
        with broadcast.viewing():
            if left:
                fill(left - 1)

    fill(MAX_VIEWERS - 1)
    with pytest.raises(TooManyViewers):
        fill(MAX_VIEWERS)
    assert broadcast.state()["viewers"] == 0


def test_closing_lets_everyone_go():
    broadcast = Broadcast(overlay())
    waiting = [
        threading.Thread(target=broadcast.next_picture, args=(0, 600)),
        threading.Thread(target=broadcast.wait_for_change, args=(0, 600)),
    ]
    for thread in waiting:
        thread.start()
    broadcast.close()
    for thread in waiting:
        thread.join(NEVER_S)
        assert not thread.is_alive()


def test_class_shares_count_pixels():
    labels = np.random.default_rng(0).integers(0, 5, (37, 53), np.uint8)
    labels[0] = 255
    expected = np.bincount(labels.ravel(), minlength=256)[:4] / labels.size
    assert class_shares(labels, 4) == pytest.approx(expected, abs=1e-6)  # six decimals are kept
