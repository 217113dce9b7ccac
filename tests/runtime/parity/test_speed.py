from itertools import groupby

import numpy as np
import pytest

from runtime.parity import speed
from runtime.parity.names import NetworkName
from runtime.parity.speed import FRAMES_A_TURN, ROUNDS, measure_speed, timing_of
from tests.runtime.parity.fakes import FakeBackend, channels

A, B = NetworkName("torch", "fp32"), NetworkName("tensorrt", "fp16")
IMAGE = np.zeros((4, 6, 3), np.uint8)


class Meter:
    """A power meter that knows its watts at once."""

    mean_watts: float | None = None
    source = "not measured: nothing draws power here"

    def __enter__(self):
        return self

    def __exit__(self, *exception: object) -> None:
        pass


@pytest.fixture(autouse=True)
def meter(monkeypatch: pytest.MonkeyPatch) -> type[Meter]:
    class Fresh(Meter):
        pass

    monkeypatch.setattr(speed, "PowerMeter", Fresh)
    monkeypatch.setattr(speed, "_POWER_SECONDS", 0.02)
    return Fresh


def test_percentiles_and_jitter():
    # Two turns of 50: 1, 2, ... 50 and 51, ... 100. Each frame is 1 ms later than the one before, within its turn.
    timing = timing_of(np.arange(1, 101, dtype=float).reshape(2, 50))
    assert timing.percentiles.p50_ms == pytest.approx(50.5)
    assert timing.percentiles.p99_ms == pytest.approx(99.01)
    assert timing.jitter_ms == 1
    assert timing.fps == pytest.approx(1000 / 50.5)
    # The step from 3 to 100 lies between two turns, in which other networks ran.
    assert timing_of(np.array([[1.0, 3.0], [100.0, 96.0]])).jitter_ms == 3


def test_networks_take_turns_and_only_the_later_frames_count():
    log: list[str] = []
    networks = {A: FakeBackend(channels, name="a", log=log), B: FakeBackend(channels, name="b", device_ms=2, log=log)}
    speeds, _ = measure_speed(networks, [IMAGE])
    assert all(len(found.end_to_end.latencies_ms) == ROUNDS * FRAMES_A_TURN for found in speeds.values())
    turns = [name for name, _ in groupby(log)]
    assert turns[: 4 * ROUNDS] == ["a", "a alone", "b", "b alone"] * ROUNDS
    assert log.count("a alone") == ROUNDS  # once a turn is told that there is no device


def test_untimed_frames_are_slow_without_being_counted(monkeypatch: pytest.MonkeyPatch):
    calls = iter(range(10_000))
    times = [1000.0, 1000.0, *range(FRAMES_A_TURN)] * ROUNDS
    monkeypatch.setattr(speed, "_end_to_end_ms", lambda backend, image: times[next(calls)])
    speeds, _ = measure_speed({A: FakeBackend(channels)}, [IMAGE])
    assert speeds[A].end_to_end.latencies_ms == tuple(range(FRAMES_A_TURN)) * ROUNDS


def test_the_network_alone_where_there_is_a_device():
    speeds, _ = measure_speed({A: FakeBackend(channels), B: FakeBackend(channels, device_ms=2.5)}, [IMAGE])
    assert speeds[A].network is None
    assert speeds[B].network is not None
    assert speeds[B].network.percentiles.p50_ms == 2.5


def test_watts_of_each_network(meter: type[Meter]):
    meter.mean_watts, meter.source = 5.0, "the board"
    speeds, source = measure_speed({A: FakeBackend(channels), B: FakeBackend(channels)}, [IMAGE])
    assert source == "the board"
    for found in speeds.values():
        assert found.power is not None
        assert found.power.watts == 5
        assert found.power.fps_per_watt == pytest.approx(found.power.fps / 5)


def test_without_a_meter_the_reason_is_told(meter: type[Meter]):
    log: list[str] = []
    speeds, source = measure_speed({A: FakeBackend(channels), B: FakeBackend(channels, name="b", log=log)}, [IMAGE])
    assert source == meter.source
    assert speeds[A].power is speeds[B].power is None
    assert log.count("b") == ROUNDS * (2 + FRAMES_A_TURN)  # no second attempt
