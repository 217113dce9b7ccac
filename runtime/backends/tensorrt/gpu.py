"""Which GPU an engine is built for: the first that CUDA sees, asked of the driver itself.

``nvidia-smi`` counts GPUs in another order than CUDA and does not know ``CUDA_VISIBLE_DEVICES``.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from runtime.errors import UserError

# From cuda.h; the driver's binary interface is stable.
_COMPUTE_CAPABILITY_MAJOR = 75
_COMPUTE_CAPABILITY_MINOR = 76

_REMEDY = (
    "nvidia-smi (on a Jetson: jetson_release) shows whether the NVIDIA driver runs; in a container, give it the GPU "
    "(--gpus all or --runtime nvidia)."
)


@dataclass(frozen=True)
class Gpu:
    """A GPU by its marketing name and its compute capability, e.g. "8.7"."""

    name: str
    compute_capability: str


def current_gpu(driver: str = "libcuda.so.1") -> Gpu:
    """The GPU that TensorRT uses. Raises UserError without a driver or a GPU."""
    try:
        cuda = ctypes.CDLL(driver)
    except OSError as error:
        raise UserError(f"there is no NVIDIA driver: {error}. {_REMEDY}") from error
    device = ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    capability = (ctypes.c_int(), ctypes.c_int())
    _check(cuda, cuda.cuInit(0))
    _check(cuda, cuda.cuDeviceGet(ctypes.byref(device), 0))
    _check(cuda, cuda.cuDeviceGetName(name, len(name), device))
    for number, attribute in zip(capability, (_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR), strict=True):
        _check(cuda, cuda.cuDeviceGetAttribute(ctypes.byref(number), attribute, device))
    return Gpu(name.value.decode(errors="replace"), f"{capability[0].value}.{capability[1].value}")


def _check(cuda: ctypes.CDLL, error: int) -> None:
    if error != 0:
        text = ctypes.c_char_p()
        cuda.cuGetErrorString(error, ctypes.byref(text))
        reason = (text.value or b"no reason given").decode(errors="replace")
        raise UserError(f"the NVIDIA driver finds no usable GPU: {reason} (CUDA error {error}). {_REMEDY}")
