"""The kernels against the PyTorch functions in float64, and under compute-sanitizer."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from math import inf, isfinite
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from training.network.label_head import label_head
from trt_plugins.gpu.cases import (
    Case,
    Functions,
    Head,
    Operator,
    Specification,
    Tensors,
    random_logits,
    random_tensors,
    run,
)
from trt_plugins.gpu.library import ACTIVATIONS, PAD_MODES, TYPES, KernelLibrary, find_nvcc
from trt_plugins.gpu.report import Failed, NotRun
from trt_plugins.gpu.shapes import (
    fused,
    heads_to_check,
    operators_to_check,
    published_heads,
    published_levels,
    small_heads,
    small_levels,
    small_shapes,
)

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
        expected = run(case, Specification(), _in_float64(tensors))
        out = torch.full_like(expected, torch.nan, dtype=dtype)
        run(case, functions, tensors, out=out)
        errors[case.name] = relative_error(out, expected)
    return _judged(errors, dtype)


def check_labels(functions: KernelLibrary, dtype: torch.dtype, heads: Iterable[Head], device: str) -> dict[str, Any]:
    """Compare each head's labels with the float64 result of the same logits; the output starts as NaN.

    The error is how much less than the largest logit the labelled one is, over the largest of all. Where enlarging is
    exact, the labels of integer logits must be equal, of which many are equally large. Raises Failed for more.
    """
    errors = {}
    for seed, head in enumerate(heads):
        normal = random_logits(head, dtype, device, seed)
        whole = (3 * normal).round()
        error = label_error(normal, _labels(functions, normal, head), head)
        is_exact = head.scale & (head.scale - 1) == 0  # a power of two
        if is_exact and not torch.equal(_labels(functions, whole, head), label_head(whole.double(), head.scale)):
            error = inf
        errors[head.name] = error
    return _judged(errors, dtype)


def _labels(functions: KernelLibrary, logits: Tensor, head: Head) -> Tensor:
    size = head.batch, head.height * head.scale, head.width * head.scale
    out = torch.full(size, torch.nan, dtype=logits.dtype, device=logits.device)
    functions.label_head(logits, head.scale, out=out)
    return out.double()


def label_error(logits: Tensor, labels: Tensor, head: Head) -> float:
    """Return by how much the worst label misses the largest logit; infinity for what is no class."""
    wide = logits.double()
    if head.scale > 1:
        wide = F.interpolate(wide, scale_factor=float(head.scale), mode="bilinear", align_corners=False)
    if not ((labels >= 0) & (labels < head.classes) & (labels == labels.round())).all():
        return inf
    chosen = wide.gather(1, labels.long()[:, None])[:, 0]
    return ((wide.amax(1) - chosen).max() / wide.abs().max()).item()


def _judged(errors: dict[str, float], dtype: torch.dtype) -> dict[str, Any]:
    # NaN is not less than anything, and JSON has neither it nor infinity.
    wrong = {name: error for name, error in errors.items() if not error < TOLERANCE[dtype]}
    figures = {
        "tolerance": TOLERANCE[dtype],
        "largest_error": max(errors.values()) if all(map(isfinite, errors.values())) else None,
        "errors": {name: error if isfinite(error) else None for name, error in errors.items()},
    }
    if wrong:
        raise Failed(f"{len(wrong)} of {len(errors)} cases beyond {TOLERANCE[dtype]:g}: {', '.join(wrong)}", figures)
    return figures


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest expected value; NaN if any value is."""
    return ((actual.double() - expected).abs().max() / expected.abs().max()).item()


def _in_float64(tensors: Tensors) -> Tensors:
    biases = tuple(tuple(bias.double() for bias in biases) for biases in tensors.biases)
    previous = None if tensors.previous is None else tensors.previous.double()
    return Tensors(tensors.x.double(), tensors.weight.double(), biases, previous)


def all_values(functions: Functions, dtype: torch.dtype) -> dict[str, Any]:
    """Run check_values over every published operator and the small shapes on the GPU."""
    with torch.inference_mode():
        return check_values(functions, dtype, operators_to_check(), "cuda")


def all_labels(functions: KernelLibrary, dtype: torch.dtype) -> dict[str, Any]:
    """Run check_labels over every published head and the small ones on the GPU."""
    with torch.inference_mode():
        return check_labels(functions, dtype, heads_to_check(), "cuda")


def sanitize(runner: Path, tool: str) -> dict[str, Any]:
    """Run small cases under a tool of compute-sanitizer.

    Raises NotRun where there is none, and Failed with the end of its output unless it reports no error at all.
    """
    sanitizer = find_sanitizer()
    if sanitizer is None:
        raise NotRun("there is no compute-sanitizer; it comes with the CUDA toolkit")
    lines = [runner_line(case, dtype) for case in sanitizer_cases() for dtype in TYPES]
    lines += [runner_line(case, torch.float16) for case in sanitizer_grids()]
    lines += [head_line(head, dtype) for head in sanitizer_heads() for dtype in TYPES]
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
    """Return the small shapes and every published operator, plain and fused, cut down to a grid of 5x7 patches.

    A fused map has an even number of pixels each way, so a level of one-pixel patches, which is never fused, may not.
    """
    grid = 5, 7
    levels = [level for levels in published_levels().values() for level in levels]
    levels += [fused(level) for level in levels if level.previous_channels]
    small = {
        replace(
            step,
            name="",
            grid=grid,
            height=step.height // step.grid[0] * grid[0],
            width=step.width // step.grid[1] * grid[1],
        )
        for level in levels
        for step in level.steps
    }
    return (*sorted(small, key=lambda case: (case.height, repr(case))), *small_shapes(), *small_levels())


def sanitizer_grids() -> tuple[Case, ...]:
    """Return FP16 blocks, plain and fused, of more tiles than a GPU holds, of which a block computes 2 or 4 patches.

    As many as divide the number of patches, as long as there are three blocks for two multiprocessors: of 170 at most.
    """
    block = Operator(34, 19, 68, (3, 3), activation="relu6")
    cases = [
        Case("", (block,), tile * grid[0], tile * grid[1], grid, block.theta_size, previous_channels=16)
        for tile in (8, 16)
        for grid in ((18, 29), (32, 32))
    ]
    return (*cases, *map(fused, cases))


def sanitizer_heads() -> tuple[Head, ...]:
    """Return the small heads and every published one cut down to 10x14 pixels."""
    published = {replace(head, name="", height=10, width=14) for head in published_heads().values()}
    return (*sorted(published, key=repr), *small_heads())


def runner_line(case: Case, dtype: torch.dtype) -> str:
    """Write a case of one operator as the runner reads it: the 21 integers that runner.cu lists."""
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
        case.previous_channels if case.fused else 0,
        case.positions if case.fused else 0,
        0,
    )
    return " ".join(map(str, values))


def head_line(head: Head, dtype: torch.dtype) -> str:
    """Write a head as the runner reads it; what only the other operators have is 0."""
    channels = head.classes, 0, 0
    values = (2, TYPES.index(dtype), head.batch, *channels, head.height, head.width, *(0,) * 12, head.scale)
    return " ".join(map(str, values))
