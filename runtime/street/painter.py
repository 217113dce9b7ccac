"""Which thing is painted before which, and the painting."""

import numpy as np

from runtime.street.canvas import Canvas
from runtime.street.solids import Body, assemble
from runtime.street.things import Panel, Thing


def far_to_near(things: list[Thing], eye_x: float) -> list[int]:
    """Return an order in which no thing is painted after one that hides a part of it.

    Thing i cannot hide thing j if a plane between their footprints, across or along the street, has i on one side and
    j and the camera on the other. If j could hide i then i must come first. Where footprints overlap the farther centre
    comes first.
    """
    x0, x1, z0, z1 = np.array([thing.footprint for thing in things]).T
    beyond = z0[:, None] >= z1
    to_the_left = (x1[:, None] <= x0) & (x1 <= eye_x)[:, None]
    to_the_right = (x0[:, None] >= x1) & (x0 >= eye_x)[:, None]
    harmless = beyond | to_the_left | to_the_right
    farther = (z0 + z1)[:, None] > z0 + z1
    must_precede = (harmless & ~harmless.T) | (~harmless & ~harmless.T & farther)
    waiting_for = must_precede.sum(axis=0)
    order: list[int] = []
    while len(order) < len(things):
        ready = np.flatnonzero(waiting_for == 0)
        if not len(ready):  # things that overlap can wait for each other in a ring: break it at its far end
            ready = np.argmax(np.where(waiting_for > 0, z1, -np.inf), keepdims=True)
        order += ready.tolist()
        waiting_for -= must_precede[ready].sum(axis=0)
        waiting_for[ready] = -len(things)
    return order


def paint_things(canvas: Canvas, things: list[Thing]) -> None:
    """Paint things in their order; all meshes are projected at once."""
    bodies = [part for thing in things for part in thing.parts if isinstance(part, Body)]
    outlines = iter(canvas.outlines(assemble(bodies, canvas.light)))
    for thing in things:
        for part in thing.parts:
            if isinstance(part, Panel):
                canvas.paint_panel(part)
                continue
            for _ in part.mesh.starts:
                outline = next(outlines)
                if outline:
                    canvas.fill(outline)
