"""The kernels of ../bench, from naive to the library's own: ``python -m trt_plugins.gpu.ladder``.

Prints for each step what it costs by count and what ptxas says of it; with a GPU also whether its values are right and
how long it takes beside the first step and the device's floor. A step is a source that defines an operator's launcher,
so it is built, checked and timed as the library is, with that source in place of the library's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from trt_plugins.gpu.cases import Case, Head, random_logits, random_tensors, run
from trt_plugins.gpu.correctness import check_labels, check_values
from trt_plugins.gpu.costs import (
    H200,
    ORIN,
    VALUE_BYTES,
    Cost,
    conv_lane_per_patch,
    conv_value_a_thread,
    enlarge_then_arg_max,
    fewer_instructions,
    fused_label_head,
    fused_level,
    pixel_a_thread,
    pixel_tile,
    shared_memory,
    tensor_core,
    three_kernels,
    value_a_thread,
)
from trt_plugins.gpu.floors import Ceilings, head_floor_us, level_floor_us, operators_floor_us
from trt_plugins.gpu.library import SOURCES, TYPES, KernelLibrary, build_library, find_nvcc
from trt_plugins.gpu.report import attempt, table
from trt_plugins.gpu.shapes import fused, published_heads, published_levels
from trt_plugins.gpu.speed import head_sets, input_sets, measure_ceilings, time_us
from trt_plugins.kernels.ptxas_table import ptxas_rows

ROOT = Path(__file__).parents[2]
BENCH = Path(__file__).parents[1] / "bench"
ARCHITECTURES = ("87", "90")  # Orin and H200


@dataclass(frozen=True)
class Step:
    """One kernel of a ladder; its file's folder is named after the operator."""

    source: Path
    cost: Callable[[Any], Cost]  # of the ladder's case

    @property
    def fused(self) -> bool:
        """Whether the step makes a level's input as well."""
        return self.source.stem.endswith("fused_level")

    @property
    def name(self) -> str:
        """Number and idea, such as ``3 three kernels``."""
        return self.source.stem.replace("_", " ")

    @property
    def operator(self) -> str:
        """The launcher that the source defines, a key of ``library.SOURCES``."""
        return self.source.parent.name


@dataclass(frozen=True)
class Ladder:
    """Steps that compute the same thing, and the case that they are counted and timed with."""

    case: Case | Head
    steps: tuple[Step, ...]

    def case_of(self, step: Step) -> Case | Head:
        """Return what the step is checked and timed with."""
        return fused(self.case) if step.fused and isinstance(self.case, Case) else self.case

    def floor_us(self, step: Step, ceilings: Ceilings) -> float:
        """Microseconds that the step takes at least."""
        if isinstance(self.case, Head):
            return head_floor_us(self.case, ceilings, VALUE_BYTES)
        return (level_floor_us if step.fused else operators_floor_us)(self.case, ceilings, VALUE_BYTES)


def ladders() -> tuple[Ladder, ...]:
    """Return the operators' ladders, on the levels of cityscapes-m where each has most to do, and on its label head."""
    levels = published_levels()["cityscapes-m"]
    return (
        _ladder(
            levels[4],
            "dpw_inverted_residual",
            (
                value_a_thread,
                pixel_a_thread,
                three_kernels,
                shared_memory,
                pixel_tile,
                tensor_core,
                fewer_instructions,
                fused_level,
            ),
        ),
        _ladder(levels[0], "dpwconv", (conv_value_a_thread, conv_lane_per_patch)),
        _ladder(published_heads()["cityscapes-m"], "label_head", (enlarge_then_arg_max, fused_label_head)),
    )


def _ladder(case: Case | Head, operator: str, costs: tuple[Callable[[Any], Cost], ...]) -> Ladder:
    sources = sorted((BENCH / operator).glob("*.cu"))
    return Ladder(case, tuple(Step(source, cost) for source, cost in zip(sources, costs, strict=True)))


def _check(case: Case | Head, library: KernelLibrary) -> None:
    for dtype in TYPES:
        if isinstance(case, Head):
            check_labels(library, dtype, [case], "cuda")
        else:
            check_values(library, dtype, [case], "cuda")


def _time_us(case: Case | Head, library: KernelLibrary) -> float:
    if isinstance(case, Head):
        logits = [random_logits(case, torch.float16, "cuda", seed) for seed in range(head_sets(case))]
        return time_us(lambda x: library.label_head(x, case.scale), logits)
    sets = [random_tensors(case, torch.float16, "cuda", seed) for seed in range(input_sets(case))]
    return time_us(partial(run, case, library), sets)


