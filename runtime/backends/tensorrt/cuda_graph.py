"""Work on a stream, recorded once as a CUDA graph and then launched in one call. No other file calls cuda-python.

A network is some hundred kernels, and on a small CPU launching them one by one takes longer than running them.

It is the driver's API that is called, because cuda-python's ``runtime`` brings a CUDA runtime of its own, and on a
Jetson that one refuses a driver older than itself.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from runtime.errors import UserError


class Replay:
    """Repeats work on a stream: as one graph, or call by call where ``why_plain`` says why no graph could be made."""

    def __init__(self, work: Callable[[], None], stream: int) -> None:
        """``work`` must have run once before, and always use the same memory; its context must be current."""
        self.why_plain: str | None = None
        self._work = work
        self._stream = stream
        self._graph: Any = None
        try:
            self._driver = _cuda_driver()
            self._graph = self._capture()
        except (ImportError, RuntimeError, TypeError) as error:  # RuntimeError: also a function the driver lacks
            self.why_plain = str(error)

    def __call__(self) -> None:
        """Begin the work on the stream. Raises UserError if CUDA refuses the graph."""
        if self._graph is None:
            self._work()
            return
        try:
            _value(self._driver, "cuGraphLaunch", self._driver.cuGraphLaunch(self._graph, self._stream))
        except RuntimeError as error:
            raise UserError(f"CUDA cannot run the network any more: {error}. Start the program again.") from error

    def close(self) -> None:
        """Free the graph; the stream must be done with it."""
        if self._graph is not None:
            self._driver.cuGraphExecDestroy(self._graph)
            self._graph = None

    def _capture(self) -> Any:
        driver, stream = self._driver, self._stream
        # Only this thread has to keep from calls that cannot be captured, such as another network's allocations.
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        _value(driver, "cuStreamBeginCapture", driver.cuStreamBeginCapture(stream, mode))
        refused: str | None = None
        try:
            self._work()
        except Exception as error:  # whatever CUDA or TensorRT make of a call that cannot be captured
            refused = str(error) or type(error).__name__
        ended = driver.cuStreamEndCapture(stream)  # always, or the stream would stay in capture
        if refused is not None:
            raise RuntimeError(f"the network cannot be captured ({refused})")
        graph = _value(driver, "cuStreamEndCapture", ended)
        try:
            return _value(driver, "cuGraphInstantiate", driver.cuGraphInstantiate(graph, 0))
        finally:
            driver.cuGraphDestroy(graph)


def _cuda_driver() -> ModuleType:
    try:
        from cuda.bindings import driver
    except ImportError:
        try:
            from cuda import cuda as driver  # where older versions of cuda-python have it
        except ImportError as error:
            raise ImportError(f"cuda-python is not installed or does not load ({error})") from error
    return driver  # type: ignore[no-any-return]


def _value(driver: ModuleType, call: str, result: tuple[Any, ...]) -> Any:
    """What a call returned beside its error code, if anything. Raises RuntimeError for an error."""
    error, *values = result
    if error != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"{call} failed: {error.name}")
    return values[0] if values else None
