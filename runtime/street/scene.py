"""What stands where: a street cut into blocks along z, each built from the seed and its own index.

Nothing depends on when it is built, so the street has no end and any frame can be asked for first.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from runtime.street import colours, lots
from runtime.street.classes import Label
from runtime.street.plan import LANE_M, Street, street_of
from runtime.street.randomness import pick, rng_for
from runtime.street.solids import Body, Face, Mesh, ground, mesh, upright
from runtime.street.things import Footprint, Thing, place

BLOCK_M = 32.0
WHITE = (215, 215, 210)
KERBSIDE = {
    "lamp": 0.15,
    "sign": 0.2,
    "tree": 0.14,
    "bicycles": 0.15,
    "motorcycles": 0.17,
    "people": 0.1,
    "railing": 0.1,
    "traffic light": 0.04,
}
"""How often each thing stands at the kerb."""
SIGHT_M = 140.0
"""How far houses are drawn; behind them stands the skyline."""
ARM_M = 70.0
"""How far a cross street is built to each side."""


@dataclass(frozen=True)
class Block:
    """BLOCK_M metres of the street; the ground is painted before all things."""

    ground: Mesh
    things: tuple[Thing, ...]


def crossing_end(seed: int, index: int) -> float:
    """Return where the crossing at the near end of a block ends, or where the block begins if it has none."""
    rng = rng_for(seed, "crossing", index)
    return index * BLOCK_M + (7.5 + rng.uniform(7.0, 9.5) if rng.random() < 0.4 else 0.0)


@lru_cache(maxsize=32)
def block_of(seed: int, index: int) -> Block:
    """Build the ground and the lots of one block."""
    street, rng = street_of(seed), rng_for(seed, "block", index)
    start, end, lots_start = index * BLOCK_M, (index + 1) * BLOCK_M, crossing_end(seed, index)
    floor = crossing_floor(street, start, lots_start) if lots_start > start else lane_marks(street, start, end)
    floor += mends(street, rng, start)
    things = lots.median(street, rng, lots_start, end)
    for side in (-1, 1):
        lot_floor, lot_things = lots.row(street, rng, side, lots_start, end)
        floor += lot_floor
        things += lot_things
    return Block(mesh(floor), tuple(things))


@lru_cache(maxsize=32)
def furniture_of(seed: int, index: int) -> tuple[Thing, ...]:
    """Build what stands in the street of one block: lights and waiting vehicles at a crossing, what is at the kerbs."""
    street, rng = street_of(seed), rng_for(seed, "furniture", index)
    start, end, lots_start = index * BLOCK_M, (index + 1) * BLOCK_M, crossing_end(seed, index)
    things = crossing_things(street, rng, start, lots_start) if lots_start > start else []
    for side in (-1, 1):
        things += pavement_things(street, rng, side, lots_start, end)
        if street.parking_m:
            things += parked(street, rng, side, lots_start + 3.0, end)
    return tuple(things)


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
    """Put traffic lights at the corners, people who wait at the zebra and vehicles in the cross street."""
    corner = street.kerb_m + 0.5
    things = [place("traffic light", rng, side * corner, start) for side in (-1, 1)]
    things.append(place("traffic light", rng, -corner, end - 1.0))
    for side in (-1, 1):
        for _ in range(rng.integers(1, 4)):
            x, z = side * (street.kerb_m + rng.uniform(0.2, 1.8)), start + rng.uniform(0.4, 3.6)
            things.append(place("person", rng, x, z))
        kind = pick(rng, {"car": 0.3, "truck": 0.2, "bus": 0.16, "motorcyclist": 0.1, "cyclist": 0.1, "none": 0.14})
        if kind != "none":
            heading = -side * np.pi / 2 if kind in ("car", "truck", "bus") else 0.0
            x = side * (street.kerb_m + rng.uniform(4.5, 8.0))
            things.append(place(kind, rng, x, end - 5.0, heading=heading))
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
        kind = pick(rng, KERBSIDE)
        if kind == "lamp":
            arm = "lamp to the left" if side > 0 else "lamp to the right"
            things.append(place(arm, rng, kerb, z))
        elif kind == "tree":
            things.append(lots.tree(rng, light, side * (street.kerb_m + 0.8), z))
        elif kind == "railing":
            things.append(lots.strip(rng, light, "fence", side * (street.kerb_m + 0.25), z, z + 5.0, 1.1))
            z += 4.0
        elif kind == "people":
            for _ in range(rng.integers(1, 4)):
                x = side * (street.frontage_m - rng.uniform(0.6, 2.0))
                things.append(place("person", rng, x, z + rng.uniform(0.0, 2.0)))
        elif kind in ("bicycles", "motorcycles"):
            for _ in range(rng.integers(2, 4)):
                things.append(place(kind[:-1], rng, kerb + side * rng.uniform(0.0, 0.5), z))
                z += 1.1
        else:
            things.append(place(kind, rng, kerb, z))
        z += rng.uniform(4.0, 7.5)
    return things


def parked(street: Street, rng: np.random.Generator, side: int, start: float, end: float) -> list[Thing]:
    """Park vehicles at the kerb."""
    things: list[Thing] = []
    x, z = side * (street.kerb_m - street.parking_m / 2), start
    while True:
        kind = pick(rng, {"car": 0.4, "truck": 0.13, "bus": 0.09, "none": 0.38})
        length = {"car": 5.6, "truck": 9.5, "bus": 13.0, "none": 5.0}[kind]
        if z + length > end:
            return things
        if kind != "none":
            heading = 0.0 if side > 0 else np.pi
            things.append(place(kind, rng, x, z + length / 2, heading=heading))
        z += length


def strips(street: Street, here: float) -> Mesh:
    """Lay the strips that run along the whole street: meadow, road, verges and pavements."""
    near, far = here - 4.0, here + 1500.0
    kerb, front = street.kerb_m, street.frontage_m
    faces = [
        ground(-900.0, 900.0, near, far, street.meadow_rgb, Label.TERRAIN),
        ground(-front, front, near, far, street.pavement_rgb, Label.SIDEWALK),
        ground(-kerb - street.verge_m, kerb + street.verge_m, near, far, street.meadow_rgb, Label.TERRAIN),
        ground(-kerb - 0.3, kerb + 0.3, near, far, street.pavement_rgb * 1.12, Label.SIDEWALK),
        ground(-kerb, kerb, near, far, street.road_rgb, Label.ROAD),
    ]
    if street.median == "tram":
        faces += [ground(x - 0.07, x + 0.07, near, far, (62, 60, 60), Label.ROAD) for x in (-0.75, 0.75)]
    elif street.median == "green":
        faces.append(ground(-1.2, 1.2, near, far, street.meadow_rgb, Label.TERRAIN))
    return mesh(faces)


def skyline(street: Street, here: float) -> Thing:
    """Build the silhouette that closes the street; it keeps its distance, as far-away things seem to."""
    rng, z = rng_for(street.seed, "skyline"), here + SIGHT_M
    faces = []
    for x in np.arange(-140.0, 140.0, 8.0):
        label = Label.BUILDING if rng.random() < 0.5 else Label.VEGETATION
        rgb = colours.choose(rng, colours.PLASTERS if label is Label.BUILDING else colours.FOLIAGES)
        wide, top = x + rng.uniform(8.0, 14.0), rng.uniform(5.0, 13.0)
        faces.append(upright([(x, 0.0), (wide, 0.0), (wide - 1.0, top), (x + 1.0, top)], rgb, label))
    return Thing(Footprint(-150.0, 150.0, z, z), 0.0, (Body(mesh(faces), 0.0, z),))
