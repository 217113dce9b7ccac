"""The largest set of layers within the budget, by few measurements.

All layers is where it starts. What is too much is taken out in the order given, the worst layer first, and how many
have to go is found by bisection; then single layers are tried again. Every set that counts was measured as a whole,
because losses do not add up: the order is only where to look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

PATH = "path"
PUT_BACK = "put back"

Layers = frozenset[str]


@dataclass(frozen=True)
class Tried:
    """A set of layers that was measured: what it loses, in points of mIoU, and how it came to be tried."""

    layers: Layers
    loss_points: float
    found_by: str  # PATH or PUT_BACK


@dataclass(frozen=True)
class Selection:
    """``chosen`` is the largest set within the budget, None if no layer may be INT8; ``tried`` is in order of trial."""

    chosen: Tried | None
    tried: tuple[Tried, ...]


def select(
    order: Sequence[str],
    macs: Mapping[str, int],
    loss_points_of: Callable[[Layers], float],
    budget_points: float,
    *,
    grid: int = 4,
    put_back_tries: int = 8,
) -> Selection:
    """Select from ``order``, which names the most harmful layer first, so that the loss is at most the budget.

    ``macs`` are the layers' multiply-accumulates, by which sets are compared. The path from all layers to none is
    measured at ``grid`` + 1 places about equally far apart in multiply-accumulates, which shows its course, too; a
    bisection follows between the first place within the budget and the one before.
    """
    tried: list[Tried] = []

    def measure(layers: Layers, found_by: str) -> bool:
        tried.append(Tried(layers, loss_points_of(layers), found_by))
        return tried[-1].loss_points <= budget_points

    def on_path(removed: int) -> bool:
        return measure(frozenset(order[removed:]), PATH)

    places = _places(order, macs, grid)
    within = [on_path(removed) for removed in places]
    if True in within:
        first = within.index(True)
        kept_from = places[first]
        too_many = places[first - 1] if first else -1  # one layer more than all, so to speak
        while kept_from - too_many > 1:
            middle = (kept_from + too_many) // 2
            if on_path(middle):
                kept_from = middle
            else:
                too_many = middle
        layers = frozenset(order[kept_from:])
        # The last one out is known to be too much.
        for layer in list(reversed(order[:kept_from]))[1 : 1 + put_back_tries]:
            if measure(layers | {layer}, PUT_BACK):
                layers |= {layer}

    affordable = [one for one in tried if one.layers and one.loss_points <= budget_points]
    chosen = max(affordable, key=lambda one: sum(macs[layer] for layer in one.layers), default=None)
    return Selection(chosen, tuple(tried))


def _places(order: Sequence[str], macs: Mapping[str, int], grid: int) -> list[int]:
    """How many layers are out at each place of the grid, from none to all."""
    out = [0]
    for layer in order:
        out.append(out[-1] + macs[layer])
    nearest = (min(range(len(out)), key=lambda k: abs(out[k] - part / grid * out[-1])) for part in range(grid + 1))
    return sorted({*nearest, 0, len(order)})
