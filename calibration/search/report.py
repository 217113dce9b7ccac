"""What a search found, as data: everything that the Markdown and HTML show is in here, and so in search.json."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibration.layers import Layer
from calibration.search.scoring import Score
from runtime.bundle import ModelInfo

FORMAT_VERSION = 1

# Below this share of the convolutions' multiply-accumulates, INT8 has been given up more than it has been had.
LOW_SHARE = 0.5


@dataclass(frozen=True)
class Sensitivity:
    """What it costs to run one layer in INT8, all others in FP32."""

    layer: Layer
    score: Score

    @property
    def harm(self) -> float:
        """Changed labels for each multiply-accumulate won: by this, layers are given up."""
        return self.score.changed_labels / max(self.layer.macs, 1)


@dataclass(frozen=True)
class Point:
    """An INT8 file that was measured: as it would ship, Q/DQ in these layers and FP16 elsewhere."""

    layers: tuple[str, ...]
    macs: int  # multiply-accumulates in INT8
    score: Score
    found_by: str


@dataclass(frozen=True)
class SearchReport:
    """A whole search. ``points`` are in order of measurement, ``chosen`` is one of them, or None."""

    info: ModelInfo
    onnx_sha256: str
    calibrated_on: str
    data: str  # which scenes
    protocol: str  # how they came to the network's size and its labels to the truth's
    scenes: int
    budget_points: float
    layers: tuple[Layer, ...]  # all that multiply and accumulate
    methods: dict[str, Score]  # every default layer in INT8, thresholds by each method
    method: str  # the best of them
    sensitivities: tuple[Sensitivity, ...]  # of the default layers, the most harmful first
    points: tuple[Point, ...]
    chosen: Point | None
    date: str  # ISO 8601, UTC
    versions: dict[str, str]

    @property
    def fp32_miou(self) -> float:
        """The FP32 file's mIoU on the same scenes, a share of 1."""
        score = self.methods[self.method]
        return score.miou + score.loss_points / 100

    @property
    def total_macs(self) -> int:
        """Multiply-accumulates of the network for one image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def quantisable(self) -> tuple[str, ...]:
        """The layers that can run in INT8, in the graph's order."""
        names = {one.layer.name for one in self.sensitivities}
        return tuple(layer.name for layer in self.layers if layer.name in names)

    @property
    def quantisable_macs(self) -> int:
        """Their multiply-accumulates."""
        return sum(one.layer.macs for one in self.sensitivities)

    def share(self, macs: int) -> float:
        """Multiply-accumulates as a share of the network's."""
        return macs / self.total_macs

    @property
    def gives_up_much(self) -> bool:
        """Whether less than half of what could be INT8 is."""
        return self.chosen is None or self.chosen.macs < LOW_SHARE * self.quantisable_macs

    @property
    def fp16_keeps_budget(self) -> bool:
        """Whether the file without any INT8 is within the budget; the search measures it, too."""
        return all(point.score.loss_points <= self.budget_points for point in self.points if not point.layers)

    @property
    def prediction(self) -> dict[str, float | None]:
        """Rank correlations: how far the order of layers, by the labels that each alone changes, can be trusted.

        For single layers with the mIoU loss; for the measured sets, over which it is summed, with what the set does.
        """
        alone = {one.layer.name: one.score for one in self.sensitivities}
        labels = [score.changed_labels for score in alone.values()]
        sums = [sum(alone[layer].changed_labels for layer in point.layers) for point in self.points]
        return {
            "miou_loss_of_layers": rank_correlation(labels, [score.loss_points for score in alone.values()]),
            "changed_labels_of_sets": rank_correlation(sums, [point.score.changed_labels for point in self.points]),
            "miou_loss_of_sets": rank_correlation(sums, [point.score.loss_points for point in self.points]),
        }


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's: 1 if both put things in one order, -1 if in opposite ones; None where one of them has no order.

    Equal values share the mean of their ranks.
    """
    ranks = [_ranks(values) for values in (x, y)]
    if any(len(np.unique(values)) < 2 for values in ranks):
        return None
    return float(np.corrcoef(ranks)[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    _, groups, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks: np.ndarray = (ends - (counts - 1) / 2)[groups]
    return ranks


def as_json(report: SearchReport) -> str:
    """The report as JSON text."""
    info = report.info
    fields = {
        "format": "hyperseg-int8-search",
        "version": FORMAT_VERSION,
        "model": {"name": info.name, "variant": info.variant, "height": info.height, "width": info.width},
        "onnx_sha256": report.onnx_sha256,
        "calibrated_on": report.calibrated_on,
        "data": {"title": report.data, "protocol": report.protocol, "scenes": report.scenes},
        "budget_points": report.budget_points,
        "fp32_miou": report.fp32_miou,
        "macs": {"network": report.total_macs, "quantisable": report.quantisable_macs},
        "methods": {name: dataclasses.asdict(score) for name, score in report.methods.items()},
        "method": report.method,
        "sensitivity": [_sensitivity_json(one) for one in report.sensitivities],
        "rank_correlation_with_changed_labels": report.prediction,
        "points": [_point_json(report, point) for point in report.points],
        "chosen": None if report.chosen is None else _point_json(report, report.chosen),
        "date": report.date,
        "versions": report.versions,
    }
    return json.dumps(fields, indent=2, allow_nan=False) + "\n"


def _sensitivity_json(one: Sensitivity) -> dict[str, Any]:
    return {"layer": one.layer.name, "macs": one.layer.macs, **dataclasses.asdict(one.score)}


def _point_json(report: SearchReport, point: Point) -> dict[str, Any]:
    return {
        "found_by": point.found_by,
        "macs": point.macs,
        "share_of_macs": report.share(point.macs),
        **dataclasses.asdict(point.score),
        "layers": point.layers,
    }
