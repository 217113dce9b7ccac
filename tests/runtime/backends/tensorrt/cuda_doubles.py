"""PyCUDA and cuda-python for tests: a device that does nothing before somebody waits for it.

Work on a stream is queued and runs when the stream, or an event on it, is waited for; copies read and write memory only
then. New memory holds garbage. Every call needs a context that is current in its thread. Names that start with an
underscore are the double's own.
"""

from __future__ import annotations

import enum
import math
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

GARBAGE = 0xCD

UPLOAD_MS, NETWORK_MS, DOWNLOAD_MS = 1.0, 5.0, 2.0


@dataclass(eq=False)
class Op:
    """One piece of work on a stream."""

    name: str
    run: Callable[[], None]
    ms: float = 0.0


@dataclass
class World:
    """The device, and what has been done to it."""

    integrated: bool = False
    allocations_left: float = math.inf  # before memory runs out
    broken: bool = False  # a kernel has failed: from now on every wait fails
    capture_fails: str = ""  # the driver's function that does not work
    capture_raises: type[Exception] | None = None  # what it raises then, instead of returning an error
    refusal_stays: bool = False  # a refused capture fails the next wait as well
    memory: dict[int, np.ndarray] = field(default_factory=dict)  # by address, what is mapped included
    streams: Any = field(default_factory=weakref.WeakValueDictionary)  # by handle
    done: list[str] = field(default_factory=list)  # the work that has run, e.g. "upload"
    alive: Counter[str] = field(default_factory=Counter)  # how many of each thing exist
    complaints: list[str] = field(default_factory=list)  # what a destructor found wrong; it cannot raise
    clock_ms: float = 0.0
    next_address: int = 0x7F00_0000
    next_stream: int = 1000

    def take(self, nbytes: int) -> np.ndarray | None:
        """New memory, or None if there is not that much."""
        if self.allocations_left == 0:
            return None
        self.allocations_left -= 1
        return np.full(nbytes, GARBAGE, np.uint8)

    def place(self, memory: np.ndarray) -> int:
        """Give memory an address on the device."""
        address, self.next_address = self.next_address, self.next_address + max(len(memory), 1) + 4096
        self.memory[address] = memory
        return address


