"""The power drawn while something runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from statistics import fmean

from runtime.device.answers import TIMEOUT_S
from runtime.device.nvidia_smi import smi_rows


class PowerMeter:
    """Samples the power drawn while a ``with`` block runs: of a Jetson's whole board, or of the GPU elsewhere.

    Afterwards ``mean_watts`` is the mean of ``samples`` readings, or None; ``source`` says what was measured and by
    which tool, or why there is nothing. The readings themselves are means over about a second, so that a block should
    take some seconds.

    >>> with PowerMeter() as meter:
    ...     benchmark()
    >>> meter.mean_watts, meter.source  # 14.2, "the board's VDD_IN, by jetson-stats"
    """

    def __init__(self, interval_s: float = 0.5) -> None:
        self.mean_watts: float | None = None
        self.samples = 0
        self.source = "not measured"
        self._interval_s = interval_s
        self._watts: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._measure, name="power meter", daemon=True)

    def __enter__(self) -> PowerMeter:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        # A tool that hangs does not hold up the caller; a daemon thread does not hold up the interpreter's end.
        self._thread.join(2 * TIMEOUT_S)
        watts = list(self._watts)
        self.samples = len(watts)
        if watts:
            self.mean_watts = fmean(watts)

    def _measure(self) -> None:
        reasons = []
        for readings in (_jtop_watts, _nvidia_smi_watts):
            try:
                for watts, source in readings(self._stop, self._interval_s):
                    self._watts.append(watts)
                    self.source = source
            except Exception as error:  # jetson-stats raises much, and its service may vanish: no reason to fail
                reasons.append(" ".join(str(error).split()) or type(error).__name__)
            if self._watts or self._stop.is_set():
                break
        if not self._watts:
            self.source = f"not measured: {'; '.join(reasons) or 'the time was too short'}"


def _jtop_watts(stop: threading.Event, interval_s: float) -> Iterator[tuple[float, str]]:
    """Readings of jetson-stats, as long as its service gives any."""
    try:
        from jtop import jtop  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise RuntimeError("jetson-stats is not installed") from None
    with jtop(interval=interval_s) as jetson:
        while jetson.ok():  # blocks until there is a new reading
            total = jetson.power.get("tot")
            if total is None:
                raise RuntimeError("jetson-stats finds no power sensors")
            # In milliwatts; without a name it is the sum of all rails.
            yield total["power"] / 1000, f"the board's {total.get('name') or 'rails'}, by jetson-stats"
            if stop.is_set():
                break


def _nvidia_smi_watts(stop: threading.Event, interval_s: float) -> Iterator[tuple[float, str]]:
    """Readings of nvidia-smi, the last one when the block has ended: it is a mean over the second before."""
    while True:
        stopped = stop.wait(interval_s)
        rows = smi_rows("power.draw")
        if rows is None:
            raise RuntimeError("nvidia-smi does not answer")
        if rows[0][0] is None:
            raise RuntimeError("nvidia-smi knows no power for this GPU")
        yield float(rows[0][0]), "the GPU, by nvidia-smi"
        if stopped:
            break
