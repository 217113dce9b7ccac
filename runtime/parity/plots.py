"""Plots as inline SVG. Lengths along x are percentages, so that a plot fits every width and its text keeps its size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from runtime.parity.difference import MAX_EXPONENT, MIN_EXPONENT
from runtime.parity.speed import Timing

_BAR_AREA_PX = 72
_AXIS_PX = 22
_LATENCY_BINS = 60
_MAX_TICKS = 5

Mark = tuple[float, str]  # a place along x, as a share of the width, and a CSS class or a text


def latency_histogram(timing: Timing, colour: str) -> str:
    """How often each latency occurred, with lines at p50, p95 and p99.

    The axis fits this network alone: beside a CPU's, a GPU's latencies would all be one line. It ends a little beyond
    p99; slower frames are in the last bin.
    """
    low_ms, high_ms = range_ms = 0.95 * min(timing.latencies_ms), 1.05 * timing.percentiles.p99_ms
    latencies_ms = np.clip(timing.latencies_ms, low_ms, high_ms)
    counts, _ = np.histogram(latencies_ms, bins=_LATENCY_BINS, range=range_ms)

    def place(latency_ms: float) -> float:
        return (min(latency_ms, high_ms) - low_ms) / (high_ms - low_ms)

    percentiles = timing.percentiles
    marks = [
        (place(percentiles.p50_ms), "p50"), (place(percentiles.p95_ms), "p95"), (place(percentiles.p99_ms), "p99")
    ]  # fmt: skip
    ticks = [(place(tick_ms), f"{tick_ms:g} ms") for tick_ms in nice_ticks(low_ms, high_ms)]
    return _histogram(counts, colour, marks, ticks, f"Histogram of latencies, median {percentiles.p50_ms:.2f} ms")


def difference_histogram(
    exponents: Sequence[int], colour: str, mean: float, largest: float, decades: tuple[int, int]
) -> str:
    """How many logits differ by how much, on a logarithmic axis over these powers of ten; lines at mean and maximum."""
    low, high = decades
    # A bin of the sum ends at 2^e; its middle, on this axis, is half a power of two before that.
    decade_of_bin = (np.arange(MIN_EXPONENT, MAX_EXPONENT + 1) - 0.5) * math.log10(2)
    bins = round((high - low) / math.log10(2))
    counts, _ = np.histogram(np.clip(decade_of_bin, low, high), bins=bins, range=decades, weights=exponents)

    def place(value: float) -> float:
        decade = math.log10(value) if value > 0 else low
        return min(max((decade - low) / (high - low), 0.0), 1.0)

    step = math.ceil((high - low) / _MAX_TICKS)
    ticked = [decade for decade in range(low, high + 1, step) if not 0 < decade - low < 0.22 * (high - low)]
    ticks = [((decade - low) / (high - low), f"{'≤ ' * (decade == low)}1e{decade}") for decade in ticked]
    marks = [(place(mean), "p50"), (place(largest), "p99")] if math.isfinite(largest) else []
    return _histogram(counts, colour, marks, ticks, f"Histogram of absolute differences of logits, mean {mean:.1e}")


def decades_of(all_exponents: Sequence[Sequence[int]]) -> tuple[int, int]:
    """The powers of ten that hold all differences but the zeros, as one axis for all networks."""
    total = np.sum(all_exponents, axis=0)
    (occupied,) = np.nonzero(total[1:])  # the first bin holds the zeros
    if not len(occupied):
        return -8, 0
    lowest, highest = (MIN_EXPONENT + 1 + int(occupied[index]) for index in (0, -1))
    return math.floor((lowest - 1) * math.log10(2)), math.ceil(highest * math.log10(2))


def bars(shares: Sequence[float], colours: Sequence[str], label: str) -> str:
    """Thin bars below one another, each a share of the width."""
    height_px = 7 * len(shares)
    rects = "".join(
        f'<rect x="0" y="{7 * row + 1}" width="{100 * share:.2f}%" height="5" rx="2" fill="{colour}"/>'
        for row, (share, colour) in enumerate(zip(shares, colours, strict=True))
    )
    return (
        f'<svg class="bars" width="100%" height="{height_px}" role="img" aria-label="{escape(label)}">'
        f'<rect class="track" width="100%" height="{height_px}" rx="2"/>{rects}</svg>'
    )


def nice_ticks(low: float, high: float) -> list[float]:
    """At most five round numbers in [low, high]: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / _MAX_TICKS
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough)
    return [round(step * index, 9) for index in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _histogram(counts: np.ndarray, colour: str, marks: Sequence[Mark], ticks: Sequence[Mark], label: str) -> str:
    bottom_px = _BAR_AREA_PX
    width = 100 / len(counts)
    tallest = max(int(counts.max()), 1)
    parts = []
    for index, count in enumerate(counts):
        if count:
            # The square root keeps single stragglers visible beside the peak.
            height_px = max(1.5, (bottom_px - 6) * math.sqrt(count / tallest))
            parts.append(
                f'<rect x="{index * width:.2f}%" y="{bottom_px - height_px:.1f}" width="{0.92 * width:.2f}%" '
                f'height="{height_px:.1f}" fill="{colour}"/>'
            )
    parts.append(f'<line class="axis" x1="0" x2="100%" y1="{bottom_px}" y2="{bottom_px}"/>')
    for place, kind in marks:
        x = f"{100 * place:.2f}%"
        parts.append(f'<line class="mark {kind}" x1="{x}" x2="{x}" y1="0" y2="{bottom_px}"/>')
    for place, text in ticks:
        anchor = "start" if place < 0.06 else "end" if place > 0.94 else "middle"
        x = f"{100 * place:.2f}%"
        parts.append(
            f'<line class="axis" x1="{x}" x2="{x}" y1="{bottom_px}" y2="{bottom_px + 4}"/>'
            f'<text x="{x}" y="{bottom_px + 17}" text-anchor="{anchor}">{text}</text>'
        )
    return (
        f'<svg class="plot" width="100%" height="{bottom_px + _AXIS_PX}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )
