"""The parity report: what was compared, the budgets it is held to, and how it is written down."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from runtime.bundle import Manifest
from runtime.files import replace_file
from runtime.metrics import Latency

MIN_LABEL_AGREEMENT = 0.999
MAX_MIOU_LOSS_POINTS = 0.05

PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"

_BACKEND_TITLES = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "tensorrt": "TensorRT"}


@dataclass(frozen=True)
class Network:
    """One network as it ran over all scenes. ``iou`` is per class, or None where the scenes have other classes."""

    backend: str
    precision: str
    latency: Latency  # uint8 image in to labels out, batch 1
    iou: tuple[float, ...] | None

    @property
    def mean_iou(self) -> float | None:
        """The plain mean over all classes, or None."""
        return None if self.iou is None else sum(self.iou) / len(self.iou)


@dataclass(frozen=True)
class LogitsDifference:
    """How far logits lie from the reference's, over all pixels and classes of all scenes."""

    max_absolute: float
    mean_absolute: float
    max_relative: float  # max_absolute over the reference's largest magnitude


@dataclass(frozen=True)
class Comparison:
    """One exported network against PyTorch. What did not run has a reason and no figures."""

    backend: str
    precision: str
    status: str  # passed, failed or not run
    reason: str = ""  # why it failed or did not run
    network: Network | None = None
    label_agreement: float | None = None  # share of all pixels
    logits: LogitsDifference | None = None  # None: the file has no logits output


@dataclass(frozen=True)
class Environment:
    """Where and with what the figures were measured."""

    date: str  # ISO 8601, UTC
    cpu: str
    threads: int
    system: str
    versions: dict[str, str]


@dataclass(frozen=True)
class ParityReport:
    """A whole run."""

    manifest: Manifest
    environment: Environment
    first_seed: int
    scenes: int
    reference: Network
    comparisons: list[Comparison]

    @property
    def passed(self) -> bool:
        """Whether something ran and nothing that ran failed."""
        statuses = {comparison.status for comparison in self.comparisons}
        return PASSED in statuses and FAILED not in statuses


def judge(network: Network, reference: Network, label_agreement: float, logits: LogitsDifference | None) -> Comparison:
    """Hold a network that ran against the budgets. Without mIoU, the label agreement alone decides."""
    missed = []
    if label_agreement < MIN_LABEL_AGREEMENT:
        missed.append(f"label agreement {label_agreement:.5f} is below {MIN_LABEL_AGREEMENT}")
    loss_points = miou_loss_points(network, reference)
    if loss_points is not None and loss_points > MAX_MIOU_LOSS_POINTS:
        missed.append(f"mIoU is {loss_points:.3f} points lower, more than {MAX_MIOU_LOSS_POINTS}")
    status = FAILED if missed else PASSED
    return Comparison(network.backend, network.precision, status, "; ".join(missed), network, label_agreement, logits)


def miou_loss_points(network: Network, reference: Network) -> float | None:
    """How many percentage points of mIoU the network loses (negative: gains), or None without truth."""
    if network.mean_iou is None or reference.mean_iou is None:
        return None
    return 100 * (reference.mean_iou - network.mean_iou)


def environment(threads: int) -> Environment:
    """Describe this machine and its software."""
    return Environment(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        cpu=f"{_cpu_model()}, {os.cpu_count()} cores",
        threads=threads,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        versions={"python": platform.python_version()}
        | {package: _version(package) for package in ("torch", "onnxruntime", "numpy", "opencv-python")},
    )


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def write_report(report: ParityReport, folder: Path) -> tuple[Path, Path]:
    """Write parity.json and parity.md, each complete or not at all. Raises UserError where that is impossible."""
    json_path, markdown_path = folder / "parity.json", folder / "parity.md"
    with replace_file(json_path) as aside:
        aside.write_text(json.dumps(to_json(report), indent=2) + "\n", encoding="utf-8")
    with replace_file(markdown_path) as aside:
        aside.write_text(markdown(report), encoding="utf-8")
    return json_path, markdown_path


def to_json(report: ParityReport) -> dict[str, Any]:
    """The report as plain data; null where something was not measured."""
    manifest = report.manifest
    return {
        "format": "hyperseg-parity",
        "version": 1,
        "verdict": PASSED if report.passed else FAILED,
        "budgets": {"label_agreement_min": MIN_LABEL_AGREEMENT, "miou_loss_points_max": MAX_MIOU_LOSS_POINTS},
        "model": {
            "name": manifest.info.name,
            "variant": manifest.info.variant,
            "height": manifest.info.height,
            "width": manifest.info.width,
            "classes": manifest.info.classes,
        },
        "sha256": {"checkpoint": manifest.checkpoint_sha256, **manifest.files},
        "scenes": {"data": "street", "first_seed": report.first_seed, "count": report.scenes},
        "environment": dataclasses.asdict(report.environment),
        "reference": _network_json(report.reference),
        "comparisons": [
            {
                "backend": comparison.backend,
                "precision": comparison.precision,
                "status": comparison.status,
                "reason": comparison.reason,
                "label_agreement": comparison.label_agreement,
                "logits": None if comparison.logits is None else dataclasses.asdict(comparison.logits),
                "miou_loss_points": comparison.network and miou_loss_points(comparison.network, report.reference),
                "speedup": comparison.network and _speedup(comparison.network, report.reference),
                "network": comparison.network and _network_json(comparison.network),
            }
            for comparison in report.comparisons
        ],
    }


