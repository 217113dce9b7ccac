"""Check the kernels on this machine's GPU and write a report: scripts/gpu_check.sh [--out FILE]."""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from trt_plugins.gpu import engine, fusion, ladder
from trt_plugins.gpu.correctness import SANITIZER_TOOLS, all_labels, all_values, sanitize
from trt_plugins.gpu.library import KernelLibrary, build_library, build_runner, find_nvcc
from trt_plugins.gpu.report import Check, Failed, NotRun, Report, attempt, report_path, summary, write
from trt_plugins.gpu.speed import measure

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "out/gpu_check"
REPORTS = ROOT / "docs/reports"
TRAINED = ROOT / "out/quickstart/training/best.ckpt"


def main() -> int:
    """Run all checks; the exit code is 1 if any failed, 0 if not, also where nothing can run."""
    parser = argparse.ArgumentParser(
        prog="scripts/gpu_check.sh",
        description="Builds the CUDA kernels for this machine's GPU and checks them: values against PyTorch in FP32 "
        "and FP16, compute-sanitizer, speed against PyTorch eager, torch.compile and the device's floor. With TensorRT "
        "also whole engines: parity with PyTorch, time by layer, frames end to end. The variable HYPERSEG_PYTHON names "
        "a Python that has torch; nothing is installed then.",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="a trained network, for engines in FP16 and INT8 (default: scripts/quickstart.sh's, where it is)",
    )
    parser.add_argument(
        "--out", type=Path, help="the JSON report (default: docs/reports/DATE-DEVICE.json; without a GPU none)"
    )
    arguments = parser.parse_args()
    if arguments.checkpoint is not None and not arguments.checkpoint.is_file():
        parser.error(f"there is no checkpoint {arguments.checkpoint}")
    out, trained = arguments.out, arguments.checkpoint or (TRAINED if TRAINED.is_file() else None)
    report = Report(f"{datetime.now(UTC):%Y-%m-%d}", describe_machine(), tuple(run_checks(trained)))
    print(summary(report))
    if out is not None or torch.cuda.is_available():
        path = out or report_path(REPORTS, report)
        write(report, path)
        print(f"report: {path}")
    else:
        print("no report is written: nothing was checked")
    return int(report.failed)


def run_checks(trained: Path | None = None) -> list[Check]:
    """Run the checks in turn, each on its own; without a GPU or a library they say so.

    ``trained`` is the checkpoint of a trained network.
    """
    built: list[KernelLibrary] = []
    runner: list[Path] = []

    def build() -> dict[str, Any]:
        major, minor = torch.cuda.get_device_capability()
        path = build_library(BUILD, f"{major}{minor}")
        built.append(KernelLibrary(path))
        runner.append(build_runner(path, f"{major}{minor}"))
        return {"arch": f"sm_{major}{minor}"}

    def library() -> KernelLibrary:
        if not built:
            raise NotRun("the library was not built")
        return built[0]

    def under_sanitizer(tool: str) -> dict[str, Any]:
        if not runner:
            raise NotRun("the runner was not built")
        return sanitize(runner[0], tool)

    speed: dict[str, Any] = {}

    def time_levels() -> dict[str, Any]:
        speed.update(measure(library(), _say))
        return speed

    def all_compiled() -> dict[str, Any]:
        if not speed:
            raise NotRun("nothing was timed")
        if reasons := speed["not_compiled"]:
            raise NotRun(f"{len(reasons)} of {len(speed['levels'])} levels: {next(iter(reasons.values()))}")
        return {}

    def time_steps() -> dict[str, Any]:
        major, minor = torch.cuda.get_device_capability()
        return ladder.measure(BUILD / "ladder", f"{major}{minor}", _say)

    speed_engines = engine.Engines(BUILD / "engines")
    parity_engines = speed_engines if trained is None else engine.Engines(BUILD / "trained", trained)
    frames: dict[str, Any] = {}

    def time_frames() -> dict[str, Any]:
        try:
            frames.update(engine.frames_table(speed_engines.time_frames, _say))
        except Failed as failure:  # what was timed is judged nevertheless
            frames.update(failure.figures)
            raise
        return frames

    checks: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        ("build", build),
        ("FP32 against float64 PyTorch", lambda: all_values(library(), torch.float32)),
        ("FP16 against float64 PyTorch", lambda: all_values(library(), torch.float16)),
        ("labels, FP32 against float64 PyTorch", lambda: all_labels(library(), torch.float32)),
        ("labels, FP16 against float64 PyTorch", lambda: all_labels(library(), torch.float16)),
        *((f"compute-sanitizer {tool}", partial(under_sanitizer, tool)) for tool in SANITIZER_TOOLS),
        ("speed, PyTorch eager and floors", time_levels),
        ("speed of torch.compile", all_compiled),
        ("speed of fusing", lambda: fusion.measure(library(), _say)),
        ("ladder", time_steps),
        *((f"engine {name} against PyTorch", partial(parity_engines.compare, name)) for name in engine.COMPARED),
        *((f"layers of engine {name}", partial(speed_engines.profile, name)) for name in ("fp16", "int8")),
        ("frames end to end", time_frames),
        ("aims", lambda: engine.judge_aims(frames, torch.cuda.get_device_name())),
    ]
    if not torch.cuda.is_available():
        return [Check(name, "not run", "PyTorch finds no CUDA GPU on this machine") for name, _ in checks]
    results = []
    for name, check in checks:
        _say(name)
        results.append(attempt(name, check))
    return results


def describe_machine() -> dict[str, Any]:
    """Name the device, the versions and the commit; "unknown" for what cannot be found out."""
    nvcc = find_nvcc()
    cuda = re.search(r"release ([\d.]+)", _output_of(nvcc, "--version")) if nvcc else None
    commit = _output_of("git", "-C", str(ROOT), "rev-parse", "HEAD").strip()
    changed = _output_of("git", "-C", str(ROOT), "status", "--porcelain").strip()
    machine: dict[str, Any] = {
        "device": "none",
        "driver": "none",
        "nvcc": cuda[1] if cuda else "none",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "commit": (commit or "unknown") + (" with uncommitted changes" if changed else ""),
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        driver = _output_of("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").split()
        machine |= {
            "device": properties.name,
            "driver": driver[0] if driver else "unknown",
            "compute_capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "l2_mib": round(properties.L2_cache_size / 2**20, 1),
        }
    return machine


def _output_of(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def _say(text: str) -> None:
    print(f"{text} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
