"""The report as one HTML file that needs nothing else; it looks like the parity report."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from calibration.search.markdown import (
    METHOD_COLUMNS,
    SET_COLUMNS,
    advice,
    conditions,
    method_rows,
    precision_of,
    reliability,
    set_rows,
    summary,
    verdict,
)
from calibration.search.plots import accuracy_plot
from calibration.search.report import SearchReport, Sensitivity
from runtime.parity import plots
from runtime.parity.page_style import CSS

_OPEN_ROWS = 40  # a longer table of layers is folded

_CSS = """
.accuracy { display: grid; grid-template-columns: 34px 1fr; gap: 10px; padding: 6px 12px 0 0; }
.accuracy .area { overflow: visible; }
.accuracy .grid { stroke: var(--track); }
.accuracy .possible { stroke: var(--soft); stroke-dasharray: 2 4; }
.accuracy .budget { stroke: var(--failed); stroke-width: 1.5; stroke-dasharray: 6 4; }
.accuracy .path { stroke: var(--ort-int8); stroke-width: 1.5; opacity: 0.6; }
.accuracy .on-path, .key.on-path { fill: var(--ort-int8); background: var(--ort-int8); }
.accuracy .put-back, .key.put-back { fill: var(--ort-fp16); background: var(--ort-fp16); }
.accuracy .method, .key.method { fill: var(--soft); background: var(--soft); }
.accuracy .chosen { fill: none; stroke: var(--ink); stroke-width: 2; }
.key.chosen { background: none; border: 2px solid var(--ink); }
.key.budget { background: var(--failed); height: 3px; vertical-align: middle; }
.key.on-path, .key.put-back, .key.method, .key.chosen { border-radius: 99px; }
.int8 { color: #fff; background: var(--ort-int8); }
.fp16 { color: var(--not-run); background: var(--not-run-bg); }
@media (prefers-color-scheme: dark) { .int8 { color: #16191d; } }
.caption { text-align: center; margin-inline: auto; }
thead th:nth-child(2) { text-align: right; }
table.layers thead th:nth-child(2), td[data-label="precision"] { text-align: left; }
"""


def as_html(report: SearchReport) -> str:
    """The whole page."""
    title = f"INT8 search of {report.info.name}: {verdict(report)}"
    status = "failed" if report.chosen is None else "passed"
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    sections = [
        f'<div class="title"><h1>INT8 search of {escape(report.info.name)}</h1>'
        f'<span class="badge {status}">{verdict(report)}</span></div>',
        f"<p>{escape(summary(report))}</p>",
        *(f"<p><b>{_with_code(text)}</b></p>" for text in advice(report)),
        f'<p class="soft">{escape(conditions(report))}</p>',
        _section("Accuracy against multiply-accumulates in INT8", _plot(report)),
        _section("Thresholds", _methods(report)),
        _section("Layer by layer", _layers(report)),
        _section("Measured with", f'<p class="soft small">{escape(f"{report.date}; {versions}")}</p>'),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}{_CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def _section(title: str, *content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(content) + "\n</section>"


def _plot(report: SearchReport) -> str:
    kinds = {
        "on-path": "taking out the most harmful layers first",
        "put-back": "putting single layers back",
        "method": "all layers, other thresholds",
        "chosen": "the recipe",
        "budget": f"budget, {report.budget_points:g} points",
    }
    if report.chosen is None:
        del kinds["chosen"]
    legend = "".join(f'<span><span class="key {kind}"></span>{escape(text)}</span>' for kind, text in kinds.items())
    return (
        f'<div class="legend">{legend}</div><div class="card"><p class="soft small">points of mIoU lost</p>'
        f'{accuracy_plot(report)}<p class="soft small caption">share of the network\'s multiply-accumulates in INT8; '
        "the dotted line is all that can be</p></div>"
        '<p class="soft small">Each point is an INT8 file as it would ship, measured. A loss beyond the axis is '
        "drawn at its lower end.</p>"
        f"<details><summary>all {len(report.points)} sets</summary>{_table(SET_COLUMNS, set_rows(report))}</details>"
    )


def _methods(report: SearchReport) -> str:
    note = "Every layer that can be is in INT8. Within the budget, the method that changes fewest labels is taken."
    return f'<p class="soft">{note}</p>{_table(METHOD_COLUMNS, method_rows(report))}'


def _layers(report: SearchReport) -> str:
    header = ["layer", "precision", "changed labels, %", "", "mIoU loss, points", "M multiply-accumulates"]
    largest = max((one.score.changed_labels for one in report.sensitivities), default=0.0) or 1.0
    rows = [_layer_row(report, one, one.score.changed_labels / largest) for one in report.sensitivities]
    table = _table(header, rows, kind="stack layers")
    if len(rows) > _OPEN_ROWS:
        table = f"<details><summary>all {len(rows)} layers</summary>{table}</details>"
    return (
        '<p class="soft">One layer in INT8 at a time, all others in FP32; first those that change most labels for each '
        f'multiply-accumulate.</p>{table}<p class="soft small">{escape(reliability(report))}</p>'
    )


def _layer_row(report: SearchReport, one: Sensitivity, share: float) -> list[str]:
    precision = precision_of(report, one.layer.name)
    colour = "var(--ort-int8)" if precision == "int8" else "var(--not-run)"
    return [
        escape(one.layer.name),
        f'<span class="badge {precision}">{precision}</span>',
        f"{100 * one.score.changed_labels:.3f}",
        plots.bars([share], [colour], "changed labels, as a share of the most"),
        f"{one.score.loss_points:.3f}",
        f"{one.layer.macs / 1e6:.2f}",
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "stack") -> str:
    """A table whose first column names the row; cells are HTML, one without a title is a bar."""
    columns = "".join(f"<th>{escape(label)}</th>" for label in header)
    lines = []
    for first, *cells in rows:
        data = "".join(
            f'<td data-label="{escape(label)}">{cell}</td>' if label else f'<td class="bar">{cell}</td>'
            for label, cell in zip(header[1:], cells, strict=True)
        )
        lines.append(f"<tr><th>{first}</th>{data}</tr>")
    body = "\n".join(lines)
    table = f'<table class="{kind}"><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{table}</div>'


def _with_code(text: str) -> str:
    """Markdown's backquotes as HTML; the rest is escaped."""
    parts = [f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(escape(text).split("`"))]
    return "".join(parts)
