"""Results of evaluated models: one JSON file, one table, one plot of accuracy against speed."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.errors import UserError
from runtime.files import replace_file
from training.paper import PUBLISHED_HARDWARE, PUBLISHED_POINTS, PublishedPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox


@dataclass(frozen=True)
class Result:
    """One model's accuracy on one data set, its cost, and its speed on one device."""

    model: str
    data: str  # data set and split in words; the data set comes first, as in "Cityscapes val"
    protocol: str  # how the accuracy was measured, in words
    miou: float  # percent
    iou: dict[str, float]  # percent by class
    parameters: int
    gmac: float  # 1e9 multiply-accumulates of all convolutions for one image
    fps: float | None  # frames per second; None where the speed was not measured
    fps_protocol: str  # how it was measured, in words; empty where it was not
    device: str
    checkpoint_sha256: str
    date: str  # ISO 8601

    def __post_init__(self) -> None:
        if not all(0 <= percent <= 100 for percent in (self.miou, *self.iou.values())):
            raise ValueError("mIoU and IoU are percent, from 0 to 100")
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise ValueError(f"{self.fps} frames per second")

    @property
    def subject(self) -> tuple[str, str, str, str]:
        """What the result is about; of two results about the same the later one counts."""
        return self.model, self.data, self.protocol, self.device


def read_results(path: Path) -> list[Result]:
    """Read a file of results. Raises UserError if it is missing or damaged."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(entries, list):
            raise ValueError("it is no list")
        return [_result_from_fields(entry) for entry in entries]
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}. Name a file that holds results.") from error
    except ValueError as error:  # which JSON's and Unicode's errors are, too
        raise UserError(
            f"{path} cannot be read as results: {error}. It is damaged or something else; restore it or name another."
        ) from error


def _result_from_fields(fields: Any) -> Result:
    """Build from decoded JSON. Raises ValueError for missing or mistyped fields."""
    try:
        return Result(
            model=str(fields["model"]),
            data=str(fields["data"]),
            protocol=str(fields["protocol"]),
            miou=float(fields["miou"]),
            iou={str(name): float(percent) for name, percent in fields["iou"].items()},
            parameters=int(fields["parameters"]),
            gmac=float(fields["gmac"]),
            fps=None if fields["fps"] is None else float(fields["fps"]),
            fps_protocol=str(fields["fps_protocol"]),
            device=str(fields["device"]),
            checkpoint_sha256=str(fields["checkpoint_sha256"]),
            date=str(fields["date"]),
        )
    except KeyError as error:
        raise ValueError(f"the field {error} is missing") from None
    except (TypeError, AttributeError) as error:
        raise ValueError(f"a field has the wrong type: {error}") from None


def add_result(path: Path, result: Result) -> None:
    """Add a result to the file, which is created if need be; it takes the place of one about the same subject.

    Raises UserError for a damaged file, which stays as it is, and where the file cannot be written.
    """
    results = read_results(path) if path.exists() else []
    kept = [other for other in results if other.subject != result.subject]
    with replace_file(path) as aside:
        text = json.dumps([asdict(entry) for entry in [*kept, result]], indent=2, allow_nan=False)
        aside.write_text(text + "\n", encoding="utf-8")


def format_results(results: Sequence[Result]) -> str:
    """Lay the results out as one table for a terminal, the protocols as footnotes."""
    protocols = list(dict.fromkeys(map(_protocols, results)))
    rows = [("model", "data", "mIoU %", "params M", "GMAC", "FPS", "device", "protocol")]
    for result in results:
        rows.append(
            (
                result.model,
                result.data,
                f"{result.miou:.2f}",
                f"{result.parameters / 1e6:.2f}",
                f"{result.gmac:.2f}",
                "-" if result.fps is None else f"{result.fps:.1f}",
                result.device,
                str(protocols.index(_protocols(result)) + 1),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if name in ("mIoU %", "params M", "GMAC", "FPS") else cell.ljust(width)
            for name, cell, width in zip(rows[0], row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
    gmac = "GMAC: multiply-accumulates of all convolutions, the dynamic ones included, in units of 1e9"
    notes = [
        f"{gmac} (what papers often print as GFLOPs)",
        *(
            fill(note, 120, initial_indent=f"{number:>2}  ", subsequent_indent="    ")
            for number, note in enumerate(protocols, start=1)
        ),
    ]
    return "\n".join([*lines, "", *notes])


def _protocols(result: Result) -> str:
    return f"mIoU: {result.protocol}" + (f"; FPS: {result.fps_protocol}" if result.fps is not None else "")


def plot_results(results: Sequence[Result], data: str, out: Path) -> None:
    """Plot mIoU against frames per second of the results on one data set, the published points in grey beside them.

    ``data`` holds words of the data set's name with hyphens between, as "cityscapes" or "camvid-11"; ``out`` ends in
    .png (1500 x 975 pixels) or .svg. Raises UserError for another ending, and if no result on that data set has a
    speed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # here, for the table needs no plotting library
    from matplotlib.figure import Figure

    if out.suffix.lower() not in (".png", ".svg"):
        raise UserError(f"cannot write {out}: a plot is a PNG or an SVG. Give a name that ends in .png or .svg.")
    words = _words(data)
    with_speed = [result for result in results if result.fps is not None]
    shown = [result for result in with_speed if set(words) <= set(_words(result.data))]
    if not shown:
        there = "; ".join(dict.fromkeys(result.data for result in with_speed))
        raise UserError(
            f"there is nothing to plot: no result on {data} has a speed. "
            + (f"There are speeds of results on these data: {there}." if there else "No result has one.")
        )
    published = [point for point in PUBLISHED_POINTS if words[0] in _words(point.data)]

    figure = Figure(figsize=(10, 6.5), dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    labels = [*_draw_ours(axes, shown), *_draw_published(axes, published)]
    axes.set_title(f"{shown[0].data.split(',')[0]}: accuracy against speed", fontsize=14)
    axes.set_xlabel("frames per second (logarithmic)", fontsize=12)
    axes.set_ylabel("mIoU, %", fontsize=12)
    _scale(axes)
    figure.legend(loc="outside lower left", fontsize=10.5, frameon=False)
    canvas.draw()  # lays the axes out; before that no label knows its place
    figure.set_layout_engine("none")  # which stays
    _place_labels(axes, labels)
    with replace_file(out) as aside:
        figure.savefig(aside)


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


@dataclass(frozen=True)
class _Label:
    at: tuple[float, float]  # frames per second, mIoU
    text: str
    style: dict[str, Any]  # of matplotlib's text


# Colours of Okabe and Ito, which the colour-blind can tell apart; the shapes tell the devices apart without them.
_STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "D"), ("#CC79A7", "^"))
_GREY, _DARK_GREY = "#8C8C8C", "#5A5A5A"


