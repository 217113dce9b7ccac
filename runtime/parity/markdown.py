"""The report as Markdown; its tables are aligned, so that a terminal shows them well too."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from runtime.parity.budgets import MAX_MIOU_LOSS_POINTS, MIN_LABEL_AGREEMENT, NOT_RUN
from runtime.parity.layers import LayerComparison
from runtime.parity.report import COMPILED_OPERATORS, Measured, ParityReport
from runtime.parity.speed import SPEED_PROTOCOL, Timing

_SPARKS = "▁▂▃▄▅▆▇█"
_SPARK_BINS = 12


def as_markdown(report: ParityReport) -> str:
    """The whole report."""
    info = report.manifest.info
    sections = [
        f"# Parity of {info.name}: {report.verdict}",
        f"{report.data}; {report.protocol}; batch 1.\n"
        f"The reference is {report.reference.name.title}, {report.reference.file}.\n{budgets_text()}",
        "## Accuracy",
        _accuracy_table(report),
        *_notes(report),
        "## Speed",
        SPEED_PROTOCOL,
        _speed_table(report),
        f"CPU threads of each: {report.environment.threads}. Power: {report.power_source}.",
    ]
    if report.reference.accuracy.iou is not None:
        sections += ["## IoU per class, in percent", _iou_table(info.classes, report.measured)]
    if report.layers is not None:
        sections += ["## Layer by layer", *layers_note(report), *map(_layers_section, report.layers)]
    sections += [
        "## Measured on",
        "\n".join(f"- {name}: {value}" for name, value in environment_rows(report)),
        "## Files",
        _table(["file", "sha256"], file_rows(report)),
    ]
    return "\n\n".join(sections) + "\n"


def budgets_text() -> str:
    """The budgets in a sentence."""
    losses = ", ".join(f"{points} in {precision}" for precision, points in MAX_MIOU_LOSS_POINTS.items())
    return f"Budgets: label agreement at least {MIN_LABEL_AGREEMENT} in fp32; loss of mIoU points at most {losses}."


def environment_rows(report: ParityReport) -> list[tuple[str, str]]:
    """Date, device and versions, without what is not known."""
    environment = report.environment
    device = dataclasses.asdict(environment.device)
    versions = ", ".join(f"{name} {number}" for name, number in environment.versions.items())
    return [
        ("date", environment.date),
        *((name.replace("_", " "), str(value)) for name, value in device.items() if value is not None),
        ("CPU threads", str(environment.threads)),
        ("versions", versions),
    ]


def file_rows(report: ParityReport) -> list[tuple[str, str]]:
    """Names and sha256 of the checkpoint, the bundle's files and the engines."""
    ran = {measured.file: measured.sha256 for measured in report.measured}
    return list(({"checkpoint": report.manifest.checkpoint_sha256} | report.manifest.files | ran).items())


def percent(share: float | None) -> str:
    """A share of 1 in percent."""
    return NOT_RUN if share is None else f"{100 * share:.2f}"


def speed_cells(report: ParityReport, measured: Measured) -> list[str]:
    """FPS, times as fast, p50, p95, p99 and jitter in ms, p50 without I/O in ms, FPS per watt."""
    speed, timing = measured.speed, measured.speed.end_to_end
    percentiles = timing.percentiles
    figures = [
        timing.fps, report.speedup(measured), percentiles.p50_ms, percentiles.p95_ms, percentiles.p99_ms,
        timing.jitter_ms,
    ]  # fmt: skip
    return [
        *(f"{figure:.2f}" for figure in figures),
        f"{speed.network.percentiles.p50_ms:.2f}" if speed.network else "no device",
        f"{speed.power.fps_per_watt:.2f}" if speed.power else NOT_RUN,
    ]


