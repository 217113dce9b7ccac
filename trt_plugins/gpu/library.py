"""The kernels' own sources, compiled by nvcc and bound as PyTorch functions on CUDA tensors."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from ctypes import c_bool, c_int32, c_void_p
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

HERE = Path(__file__).parent
# What defines each operator's launcher.
SOURCES = {
    "dpwconv": HERE.parent / "kernels/dpwconv/dpwconv.cu",
    "dpw_inverted_residual": HERE.parent / "kernels/dpw_inverted_residual/dpw_inverted_residual.cu",
    "label_head": HERE.parent / "kernels/label_head/label_head.cu",
}

# In the order of the enums in kernels/types.h.
TYPES = (torch.float32, torch.float16)
PAD_MODES = ("reflect", "constant")
ACTIVATIONS = ("none", "relu", "relu6")


class BuildError(RuntimeError):
    """nvcc is missing or refused the sources; the message ends with what it said."""


def find_nvcc() -> str | None:
    """Return the compiler that CUDACXX names, or the one on the PATH or in /usr/local/cuda; None if there is none."""
    return shutil.which(os.environ.get("CUDACXX", "nvcc")) or shutil.which("/usr/local/cuda/bin/nvcc")


def build_library(folder: Path, arch: str, sources: Mapping[str, Path] = SOURCES) -> Path:
    """Compile the kernels into ``folder`` for ``arch``, such as "90", and return the library. Raises BuildError."""
    library = folder / "libhyperseg_kernels.so"
    _nvcc(library, arch, "-shared", "-Xcompiler=-fPIC", str(HERE / "library.cu"), *map(str, sources.values()))
    return library


def build_runner(library: Path, arch: str) -> Path:
    """Compile runner.cu beside the library, which it loads, and return the program. Raises BuildError."""
    runner = library.parent / "runner"
    _nvcc(runner, arch, str(HERE / "runner.cu"), str(library), "-Xlinker=-rpath,$ORIGIN")
    return runner


def _nvcc(out: Path, arch: str, *arguments: str) -> None:
    nvcc = find_nvcc()
    if nvcc is None:
        raise BuildError("there is no CUDA compiler (nvcc): put it on the PATH or into the variable CUDACXX")
    out.parent.mkdir(parents=True, exist_ok=True)
    flags = ["-std=c++17", "-O3", "-lineinfo", f"-gencode=arch=compute_{arch},code=sm_{arch}"]
    warnings = ["-Werror=all-warnings", "-Xcompiler=-Wall,-Wextra"]
    result = subprocess.run([nvcc, *flags, *warnings, *arguments, "-o", str(out)], capture_output=True, text=True)
    if result.returncode:
        raise BuildError(f"nvcc did not build {out.name}: {(result.stderr or result.stdout)[-2000:]}")


def _named(pointers: str, sizes: str) -> list[tuple[str, Any]]:
    return [(name, c_void_p) for name in pointers.split()] + [(name, c_int32) for name in sizes.split()]


class Map(ctypes.Structure):
    """hyperseg::Map."""

    _fields_ = _named("skip previous", "skip_channels previous_channels positions")

    @property
    def channels(self) -> int:
        """Of the map that an operator reads, whether it is stored or not."""
        return int(2 * self.positions + self.skip_channels + self.previous_channels)


class DpwConvParams(ctypes.Structure):
    """hyperseg::DpwConvParams."""

    _fields_ = [
        ("type", c_int32),
        ("x", Map),
        *_named(
            "weight bias y",
            "batch in_channels out_channels height width weight_channels grid_height grid_width "
            "kernel_height kernel_width group weight_offset pad_mode activation",
        ),
    ]


class DpwInvertedResidualParams(ctypes.Structure):
    """hyperseg::DpwInvertedResidualParams."""

    _fields_ = [
        ("type", c_int32),
        ("x", Map),
        *_named(
            "weight bias1 bias2 bias3 y",
            "batch in_channels hidden_channels out_channels height width weight_channels grid_height grid_width "
            "kernel_height kernel_width weight_offset pad_mode activation",
        ),
        ("residual", c_bool),
    ]


class LabelHeadParams(ctypes.Structure):
    """hyperseg::LabelHeadParams."""

    _fields_ = [("type", c_int32), *_named("logits labels", "batch classes height width scale")]


PARAMS = {
    "dpwconv": DpwConvParams,
    "dpw_inverted_residual": DpwInvertedResidualParams,
    "label_head": LabelHeadParams,
}


class KernelLibrary:
    """The operators as functions with the signatures of training.network, and ``out``, which they fill.

    With ``previous``, [N, C', H / 2, W / 2], DPWConv and DPWInvertedResidual are a decoder level's: x is its skip map,
    and the map that they convolve is made of ``positions`` pairs of coordinates, x, and ``previous`` enlarged.

    Tensors are contiguous, on one CUDA device and all float32 or all float16. The kernels are queued on the current
    stream. Raises ValueError for tensors that are not so, RuntimeError for what the launcher returned.
    """

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._library.error_text.restype = ctypes.c_char_p
        for name, params in PARAMS.items():
            function = getattr(self._library, name)
            function.argtypes = [ctypes.POINTER(params), c_void_p]
            size = getattr(self._library, f"{name}_params_size")
            size.restype = ctypes.c_size_t
            if size() != ctypes.sizeof(params):
                raise RuntimeError(
                    f"{name}'s parameters have {size()} bytes in the library, {ctypes.sizeof(params)} here"
                )

    def dpwconv(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        out_channels: int,
        kernel_shape: tuple[int, int] = (1, 1),
        group: int = 1,
        pad_mode: str = "reflect",
        activation: str = "none",
        weight_offset: int = 0,
        previous: Tensor | None = None,
        positions: int = 0,
        out: Tensor | None = None,
    ) -> Tensor:
        """Convolve each patch of x [N, Cin, H, W] with weight [N, K, Nh, Nw]'s: [N, out_channels, H, W]."""
        y = _output(x, previous, weight, [bias], [out_channels], out)
        params = DpwConvParams(
            type=TYPES.index(x.dtype),
            x=_map(x, previous, positions),
            **_pointers(weight=weight, bias=bias, y=y),
            **_sizes(x, weight, kernel_shape, weight_offset, pad_mode, activation),
            in_channels=_map(x, previous, positions).channels,
            out_channels=out_channels,
            group=group,
        )
        self._launch("dpwconv", params, x)
        return y

    def dpw_inverted_residual(
        self,
        x: Tensor,
        weight: Tensor,
        bias1: Tensor,
        bias2: Tensor,
        bias3: Tensor,
        *,
        hidden_channels: int,
        out_channels: int,
        kernel_shape: tuple[int, int] = (3, 3),
        pad_mode: str = "reflect",
        activation: str = "relu6",
        residual: bool = False,
        weight_offset: int = 0,
        previous: Tensor | None = None,
        positions: int = 0,
        out: Tensor | None = None,
    ) -> Tensor:
        """Expand, depthwise, project (plus x) each patch of x [N, Cin, H, W]: [N, out_channels, H, W]."""
        biases, channels = [bias1, bias2, bias3], [hidden_channels, hidden_channels, out_channels]
        y = _output(x, previous, weight, biases, channels, out)
        params = DpwInvertedResidualParams(
            type=TYPES.index(x.dtype),
            x=_map(x, previous, positions),
            **_pointers(weight=weight, bias1=bias1, bias2=bias2, bias3=bias3, y=y),
            **_sizes(x, weight, kernel_shape, weight_offset, pad_mode, activation),
            in_channels=_map(x, previous, positions).channels,
            hidden_channels=hidden_channels,
            out_channels=out_channels,
            residual=residual,
        )
        self._launch("dpw_inverted_residual", params, x)
        return y

    def label_head(self, logits: Tensor, scale: int, out: Tensor | None = None) -> Tensor:
        """Enlarge logits [N, C, h, w] and take each pixel's largest: labels [N, h * scale, w * scale] of their type."""
        batch, classes, height, width = logits.shape
        labels = logits.new_empty(batch, height * scale, width * scale) if out is None else out
        if labels.shape != (batch, height * scale, width * scale):
            raise ValueError(f"out {tuple(labels.shape)} is not {(batch, height * scale, width * scale)}")
        _check_alike(logits, labels)
        params = LabelHeadParams(
            type=TYPES.index(logits.dtype),
            **_pointers(logits=logits, labels=labels),
            batch=batch,
            classes=classes,
            height=height,
            width=width,
            scale=scale,
        )
        self._launch("label_head", params, logits)
        return labels

    def _launch(self, name: str, params: ctypes.Structure, x: Tensor) -> None:
        if not x.is_cuda:
            raise ValueError("the tensors must be on a CUDA device")
        with torch.cuda.device(x.device):
            stream = torch.cuda.current_stream().cuda_stream
            error = getattr(self._library, name)(ctypes.byref(params), stream)
        self.raise_for(name, error)

    def raise_for(self, name: str, error: int) -> None:
        """Raise RuntimeError with the text of a launcher's cudaError_t, unless it is success."""
        if error:
            raise RuntimeError(f"{name}: {self._library.error_text(error).decode()} (CUDA error {error})")


def _output(
    x: Tensor,
    previous: Tensor | None,
    weight: Tensor,
    biases: Sequence[Tensor | None],
    channels: Sequence[int],
    out: Tensor | None,
) -> Tensor:
    """Check what the launcher cannot see; return ``out`` or a new [N, channels[-1], H, W]."""
    batch, _, height, width = x.shape
    y = x.new_empty(batch, channels[-1], height, width) if out is None else out
    if y.shape != (batch, channels[-1], height, width):
        raise ValueError(f"out {tuple(y.shape)} is not {(batch, channels[-1], height, width)}")
    if weight.shape[0] != batch:
        raise ValueError(f"weights for {weight.shape[0]} maps do not match {batch} maps")
    if previous is not None and (len(previous), *(2 * size for size in previous.shape[2:])) != (batch, height, width):
        raise ValueError(f"a previous level {tuple(previous.shape)} is not half of {tuple(x.shape)}")
    for bias, size in zip(biases, channels, strict=True):
        if bias is not None and bias.shape != (size,):
            raise ValueError(f"a bias {tuple(bias.shape)} is not {(size,)}")
    _check_alike(x, previous, weight, *biases, y)
    return y


def _check_alike(first: Tensor, *others: Tensor | None) -> None:
    tensors = [first, *(tensor for tensor in others if tensor is not None)]
    if first.dtype not in TYPES or any(t.dtype != first.dtype or t.device != first.device for t in tensors):
        raise ValueError("all tensors must be on one device, and all float32 or all float16")
    if not all(tensor.is_contiguous() for tensor in tensors):
        raise ValueError("all tensors must be contiguous")


def _map(x: Tensor, previous: Tensor | None, positions: int) -> Map:
    if previous is None:
        return Map(x.data_ptr(), None, x.shape[1], 0, 0)
    return Map(x.data_ptr(), previous.data_ptr(), x.shape[1], previous.shape[1], positions)


def _pointers(**tensors: Tensor | None) -> dict[str, int | None]:
    return {name: None if tensor is None else tensor.data_ptr() for name, tensor in tensors.items()}


def _sizes(
    x: Tensor, weight: Tensor, kernel_shape: tuple[int, int], weight_offset: int, pad_mode: str, activation: str
) -> dict[str, int]:
    """Name what both structs have; ValueError for an unknown pad_mode or activation."""
    return {
        **dict(zip(("batch", "height", "width"), (x.shape[0], *x.shape[2:]), strict=True)),
        **dict(zip(("weight_channels", "grid_height", "grid_width"), weight.shape[1:], strict=True)),
        **dict(zip(("kernel_height", "kernel_width"), kernel_shape, strict=True)),
        "weight_offset": weight_offset,
        "pad_mode": PAD_MODES.index(pad_mode),
        "activation": ACTIVATIONS.index(activation),
    }