def _draw_ours(axes: Axes, results: Sequence[Result]) -> list[_Label]:
    """One colour and shape for each data set, device and way of measuring the speed."""
    labels = []
    ways = dict.fromkeys((result.data, result.device, result.fps_protocol) for result in results)
    for way, (colour, shape) in zip(ways, cycle(_STYLES), strict=False):
        points = [result for result in results if (result.data, result.device, result.fps_protocol) == way]
        data, device, fps_protocol = way
        legend = fill(f"ours, {data}: {device}, {fps_protocol}", 105)
        fps, miou = [point.fps or 0.0 for point in points], [point.miou for point in points]
        axes.scatter(fps, miou, s=130, c=colour, marker=shape, edgecolors="white", zorder=3, label=legend)
        style = {"color": colour, "fontsize": 12, "fontweight": "bold", "zorder": 4}
        labels += [_Label((x, y), point.model, style) for x, y, point in zip(fps, miou, points, strict=True)]
    return labels


def _draw_published(axes: Axes, points: Sequence[PublishedPoint]) -> list[_Label]:
    """Grey; filled for a test split, open for a validation split."""
    labels: dict[tuple[str, float], _Label] = {}  # a network scored on both splits has two points but one label
    for split, fill_colour in (("test", _GREY), ("val", "white")):
        group = [point for point in points if point.data.endswith(split)]
        if group:
            x, y = [point.fps for point in group], [point.miou for point in group]
            star = "; * with TensorRT" if any(point.tensorrt for point in group) else ""
            legend = f"published, {split} split: {PUBLISHED_HARDWARE}{star}"
            axes.scatter(x, y, s=55, c=fill_colour, edgecolors=_DARK_GREY, marker="o", zorder=2, label=legend)
        for point in group:
            text = point.network + ("*" if point.tensorrt else "")
            style = {"color": _DARK_GREY, "fontsize": 10.5, "zorder": 2}
            labels.setdefault((text, point.fps), _Label((point.fps, point.miou), text, style))
    return list(labels.values())


def _scale(axes: Axes) -> None:
    """Logarithmic speeds with plain numbers, and room around the points for their labels."""
    from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

    (left, bottom), (right, top) = axes.dataLim.min, axes.dataLim.max
    axes.set_xscale("log")
    axes.set_xlim(left / 1.4, right * 1.6)
    margin = max(0.12 * (top - bottom), 1.0)
    axes.set_ylim(bottom - margin, top + margin)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(labelsize=11)
    axes.grid(color="#E0E0E0", linewidth=0.8)
    axes.set_axisbelow(True)


def _place_labels(axes: Axes, labels: Sequence[_Label]) -> None:
    """Write each label at the free place nearest to its point; the first ones choose first."""
    from matplotlib.transforms import Bbox

    def box(centre_x: float, centre_y: float, width: float, height: float) -> Bbox:
        return Bbox.from_bounds(centre_x - width / 2, centre_y - height / 2, width, height)

    pixels_per_point = axes.figure.dpi / 72
    points = np.concatenate([np.asarray(marks.get_offsets()) for marks in axes.collections])
    taken = [box(x, y, 26, 26) for x, y in axes.transData.transform(points)]  # the largest markers' size in pixels
    for label in labels:
        x, y = axes.transData.transform(label.at)
        text = axes.annotate(
            label.text, label.at, (0, 0), textcoords="offset points", ha="center", va="center", **label.style
        )
        width, height = text.get_window_extent().size
        places = [
            (across * (distance + width / 2), up * (distance + height / 2))
            for distance in (15, 30, 50, 75)  # pixels
            for across, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
        ]
        boxes = [box(x + right, y + up, width, height) for right, up in places]
        conflicts = [_conflict(candidate, taken, axes.bbox) for candidate in boxes]
        best = conflicts.index(min(conflicts))
        taken.append(boxes[best])
        text.set_position((places[best][0] / pixels_per_point, places[best][1] / pixels_per_point))


def _conflict(box: Bbox, taken: Sequence[Bbox], frame: Bbox) -> float:
    """Pixels of the box that lie on taken ones or outside the frame."""
    from matplotlib.transforms import Bbox

    inside = Bbox.intersection(box, frame)
    outside = box.width * box.height - (inside.width * inside.height if inside else 0)
    overlaps = [overlap for other in taken if (overlap := Bbox.intersection(box, other))]
    return outside + sum(overlap.width * overlap.height for overlap in overlaps)
