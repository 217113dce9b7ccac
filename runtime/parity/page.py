"""The report as one HTML file that needs nothing else: styles, plots and pictures are inside it."""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Sequence
from html import escape

from runtime.parity import plots
from runtime.parity.budgets import NOT_RUN
from runtime.parity.layers import LayerComparison
from runtime.parity.markdown import budgets_text, environment_rows, file_rows, layers_note, percent, speed_cells
from runtime.parity.names import NetworkName
from runtime.parity.page_style import CSS, NETWORK_COLOURS
from runtime.parity.pictures import Picture, Pictures
from runtime.parity.report import Comparison, Measured, ParityReport
from runtime.parity.speed import SPEED_PROTOCOL

_OPEN_ROWS = 40  # a longer table of layers is folded


def as_html(report: ParityReport) -> str:
    """The whole page."""
    info = report.manifest.info
    title = f"Parity of {info.name}: {report.verdict}"
    sections = [
        _head(report),
        _overview(report),
        _accuracy(report),
        _logits(report),
        _speed(report),
        _iou(report),
        _pictures(report),
        _layers(report),
        _section("Measured on", _text_table([(name, escape(value)) for name, value in environment_rows(report)])),
        _section("Files", _text_table([(name, f"<code>{digest}</code>") for name, digest in file_rows(report)])),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )


