"""CUDA source to PTX by NVRTC, the compiler that is a library: neither nvcc nor a GPU is needed.

PTX says which version of its language it is written in, and a driver refuses one newer than itself. NVRTC writes its
own newest, whatever a kernel uses; ours use nothing that is newer than the GPUs themselves, so the version is lowered
to the oldest that knows the GPU.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from runtime.errors import UserError

_SOURCES = Path(__file__).resolve().parents[4] / "trt_plugins" / "aot"

# The oldest PTX that knows a compute capability (NVIDIA's manual of PTX, release history). At least 6.5, for the
# tensor cores' product of 16 x 8 x 8.
_LEAST_PTX = {
    75: "6.5", 80: "7.0", 86: "7.1", 87: "7.4", 88: "9.0", 89: "7.8", 90: "7.8",
    100: "8.6", 103: "8.8", 110: "9.0", 120: "8.7", 121: "8.8",
}  # fmt: skip

# NVRTC has no headers of its own; of these the kernels need no more.
_HEADERS = {
    "cstdint": """
        using int8_t = signed char; using int16_t = short; using int32_t = int; using int64_t = long long;
        using uint8_t = unsigned char; using uint16_t = unsigned short; using uint32_t = unsigned int;
        using uint64_t = unsigned long long; using uintptr_t = unsigned long;
    """,
    "cmath": "#define INFINITY __int_as_float(0x7f800000)",
    "cuda_runtime.h": "#pragma once\n#include <cuda_runtime_api.h>",
    "cuda_runtime_api.h": "#pragma once\nusing cudaStream_t = struct CUstream_st*;",
}

# What a kernel needs of NVRTC and of CUDA's headers.
_TRIAL = b"""#include <cuda_fp16.h>
extern "C" __global__ void trial(__half* x) { *x = __hadd(*x, *x); }
"""

_INSTALL = (
    "pip install nvidia-cuda-nvrtc nvidia-cuda-runtime (for CUDA 12, not tried: nvidia-cuda-nvrtc-cu12 "
    "nvidia-cuda-runtime-cu12). On a Jetson they come with JetPack (nvidia-jetpack)."
)


def find_sources() -> Path:
    """The folder of the kernels' entries. Raises UserError where runtime/ was copied without the project."""
    if not _SOURCES.is_dir():
        raise UserError(
            f"{_SOURCES} does not exist: the kernels' sources, which --plugin aot compiles, are no part of runtime/. "
            "Build the engine in a checkout of the project; it runs wherever runtime/ does."
        )
    return _SOURCES


@functools.cache
def find_cuda_headers() -> Path:
    """The folder of cuda_fp16.h. Raises UserError where it is not installed."""
    folder = _import("cuda.pathfinder", "cuda-pathfinder").find_nvidia_header_directory("cudart")
    if folder is None or not (Path(folder) / "cuda_fp16.h").is_file():
        raise UserError(f"CUDA's header cuda_fp16.h is not installed, which --plugin aot needs: {_INSTALL}")
    return Path(folder)


def check_compiler(compute_capability: int) -> None:
    """Raise UserError where :func:`compile_kernel` would, and where NVRTC does not get along with CUDA's headers."""
    find_sources()
    try:
        _ptx(_TRIAL, "trial.cu", [], compute_capability)
    except RuntimeError as error:
        raise UserError(
            f"NVRTC and CUDA's headers, which --plugin aot needs, do not compile three lines: {error}\n"
            f"Both must be of one release of CUDA: {_INSTALL}"
        ) from error


def compile_kernel(source: str, defines: Mapping[str, str], compute_capability: int) -> str:
    """Compile ``trt_plugins/aot/SOURCE.cu`` to PTX for a compute capability, such as 87. The kernel is named SOURCE.

    Raises UserError where NVRTC, CUDA's headers or the sources are missing, or NVRTC is too old for the GPU, and
    RuntimeError with the compiler's words where the source does not compile.
    """
    return _compile(source, tuple(sorted(defines.items())), compute_capability)


@functools.cache  # TensorRT asks for a node's kernel once a profile
def _compile(source: str, defines: tuple[tuple[str, str], ...], compute_capability: int) -> str:
    path = find_sources() / f"{source}.cu"
    options = [f"-I{path.parent}", *(f"-D{name}={value}" for name, value in defines)]
    return _ptx(path.read_bytes(), str(path), options, compute_capability)


def _ptx(text: bytes, name: str, options: list[str], compute_capability: int) -> str:
    """Compile a text that is to be known as ``name``."""
    nvrtc = _import("cuda.bindings.nvrtc", "cuda-python")
    target = _target(nvrtc, compute_capability)
    options = [
        "-std=c++17",
        "-default-device",  # functions of the host stand in the same headers
        f"--gpu-architecture=compute_{target}",
        f"-I{find_cuda_headers()}",
        *options,
    ]
    program = _call(
        nvrtc.nvrtcCreateProgram,
        text,
        Path(name).name.encode(),
        len(_HEADERS),
        [header.encode() for header in _HEADERS.values()],
        [header.encode() for header in _HEADERS],
    )
    try:
        error = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])[0]
        if int(error):
            log = _text(nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog, program)
            raise RuntimeError(f"{name} does not compile for compute capability {target}:\n{log}")
        ptx = _text(nvrtc.nvrtcGetPTXSize, nvrtc.nvrtcGetPTX, program)
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return re.sub(r"^\.version \d+\.\d+$", f".version {_LEAST_PTX[target]}", ptx, count=1, flags=re.MULTILINE)


def _target(nvrtc: ModuleType, compute_capability: int) -> int:
    """The newest capability that NVRTC compiles for and the GPU runs: later GPUs translate the PTX of earlier ones."""
    known = _call(nvrtc.nvrtcGetSupportedArchs)
    targets = [target for target in known if target <= compute_capability and target in _LEAST_PTX]
    if not targets:
        raise UserError(
            f"NVRTC compiles for the compute capabilities {', '.join(map(str, known))}, this GPU has "
            f"{compute_capability}. Use the plugin library: scripts/build_plugin.sh"
        )
    return int(max(targets))


def _import(module: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"--plugin aot needs {package}, which does not load: {error}. pip install {package}") from error


def _call(function: Any, *arguments: Any) -> Any:
    """Call NVRTC; returns its one result. Its bindings raise RuntimeError where the library itself is missing."""
    try:
        error, *results = function(*arguments)
    except RuntimeError as missing:
        raise UserError(f"NVRTC, CUDA's compiler library, does not load: {missing}. {_INSTALL}") from missing
    if int(error):
        raise RuntimeError(f"{function.__name__}: {error}")
    return results[0]


def _text(size: Any, fill: Any, program: Any) -> str:
    """A text of NVRTC's without the NUL at its end, at which a driver would stumble."""
    text: bytes = b" " * _call(size, program)
    fill(program, text)
    return text.rstrip(b"\0").decode(errors="replace")
