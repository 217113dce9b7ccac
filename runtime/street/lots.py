"""What lines a street: houses, walls, fences, hedges and trees, as pictures on upright planes."""

import numpy as np

from runtime.street import texture
from runtime.street.camera import FloatArray
from runtime.street.classes import Label
from runtime.street.colours import meadow
from runtime.street.light import Light
from runtime.street.furniture import trunk
from runtime.street.plan import Street
from runtime.street.solids import Face, Mesh, ground, mesh
from runtime.street.things import Footprint, Panel, Thing

TOWARDS_CAMERA = np.array([0.0, 0.0, -1.0])


def gain(light: Light, normal: FloatArray) -> FloatArray:
    """Return the gain (3,) of a plane with an outward unit normal (3,)."""
    return light.shade(normal[None])[0]


def along(x: float, z0: float, z1: float, height: float, picture: texture.Picture, label: int) -> Panel:
    """Stand a picture along the street."""
    return Panel(np.array([x, height, z0]), np.array([0, 0, z1 - z0]), np.array([0, -height, 0]), picture, label)


def facing(x0: float, x1: float, z: float, y0: float, y1: float, picture: texture.Picture, label: int) -> Panel:
    """Stand a picture across the street, towards the camera."""
    return Panel(np.array([x0, y1, z]), np.array([x1 - x0, 0, 0]), np.array([0, y0 - y1, 0]), picture, label)


def row(
    street: Street, rng: np.random.Generator, side: int, start: float, end: float
) -> tuple[list[Face], list[Thing]]:
    """Divide one side of a block into lots and build on them."""
    floor, things = [], []
    cuts = np.linspace(start, end, 4 if end - start > 20 else 3)
    cuts[1:-1] += rng.uniform(-1.5, 1.5, len(cuts) - 2)
    front = side * street.frontage_m
    for z0, z1 in zip(cuts[:-1], cuts[1:], strict=True):
        kind = rng.choice(["house", "wall", "fence", "hedge", "meadow"], p=[0.4, 0.18, 0.18, 0.1, 0.14])
        if kind == "house":
            things.append(house(rng, street.light, side, front, z0, z1, rng.uniform(7.0, 19.0)))
            continue
        x0, x1 = sorted((front, front + side * 60.0))
        floor.append(ground(x0, x1, z0, z1, meadow(rng), Label.TERRAIN))
        if rng.random() < 0.6:
            setback = front + side * rng.uniform(6.0, 12.0)
            things.append(house(rng, street.light, side, setback, z0 + 1.0, z1 - 1.0, rng.uniform(5.0, 10.0)))
        else:
            things.append(hedge(rng, street.light, front + side * 14.0, z0, z1, rng.uniform(5.0, 9.0)))
        for _ in range(rng.integers(0, 3)):
            x = front + side * rng.uniform(2.0, 5.0)
            things.append(tree(rng, street.light, x, rng.uniform(z0 + 1, z1 - 1), rng.uniform(2.0, 3.0)))
        if kind == "wall":
            things.append(wall(rng, street.light, side, front, z0, z1, rng.uniform(1.9, 3.4)))
        elif kind == "fence":
            things.append(fence(rng, street.light, side, front, z0, z1, rng.uniform(1.2, 2.1)))
        elif kind == "hedge":
            things.append(hedge(rng, street.light, front, z0, z1, rng.uniform(1.0, 2.2)))
    return floor, things


def house(
    rng: np.random.Generator, light: Light, side: int, x: float, z0: float, z1: float, height: float
) -> Thing:
    """Build a house: its front along the street, the end that the camera sees, and a flat or a pitched roof."""
    depth = rng.uniform(9.0, 14.0)
    back = x + side * depth
    x0, x1 = sorted((x, back))
    style = int(rng.integers(1 << 30))
    front = texture.facade(np.random.default_rng(style), z1 - z0, height, gain(light, np.array([-side, 0.0, 0.0])))
    end = texture.facade(np.random.default_rng(style), depth, height, gain(light, TOWARDS_CAMERA))
    parts: list[Panel | Mesh] = [
        facing(x0, x1, z0, 0.0, height, end, Label.BUILDING),
        along(x, z0, z1, height, front, Label.BUILDING),
    ]
    if rng.random() < 0.6:
        parts.insert(0, roof(rng, light, x, back, z0, z1, height))
    return Thing(Footprint(x0, x1, z0, z1), height, tuple(parts))