def _network_json(network: Network) -> dict[str, Any]:
    return dataclasses.asdict(network) | {"mean_iou": network.mean_iou, "fps": network.latency.fps}


def _speedup(network: Network, reference: Network) -> float:
    return reference.latency.p50_ms / network.latency.p50_ms


def markdown(report: ParityReport) -> str:
    """The report for people; its tables are aligned, so that a terminal shows them well too."""
    info, machine = report.manifest.info, report.environment
    networks = [report.reference, *(comparison.network for comparison in report.comparisons if comparison.network)]
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    files = {"checkpoint": report.manifest.checkpoint_sha256} | report.manifest.files
    sections = [
        f"# Parity of {info.name}: {PASSED if report.passed else FAILED}",
        f"{report.scenes} held-out street scenes (seeds from {report.first_seed}), {info.height}x{info.width}, "
        f"batch 1.\n"
        f"The reference is PyTorch: the unfolded network in FP32 on the CPU.\n"
        f"Budgets: label agreement at least {MIN_LABEL_AGREEMENT}, mIoU loss at most {MAX_MIOU_LOSS_POINTS} points.",
        "## Accuracy",
        _accuracy_table(report),
        "## Speed",
        f"From uint8 image to labels, after warm-up, {machine.threads} threads each; FPS at the median.",
        _speed_table(networks),
    ]
    if report.reference.iou is not None:
        sections += ["## IoU per class, in percent", _iou_table(info.classes, networks)]
    sections += [
        "## Measured on",
        f"- {machine.date}\n- {machine.cpu}; {machine.system}\n- {versions}",
        "## Files",
        _table(["file", "sha256"], [[name, sha256] for name, sha256 in files.items()]),
    ]
    return "\n\n".join(sections) + "\n"


def _title(backend: str, precision: str) -> str:
    return f"{_BACKEND_TITLES[backend]} {precision}"


def _accuracy_table(report: ParityReport) -> str:
    header = ["network", "label agreement", "mIoU", "mIoU loss", "logits max", "logits mean", "relative max", "verdict"]
    reference = report.reference
    rows = [[_title(reference.backend, reference.precision), "", _percent(reference.mean_iou), *[""] * 4, "reference"]]
    notes = []
    for comparison in report.comparisons:
        title, network, logits = _title(comparison.backend, comparison.precision), comparison.network, comparison.logits
        verdict = f"{comparison.status}: {comparison.reason}" if comparison.reason else comparison.status
        if network is None:
            rows.append([title, *[""] * 6, verdict])
            continue
        loss_points = miou_loss_points(network, reference)
        rows.append(
            [
                title,
                f"{comparison.label_agreement:.6f}",
                _percent(network.mean_iou),
                NOT_RUN if loss_points is None else f"{loss_points:.4f}",
                *([NOT_RUN] * 3 if logits is None else [f"{value:.2e}" for value in dataclasses.astuple(logits)]),
                verdict,
            ]
        )
        if logits is None:
            notes.append(f"{title}, logits {NOT_RUN}: the file has no such output; export it with --logits.")
    if reference.iou is None:
        notes.append(f"mIoU {NOT_RUN}: the street scenes have other classes than the model.")
    return "\n\n".join([_table(header, rows), *notes])


def _speed_table(networks: Sequence[Network]) -> str:
    rows = []
    for network in networks:
        latency = network.latency
        figures = [latency.fps, latency.p50_ms, latency.p95_ms, latency.p99_ms, _speedup(network, networks[0])]
        rows.append([_title(network.backend, network.precision), *(f"{figure:.2f}" for figure in figures)])
    return _table(["network", "FPS", "p50 ms", "p95 ms", "p99 ms", "times as fast"], rows)


def _iou_table(classes: Sequence[str], networks: Sequence[Network]) -> str:
    header = ["class", *(_title(network.backend, network.precision) for network in networks)]
    rows = [
        [name, *(_percent(network.iou[index]) for network in networks if network.iou)]
        for index, name in enumerate(classes)
    ]
    rows.append(["mean", *(_percent(network.mean_iou) for network in networks)])
    return _table(header, rows)


def _percent(share: float | None) -> str:
    return NOT_RUN if share is None else f"{100 * share:.2f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with padded columns."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (header, *rows)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
