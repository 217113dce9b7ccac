"""A whole search: the best method, what each layer costs, the largest set of layers within the budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import onnx
from onnx import ModelProto
from tqdm import tqdm

from calibration.cache import Calibration
from calibration.layers import default_int8_layers, weighted_layers
from calibration.placement import place_qdq
from calibration.quantise import int8_model
from calibration.search.report import Point, SearchReport, Sensitivity
from calibration.search.scoring import Score, Scorer, without_logits
from calibration.search.selection import Layers, select
from calibration.thresholds import METHODS
from export.operators import strip_functions
from runtime.bundle import Bundle
from runtime.errors import UserError
from runtime.parity.report import installed_versions
from runtime.parity.scenes import Scenes, open_scenes
from training.int8_recipe import Int8Recipe

# The parity report judges on a data set's first 50 scenes, unless told otherwise; here they choose nothing.
SKIPPED_SCENES = 50


@dataclass(frozen=True)
class Request:
    """How many points of mIoU may be lost, and what that is measured on. ``threads`` None takes all."""

    budget_points: float = 0.5
    data: str = "street"
    data_root: Path | None = None
    scenes: int = 50
    threads: int | None = None


def search(bundle: Bundle, calibration: Calibration, request: Request) -> SearchReport:
    """Find the largest set of layers that may run in INT8 within the budget; nothing is written.

    What counts against the budget is the INT8 file as it would ship, FP16 outside these layers. Raises UserError for a
    budget that is not above 0, a broken FP32 file, another model's calibration, and scenes without truth.
    """
    if not request.budget_points > 0:
        raise UserError(
            f"--budget {request.budget_points:g}: 8 bits always cost a little, so the budget must be above 0. It is "
            "in points of mIoU; 0.5 is usual."
        )
    fp32 = bundle.onnx("fp32")
    bundle.verify_file(fp32)
    scenes = _scenes_with_truth(bundle, request)
    calibration.check(fp32)
    scorer = Scorer(fp32, scenes, threads=request.threads)

    bare = without_logits(strip_functions(onnx.load(fp32)))
    layers = {layer.name: layer for layer in weighted_layers(bare)}
    default = default_int8_layers(bare)

    def quantised(method: str, chosen: Iterable[str]) -> ModelProto:
        return int8_model(bare, calibration, Int8Recipe(calibration.model, method, in_order(default, chosen)))

    methods = _scored(scorer, "methods", METHODS, lambda method: quantised(method, default))
    method = best_method(methods, request.budget_points)

    thresholds = calibration.thresholds(method)
    alone = _scored(scorer, "layer by layer", default, lambda name: place_qdq(bare, thresholds, [name]))
    sensitivities = sorted(
        (Sensitivity(layers[name], score) for name, score in alone.items()), key=lambda one: one.harm, reverse=True
    )

    scores: dict[Layers, Score] = {frozenset(default): methods[method]}
    with tqdm(desc="sets of layers", unit=" sets", leave=False, disable=None) as bar:

        def loss_points_of(chosen: Layers) -> float:
            if chosen not in scores:
                scores[chosen] = scorer.score(quantised(method, chosen))
            bar.update()
            return scores[chosen].loss_points

        selection = select(
            [one.layer.name for one in sensitivities],
            {name: layers[name].macs for name in default},
            loss_points_of,
            request.budget_points,
        )

    points = {
        tried.layers: Point(
            layers=in_order(default, tried.layers),
            macs=sum(layers[name].macs for name in tried.layers),
            score=scores[tried.layers],
            found_by=tried.found_by,
        )
        for tried in selection.tried
    }
    return SearchReport(
        info=bundle.info,
        onnx_sha256=calibration.onnx_sha256,
        calibrated_on=calibration.source,
        data=scenes.title,
        protocol=scenes.protocol,
        scenes=scenes.count,
        budget_points=request.budget_points,
        layers=tuple(layers.values()),
        methods=methods,
        method=method,
        sensitivities=tuple(sensitivities),
        points=tuple(points.values()),
        chosen=points[selection.chosen.layers] if selection.chosen else None,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=installed_versions(),
    )


def best_method(methods: Mapping[str, Score], budget_points: float) -> str:
    """Of the methods within the budget the one that changes fewest labels; if none is, the one that loses least mIoU.

    Where the losses of mIoU are small, they differ by chance more than by merit.
    """
    within = [name for name, score in methods.items() if score.loss_points <= budget_points]
    if within:
        return min(within, key=lambda name: methods[name].changed_labels)
    return min(methods, key=lambda name: methods[name].loss_points)


def in_order(default: Iterable[str], chosen: Iterable[str]) -> tuple[str, ...]:
    """The chosen layers in the graph's order, so that one set always gives the same recipe."""
    members = set(chosen)
    return tuple(name for name in default if name in members)


def _scenes_with_truth(bundle: Bundle, request: Request) -> Scenes:
    scenes = open_scenes(request.data, request.data_root, bundle.info, request.scenes, skip=SKIPPED_SCENES)
    if scenes.no_truth:
        raise UserError(
            f"accuracy cannot be measured on {request.data}: {scenes.no_truth}. Give the data set that the network was "
            "trained for: --data NAME --data-root DIR."
        )
    return scenes


def _scored(scorer: Scorer, what: str, names: Iterable[str], model_of: Callable[[str], ModelProto]) -> dict[str, Score]:
    names = list(names)
    models = ((name, model_of(name)) for name in names)
    return dict(tqdm(scorer.scores(models), desc=what, total=len(names), unit="file", leave=False, disable=None))
