"""The report as short Markdown, and the sentences that the page says as well."""

from __future__ import annotations

from collections.abc import Sequence

from calibration.search.report import LOW_SHARE, SearchReport
from calibration.search.scoring import Score

_SCORE_COLUMNS = ("mIoU, %", "loss, points", "± points", "changed labels, %")
METHOD_COLUMNS = ("method", *_SCORE_COLUMNS)
SET_COLUMNS = ("layers", "multiply-accumulates, %", *_SCORE_COLUMNS, "found by")

_SHOWN_LAYERS = 10


def as_markdown(report: SearchReport) -> str:
    """The whole report; of the layers the most harmful ones."""
    shown = report.sensitivities[:_SHOWN_LAYERS]
    sections = [
        f"# INT8 search of {report.info.name}: {verdict(report)}",
        f"{summary(report)}\n{conditions(report)}",
        *advice(report),
        "## Thresholds",
        f"All {len(report.sensitivities)} layers in INT8, thresholds by each method.",
        _table(METHOD_COLUMNS, method_rows(report)),
        "## Sets of layers",
        _table(SET_COLUMNS, set_rows(report)),
        f"## The {len(shown)} most harmful layers for what they win",
        _table(
            ["layer", "multiply-accumulates, M", "changed labels, %", "loss, points", "precision"],
            [
                [
                    one.layer.name,
                    f"{one.layer.macs / 1e6:.2f}",
                    f"{100 * one.score.changed_labels:.3f}",
                    f"{one.score.loss_points:.3f}",
                    precision_of(report, one.layer.name),
                ]
                for one in shown
            ],
        ),
        reliability(report),
    ]
    return "\n\n".join(sections) + "\n"


def verdict(report: SearchReport) -> str:
    """Whether there is a recipe within the budget."""
    return "not found" if report.chosen is None else "found"


def summary(report: SearchReport) -> str:
    """What was found, in a sentence or two."""
    possible = f"{100 * report.share(report.quantisable_macs):.1f} %"
    if report.chosen is None:
        return (
            f"No set of layers keeps the budget of {report.budget_points:g} points of mIoU. "
            f"Those that could run in INT8 do {possible} of the multiply-accumulates."
        )
    chosen, count = report.chosen, len(report.sensitivities)
    loss, error = chosen.score.loss_points, chosen.score.error_points
    # Within the noise, INT8 may even score higher.
    lost = f"{loss:.2f} ± {error:.2f} points" if loss >= 0.005 else "nothing"
    part = f"All {count}" if len(chosen.layers) == count else f"{len(chosen.layers)} of {count}"
    return (
        f"{part} layers run in INT8: {100 * report.share(chosen.macs):.1f} % of the network's multiply-accumulates, of "
        f"{possible} that could be. That loses {lost} of mIoU ({100 * report.fp32_miou:.2f} % to "
        f"{100 * chosen.score.miou:.2f} %); the budget is {report.budget_points:g} points. Thresholds: {report.method}."
    )


def conditions(report: SearchReport) -> str:
    """What it was measured on."""
    return (
        f"Scored on {report.data}; {report.protocol}; ± is the standard error, by which a loss varies with the scenes. "
        f"Calibrated on {report.calibrated_on}."
    )


def advice(report: SearchReport) -> list[str]:
    """What to do where little or nothing can be INT8."""
    if not report.gives_up_much:
        return []
    if not report.fp16_keeps_budget:
        return [
            "Even the file without INT8 misses the budget, so FP16 is what to look at first: `scripts/parity.sh BUNDLE "
            "--precisions fp16 --layers`."
        ]
    happened = (
        "INT8 after training does not keep the budget."
        if report.chosen is None
        else f"That is less than {100 * LOW_SHARE:.0f} % of what could be INT8: little speed is won."
    )
    return [
        f"{happened} Fine-tune the checkpoint with fake quantisation (docs/precision.md), then export and search "
        "again: `python -m training fit --config CONFIG --start-from CHECKPOINT --int8-recipe "
        f"{fine_tuning_recipe_name(report)}`. More or better chosen calibration images may help, too."
    ]


def fine_tuning_recipe_name(report: SearchReport) -> str:
    """The recipe to fine-tune for: all layers, since fine-tuning shall win back those given up."""
    return f"{report.info.name}.int8.all-layers.recipe.json"


def reliability(report: SearchReport) -> str:
    """How far the order of layers, by the labels that each changes alone, predicts what counts."""
    layers, sets_labels, sets_miou = (
        "not defined" if correlation is None else f"{correlation:.2f}" for correlation in report.prediction.values()
    )
    return (
        "How well the labels that layers change alone predict, as rank correlations: the labels that measured sets "
        f"change {sets_labels}, the mIoU that sets lose {sets_miou}, the mIoU that single layers lose {layers}. "
        "Losses below their standard error are chance, and so is their order."
    )


def method_rows(report: SearchReport) -> list[list[str]]:
    """METHOD_COLUMNS of each method."""
    return [
        [f"{name}{' (taken)' if name == report.method else ''}", *_score_cells(score)]
        for name, score in report.methods.items()
    ]


def set_rows(report: SearchReport) -> list[list[str]]:
    """SET_COLUMNS of each measured set, the largest first."""
    return [
        [
            f"{len(point.layers)}{' (chosen)' if point is report.chosen else ''}",
            f"{100 * report.share(point.macs):.1f}",
            *_score_cells(point.score),
            point.found_by,
        ]
        for point in sorted(report.points, key=lambda point: -point.macs)
    ]


def _score_cells(score: Score) -> list[str]:
    return [
        f"{100 * score.miou:.2f}",
        f"{score.loss_points:.3f}",
        f"{score.error_points:.3f}",
        f"{100 * score.changed_labels:.3f}",
    ]


def precision_of(report: SearchReport, layer: str) -> str:
    """What the recipe has the layer run in; without a recipe, FP16."""
    return "int8" if report.chosen is not None and layer in report.chosen.layers else "fp16"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with padded columns, for terminals."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (header, *rows)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
