"""What fusing is worth: levels that make their own input, and the label head, beside separate steps in PyTorch.

Timed as in speed.py: in FP16, from CUDA graphs, with inputs and outputs beyond the L2 cache. Separate steps are what an
engine did before: the previous level enlarged, stacked with coordinates and skip map, and the same kernel on that map;
the logits enlarged, and their arg max.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trt_plugins.gpu.cases import Case, Head, Tensors, coordinates, random_logits, random_tensors, run, stacked
from trt_plugins.gpu.floors import Ceilings, head_floor_us, level_floor_us
from trt_plugins.gpu.library import KernelLibrary
from trt_plugins.gpu.shapes import fused, published_heads, published_levels
from trt_plugins.gpu.speed import VALUE_BYTES, head_sets, input_sets, measure_ceilings, time_us


def measure(library: KernelLibrary, say: Callable[[str], None]) -> dict[str, Any]:
    """Time every level that has a previous one and every label head, on the current GPU; the rows of ``row``."""
    rows = []
    with torch.inference_mode():
        ceilings = measure_ceilings()
        heads = published_heads()
        for variant, levels in published_levels().items():
            for level in levels:
                if level.previous_channels:
                    say(f"timing {level.name}, fused")
                    rows.append(level_row(level, *time_level(level, library), ceilings))
            say(f"timing {heads[variant].name}")
            rows.append(head_row(heads[variant], *time_head(heads[variant], library), ceilings))
    return {"type": "FP16", "batch": 1, "ceilings": ceilings.source, "steps": rows}


def level_row(level: Case, fused_us: float, separate_us: float, ceilings: Ceilings) -> dict[str, Any]:
    """Return a level's microseconds, beside the floor of ``floors.level_floor_us``."""
    return row(f"{level.name}, fused", fused_us, separate_us, level_floor_us(level, ceilings, VALUE_BYTES))


def head_row(head: Head, fused_us: float, separate_us: float, ceilings: Ceilings) -> dict[str, Any]:
    """Return a label head's microseconds, beside the floor of its bytes."""
    return row(head.name, fused_us, separate_us, head_floor_us(head, ceilings, VALUE_BYTES))


def row(name: str, fused_us: float, separate_us: float, floor_us: float) -> dict[str, Any]:
    """Return times in microseconds and their ratios."""
    return {
        "name": name,
        "fused_us": fused_us,
        "separate_us": separate_us,
        "floor_us": floor_us,
        "separate/fused": separate_us / fused_us,
        "fused/floor": fused_us / floor_us,
    }


def time_level(level: Case, library: KernelLibrary) -> tuple[float, float]:
    """Microseconds of a level fused and in separate steps."""
    case = fused(level)
    sets = [random_tensors(case, torch.float16, "cuda", seed) for seed in range(input_sets(level))]
    # An engine has the coordinates as a constant.
    positions = coordinates(sets[0].x).contiguous() if case.positions else None

    def in_steps(tensors: Tensors) -> Tensor:
        assert tensors.previous is not None
        x = stacked(tensors.x, tensors.previous, positions)
        return run(level, library, Tensors(x, tensors.weight, tensors.biases))

    return time_us(partial(run, case, library), sets), time_us(in_steps, sets)


def time_head(head: Head, library: KernelLibrary) -> tuple[float, float]:
    """Microseconds of a label head fused and in separate steps; both end in FP16, before the cast to uint8."""
    sets = [random_logits(head, torch.float16, "cuda", seed) for seed in range(head_sets(head))]

    def in_steps(logits: Tensor) -> Tensor:
        if head.scale > 1:
            logits = F.interpolate(logits, scale_factor=float(head.scale), mode="bilinear", align_corners=False)
        return logits.argmax(1).half()

    return time_us(lambda logits: library.label_head(logits, head.scale), sets), time_us(in_steps, sets)
