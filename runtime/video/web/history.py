"""Speed over the last minute, in steps that a page can draw."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

SECONDS = 60
STEP_S = 0.5


@dataclass
class _Step:
    index: int  # time divided by STEP_S
    frames: int = 0
    fps_sum: float = 0.0
    latency_sum_ms: float = 0.0
    worst_latency_ms: float = 0.0


class History:
    """Frames per second and latency, a mean and a worst case for every half second that had frames."""

    def __init__(self) -> None:
        self._steps: deque[_Step] = deque(maxlen=round(SECONDS / STEP_S))

    def add(self, now_s: float, fps: float, latency_ms: float) -> None:
        """Count a frame that arrived at ``now_s``, which never goes back."""
        index = int(now_s / STEP_S)
        if not self._steps or self._steps[-1].index != index:
            self._steps.append(_Step(index))
        step = self._steps[-1]
        step.frames += 1
        step.fps_sum += fps
        step.latency_sum_ms += latency_ms
        step.worst_latency_ms = max(step.worst_latency_ms, latency_ms)

    def series(self, now_s: float) -> dict[str, list[float | None]]:
        """The curves ``fps``, ``latency_ms`` and ``worst_latency_ms``, oldest step first, None where no frame came."""
        last = int(now_s / STEP_S)
        steps = {step.index: step for step in self._steps}
        row = [steps.get(index) for index in range(last - round(SECONDS / STEP_S) + 1, last + 1)]
        return {
            "fps": [None if step is None else round(step.fps_sum / step.frames, 1) for step in row],
            "latency_ms": [None if step is None else round(step.latency_sum_ms / step.frames, 2) for step in row],
            "worst_latency_ms": [None if step is None else round(step.worst_latency_ms, 2) for step in row],
        }