def _section(title: str, *content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(content) + "\n</section>"


def _head(report: ParityReport) -> str:
    info = report.manifest.info
    return (
        f'<div class="title"><h1>Parity of {escape(info.name)}</h1>{_badge(report.verdict)}</div>\n'
        f"<p>{escape(report.data)}; {escape(report.protocol)}; batch 1.</p>\n"
        f'<p class="soft">The reference is {escape(report.reference.name.title)} '
        f"({escape(report.reference.file)}). {escape(budgets_text())}</p>"
    )


def _badge(status: str) -> str:
    return f'<span class="badge {status.replace(" ", "-")}">{escape(status)}</span>'


def _name(name: NetworkName) -> str:
    return f'<span class="key" style="background:{NETWORK_COLOURS[name]}"></span>{escape(name.title)}'


def _overview(report: ParityReport) -> str:
    """One card for each network that ran; the others are a list of reasons."""
    cards = [_card(report, comparison) for comparison in report.comparisons if comparison.measured]
    reasons = [
        f'<li>{_badge(one.status)}<b>{escape(one.name.title)}</b><span class="soft">{escape(one.reason)}</span></li>'
        for one in report.comparisons
        if one.reason
    ]
    return (
        f'<section>\n<h2>Verdict</h2>\n<div class="cards">\n{"".join(cards)}</div>\n'
        + (f'<ul class="reasons">{"".join(reasons)}</ul>\n' if reasons else "")
        + "</section>"
    )


def _card(report: ParityReport, comparison: Comparison) -> str:
    measured = comparison.measured
    assert measured is not None
    accuracy, speed = measured.accuracy, measured.speed
    loss_points = report.miou_loss_points(measured)
    figures = [
        ("agreement, %", f"{100 * accuracy.label_agreement:.3f}"),
        ("mIoU, %", percent(accuracy.mean_iou)),
        ("loss, points", NOT_RUN if loss_points is None else f"{loss_points:.3f}"),
        ("FPS", f"{speed.end_to_end.fps:.1f}"),
        ("median, ms", f"{speed.end_to_end.percentiles.p50_ms:.2f}"),
        ("times as fast", f"{report.speedup(measured):.2f}"),
    ]
    items = "".join(f"<div><dt>{label}</dt><dd>{value}</dd></div>" for label, value in figures)
    return (
        f'<article class="card"><header><h3>{_name(comparison.name)}</h3>{_badge(comparison.status)}</header>'
        f'<dl class="figures">{items}</dl></article>\n'
    )


def _accuracy(report: ParityReport) -> str:
    header = [
        "network", "verdict", "label agreement", "mIoU, %", "mIoU loss, points",
        "logits max", "logits mean", "logits relative", "logits cosine",
    ]  # fmt: skip
    reference = report.reference
    rows = [[_name(reference.name), _badge("reference"), "", percent(reference.accuracy.mean_iou), *[""] * 5]]
    for comparison in report.comparisons:
        measured = comparison.measured
        if measured is None:
            rows.append([_name(comparison.name), _badge(comparison.status), *[""] * 7])
            continue
        accuracy, loss_points = measured.accuracy, report.miou_loss_points(measured)
        logits = [NOT_RUN] * 4 if accuracy.logits is None else map(_small, dataclasses.astuple(accuracy.logits))
        rows.append(
            [
                _name(comparison.name),
                _badge(comparison.status),
                f"{accuracy.label_agreement:.6f}",
                percent(accuracy.mean_iou),
                NOT_RUN if loss_points is None else f"{loss_points:.4f}",
                *logits,
            ]
        )
    note = (
        "Logits: the largest and the mean absolute difference; relative is the difference's norm over the reference's; "
        "cosine is 1 - cos of the angle between the two."
    )
    truth = f'<p class="soft small">mIoU {NOT_RUN}: {escape(report.no_truth)}.</p>' if report.no_truth else ""
    return _section("Accuracy", _table(header, rows), f'<p class="soft small">{note}</p>', truth)


def _logits(report: ParityReport) -> str:
    compared = [
        (measured, measured.accuracy.logits, measured.accuracy.logits_exponents)
        for measured in report.measured
        if measured.accuracy.logits is not None and measured.accuracy.logits_exponents is not None
    ]
    if not compared:
        reason = f"{NOT_RUN}: none of the files has a logits output. Export with --logits."
        return _section("Differences of the logits", f'<p class="soft">{reason}</p>')
    decades = plots.decades_of([exponents for *_, exponents in compared])
    cards = [
        f'<article class="card"><h3>{_name(measured.name)}</h3>'
        + plots.difference_histogram(
            exponents, NETWORK_COLOURS[measured.name], logits.mean_absolute, logits.max_absolute, decades
        )
        + f'<p class="soft small">mean {_small(logits.mean_absolute)} (solid line), '
        f"max {_small(logits.max_absolute)} (dotted)</p></article>"
        for measured, logits, exponents in compared
    ]
    note = "How many logits differ from the reference's by how much; heights by the square root of the count."
    return _section(
        "Differences of the logits", f'<p class="soft">{note}</p>', f'<div class="cards">{"".join(cards)}</div>'
    )


def _speed(report: ParityReport) -> str:
    header = [
        "network", "FPS", "times as fast", "p50, ms", "p95, ms", "p99, ms", "jitter, ms", "p50 without I/O, ms",
        "FPS per watt", "watts",
    ]  # fmt: skip
    rows = [
        [
            _name(measured.name),
            *speed_cells(report, measured),
            f"{measured.speed.power.watts:.1f}" if measured.speed.power else NOT_RUN,
        ]
        for measured in report.measured
    ]
    notes = f"{SPEED_PROTOCOL} CPU threads of each: {report.environment.threads}. Power: {report.power_source}."
    return _section(
        "Speed",
        f'<p class="soft">{escape(notes)}</p>',
        _table(header, rows),
        f'<div class="cards" style="margin-top:14px">{_latency_cards(report.measured)}</div>',
    )


def _latency_cards(networks: Sequence[Measured]) -> str:
    cards = []
    for measured in networks:
        timing = measured.speed.end_to_end
        cards.append(
            f'<article class="card"><h3>{_name(measured.name)}</h3>'
            + plots.latency_histogram(timing, NETWORK_COLOURS[measured.name])
            + f'<p class="soft small">p50 {timing.percentiles.p50_ms:.2f} ms (solid line), p95 '
            f"{timing.percentiles.p95_ms:.2f} (dashed), p99 {timing.percentiles.p99_ms:.2f} (dotted); "
            f"{len(timing.latencies_ms)} frames</p></article>"
        )
    return "".join(cards)


def _iou(report: ParityReport) -> str:
    if report.reference.accuracy.iou is None:
        return ""
    info, networks = report.manifest.info, report.measured
    rows = [
        _iou_row(name, [measured.accuracy.iou[index] for measured in networks if measured.accuracy.iou], networks)
        for index, name in enumerate(info.classes)
    ]
    means = [mean for measured in networks if (mean := measured.accuracy.mean_iou) is not None]
    rows.append(_iou_row("mean", means, networks, kind="mean"))
    legend = "".join(f"<span>{_name(measured.name)}</span>" for measured in networks)
    return _section(
        "IoU of each class",
        '<p class="soft">In percent, of the reference; beside it by how many points the worst other network lies '
        "lower.</p>",
        f'<div class="legend">{legend}</div><div class="card"><div class="iou">{"".join(rows)}</div></div>',
    )


def _iou_row(name: str, shares: Sequence[float], networks: Sequence[Measured], kind: str = "") -> str:
    reference, *others = shares
    loss_points = 100 * max((reference - share for share in others), default=0.0)
    text = "0" if abs(loss_points) < 0.005 else f"{-loss_points:+.2f}"
    colours = [NETWORK_COLOURS[measured.name] for measured in networks]
    label = f"IoU of {name}: " + ", ".join(f"{100 * share:.1f} %" for share in shares)
    return (
        f'<div class="{kind}"><span>{escape(name)}</span>{plots.bars(shares, colours, label)}'
        f'<span>{100 * reference:.1f}</span><span class="soft">{text}</span></div>'
    )


def _pictures(report: ParityReport) -> str:
    if not report.pictures:
        return ""
    info = report.manifest.info
    legend = "".join(
        f'<span><span class="key" style="background:rgb({red},{green},{blue})"></span>{escape(name)}</span>'
        for name, (red, green, blue) in zip(info.classes, info.palette, strict=True)
    )
    note = "The scenes on which most pixels differ from the reference's labels. Differing pixels are shown enlarged."
    return _section(
        "Side by side",
        f'<p class="soft">{note}</p><div class="legend">{legend}</div>',
        *map(_scene, report.pictures),
    )


def _scene(pictures: Pictures) -> str:
    def figure(picture: Picture) -> str:
        data = base64.b64encode(picture.jpeg).decode("ascii")
        return (
            f'<figure><img alt="{escape(picture.caption)}" width="{pictures.width}" height="{pictures.height}" '
            f'src="data:image/jpeg;base64,{data}"><figcaption>{escape(picture.caption)}</figcaption></figure>'
        )

    first = "".join(map(figure, pictures.known))
    pairs = "".join(f"<div>{figure(labels)}{figure(difference)}</div>" for labels, difference in pictures.compared)
    return (
        f'<article class="card scene"><h3>{escape(pictures.title)}</h3><div class="pictures">{first}</div>'
        f'<div class="pairs">{pairs}</div></article>'
    )


def _layers(report: ParityReport) -> str:
    if report.layers is None:
        return ""
    notes = (f'<p class="soft">{escape(note)}</p>' for note in layers_note(report))
    return _section("Layer by layer", *notes, *map(_layer_comparison, report.layers))


def _layer_comparison(comparison: LayerComparison) -> str:
    title = f"<h3>{escape(comparison.title)}</h3>"
    if comparison.not_run:
        reason = escape(comparison.not_run)
        return f'<article class="card scene">{title}<p class="soft">{_badge(NOT_RUN)} {reason}</p></article>'
    first = comparison.first_departed
    summary = (
        f"No tensor departs: all {len(comparison.layers)} are within a relative difference of {comparison.threshold:g}."
        if first is None
        else f"<b>{escape(first.name)}</b> is the first of {len(comparison.layers)} beyond a relative difference of "
        f"{comparison.threshold:g}: look for the fault there."
    )
    table = _layer_table(comparison)
    if len(comparison.layers) > _OPEN_ROWS:
        table = f"<details><summary>all {len(comparison.layers)} tensors</summary>{table}</details>"
    return f'<article class="card scene">{title}<p>{summary}</p>{table}</article>'


def _layer_table(comparison: LayerComparison) -> str:
    rows = []
    for layer in comparison.layers:
        kinds = ["departed"] * comparison.departed(layer) + ["first"] * (layer is comparison.first_departed)
        colour = "var(--failed)" if kinds else "var(--passed)"
        bar = plots.bars([_log_share(layer.difference.relative)], [colour], "relative difference, logarithmic")
        cells = [escape(layer.op), bar, *map(_small, dataclasses.astuple(layer.difference))]
        labels = ["operator", "relative, from 1e-9 to 1", "max", "mean", "relative", "cosine"]
        columns = "".join(
            f'<td data-label="{label}"{" class=bar" if cell is bar else ""}>{cell}</td>'
            for label, cell in zip(labels, cells, strict=True)
        )
        rows.append(f'<tr class="{" ".join(kinds)}"><th>{escape(layer.name)}</th>{columns}</tr>')
    header = ["tensor", "operator", "relative, from 1e-9 to 1", "max", "mean", "relative", "cosine"]
    return _table_of(header, rows, kind="stack layers")


def _log_share(relative: float) -> float:
    """Where a relative difference lies between 1e-9 and 1 on a logarithmic axis."""
    if not math.isfinite(relative):
        return 1.0
    return min(max(1 + math.log10(max(relative, 1e-9)) / 9, 0.0), 1.0)


def _small(value: float) -> str:
    return f"{value:.1e}" if math.isfinite(value) else "not finite"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column names the row; cells are HTML."""
    lines = []
    for first, *cells in rows:
        columns = "".join(
            f'<td data-label="{escape(label)}">{cell}</td>' for label, cell in zip(header[1:], cells, strict=True)
        )
        lines.append(f"<tr><th>{first}</th>{columns}</tr>")
    return _table_of(header, lines)


def _table_of(header: Sequence[str], lines: Sequence[str], kind: str = "stack") -> str:
    columns = "".join(f"<th>{escape(label)}</th>" for label in header)
    body = "\n".join(lines)
    table = f'<table class="{kind}"><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _text_table(rows: Sequence[tuple[str, str]]) -> str:
    lines = "".join(f"<tr><th>{escape(name)}</th><td>{value}</td></tr>" for name, value in rows)
    return f'<div class="scroll"><table class="text"><tbody>{lines}</tbody></table></div>'
