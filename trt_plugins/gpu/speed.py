"""How long each decoder level takes: the kernels, PyTorch eager and torch.compile, and the device's floors.

All three run in FP16 on the same inputs from a CUDA graph, so none of them waits for Python; eager and compiled are
the training functions with BatchNorms folded. A graph holds a call for every set of inputs, and the sets together with
their outputs are larger than twice the L2 cache, so that each call finds its inputs in memory and not in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any, TypeVar

import torch
from torch import Tensor

from training.network import dpwconv as specification
from trt_plugins.gpu.cases import Case, Functions, Head, random_tensors, run
from trt_plugins.gpu.floors import Ceilings, level_floor_us, operators_floor_us
from trt_plugins.gpu.shapes import published_levels

_Inputs = TypeVar("_Inputs")

VALUE_BYTES = 2  # FP16
REPLAYS = 50


@dataclass(frozen=True)
class Times:
    """Median microseconds a call; ``compiled`` is None where torch.compile could not do it."""

    kernels: float
    eager: float
    compiled: float | None


def measure(functions: Functions, say: Callable[[str], None]) -> dict[str, Any]:
    """Time every level of the five variants on the current GPU; the rows of ``level_row`` and their ``total_row``."""
    # Eager at its best: cuDNN tries its algorithms for each shape.
    torch.backends.cudnn.benchmark = True
    levels, decoders, not_compiled = [], [], {}
    with torch.inference_mode():
        ceilings = measure_ceilings()
        for variant, cases in published_levels().items():
            rows = []
            for case in cases:
                say(f"timing {case.name}")
                times, reason = time_level(case, functions)
                if reason:
                    not_compiled[case.name] = reason
                rows.append(level_row(case, times, ceilings))
            levels += rows
            decoders.append(total_row(f"{variant} decoder", rows))
    return {
        "type": "FP16",
        "batch": 1,
        "method": f"median of {REPLAYS} replays of a CUDA graph, inputs and outputs rotated past the L2 cache",
        "bandwidth_gb_per_s": ceilings.bytes_per_s / 1e9,
        "peak_tera_operations_per_s": ceilings.operations_per_s / 1e12,
        "ceilings": ceilings.source,
        "levels": levels,
        "decoders": decoders,
        "not_compiled": not_compiled,
    }


def level_row(case: Case, times: Times, ceilings: Ceilings) -> dict[str, Any]:
    """Return a level's times and floors in microseconds, and the kernels' ratios to each."""
    row = {
        "name": case.name,
        "kernels_us": times.kernels,
        "eager_us": times.eager,
        "compiled_us": times.compiled,
        "operators_floor_us": operators_floor_us(case, ceilings, VALUE_BYTES),
        "level_floor_us": level_floor_us(case, ceilings, VALUE_BYTES),
    }
    return row | _ratios(row)


def total_row(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Add up the times of a decoder's levels; a time that one level lacks is missing in the sum."""
    row: dict[str, Any] = {"name": name}
    for column in (column for column in rows[0] if column.endswith("_us")):
        values = [row[column] for row in rows]
        row[column] = None if None in values else sum(values)
    return row | _ratios(row)


def _ratios(row: dict[str, Any]) -> dict[str, float | None]:
    kernels = row["kernels_us"]
    return {
        "eager/kernels": row["eager_us"] / kernels,
        "compiled/kernels": None if row["compiled_us"] is None else row["compiled_us"] / kernels,
        "kernels/operators_floor": kernels / row["operators_floor_us"],
        "kernels/level_floor": kernels / row["level_floor_us"],
    }


def time_level(case: Case, functions: Functions) -> tuple[Times, str]:
    """Time a level three ways; the second value says why torch.compile could not, or is empty."""
    sets = [random_tensors(case, torch.float16, "cuda", seed) for seed in range(input_sets(case))]
    kernels = time_us(lambda tensors: run(case, functions, tensors), sets)
    eager = time_us(lambda tensors: run(case, specification, tensors), sets)
    torch.compiler.reset()  # one level's guards and recompilations are not the next one's
    compiled_run = torch.compile(lambda tensors: run(case, specification, tensors), dynamic=False)
    try:
        return Times(kernels, eager, time_us(compiled_run, sets)), ""
    except Exception as error:  # no Triton, no C compiler, a graph break in capture: not the kernels' fault
        return Times(kernels, eager, None), f"{type(error).__name__}: {str(error)[:300]}"


def input_sets(case: Case) -> int:
    """How many sets of a case's inputs and outputs are timed in turn."""
    map_channels = case.operators[0].in_channels + case.operators[-1].out_channels
    patches = case.grid[0] * case.grid[1]
    return sets_beyond_cache(map_channels * case.height * case.width + case.weight_channels * patches)


def head_sets(head: Head) -> int:
    """How many sets of a label head's logits and labels are timed in turn."""
    return sets_beyond_cache((head.classes + head.scale**2) * head.height * head.width)


def sets_beyond_cache(values: int) -> int:
    """How many sets of so many values are larger than twice the L2 cache; 4 to 256."""
    l2_bytes = torch.cuda.get_device_properties(0).L2_cache_size
    return min(256, max(4, math.ceil(2 * l2_bytes / (values * VALUE_BYTES))))


def time_us(call: Callable[[_Inputs], Tensor], sets: list[_Inputs]) -> float:
    """Median microseconds of one call, over replays of a graph with one call for each set of inputs."""
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        for tensors in (*sets, *sets):  # compiles, chooses algorithms, fills the memory pool
            call(tensors)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        outputs = [call(tensors) for tensors in sets]  # all kept, so that no two calls write to the same place
    graph.replay()
    ends = [torch.cuda.Event(enable_timing=True) for _ in range(REPLAYS + 1)]
    ends[0].record()
    for end in ends[1:]:
        graph.replay()
        end.record()
    torch.cuda.synchronize()
    del outputs
    return median(start.elapsed_time(end) for start, end in pairwise(ends)) * 1e3 / len(sets)


def measure_ceilings() -> Ceilings:
    """Measure bandwidth by a copy that no cache holds, and the FP16 matrix unit's rate by a large matrix product."""
    free_bytes, _ = torch.cuda.mem_get_info()
    values = min(2**30, free_bytes // 8) // VALUE_BYTES
    source = torch.randn(values, dtype=torch.float16, device="cuda")
    target = torch.empty_like(source)
    copy_s = _median_s(lambda: target.copy_(source))
    size = 8192
    left, right = torch.randn(2, size, size, dtype=torch.float16, device="cuda")
    product_s = _median_s(lambda: left @ right)
    return Ceilings(
        2 * values * VALUE_BYTES / copy_s,
        2 * size**3 / product_s,
        f"measured here: a copy of {values * VALUE_BYTES / 1e6:.0f} MB, reads and writes counted, "
        f"and an FP16 matrix product of {size}x{size}x{size}",
    )


def _median_s(call: Callable[[], object]) -> float:
    call()
    ends = [torch.cuda.Event(enable_timing=True) for _ in range(21)]
    ends[0].record()
    for end in ends[1:]:
        call()
        end.record()
    torch.cuda.synchronize()
    return median(start.elapsed_time(end) for start, end in pairwise(ends)) / 1e3
