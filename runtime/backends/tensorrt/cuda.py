"""The GPU through PyCUDA: its context, memory, streams and clock. No other file calls PyCUDA.

CUDA calls work on the context that is current in the calling thread. Ours is the device's primary context, the one
that TensorRT and the CUDA runtime use. ``current()`` pushes it for the length of a block and pops it again, in
whichever thread; a thread that ended with a context still pushed would end the process.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

from runtime.errors import UserError

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING, which PyCUDA has no name for: no waiting for the default stream
_LOOK_AT_THE_DRIVER = (
    "nvidia-smi (on a Jetson: jetson_release) shows whether the NVIDIA driver runs; a container needs --gpus all or "
    "--runtime nvidia."
)


class Cuda:
    """One GPU. Everything but ``current`` is to be called inside a ``with cuda.current(...)`` block."""

    def __init__(self, driver: ModuleType) -> None:
        device = driver.Device(0)
        self._driver = driver
        # Kept until the process ends: PyCUDA leaves a primary context that it releases current in the thread.
        self._context = device.retain_primary_context()
        attribute = driver.device_attribute
        self.name: str = device.name()
        self.integrated = bool(
            device.get_attribute(attribute.INTEGRATED) and device.get_attribute(attribute.CAN_MAP_HOST_MEMORY)
        )

    @contextmanager
    def current(self, doing: str) -> Iterator[None]:
        """Make the context current in this thread. ``doing`` completes "CUDA failed while ..." in a UserError."""
        self._context.push()
        try:
            yield
        except self._driver.MemoryError as error:
            raise UserError(
                f"{self.name} ran out of memory while {doing} ({error}). Close other programs that use the GPU, or "
                "build the engine for a smaller batch."
            ) from error
        except self._driver.Error as error:
            raise UserError(
                f"CUDA failed on {self.name} while {doing}: {error}. Start the program again; if it fails again, "
                "build the engine and the plugin library again on this device."
            ) from error
        finally:
            self._context.pop()

    def page_locked(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array of zeros in memory that copies to and from the device do not have to wait for."""
        flags = self._driver.host_alloc_flags.DEVICEMAP if self.integrated else 0
        array: np.ndarray = self._driver.pagelocked_empty(shape, dtype, mem_flags=flags)
        array.fill(0)
        return array

    def mapped_address(self, page_locked: np.ndarray) -> int:
        """Where an integrated GPU finds an array of :meth:`page_locked`."""
        return int(page_locked.base.get_device_pointer())  # type: ignore[union-attr]

    def allocate(self, nbytes: int) -> Any:
        """Device memory: ``int()`` of it is its address, ``free()`` gives it back."""
        return self._driver.mem_alloc(nbytes)

    def stream(self) -> Any:
        """A stream; ``handle`` is the number that TensorRT and the CUDA runtime know it by."""
        return self._driver.Stream(_NON_BLOCKING)

    def upload(self, address: int, host: np.ndarray, stream: Any) -> None:
        """Begin a copy to the device; ``host`` is page-locked and must live and stay unchanged until it is done."""
        self._driver.memcpy_htod_async(address, host, stream)

    def download(self, host: np.ndarray, address: int, stream: Any) -> None:
        """Begin a copy from the device; ``host`` is page-locked and holds the data once the stream is done."""
        self._driver.memcpy_dtoh_async(host, address, stream)

    def fetch(self, host: np.ndarray, address: int) -> None:
        """Copy from the device into any array; what computes the data must be done."""
        self._driver.memcpy_dtoh(host, address)

    def elapsed_ms(self, work: Callable[[], None], stream: Any) -> float:
        """Do work on a stream, wait for it, and return how long the device took, by the device's clock."""
        start, end = self._driver.Event(), self._driver.Event()
        start.record(stream)
        work()
        end.record(stream)
        end.synchronize()
        return float(end.time_since(start))


@functools.cache
def open_cuda() -> Cuda:
    """The process's GPU, number 0 (CUDA_VISIBLE_DEVICES chooses). Raises UserError where none can be used."""
    try:
        import pycuda.driver as driver
    except ModuleNotFoundError:
        raise UserError(
            "TensorRT engines run through PyCUDA, which is not installed: pip install pycuda, with the CUDA toolkit's "
            "nvcc on the PATH (on a Jetson scripts/jetson_setup.sh does it)."
        ) from None
    except ImportError as error:  # libcuda.so.1 is part of the driver
        raise UserError(
            f"PyCUDA does not load: {error}. The NVIDIA driver is missing, or PyCUDA was built for another CUDA: "
            f"pip install --force-reinstall --no-cache-dir pycuda. {_LOOK_AT_THE_DRIVER}"
        ) from error
    try:
        driver.init()
        return Cuda(driver)
    except driver.Error as error:
        raise UserError(f"CUDA found no GPU it can use: {error}. {_LOOK_AT_THE_DRIVER}") from error
