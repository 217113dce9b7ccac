"""The CUDA kernels compiled for the CPU, called with NumPy arrays.

Run as a script, it computes pickled calls with a given library and pickles the results: the library with sanitizers
needs a process that preloads theirs, and few others' libraries in it.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np

PLUGINS = Path(__file__).parents[2] / "trt_plugins"
SOURCES = [
    "kernels/dpwconv/dpwconv.cu",
    "kernels/dpw_inverted_residual/dpw_inverted_residual.cu",
    "kernels/label_head/label_head.cu",
    "cpu/cpu.cpp",
    "cpu/library.cpp",
]
FLAGS = [
    "-std=c++17",
    "-O1",
    "-g",
    "-fno-strict-aliasing",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unknown-pragmas",
    "-fPIC",
    "-shared",
]
SANITIZE = ["-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]  # -O1 compiles five times as long
ORDERS = {"forward": 0, "reverse": 1, "shuffled": 2}
INVALID = 1  # cudaErrorInvalidValue
TYPES = ["float32", "float16"]  # as enum class Type


def build(folder: Path, sanitize: bool = False, plugins: Path = PLUGINS, sources: list[str] = SOURCES) -> Path:
    """Compile the kernels' source with g++ into a library."""
    library = folder / ("kernels_sanitized.so" if sanitize else "kernels.so")
    command = ["g++", *FLAGS, *(SANITIZE if sanitize else []), "-I", str(plugins / "cpu"), "-x", "c++"]
    subprocess.run([*command, *(str(plugins / source) for source in sources), "-o", str(library)], check=True)
    return library


def run_sanitized(folder: Path, library: Path, calls: list) -> list[np.ndarray]:
    """Compute calls with a sanitized library in a process of its own, which must not complain."""
    preload = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout
    (folder / "calls").write_bytes(pickle.dumps(calls))
    # Python itself leaves memory behind at its end.
    environment = os.environ | {"LD_PRELOAD": preload.strip(), "ASAN_OPTIONS": "detect_leaks=0"}
    script = [sys.executable, Path(__file__), library, folder / "calls", folder / "results"]
    child = subprocess.run(script, env=environment, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr[-4000:]
    return pickle.loads((folder / "results").read_bytes())


def _fields(pointers: str, integers: str) -> list[tuple[str, type]]:
    return [(name, ctypes.c_void_p) for name in pointers.split()] + [(name, ctypes.c_int) for name in integers.split()]


class Map(ctypes.Structure):
    _fields_ = [("skip", ctypes.c_void_p), ("previous", ctypes.c_void_p)] + [
        (name, ctypes.c_int) for name in ("skip_channels", "previous_channels", "positions")
    ]


class DpwConvParams(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("x", Map),
        *_fields(
            "weight bias y",
            "batch in_channels out_channels height width weight_channels grid_height grid_width kernel_height "
            "kernel_width group weight_offset pad_mode activation",
        ),
    ]


class DpwInvertedResidualParams(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("x", Map),
        *_fields(
            "weight bias1 bias2 bias3 y",
            "batch in_channels hidden_channels out_channels height width weight_channels grid_height grid_width "
            "kernel_height kernel_width weight_offset pad_mode activation",
        ),
        ("residual", ctypes.c_bool),
    ]


class LabelHeadParams(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int), *_fields("logits labels", "batch classes height width scale")]


PARAMS = {"dpwconv": DpwConvParams, "dpw_inverted_residual": DpwInvertedResidualParams}


class KernelError(Exception):
    """A launcher returned an error."""

    def __init__(self, code: int):
        super().__init__(f"the launcher returned {code}")
        self.code = code


class Kernels:
    """The library's operators with the arguments of their PyTorch specification."""

    def __init__(self, library: Path):
        self._library = ctypes.CDLL(str(library))

    def __call__(self, operator: str, *arrays: np.ndarray | None, order="forward", **attributes) -> np.ndarray:
        """Compute an operator in its inputs' type; whatever the kernel leaves out is NaN. Raises KernelError."""
        self._library.set_thread_order(ORDERS[order])
        if operator == "label_head":
            return self._label_head(*arrays, **attributes)
        return self._patchwise(operator, *arrays, **attributes)

    def _patchwise(
        self,
        operator: str,
        skip: np.ndarray,
        weight: np.ndarray,
        *biases: np.ndarray | None,
        previous: np.ndarray | None = None,
        positions: int = 0,
        **attributes,
    ) -> np.ndarray:
        inputs = [array for array in (skip, previous, weight, *biases) if array is not None]
        assert all(array.dtype == skip.dtype and array.flags.c_contiguous for array in inputs)
        y = np.full((skip.shape[0], attributes["out_channels"], *skip.shape[2:]), np.nan, skip.dtype)
        previous_channels = 0 if previous is None else previous.shape[1]
        params = PARAMS[operator]()
        params.type = TYPES.index(skip.dtype.name)
        params.batch, skip_channels, params.height, params.width = skip.shape
        params.in_channels = 2 * positions + skip_channels + previous_channels
        _, params.weight_channels, params.grid_height, params.grid_width = weight.shape
        params.kernel_height, params.kernel_width = attributes.pop("kernel_shape")
        params.pad_mode = ["reflect", "constant"].index(attributes.pop("pad_mode"))
        params.activation = ["none", "relu", "relu6"].index(attributes.pop("activation"))
        params.x = Map(_address(skip), _address(previous), skip_channels, previous_channels, positions)
        pointers = ["weight", *(["bias"] if operator == "dpwconv" else ["bias1", "bias2", "bias3"]), "y"]
        for name, array in zip(pointers, (weight, *biases, y), strict=True):
            setattr(params, name, _address(array))
        return self._launch(operator, params, attributes, y)

    def _label_head(self, logits: np.ndarray, **attributes) -> np.ndarray:
        assert logits.flags.c_contiguous
        params = LabelHeadParams(TYPES.index(logits.dtype.name), logits.ctypes.data, None, *logits.shape)
        sizes = [size * attributes["scale"] for size in logits.shape[2:]]
        labels = np.full((logits.shape[0], *sizes), np.nan, logits.dtype)
        params.labels = labels.ctypes.data
        return self._launch("label_head", params, attributes, labels)

    def _launch(self, operator: str, params: ctypes.Structure, attributes: dict, result: np.ndarray) -> np.ndarray:
        """Call the launcher with ``attributes`` put over the parameters; those of its map are called x_..."""
        for name, value in attributes.items():
            where, field = (params.x, name[2:]) if name.startswith("x_") else (params, name)
            assert hasattr(where, field), name
            setattr(where, field, value)
        if code := getattr(self._library, operator)(ctypes.byref(params)):
            raise KernelError(code)
        return result


def _address(array: np.ndarray | None) -> int | None:
    return None if array is None else array.ctypes.data


def main() -> None:
    library, calls, results = map(Path, sys.argv[1:])
    kernels = Kernels(library)
    y = [kernels(operator, *arrays, **attributes) for operator, arrays, attributes in pickle.loads(calls.read_bytes())]
    results.write_bytes(pickle.dumps(y))


if __name__ == "__main__":
    main()
