"""The kernels against the PyTorch functions in float64, and under compute-sanitizer."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.network import dpwconv as specification
from trt_plugins.gpu.cases import Case, Functions, Tensors, random_tensors, run
from trt_plugins.gpu.library import ACTIVATIONS, PAD_MODES, TYPES, find_nvcc
from trt_plugins.gpu.report import Failed, NotRun
from trt_plugins.gpu.shapes import operators_to_check, published_levels, small_shapes

# Sums of up to some hundred products: float32 keeps 7 digits of each; FP16 values have 3, sums are kept in float.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3}

SANITIZER_TOOLS = ("memcheck", "racecheck", "initcheck")
SANITIZER_FOUND_ERRORS = 99
SANITIZER_TIMEOUT_S = 1800


def check_values(functions: Functions, dtype: torch.dtype, cases: Iterable[Case], device: str) -> dict[str, Any]:
    """Compare each case of one operator with the float64 result of the same inputs; the output starts as NaN.

    The error is the largest difference over the largest reference value. Raises Failed if any exceeds the tolerance.
    """
    errors = {}
    for seed, case in enumerate(cases):
        tensors = random_tensors(case, dtype, device, seed)
        expected = run(case, specification, _in_float64(tensors))
        out = torch.full_like(expected, torch.nan, dtype=dtype)
        (operator,), (biases,) = case.operators, tensors.biases
        operator(functions, tensors.x, tensors.weight, biases, out=out)
        errors[case.name] = relative_error(out, expected)
    # NaN is not less than anything, and JSON has none.
    wrong = {name: error for name, error in errors.items() if not error < TOLERANCE[dtype]}
    figures = {
        "tolerance": TOLERANCE[dtype],
        "largest_error": None if any(map(isnan, errors.values())) else max(errors.values()),
        "errors": {name: None if isnan(error) else error for name, error in errors.items()},
    }
    if wrong:
        raise Failed(f"{len(wrong)} of {len(errors)} cases beyond {TOLERANCE[dtype]:g}: {', '.join(wrong)}", figures)
    return figures


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest expected value; NaN if any value is."""
    return ((actual.double() - expected).abs().max() / expected.abs().max()).item()


def _in_float64(tensors: Tensors) -> Tensors:
    biases = tuple(tuple(bias.double() for bias in biases) for biases in tensors.biases)
    return Tensors(tensors.x.double(), tensors.weight.double(), biases)


def all_values(functions: Functions, dtype: torch.dtype) -> dict[str, Any]:
    """Run check_values over every published operator and the small shapes on the GPU."""
    with torch.inference_mode():
        return check_values(functions, dtype, operators_to_check(), "cuda")


def sanitize(runner: Path, tool: str) -> dict[str, Any]:
    """Run small cases under a tool of compute-sanitizer.

    Raises NotRun where there is none, and Failed with the end of its output unless it reports no error at all.
    """
    sanitizer = find_sanitizer()
    if sanitizer is None:
        raise NotRun("there is no compute-sanitizer; it comes with the CUDA toolkit")
    cases = sanitizer_cases()
    lines = [runner_line(case, dtype) for case in cases for dtype in TYPES]
    case_file = runner.parent / "cases.txt"
    case_file.write_text("\n".join(lines) + "\n")
    command = [sanitizer, f"--tool={tool}", f"--error-exitcode={SANITIZER_FOUND_ERRORS}", str(runner), str(case_file)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=SANITIZER_TIMEOUT_S)
    output = result.stdout + result.stderr
    figures: dict[str, Any] = {"launches": len(lines)}
    if result.returncode or not clean(output) or f"{len(lines)} launches" not in output:
        raise Failed(f"exit code {result.returncode}: {output.strip()[-1500:]}", figures)
    return figures


def find_sanitizer() -> str | None:
    """Return compute-sanitizer from the PATH or beside nvcc; None if there is none."""
    nvcc = find_nvcc()
    beside = str(Path(nvcc).resolve().parent / "compute-sanitizer") if nvcc else ""
    return shutil.which("compute-sanitizer") or shutil.which(beside)


def clean(output: str) -> bool:
    """Tell whether compute-sanitizer's closing line counts no error and no hazard."""
    return re.search(r"(ERROR SUMMARY: 0 errors|RACECHECK SUMMARY: 0 hazards)", output) is not None


def sanitizer_cases() -> tuple[Case, ...]:
    """Return the small shapes and every published operator cut down to a grid of 5x7 patches of its own size."""
    grid = 5, 7
    steps = (step for levels in published_levels().values() for level in levels for step in level.steps)
    small = {
        replace(
            step,
            name="",
            grid=grid,
            height=step.height // step.grid[0] * grid[0],
            width=step.width // step.grid[1] * grid[1],
        )
        for step in steps
    }
    return (*sorted(small, key=lambda case: (case.height, repr(case))), *small_shapes())


def runner_line(case: Case, dtype: torch.dtype) -> str:
    """Write a case of one operator as the runner reads it: the 18 integers that runner.cu lists."""
    (operator,) = case.operators
    values = (
        int(operator.hidden_channels is not None),
        TYPES.index(dtype),
        case.batch,
        operator.in_channels,
        operator.hidden_channels or 0,
        operator.out_channels,
        case.height,
        case.width,
        case.weight_channels,
        *case.grid,
        *operator.kernel_shape,
        operator.group,
        operator.weight_offset,
        PAD_MODES.index(operator.pad_mode),
        ACTIVATIONS.index(operator.activation),
        int(operator.residual),
    )
    return " ".join(map(str, values))
