"""Work on a stream, recorded once as a CUDA graph and then launched in one call. No other file calls cuda-python.

A network is some hundred kernels, and on a small CPU launching them one by one takes longer than running them.
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
            self._runtime = _cuda_runtime()
            self._graph = self._capture()
        except (ImportError, _CallFailed) as error:
            self.why_plain = str(error)

    def __call__(self) -> None:
        """Begin the work on the stream. Raises UserError if CUDA refuses the graph."""
        if self._graph is None:
            self._work()
            return
        try:
            _value(self._runtime, "cudaGraphLaunch", self._runtime.cudaGraphLaunch(self._graph, self._stream))
        except _CallFailed as error:
            raise UserError(f"CUDA cannot run the network any more: {error}. Start the program again.") from error

    def close(self) -> None:
        """Free the graph; the stream must be done with it."""
        if self._graph is not None:
            self._runtime.cudaGraphExecDestroy(self._graph)
            self._graph = None

    def _capture(self) -> Any:
        runtime, stream = self._runtime, self._stream
        # Only this thread has to keep from calls that cannot be captured, such as another network's allocations.
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        _value(runtime, "cudaStreamBeginCapture", runtime.cudaStreamBeginCapture(stream, mode))
        refused: str | None = None
        try:
            self._work()
        except Exception as error:  # whatever CUDA or TensorRT make of a call that cannot be captured
            refused = str(error) or type(error).__name__
        ended = runtime.cudaStreamEndCapture(stream)  # always, or the stream would stay in capture
        if refused is not None:
            runtime.cudaGetLastError()  # the failed capture must not be taken for a later call's failure
            raise _CallFailed(f"the network cannot be captured ({refused})")
        graph = _value(runtime, "cudaStreamEndCapture", ended)
        try:
            return _value(runtime, "cudaGraphInstantiate", runtime.cudaGraphInstantiate(graph, 0))
        finally:
            runtime.cudaGraphDestroy(graph)


class _CallFailed(RuntimeError):
    """A call of the CUDA runtime failed."""


def _cuda_runtime() -> ModuleType:
    try:
        from cuda.bindings import runtime
    except ImportError:
        try:
            from cuda import cudart as runtime  # where older versions of cuda-python have it
        except ImportError as error:
            raise ImportError(f"cuda-python is not installed or does not load ({error})") from error
    return runtime  # type: ignore[no-any-return]


def _value(runtime: ModuleType, call: str, result: tuple[Any, ...]) -> Any:
    """What a call returned beside its error code, if anything. Raises _CallFailed for an error."""
    error, *values = result
    if error != runtime.cudaError_t.cudaSuccess:
        runtime.cudaGetLastError()
        raise _CallFailed(f"{call} failed: {error.name}")
    return values[0] if values else None