def _accuracy_table(report: ParityReport) -> str:
    header = [
        "network", "verdict", "label agreement", "mIoU", "mIoU loss",
        "logits max", "logits mean", "logits relative", "logits cosine",
    ]  # fmt: skip
    reference = report.reference
    rows = [[reference.name.title, "reference", "", percent(reference.accuracy.mean_iou), *[""] * 5]]
    for comparison in report.comparisons:
        measured = comparison.measured
        if measured is None:
            rows.append([comparison.name.title, comparison.status, *[""] * 7])
            continue
        accuracy, loss_points = measured.accuracy, report.miou_loss_points(measured)
        logits = accuracy.logits
        rows.append(
            [
                comparison.name.title,
                comparison.status,
                f"{accuracy.label_agreement:.6f}",
                percent(accuracy.mean_iou),
                NOT_RUN if loss_points is None else f"{loss_points:.4f}",
                *([NOT_RUN] * 4 if logits is None else [f"{value:.1e}" for value in dataclasses.astuple(logits)]),
            ]
        )
    return _table(header, rows)


def _notes(report: ParityReport) -> list[str]:
    """Why something did not pass, did not run or was not compared."""
    notes = [f"- {one.name.title} {one.status}: {one.reason}" for one in report.comparisons if one.reason]
    notes += [
        f"- {one.name.title}, logits {NOT_RUN}: the file has no such output. Export it with --logits."
        for one in report.comparisons
        if one.measured and one.measured.accuracy.logits is None
    ]
    if report.no_truth:
        notes.append(f"- mIoU {NOT_RUN}: {report.no_truth}.")
    return ["\n".join(notes)] if notes else []


def _speed_table(report: ParityReport) -> str:
    header = [
        "network", "FPS", "times as fast", "p50 ms", "p95 ms", "p99 ms", "jitter ms", "p50 without I/O", "FPS/W",
        "histogram",
    ]  # fmt: skip
    rows = [
        [measured.name.title, *speed_cells(report, measured), _sparkline(measured.speed.end_to_end)]
        for measured in report.measured
    ]
    return _table(header, rows)


def _sparkline(timing: Timing) -> str:
    """The latencies' histogram from the fastest frame to the slowest, in one line of text."""
    counts, _ = np.histogram(timing.latencies_ms, bins=_SPARK_BINS)
    levels = np.ceil(counts / counts.max() * (len(_SPARKS) - 1)).astype(int)
    return "".join(_SPARKS[level] for level in levels)


def _iou_table(classes: Sequence[str], networks: Sequence[Measured]) -> str:
    header = ["class", *(measured.name.title for measured in networks)]
    rows = [
        [name, *(percent(measured.accuracy.iou[index]) for measured in networks if measured.accuracy.iou)]
        for index, name in enumerate(classes)
    ]
    rows.append(["mean", *(percent(measured.accuracy.mean_iou) for measured in networks)])
    return _table(header, rows)


def layers_note(report: ParityReport) -> list[str]:
    """What the comparison of layers cannot find: a sentence or two, or nothing."""
    compiled = report.environment.versions.get(COMPILED_OPERATORS)
    if compiled is None:
        return []
    return [
        f"Here ONNX Runtime runs the functions in the files. The figures above are with {COMPILED_OPERATORS} "
        f"{compiled}: where labels differ there and no tensor departs here, suspect the library of these operators."
    ]


def _layers_section(comparison: LayerComparison) -> str:
    if comparison.not_run:
        return f"### {comparison.title}\n\n{NOT_RUN}: {comparison.not_run}"
    first = comparison.first_departed
    summary = (
        f"No tensor departs: all {len(comparison.layers)} are within a relative difference of {comparison.threshold:g}."
        if first is None
        else f"**{first.name}** is the first of {len(comparison.layers)} beyond {comparison.threshold:g}."
    )
    rows = []
    for layer in comparison.layers:
        mark = " <- first" if layer is first else " beyond" if comparison.departed(layer) else ""
        figures = [f"{value:.1e}" for value in dataclasses.astuple(layer.difference)]
        rows.append([layer.name, layer.op, *figures[:2], figures[2] + mark, figures[3]])
    header = ["tensor", "operator", "max", "mean", "relative", "cosine"]
    return f"### {comparison.title}\n\n{summary}\n\n{_table(header, rows)}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with padded columns."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (header, *rows)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
