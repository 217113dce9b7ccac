"""Plots as inline SVG. Places along x are percentages, so that a plot fits every width and its text keeps its size."""

from __future__ import annotations

from html import escape
from itertools import pairwise

from calibration.search.report import Point, SearchReport
from calibration.search.selection import PATH
from runtime.parity.plots import nice_ticks

_HEIGHT_PX = 260
_TOP_PX, _BOTTOM_PX = 10, 232  # of the area where points lie
_LARGEST_BUDGETS = 4  # a loss of more budgets than this is drawn at the lower edge


def accuracy_plot(report: SearchReport) -> str:
    """mIoU loss, downwards, against the share of multiply-accumulates in INT8, with every set that was measured."""
    losses = [
        *(point.score.loss_points for point in report.points),
        *(score.loss_points for score in report.methods.values()),
    ]
    budget = report.budget_points
    least = min(0.0, *losses)
    most = min(max(1.25 * budget, *losses), _LARGEST_BUDGETS * budget)
    margin = 0.06 * (most - least)
    low, high = least - margin, most + margin

    def y(loss_points: float) -> float:
        return _TOP_PX + (_BOTTOM_PX - _TOP_PX) * (min(loss_points, most) - low) / (high - low)

    def x(point: Point) -> float:
        return 100 * report.share(point.macs)

    path = sorted((point for point in report.points if point.found_by == PATH), key=x)
    possible = 100 * report.share(report.quantisable_macs)
    parts = [
        *(_horizontal(y(loss), "grid") for loss in nice_ticks(low, high)),
        f'<line class="axis" x1="0" x2="100%" y1="{_BOTTOM_PX}" y2="{_BOTTOM_PX}"/>',
        _horizontal(y(budget), "budget"),
        f'<line class="possible" x1="{possible:.2f}%" x2="{possible:.2f}%" y1="0" y2="{_BOTTOM_PX}"/>',
        *(
            f'<line class="path" x1="{x(one):.2f}%" x2="{x(other):.2f}%" y1="{y(one.score.loss_points):.1f}" '
            f'y2="{y(other.score.loss_points):.1f}"/>'
            for one, other in pairwise(path)
        ),
        *(
            _circle(possible, y(score.loss_points), "method", f"all layers, {name}: {score.loss_points:.3f} points")
            for name, score in report.methods.items()
            if name != report.method
        ),
        *(
            _circle(
                x(point), y(point.score.loss_points), "put-back" if point.found_by != PATH else "on-path",
                f"{len(point.layers)} layers, {x(point):.1f} %: {point.score.loss_points:.3f} points",
            )
            for point in report.points
        ),
    ]  # fmt: skip
    if report.chosen is not None:
        parts.append(_circle(x(report.chosen), y(report.chosen.score.loss_points), "chosen", "the recipe", radius=9))
    for share in range(0, 101, 25):
        anchor = "start" if share == 0 else "end" if share == 100 else "middle"
        parts.append(f'<text x="{share}%" y="{_HEIGHT_PX - 10}" text-anchor="{anchor}">{share} %</text>')
    scale = "".join(
        f'<text x="100%" y="{y(loss) + 4:.1f}" text-anchor="end">{loss:g}</text>' for loss in nice_ticks(low, high)
    )
    label = f"mIoU loss against the share of multiply-accumulates in INT8, {len(report.points)} sets measured"
    return (
        f'<div class="accuracy"><svg width="34" height="{_HEIGHT_PX}" aria-hidden="true">{scale}</svg>'
        f'<svg class="area" width="100%" height="{_HEIGHT_PX}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg></div>"
    )


def _horizontal(y: float, kind: str) -> str:
    return f'<line class="{kind}" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'


def _circle(x: float, y: float, kind: str, title: str, radius: float = 4.5) -> str:
    return f'<circle class="{kind}" cx="{x:.2f}%" cy="{y:.1f}" r="{radius}"><title>{escape(title)}</title></circle>'
