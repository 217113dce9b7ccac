"""Latency by the paper's protocol, and what a frame costs in energy where the board can tell."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from runtime.device.power import PowerMeter
from runtime.metrics import Latency, latency_of
from runtime.parity.names import NetworkName
from runtime.segmenter import Backend

SPEED_PROTOCOL = (
    "Batch 1, from a uint8 image in host memory to uint8 labels in host memory, both at the network's size: upload, "
    "normalisation, arg max and download included. The networks take turns of a few frames, so that a machine that "
    "slows down slows all of them; the first frames of each turn are not timed. FPS is at the median; jitter is the "
    "mean absolute difference between one frame's latency and the next one's."
)

ROUNDS = 10
FRAMES_A_TURN = 10
_UNTIMED_A_TURN = 2
_POWER_SECONDS = 4.0  # per network; boards report their power about once a second


@dataclass(frozen=True)
class Timing:
    """The latencies of all timed frames, in milliseconds, and what they come to."""

    latencies_ms: tuple[float, ...]
    percentiles: Latency
    jitter_ms: float

    @property
    def fps(self) -> float:
        """Frames per second at the median latency."""
        return self.percentiles.fps


@dataclass(frozen=True)
class Power:
    """One network running without a pause. ``watts`` is the mean draw of ``source``: the board, or its GPU."""

    watts: float
    fps: float
    source: str

    @property
    def fps_per_watt(self) -> float:
        """Frames per joule."""
        return self.fps / self.watts


@dataclass(frozen=True)
class Speed:
    """``network`` is the network alone, on data that lie on the device; None where there is no separate device."""

    end_to_end: Timing
    network: Timing | None
    power: Power | None


def timing_of(latencies_ms: np.ndarray) -> Timing:
    """Summarise latencies [turns, frames a turn] in milliseconds; jitter does not cross from one turn to the next."""
    return Timing(
        latencies_ms=tuple(latencies_ms.ravel().tolist()),
        percentiles=latency_of(latencies_ms.ravel().tolist()),
        jitter_ms=float(np.abs(np.diff(latencies_ms, axis=1)).mean()) if latencies_ms.shape[1] > 1 else 0.0,
    )


def measure_speed(
    networks: Mapping[NetworkName, Backend], images_rgb: Sequence[np.ndarray]
) -> tuple[dict[NetworkName, Speed], str]:
    """Time all networks in turn by SPEED_PROTOCOL on images uint8 [H, W, 3], at least one.

    Returns also where the watts come from, or why there are none.
    """
    images_nhwc = [np.ascontiguousarray(image_rgb[None]) for image_rgb in images_rgb]
    shape = (ROUNDS, FRAMES_A_TURN)
    end_to_end_ms = {name: np.zeros(shape) for name in networks}
    network_ms = {name: np.full(shape, np.nan) for name in networks}
    for turn in tqdm(range(ROUNDS), desc="speed", unit="round", leave=False, disable=None):
        for name, backend in networks.items():
            end_to_end_ms[name][turn] = [
                _end_to_end_ms(backend, images_nhwc[frame % len(images_nhwc)])
                for frame in range(-_UNTIMED_A_TURN, FRAMES_A_TURN)
            ][_UNTIMED_A_TURN:]
            network_ms[name][turn] = _network_ms(backend, images_nhwc)
    powers, power_source = _measure_power(networks, images_nhwc[0])
    speeds = {
        name: Speed(
            timing_of(end_to_end_ms[name]),
            None if np.isnan(network_ms[name]).any() else timing_of(network_ms[name]),
            powers.get(name),
        )
        for name in networks
    }
    return speeds, power_source


def _end_to_end_ms(backend: Backend, image_nhwc: np.ndarray) -> float:
    start_s = time.perf_counter()
    backend.labels(image_nhwc)
    return (time.perf_counter() - start_s) * 1000


def _network_ms(backend: Backend, images_nhwc: Sequence[np.ndarray]) -> list[float]:
    """One turn without input and output; NaN where the backend has no device of its own."""
    first_ms = backend.network_ms(images_nhwc[0])
    if first_ms is None:
        return [np.nan] * FRAMES_A_TURN
    latencies_ms = [backend.network_ms(images_nhwc[frame % len(images_nhwc)]) for frame in range(FRAMES_A_TURN)]
    return [np.nan if latency_ms is None else latency_ms for latency_ms in latencies_ms]


def _measure_power(
    networks: Mapping[NetworkName, Backend], image_nhwc: np.ndarray
) -> tuple[dict[NetworkName, Power], str]:
    """Run each network for some seconds. Stops at the first that gets no watts: no other would."""
    powers: dict[NetworkName, Power] = {}
    source = ""
    for name, backend in networks.items():
        with PowerMeter() as meter:
            start_s, frames = time.perf_counter(), 0
            while (elapsed_s := time.perf_counter() - start_s) < _POWER_SECONDS:
                backend.labels(image_nhwc)
                frames += 1
        source = meter.source
        if meter.mean_watts is None:
            break
        powers[name] = Power(meter.mean_watts, frames / elapsed_s, source)
    return powers, source
