"""What lines a street: houses, walls, fences, hedges and trees, as pictures on upright planes."""

import numpy as np

from runtime.street import colours
from runtime.street.classes import Label
from runtime.street.light import Light
from runtime.street.plan import Street
from runtime.street.randomness import pick
from runtime.street.solids import Body, Face, ground, mesh
from runtime.street.texture import VARIANTS, Surface, surface
from runtime.street.things import Footprint, Panel, Thing, place

TOWARDS_CAMERA = np.array([0.0, 0.0, -1.0])


def choose(rng: np.random.Generator, kind: str) -> Surface:
    """Choose a surface of a kind."""
    return surface(kind, int(rng.integers(VARIANTS)))


def along(light: Light, x: float, z0: float, z1: float, kind: Surface, height: float, label: int) -> Panel:
    """Stand a surface along the street; its front looks to the centre line."""
    gain = light.shade(np.array([[-np.sign(x), 0.0, 0.0]]))[0]
    origin, across, down = np.array([x, height, z0]), np.array([0.0, 0.0, z1 - z0]), np.array([0.0, -height, 0.0])
    return Panel(origin, across, down, kind.cut(z1 - z0), gain, label)


def facing(light: Light, x0: float, x1: float, z: float, kind: Surface, top: float, bottom: float, label: int) -> Panel:
    """Stand a surface across the street; it looks at the camera."""
    gain = light.shade(TOWARDS_CAMERA[None])[0]
    origin, across, down = np.array([x0, top, z]), np.array([x1 - x0, 0.0, 0.0]), np.array([0.0, bottom - top, 0.0])
    return Panel(origin, across, down, kind.cut(x1 - x0), gain, label)


def row(
    street: Street, rng: np.random.Generator, side: int, start: float, end: float
) -> tuple[list[Face], list[Thing]]:
    """Divide one side of a block into lots; returns their ground and what is built on them."""
    floor, things = [], []
    cuts = np.linspace(start, end, 4 if end - start > 20 else 3)
    cuts[1:-1] += rng.uniform(-1.5, 1.5, len(cuts) - 2)
    front, light = side * street.frontage_m, street.light
    neighbour_m = 0.0  # height of the house that the next one leans on
    for z0, z1 in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        kind = pick(rng, {"house": 0.4, "wall": 0.18, "fence": 0.18, "hedge": 0.1, "meadow": 0.14})
        if kind == "house":
            facade = choose(rng, "facade")
            things.append(house(rng, light, front, z0, z1, facade, hidden_m=neighbour_m))
            neighbour_m = facade.height_m
            continue
        neighbour_m = 0.0
        x0, x1 = sorted((front, front + side * 60.0))
        floor.append(ground(x0, x1, z0, z1, colours.choose(rng, colours.MEADOWS), Label.TERRAIN))
        if rng.random() < 0.6:
            things.append(
                house(rng, light, front + side * rng.uniform(6.0, 12.0), z0 + 1, z1 - 1, choose(rng, "cottage"))
            )
        else:
            things.append(strip(rng, light, "wood", front + side * 14.0, z0, z1))
        for _ in range(rng.integers(0, 3)):
            things.append(tree(rng, light, front + side * rng.uniform(2.0, 5.0), rng.uniform(z0 + 1, z1 - 1)))
        if kind != "meadow":
            things.append(strip(rng, light, kind, front, z0, z1))
    return floor, things


def house(
    rng: np.random.Generator, light: Light, x: float, z0: float, z1: float, facade: Surface, hidden_m: float = 0.0
) -> Thing:
    """Build a house: its front along the street, the end towards the camera, and a flat or a pitched roof.

    The end is left out where the next house, hidden_m high, hides it.
    """
    back, height = x + np.sign(x) * rng.uniform(9.0, 14.0), facade.height_m
    x0, x1 = sorted((x, back))
    parts: list[Panel | Body] = [along(light, x, z0, z1, facade, height, Label.BUILDING)]
    if hidden_m < height:
        parts.insert(0, facing(light, x0, x1, z0, facade, height, 0.0, Label.BUILDING))
    if rng.random() < 0.6:
        parts.insert(0, roof(rng, x, back, z0, z1, height))
    return Thing(Footprint(x0, x1, z0, z1), height, tuple(parts))


def roof(rng: np.random.Generator, x: float, back: float, z0: float, z1: float, eaves: float) -> Body:
    """Build a pitched roof with its ridge along the street, and the gable towards the camera."""
    ridge, top = (x + back) / 2, eaves + rng.uniform(1.8, 3.8)
    tiles = colours.choose(rng, colours.TILES)
    slope = np.array([(x, eaves, z1), (x, eaves, z0), (ridge, top, z0), (ridge, top, z1)])
    gable = np.array([(min(x, back), eaves, z0), (max(x, back), eaves, z0), (ridge, top, z0)])
    slope = slope if x < back else slope[::-1]
    return Body(mesh([Face(slope, tiles, Label.BUILDING), Face(gable, tiles * 1.3, Label.BUILDING)]))


STRIP_LABELS = {
    "wall": Label.WALL,
    "fence": Label.FENCE,
    "hedge": Label.VEGETATION,
    "wood": Label.VEGETATION,
}


def strip(
    rng: np.random.Generator, light: Light, kind: str, x: float, z0: float, z1: float, height: float | None = None
) -> Thing:
    """Build a wall, a fence, a hedge or the edge of a wood along the street, as high as its surface unless told."""
    picked = choose(rng, kind)
    top, label = height or picked.height_m, STRIP_LABELS[kind]
    parts = [along(light, x, z0, z1, picked, top, label)]
    if kind == "wall":  # a wall is thick, and its end is seen
        x0, x1 = sorted((x, x + np.sign(x) * 0.4))
        parts.insert(0, facing(light, x0, x1, z0, picked, top, 0.0, label))
    return Thing(Footprint(x, x, z0, z1), 0.0 if kind == "fence" else top, tuple(parts))


def tree(rng: np.random.Generator, light: Light, x: float, z: float) -> Thing:
    """Plant a tree."""
    trunk, clear, crown = place("trunk", rng, x, z), rng.uniform(2.0, 2.8), choose(rng, "crown")
    half, top = crown.width_m / 2, clear + crown.height_m
    leaves = facing(light, x - half, x + half, z, crown, top, clear - 0.5, Label.VEGETATION)
    return Thing(trunk.footprint, top, (*trunk.parts, leaves), canopy=0.7 * half)


def median(street: Street, rng: np.random.Generator, start: float, end: float) -> list[Thing]:
    """Build what separates the directions."""
    light = street.light
    if street.median == "barrier":
        return [strip(rng, light, "wall", -0.01, z, z + 8.0, 0.95) for z in np.arange(start, end - 4.0, 8.0)]
    if street.median == "fence":
        return [strip(rng, light, "fence", 0.01, z, z + 8.0, 1.2) for z in np.arange(start, end - 4.0, 8.0)]
    if street.median == "green":
        return [tree(rng, light, 0.0, z) for z in np.arange(start + 2.0, end, rng.uniform(9, 16))]
    return []
