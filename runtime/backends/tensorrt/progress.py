"""How far a build is, and stopping it: TensorRT reports from its own threads, the main thread draws.

A build takes minutes in one call. That call runs in a thread of its own, so that the main thread stays free for Ctrl-C;
TensorRT asks after every step whether to go on.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

from tqdm import tqdm

Result = TypeVar("Result")

_DRAWING_INTERVAL_S = 0.2


class Progress:
    """The phases of a build and how far each is. A phase may run inside a step of another."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._phases: dict[str, _Phase] = {}  # in the order of starting
        self._stopped = False

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of so many steps begins, inside ``parent``."""
        with self._lock:
            self._phases[name] = _Phase(parent, steps)

    def step(self, name: str, step: int) -> bool:
        """Step ``step`` of a phase, counted from 0, is done. False tells TensorRT to stop the build."""
        with self._lock:
            if name in self._phases:
                self._phases[name].done = step + 1
            return not self._stopped

    def finish(self, name: str) -> None:
        """A phase is over."""
        with self._lock:
            self._phases.pop(name, None)

    def stop(self) -> None:
        """Let the build end at its next step."""
        self._stopped = True

    def fraction(self) -> tuple[float, str]:
        """How much of the outermost phase is done, 0 to 1, and the name of the innermost phase."""
        with self._lock:
            return self._fraction(None), next(reversed(self._phases), "")

    def _fraction(self, parent: str | None) -> float:
        for name, phase in self._phases.items():
            if phase.parent == parent:
                return min(1.0, (phase.done + self._fraction(name)) / max(1, phase.steps))
        return 0.0


class _Phase:
    def __init__(self, parent: str | None, steps: int) -> None:
        self.parent, self.steps, self.done = parent, steps, 0


def create_monitor(trt: ModuleType, progress: Progress) -> Any:
    """TensorRT's IProgressMonitor that feeds ``progress``. It must live as long as the builder's configuration."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)  # pybind11 wants the base class initialised by name

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            progress.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return progress.step(phase_name, step)

        def phase_finish(self, phase_name: str) -> None:
            progress.finish(phase_name)

    return Monitor()


def run_with_bar(work: Callable[[], Result], progress: Progress) -> Result:
    """Run a build that reports to ``progress``, behind a bar. Ctrl-C stops it at its next step and comes back here."""
    layout = "{desc:<40.40} {bar:20} {percentage:3.0f}% {elapsed}"
    with (
        ThreadPoolExecutor(max_workers=1) as pool,
        tqdm(total=1.0, bar_format=layout, leave=False, disable=None) as bar,
    ):
        try:
            running = pool.submit(work)
            while not wait([running], timeout=_DRAWING_INTERVAL_S).done:
                bar.n, phase = progress.fraction()
                bar.set_description_str(phase or "build")
        except KeyboardInterrupt:
            progress.stop()
            bar.set_description_str("stopping")
            raise  # the pool waits for the build to come back
    return running.result()


@contextmanager
def killed_by_ctrl_c() -> Iterator[None]:
    """Within it, Ctrl-C ends the process at once, for a long call that cannot be asked to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may change what a signal does
        return
    previous = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
