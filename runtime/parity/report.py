"""What a run found, as data: everything that the Markdown and HTML show is in here, and so in parity.json."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from runtime.bundle import Manifest
from runtime.device.description import Device
from runtime.parity.accuracy import Accuracy
from runtime.parity.budgets import FAILED, MAX_MIOU_LOSS_POINTS, MIN_LABEL_AGREEMENT, NOT_RUN, PASSED, miou_loss_points
from runtime.parity.layers import LayerComparison
from runtime.parity.names import NetworkName
from runtime.parity.pictures import Pictures
from runtime.parity.speed import SPEED_PROTOCOL, Speed

FORMAT_VERSION = 2
COMPILED_OPERATORS = "compiled operators"  # among the versions, with the networks that ran with them

_PACKAGES = (
    "numpy",
    "onnx",
    "onnxruntime",
    "opencv-python",
    "opencv-python-headless",
    "polygraphy",
    "tensorrt",
    "torch",
)


@dataclass(frozen=True)
class Measured:
    """One network as it ran, and the file that it ran from."""

    name: NetworkName
    file: str
    sha256: str
    accuracy: Accuracy
    speed: Speed


@dataclass(frozen=True)
class Comparison:
    """One network against the reference. ``reason`` says why it did not pass; what could not run has no figures."""

    name: NetworkName
    status: str  # PASSED, FAILED or NOT_RUN
    reason: str = ""
    measured: Measured | None = None


@dataclass(frozen=True)
class Environment:
    """Where and with what the figures were measured."""

    date: str  # ISO 8601, UTC
    threads: int
    device: Device
    versions: dict[str, str]


@dataclass(frozen=True)
class ParityReport:
    """A whole run."""

    manifest: Manifest
    environment: Environment
    data: str  # which scenes
    protocol: str  # how they came to the network's size and its labels to the truth's
    scenes: int
    no_truth: str  # why there is no mIoU, or empty
    power_source: str  # where the watts come from, or why there are none
    reference: Measured
    comparisons: tuple[Comparison, ...]
    layers: tuple[LayerComparison, ...] | None  # None: not asked for
    pictures: tuple[Pictures, ...]  # in the HTML only

    @property
    def verdict(self) -> str:
        """FAILED if a budget is missed, PASSED if one is kept and none missed, NOT_RUN if nothing was judged."""
        statuses = {comparison.status for comparison in self.comparisons}
        return FAILED if FAILED in statuses else PASSED if PASSED in statuses else NOT_RUN

    @property
    def measured(self) -> list[Measured]:
        """The reference and whatever else ran."""
        return [self.reference, *(comparison.measured for comparison in self.comparisons if comparison.measured)]

    def speedup(self, measured: Measured) -> float:
        """How many times as fast as the reference, at the median."""
        return self.reference.speed.end_to_end.percentiles.p50_ms / measured.speed.end_to_end.percentiles.p50_ms

    def miou_loss_points(self, measured: Measured) -> float | None:
        """Percentage points of mIoU lost against the reference, or None without truth."""
        return miou_loss_points(measured.accuracy, self.reference.accuracy)


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of what runs networks here; what is not installed is left out."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def as_json(report: ParityReport) -> str:
    """The report as JSON text; null where something was not measured or is not a number."""
    info = report.manifest.info
    fields = {
        "format": "hyperseg-parity",
        "version": FORMAT_VERSION,
        "verdict": report.verdict,
        "budgets": {
            "fp32_label_agreement_min": MIN_LABEL_AGREEMENT,
            "miou_loss_points_max": MAX_MIOU_LOSS_POINTS,
        },
        "model": {
            "name": info.name,
            "variant": info.variant,
            "height": info.height,
            "width": info.width,
            "classes": info.classes,
        },
        "sha256": {"checkpoint": report.manifest.checkpoint_sha256, **report.manifest.files},
        "data": {
            "title": report.data,
            "protocol": report.protocol,
            "scenes": report.scenes,
            "no_truth": report.no_truth or None,
        },
        "environment": dataclasses.asdict(report.environment),
        "speed_protocol": SPEED_PROTOCOL,
        "power_source": report.power_source,
        "reference": _measured_json(report, report.reference),
        "comparisons": [
            {
                "backend": comparison.name.backend,
                "precision": comparison.name.precision,
                "status": comparison.status,
                "reason": comparison.reason,
                "measured": comparison.measured and _measured_json(report, comparison.measured),
            }
            for comparison in report.comparisons
        ],
        "layers": report.layers and [_layers_json(comparison) for comparison in report.layers],
    }
    return json.dumps(_finite(fields), indent=2, allow_nan=False) + "\n"


def _measured_json(report: ParityReport, measured: Measured) -> dict[str, Any]:
    accuracy, speed = measured.accuracy, measured.speed
    return {
        "backend": measured.name.backend,
        "precision": measured.name.precision,
        "file": measured.file,
        "sha256": measured.sha256,
        **dataclasses.asdict(accuracy),
        "mean_iou": accuracy.mean_iou,
        "miou_loss_points": report.miou_loss_points(measured),
        "end_to_end": dataclasses.asdict(speed.end_to_end) | {"fps": speed.end_to_end.fps},
        "network_alone": speed.network and dataclasses.asdict(speed.network) | {"fps": speed.network.fps},
        "power": speed.power and dataclasses.asdict(speed.power) | {"fps_per_watt": speed.power.fps_per_watt},
        "speedup": report.speedup(measured),
    }


def _layers_json(comparison: LayerComparison) -> dict[str, Any]:
    first = comparison.first_departed
    return {
        "title": comparison.title,
        "threshold": comparison.threshold,
        "not_run": comparison.not_run or None,
        "first_departed": None if first is None else first.name,
        "layers": [dataclasses.asdict(layer) for layer in comparison.layers],
    }


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(item) for item in value]
    return value
