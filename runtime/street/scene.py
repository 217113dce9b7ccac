"""What stands where: a street cut into blocks along z, each built from the seed and its own index.

Nothing depends on when it is built, so the street has no end and any frame can be asked for first.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from runtime.street import lots
from runtime.street.classes import Label
from runtime.street.plan import LANE_M, PARKING_M, Street, street_of
from runtime.street.randomness import pick, rng_for
from runtime.street.solids import Face, Mesh, ground, mesh
from runtime.street.things import Thing, place

BLOCK_M = 32.0
WHITE = (215, 215, 210)
ARM_M = 70.0
"""How far a cross street is built to each side."""


@dataclass(frozen=True)
class Block:
    """BLOCK_M metres of the street; the ground is painted before all things."""

    ground: Mesh
    things: tuple[Thing, ...]


@lru_cache(maxsize=32)
def block_of(seed: int, index: int) -> Block:
    """Build one block of a street: a crossing at its near end or none, lots, furniture and what is parked."""
    street = street_of(seed)
    rng = rng_for(seed, "block", index)
    start, end = index * BLOCK_M, (index + 1) * BLOCK_M
    floor: list[Face] = []
    things: list[Thing] = []
    lots_start = start
    if rng.random() < 0.4:
        lots_start = start + 5.0 + rng.uniform(7.0, 9.5) + 2.5
        floor += crossing_floor(street, start, lots_start)
        things += crossing_things(street, rng, start, lots_start)
    else:
        floor += lane_marks(street, start, end)
    for side in (-1, 1):
        lot_floor, lot_things = lots.row(street, rng, side, lots_start, end)
        floor += lot_floor
        things += lot_things
        things += pavement_things(street, rng, side, lots_start, end)
        things += parked(street, rng, side, lots_start + 3.0, end)
    things += lots.median(street, rng, lots_start, end)
    floor += mends(street, rng, start)
    return Block(mesh(floor), tuple(things))


def crossing_floor(street: Street, start: float, end: float) -> list[Face]:
    """Lay a cross street with its pavements, and a zebra before it."""
    road0, road1 = start + 5.0, end - 2.5
    inner = street.kerb_m
    faces = []
    for side in (-1, 1):
        x0, x1 = sorted((side * inner, side * ARM_M))
        faces.append(ground(x0, x1, start, end, street.pavement_rgb, Label.SIDEWALK))
        faces.append(ground(x0, x1, road0, road1, street.road_rgb, Label.ROAD))
    faces.append(ground(-inner, inner, start, end, street.road_rgb, Label.ROAD))
    stripes = np.arange(-inner + 0.5, inner - 0.5, 1.1)
    faces += [ground(x, x + 0.55, start + 0.6, start + 3.8, WHITE, Label.ROAD) for x in stripes]
    faces.append(ground(street.median_m, street.strip_m, start - 0.9, start - 0.4, WHITE, Label.ROAD))
    return faces


def crossing_things(street: Street, rng: np.random.Generator, start: float, end: float) -> list[Thing]:
    """Put traffic lights at the corners and vehicles that wait in the cross street."""
    light, corner = street.light, street.kerb_m + 0.5
    things = [place("traffic light", rng, side * corner, start) for side in (-1, 1)]
    things.append(place("traffic light", rng, -corner, end - 1.0))
    for side in (-1, 1):
        kind = rng.choice(["car", "truck", "bus", "motorcyclist", "cyclist", "none"], p=[0.3, 0.2, 0.16, 0.1, 0.1, 0.14])
        if kind != "none":
            heading = -side * np.pi / 2 if kind in ("car", "truck", "bus") else 0.0
            x = side * (street.kerb_m + rng.uniform(4.5, 8.0))
            things.append(place(str(kind), rng, x, end - 5.0, heading=heading))
    return things


def lane_marks(street: Street, start: float, end: float) -> list[Face]:
    """Paint the lines between lanes, and solid ones at the strip for bicycles."""
    faces = []
    for side in (-1, 1):
        edge = side * street.strip_m
        faces.append(ground(edge - 0.07, edge + 0.07, start, end, WHITE, Label.ROAD))
        for lane in range(1, street.lanes):
            x = side * (street.median_m + LANE_M * lane)
            faces += [ground(x - 0.07, x + 0.07, z, z + 3.0, WHITE, Label.ROAD) for z in np.arange(start, end, 8.0)]
    if street.median == "line":
        faces += [ground(-0.08, 0.08, z, z + 4.0, WHITE, Label.ROAD) for z in np.arange(start, end, 8.0)]
    return faces


def mends(street: Street, rng: np.random.Generator, start: float) -> list[Face]:
    """Mend the asphalt in a few places."""
    faces = []
    for _ in range(rng.integers(1, 4)):
        x, z = rng.uniform(-street.strip_m, street.strip_m - 1.5), start + rng.uniform(0.0, BLOCK_M - 5.0)
        rgb = street.road_rgb * rng.uniform(0.8, 1.1)
        faces.append(ground(x, x + rng.uniform(0.8, 2.2), z, z + rng.uniform(1.5, 5.0), rgb, Label.ROAD))
    return faces


def pavement_things(street: Street, rng: np.random.Generator, side: int, start: float, end: float) -> list[Thing]:
    """Put lamps, signs, trees, railings, two-wheelers and waiting people along the kerb."""
    light, kerb = street.light, side * (street.kerb_m + 0.45)
    things = []
    z = start + rng.uniform(0.0, 3.0)
    while z < end - 3.0:
        kind = rng.choice(
            ["lamp", "sign", "tree", "bicycles", "motorcycles", "people", "railing", "traffic light"],
            p=[0.15, 0.2, 0.14, 0.15, 0.12, 0.1, 0.1, 0.04],
        )
        if kind == "lamp":
            arm = "lamp to the left" if side > 0 else "lamp to the right"
            things.append(place(arm, rng, kerb, z))
        elif kind == "tree":
            things.append(lots.tree(rng, light, side * (street.kerb_m + 0.8), z, rng.uniform(2.4, 3.2)))
        elif kind == "railing":
            things.append(lots.railing(rng, light, side * (street.kerb_m + 0.25), z, z + 5.0))
            z += 4.0
        elif kind == "people":
            for _ in range(rng.integers(1, 4)):
                x = side * (street.frontage_m - rng.uniform(0.6, 2.0))
                things.append(place("person", rng, x, z + rng.uniform(0.0, 2.0)))
        elif kind in ("bicycles", "motorcycles"):
            x = kerb if kind == "bicycles" else side * (street.kerb_m - 1.0)
            for _ in range(rng.integers(2, 4)):
                things.append(place(str(kind)[:-1], rng, x + side * rng.uniform(0, 0.5), z))
                z += 1.1
        else:
            things.append(place(str(kind), rng, kerb, z))
        z += rng.uniform(2.5, 5.0)
    return things


def parked(street: Street, rng: np.random.Generator, side: int, start: float, end: float) -> list[Thing]:
    """Park vehicles at the kerb."""
    things, x = [], side * (street.kerb_m - PARKING_M / 2)
    z = start
    while True:
        kind = str(rng.choice(["car", "truck", "bus", "none"], p=[0.4, 0.13, 0.09, 0.38]))
        length = {"car": 5.6, "truck": 9.5, "bus": 13.0, "none": 5.0}[kind]
        if z + length > end:
            return things
        if kind != "none":
            heading = 0.0 if side > 0 else np.pi
            things.append(place(kind, rng, x, z + length / 2, heading=heading))
        z += length
