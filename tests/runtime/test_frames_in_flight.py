"""Segmenter.start and Pending.labels: which slot a frame takes, and that the caller's arrays stay the caller's."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from runtime import Segmenter, segmenter
from runtime.backends.backend import Backend
from tests.runtime.tiny_models import COLOUR_INFO, colour_frame

UNWRITTEN = 255


class SlotOfADevice:
    """Behaves like a device: the labels appear in finish(), and the image's memory is worthless while it is read."""

    def __init__(self, number: int, record: list[str]) -> None:
        self.image_nhwc = np.full((1, COLOUR_INFO.height, COLOUR_INFO.width, 3), UNWRITTEN, np.uint8)
        self.fails = False
        self._number, self._record = number, record
        self._labels = np.full(self.image_nhwc.shape[:3], UNWRITTEN, np.uint8)

    def start(self) -> None:
        self._record.append(f"start {self._number}")
        self._labels[:] = UNWRITTEN
        self._on_the_device = self.image_nhwc.copy()
        self.image_nhwc[:] = UNWRITTEN

    def finish(self) -> np.ndarray:
        self._record.append(f"finish {self._number}")
        if self.fails:
            raise OSError("the device fell off the bus")
        self._labels[:] = self._on_the_device.argmax(-1)
        return self._labels


class Device(Backend):
    name, precision, info, has_logits = "device", "fp32", COLOUR_INFO, False

    def __init__(self) -> None:
        self.record: list[str] = []
        self.slots = (SlotOfADevice(0, self.record), SlotOfADevice(1, self.record))

    def close(self) -> None:
        self.record.append("close")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device()
    monkeypatch.setattr(segmenter, "open_backend", lambda *args, **kwargs: device)
    return device


def frame_of(label: int, height: int = 48, width: int = 64) -> np.ndarray:
    frame_rgb = np.zeros((height, width, 3), np.uint8)
    frame_rgb[..., label] = 200
    return frame_rgb


def test_two_frames_overlap(device: Device):
    two = Segmenter("unused")
    assert two.in_flight == 2
    first, second = two.start(frame_of(1)), two.start(frame_of(2))
    assert device.record == ["start 0", "start 1"]  # the second began before anybody waited for the first
    assert np.all(first.labels() == 1)
    third = two.start(frame_of(0))
    assert device.record[2:] == ["finish 0", "start 0"]
    assert np.all(second.labels() == 2)
    assert np.all(third.labels() == 0)


def test_no_more_frames_than_slots(device: Device):
    two = Segmenter("unused")
    first = two.start(frame_of(0))
    two.start(frame_of(1))
    with pytest.raises(RuntimeError, match="no more than 2 in flight"):
        two.start(frame_of(2))
    assert device.record == ["start 0", "start 1"]
    first.labels()
    assert np.all(two(frame_of(2)) == 2)


def test_the_frame_and_the_labels_belong_to_the_caller(device: Device):
    two = Segmenter("unused")
    frame_rgb = frame_of(2, COLOUR_INFO.height, COLOUR_INFO.width)  # the network's size, where copying could be saved
    pending = two.start(frame_rgb)
    frame_rgb[:] = 0
    kept = pending.labels()
    for label in (0, 1, 0, 1):
        two(frame_of(label))
    assert np.all(kept == 2)


def test_labels_can_be_taken_once(device: Device):
    pending = Segmenter("unused").start(frame_of(0))
    pending.labels()
    with pytest.raises(RuntimeError, match="taken already"):
        pending.labels()
    assert device.record == ["start 0", "finish 0"]


def test_a_failure_does_not_lose_the_slot(device: Device):
    two = Segmenter("unused")
    device.slots[0].fails = True
    with pytest.raises(OSError, match="fell off the bus"):
        two(frame_of(0))
    device.slots[0].fails = False
    with pytest.raises(ValueError, match="expected an RGB frame"):
        two.start(np.zeros((4, 4), np.uint8))
    both = [two.start(frame_of(1)), two.start(frame_of(2))]
    assert [pending.labels()[0, 0] for pending in both] == [1, 2]


def test_close_reaches_the_device_and_ends_the_segmenter(device: Device):
    with Segmenter("unused") as two:
        two(frame_of(0))
    assert device.record[-1] == "close"
    with pytest.raises(RuntimeError, match="closed"):
        two(frame_of(0))


def test_two_threads_keep_the_order(device: Device):
    two = Segmenter("unused")
    room = threading.Semaphore(two.in_flight)
    queue: list[segmenter.Pending] = []
    arrived = threading.Semaphore(0)

    def start_all() -> None:
        for number in range(300):
            room.acquire()
            queue.append(two.start(frame_of(number % 3)))
            arrived.release()

    starter = threading.Thread(target=start_all)
    starter.start()
    for number in range(300):
        assert arrived.acquire(timeout=10)
        assert np.all(queue[number].labels() == number % 3)
        room.release()
    starter.join()


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_a_cpu_has_one_frame_in_flight_and_no_network_time(colour_bundle: Path, backend: str):
    with segmenter.open_backend(colour_bundle, backend) as opened:
        assert opened.network_ms(colour_frame(32, 48)[None]) is None
    with Segmenter(colour_bundle, backend) as one:
        assert one.in_flight == 1
        pending = one.start(colour_frame())
        with pytest.raises(RuntimeError, match="no more than 1 in flight"):
            one.start(colour_frame())
        assert np.array_equal(pending.labels(), one(colour_frame()))