def measure(folder: Path, arch: str, say: Callable[[str], None]) -> dict[str, Any]:
    """Build, check and time all steps on the current GPU, in FP16. Raises BuildError, and Failed for wrong values."""
    rows = []
    with torch.inference_mode():
        ceilings = measure_ceilings()
        for ladder in ladders():
            times = {}
            for step in ladder.steps:
                say(f"{step.operator} {step.name}")
                sources = SOURCES | {step.operator: step.source}
                library = KernelLibrary(build_library(folder / step.operator / step.source.stem, arch, sources))
                _check(ladder.case_of(step), library)
                times[step] = _time_us(ladder.case_of(step), library)
            rows += step_rows(ladder, times, ceilings)
    return {"type": "FP16", "batch": 1, "ceilings": ceilings.source, "steps": rows}


def step_rows(ladder: Ladder, times_us: dict[Step, float], ceilings: Ceilings) -> list[dict[str, Any]]:
    """Return the steps' microseconds, beside the first step and the floor."""
    first_us = times_us[ladder.steps[0]]
    return [
        {
            "name": f"{step.operator} {step.name}",
            "step_us": times_us[step],
            "first/step": first_us / times_us[step],
            "step/floor": times_us[step] / ladder.floor_us(step, ceilings),
        }
        for step in ladder.steps
    ]


def counted_table(ladder: Ladder) -> list[str]:
    """Return the steps' costs as the lines of a Markdown table."""
    lines = [
        "| step | multiply-adds, 10^6 | on tensor cores, 10^6 | device memory, MB | accesses, 10^6 "
        f"| shared memory, KB | {H200.name} at least, us | {ORIN.name} at least, us |",
        "|---|" + "---:|" * 7,
    ]
    for step in ladder.steps:
        cost = step.cost(ladder.case)
        cells = (
            f"{cost.multiply_adds / 1e6:,.1f}",
            f"{cost.matrix_multiply_adds / 1e6:,.1f}",
            f"{cost.memory_bytes / 1e6:.1f}",
            f"{cost.accesses / 1e6:,.2f}",
            f"{cost.shared_bytes / 1024:.1f}",
            f"{cost.least_us(H200):,.1f}",
            f"{cost.least_us(ORIN):,.1f}",
        )
        lines.append(f"| {step.name} | {' | '.join(cells)} |")
    return lines


def compiled_table(ladder: Ladder, nvcc: str) -> list[str]:
    """Compile the steps; most registers a thread and all bytes of spills as the lines of a Markdown table."""
    lines = ["| step | " + " | ".join(f"sm_{arch}" for arch in ARCHITECTURES) + " |", "|---|" + "---:|---:|"]
    for step in ladder.steps:
        compiled = [ptxas_rows(nvcc, int(arch), [step.source]) for arch in ARCHITECTURES]
        cells = (f"{max(row.registers for row in rows)} / {sum(row.spill_bytes for row in rows)}" for rows in compiled)
        lines.append(f"| {step.name} | {' | '.join(cells)} |")
    return lines


def main() -> int:
    """Print what can be known of the steps on this machine; the exit code is 1 if a step failed."""
    for ladder in ladders():
        print(f"{ladder.steps[0].operator}, {ladder.case.name}, FP16\n\nCounted:\n", *counted_table(ladder), sep="\n")
        nvcc = find_nvcc()
        if nvcc is None:
            print("\nCompiled: not run, there is no nvcc\n")
        else:
            print("\nCompiled, registers / bytes of spills:\n", *compiled_table(ladder, nvcc), "", sep="\n", flush=True)
    if not torch.cuda.is_available():
        print("Values and times: not run, PyTorch finds no CUDA GPU on this machine")
        return 0
    major, minor = torch.cuda.get_device_capability()
    say = partial(print, file=sys.stderr, flush=True)
    check = attempt("ladder", lambda: measure(ROOT / "out/ladder", f"{major}{minor}", say))
    print(f"Values and times on {torch.cuda.get_device_name()}: {check.status} {check.reason}\n")
    print("\n".join(table(check.figures["steps"]) if "steps" in check.figures else ()))
    return int(check.status == "failed")


if __name__ == "__main__":
    sys.exit(main())