def roof(
    rng: np.random.Generator, light: Light, x: float, back: float, z0: float, z1: float, eaves: float
) -> Mesh:
    """Build a pitched roof with its ridge along the street, and the gable towards the camera."""
    ridge, top = (x + back) / 2, eaves + rng.uniform(1.8, 3.8)
    tiles = np.array([(120, 62, 48), (82, 76, 76), (96, 70, 58), (66, 70, 78)][rng.integers(4)]) * rng.uniform(0.8, 1.2)
    slope = np.array([(x, eaves, z1), (x, eaves, z0), (ridge, top, z0), (ridge, top, z1)])
    gable = np.array([(min(x, back), eaves, z0), (max(x, back), eaves, z0), (ridge, top, z0)])
    faces = [
        Face(slope if x < back else slope[::-1], tiles, Label.BUILDING),
        Face(gable, tiles * 1.3, Label.BUILDING),
    ]
    return mesh(faces).placed(light)


def wall(rng: np.random.Generator, light: Light, side: int, x: float, z0: float, z1: float, height: float) -> Thing:
    """Build a free-standing wall along the street."""
    picture = texture.masonry(rng, z1 - z0, height, gain(light, np.array([-side, 0.0, 0.0])))
    end = facing(*sorted((x, x + side * 0.4)), z0, 0.0, height, picture[:, :12], Label.WALL)
    panel = along(x, z0, z1, height, picture, Label.WALL)
    return Thing(Footprint(*sorted((x, x + side * 0.4)), z0, z1), height, (end, panel))


def fence(rng: np.random.Generator, light: Light, side: int, x: float, z0: float, z1: float, height: float) -> Thing:
    """Build a fence along the street."""
    picture = texture.fence(rng, z1 - z0, height, gain(light, np.array([-side, 0.0, 0.0])))
    return Thing(Footprint(x, x, z0, z1), 0.0, (along(x, z0, z1, height, picture, Label.FENCE),))


def railing(rng: np.random.Generator, light: Light, x: float, z0: float, z1: float) -> Thing:
    """Build a low fence between the pavement and the road."""
    return fence(rng, light, 1 if x > 0 else -1, x, z0, z1, rng.uniform(0.9, 1.2))


def hedge(rng: np.random.Generator, light: Light, x: float, z0: float, z1: float, height: float) -> Thing:
    """Plant a hedge, or the edge of a wood, along the street."""
    picture = texture.hedge(rng, z1 - z0, height, gain(light, np.array([-np.sign(x), 0.0, 0.0])))
    return Thing(Footprint(x, x, z0, z1), height, (along(x, z0, z1, height, picture, Label.VEGETATION),))


def tree(rng: np.random.Generator, light: Light, x: float, z: float, clear: float) -> Thing:
    """Plant a tree whose crown begins at the clear height."""
    spread, tall, girth = rng.uniform(1.7, 2.8), rng.uniform(3.2, 5.5), rng.uniform(0.14, 0.24)
    stem = mesh(trunk(clear + 0.8, girth)).placed(light, x, z)
    picture = texture.crown(rng, gain(light, TOWARDS_CAMERA * 0.6 + (0.0, 0.8, 0.0)))
    crown = facing(x - spread, x + spread, z, clear - 0.5, clear + tall, picture, Label.VEGETATION)
    return Thing(Footprint(x - girth, x + girth, z - girth, z + girth), clear + tall, (stem, crown), spread * 0.7)


def median(street: Street, rng: np.random.Generator, start: float, end: float) -> list[Thing]:
    """Build what separates the directions."""
    if street.median == "barrier":
        return [wall(rng, street.light, -1, 0.2, start, end, rng.uniform(0.85, 1.1))]
    if street.median == "fence":
        return [fence(rng, street.light, -1, 0.0, start, end, rng.uniform(1.0, 1.4))]
    if street.median == "green":
        return [
            tree(rng, street.light, 0.0, z, rng.uniform(1.8, 2.4)) for z in np.arange(start + 2.0, end, rng.uniform(9, 16))
        ]
    return []