def make_pycuda(world: World) -> ModuleType:
    """The module ``pycuda.driver``."""
    driver: Any = ModuleType("pycuda.driver")
    local = threading.local()

    class Error(Exception):
        pass

    class MemoryError(Error):
        pass

    class LogicError(Error):
        pass

    class LaunchError(Error):
        pass

    class RuntimeError(Error):
        pass

    def _need_context():
        if not getattr(local, "stack", []):
            raise LogicError("no currently active context?")

    def _freed(kind):
        # In the thread that opened the context PyCUDA makes it current by itself; in others it leaks.
        if not getattr(local, "stack", []) and threading.get_ident() != driver._home:
            world.complaints.append(f"{kind} freed without a context")
        world.alive[kind] -= 1

    def _not_while_capturing(call):
        for stream in list(world.streams.values()):
            if stream._captured is not None and stream._capturing_thread == threading.get_ident():
                stream._invalid = True
                raise LogicError(f"{call} failed: operation not permitted when stream is capturing")

    def _wait(stream):
        _need_context()
        _not_while_capturing("cuStreamSynchronize")
        if world.broken:
            stream._queue.clear()
            raise LaunchError("cuStreamSynchronize failed: unspecified launch failure")
        if stream._refused and world.refusal_stays:
            stream._refused = False
            raise LogicError("cuStreamSynchronize failed: left over from the capture")
        while stream._queue:
            op = stream._queue.pop(0)
            op.run()
            world.clock_ms += op.ms
            world.done.append(op.name)

    class Context:
        def __init__(self, _device):
            driver._home = threading.get_ident()

        def push(self):
            local.stack = [*getattr(local, "stack", []), self]

        @staticmethod
        def pop():
            _need_context()
            local.stack.pop()

    class device_attribute(enum.Enum):  # noqa: N801
        INTEGRATED = 18
        CAN_MAP_HOST_MEMORY = 19

    class host_alloc_flags:  # noqa: N801
        DEVICEMAP = 2

    class Device:
        def __init__(self, _number):
            assert driver._started, "init() comes first"

        def name(self):
            return "Toy GPU"

        def get_attribute(self, attr):
            return 1 if attr is device_attribute.CAN_MAP_HOST_MEMORY else int(world.integrated)

        def retain_primary_context(self):
            return Context(self)

    class Stream:
        def __init__(self, flags=0):
            _need_context()
            assert flags == 1, "a blocking stream waits for the default stream"
            self.handle = world.next_stream
            world.next_stream += 1
            self._queue, self._captured, self._invalid, self._refused = [], None, False, False
            world.streams[self.handle] = self
            world.alive["stream"] += 1

        def synchronize(self):
            _wait(self)

        def _add(self, op):
            (self._queue if self._captured is None else self._captured).append(op)

        def __del__(self):
            _freed("stream")

    class Event:
        def __init__(self, flags=0):
            _need_context()
            self._stream, self._at_ms = None, None

        def record(self, stream=None):
            self._stream = stream

            def note():
                self._at_ms = world.clock_ms

            stream._add(Op("event", note))
            return self

        def synchronize(self):
            _wait(self._stream)
            return self

        def time_since(self, event):
            return self._at_ms - event._at_ms

    class DeviceAllocation:
        def __init__(self, _address):
            self._address = _address
            world.alive["device"] += 1

        def __int__(self):
            return self._address

        def free(self):
            _need_context()
            world.memory.pop(self._address)
            _freed("device")

    class HostAllocation:
        def __init__(self, _memory, _shape, _dtype):
            self._memory, self._address = _memory, None
            self.__array_interface__ = {
                "shape": _shape,
                "typestr": _dtype.str,
                "data": (_memory.ctypes.data, False),
                "version": 3,
            }
            world.alive["page-locked"] += 1

        def get_device_pointer(self):
            _need_context()
            if self._address is None:
                self._address = world.place(self._memory)
            return self._address

        def __del__(self):
            world.memory.pop(self._address, None)
            _freed("page-locked")

    def init(flags=0):
        driver._started = True

    def mem_alloc(_bytes):
        _need_context()
        _not_while_capturing("cuMemAlloc")
        memory = world.take(_bytes)
        if memory is None:
            raise MemoryError("cuMemAlloc failed: out of memory")
        return DeviceAllocation(world.place(memory))

    def pagelocked_empty(shape, dtype, order="C", mem_flags=0):
        _need_context()
        assert mem_flags == (host_alloc_flags.DEVICEMAP if world.integrated else 0)
        memory = world.take(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        if memory is None:
            raise MemoryError("cuMemHostAlloc failed: out of memory")
        return np.asarray(HostAllocation(memory, shape, np.dtype(dtype)))

    def _bytes_of(host):
        assert isinstance(host.base, HostAllocation), "an asynchronous copy wants page-locked memory"
        return host.base._memory

    def memcpy_htod_async(dest, src, stream=None):
        _need_context()
        memory = world.memory[dest]
        source = _bytes_of(src)
        stream._add(Op("upload", lambda: np.copyto(memory, source), UPLOAD_MS))

    def memcpy_dtoh_async(dest, src, stream=None):
        _need_context()
        memory = world.memory[src]
        target = _bytes_of(dest)
        stream._add(Op("download", lambda: np.copyto(target, memory), DOWNLOAD_MS))

    def memcpy_dtoh(dest, src):
        _need_context()
        np.copyto(dest.reshape(-1).view(np.uint8), world.memory[src])

    driver._started = False
    driver._contexts_of_this_thread = lambda: len(getattr(local, "stack", []))
    for public in (
        *(Error, MemoryError, LogicError, LaunchError, RuntimeError, Context, Device, Stream, Event, DeviceAllocation),
        *(HostAllocation, device_attribute, host_alloc_flags, init, mem_alloc, pagelocked_empty),
        *(memcpy_htod_async, memcpy_dtoh_async, memcpy_dtoh),
    ):
        setattr(driver, public.__name__, public)
    return driver


def make_cuda(world: World) -> ModuleType:
    """The module ``cuda.bindings.driver``, before cuda-python 12.6 ``cuda.cuda``."""
    driver: Any = ModuleType("cuda.bindings.driver")

    CUresult = enum.IntEnum(
        "CUresult", {"CUDA_SUCCESS": 0, "CUDA_ERROR_INVALID_VALUE": 1, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED": 901}
    )
    CUstreamCaptureMode = enum.IntEnum("CUstreamCaptureMode", {"CU_STREAM_CAPTURE_MODE_THREAD_LOCAL": 1})
    ok = CUresult.CUDA_SUCCESS

    def _fails(call):
        if world.capture_fails == call and world.capture_raises is not None:
            raise world.capture_raises(f"no such {call}")
        return world.capture_fails == call

    def cuStreamBeginCapture(hStream, mode):  # noqa: N802
        if _fails("cuStreamBeginCapture"):
            return (CUresult.CUDA_ERROR_INVALID_VALUE,)
        assert mode is CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        captured = world.streams[hStream]
        assert not captured._queue, "the run before the capture is still under way"
        captured._captured, captured._capturing_thread, captured._invalid = [], threading.get_ident(), False
        return (ok,)

    def cuStreamEndCapture(hStream):  # noqa: N802
        captured = world.streams[hStream]
        graph, captured._captured = captured._captured, None
        captured._refused = captured._invalid
        if captured._invalid or _fails("cuStreamEndCapture"):
            return (CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, None)
        world.alive["graph"] += 1
        return (ok, graph)

    def cuGraphInstantiate(hGraph, flags):  # noqa: N802
        if _fails("cuGraphInstantiate"):
            return (CUresult.CUDA_ERROR_INVALID_VALUE, None)
        world.alive["executable"] += 1
        return (ok, list(hGraph))

    def cuGraphDestroy(hGraph):  # noqa: N802
        world.alive["graph"] -= 1
        return (ok,)

    def cuGraphLaunch(hGraphExec, hStream):  # noqa: N802
        if _fails("cuGraphLaunch"):
            return (CUresult.CUDA_ERROR_INVALID_VALUE,)
        world.done.append("launch")
        for op in hGraphExec:
            world.streams[hStream]._add(op)
        return (ok,)

    def cuGraphExecDestroy(hGraphExec):  # noqa: N802
        if any(op in stream._queue for stream in list(world.streams.values()) for op in hGraphExec):
            world.complaints.append("a graph is destroyed while it runs")
        world.alive["executable"] -= 1
        return (ok,)

    for public in (
        *(CUresult, CUstreamCaptureMode, cuStreamBeginCapture, cuStreamEndCapture, cuGraphInstantiate),
        *(cuGraphDestroy, cuGraphLaunch, cuGraphExecDestroy),
    ):
        setattr(driver, public.__name__, public)
    return driver
