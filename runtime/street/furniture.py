"""What stands on the pavement: lamps, traffic lights, signs, tree trunks. Feet at the origin, facing the camera."""

import numpy as np

from runtime.street.classes import Label
from runtime.street.colours import METALS, choose
from runtime.street.solids import KEEP, Colour, Face, bar, box, disc, upright

LAMPS = (((70, 18, 18), (420, 90, 60)), ((75, 58, 15), (420, 330, 70)), ((15, 60, 40), (90, 420, 240)))
"""Red, amber and green, off and on; what shines is brighter than anything lit by the sky."""


def post(rgb: Colour, height: float, half_width: float) -> list[Face]:
    """Build a square post."""
    return box(half_width, 0.0, height, -half_width, half_width).faces(rgb, Label.POLE)


def lamp(rng: np.random.Generator, side: int) -> list[Face]:
    """Build a street lamp whose arm reaches to the left (-1) or to the right (1)."""
    height, reach = rng.uniform(6.0, 7.5), side * rng.uniform(1.6, 2.6)
    rgb, pole = choose(rng, METALS), Label.POLE
    head = [(-0.5, 0.25), (0.5, 0.25), (0.4, 0.5), (-0.4, 0.5)]
    return [
        *post(rgb, height, 0.19),
        bar((0.0, height - 0.1), (reach, height + 0.35), 0.26, rgb, pole),
        upright([(reach + x, height + y) for x, y in head], rgb, pole),
    ]


def traffic_light(rng: np.random.Generator) -> list[Face]:
    """Build a traffic light on a post: a dark box with a pale rim, and one of its three lamps on."""
    top, dark, label = rng.uniform(3.7, 4.4), rng.uniform(24.0, 48.0), Label.TRAFFIC_LIGHT
    bottom = top - 2.4
    rim = ((232, 232, 226), (236, 196, 60))[rng.integers(2)]
    faces = [
        *post(choose(rng, METALS), bottom + 0.1, 0.16),
        upright([(-0.55, bottom), (0.55, bottom), (0.55, top), (-0.55, top)], rim, label, z=-0.2),
        upright(
            [(-0.44, bottom + 0.1), (0.44, bottom + 0.1), (0.44, top - 0.1), (-0.44, top - 0.1)],
            [dark] * 3,
            KEEP,
            z=-0.2,
        ),
    ]
    lit = int(rng.integers(3))
    for index, (off, on) in enumerate(LAMPS):
        lens = disc(0.0, top - 0.48 - 0.72 * index, 0.31, on if index == lit else off, KEEP, 10)
        faces.append(lens._replace(points=lens.points - (0.0, 0.0, 0.2)))
    return faces


def sign(rng: np.random.Generator) -> list[Face]:
    """Build a traffic sign on a post: a disc, a triangle, a square or a direction board."""
    height, radius, label = rng.uniform(2.6, 3.2), rng.uniform(0.6, 0.72), Label.TRAFFIC_SIGN
    white, red, blue, yellow = (238, 238, 234), (190, 30, 35), (35, 80, 165), (235, 195, 50)
    kind = rng.integers(6)
    pole = post(choose(rng, METALS), height, 0.14)
    if kind == 0:
        plate = [disc(0, height, radius, red, label, 14), disc(0, height, radius * 0.7, white, KEEP, 14)]
        plate += [bar((-0.2, height), (0.2, height), 0.18, (40, 40, 42), KEEP)]
    elif kind == 1:
        plate = [disc(0, height, radius, blue, label, 14), bar((0, height - 0.3), (0, height + 0.3), 0.16, white, KEEP)]
    elif kind == 2:
        outer = [(-radius * 1.1, height - 0.5), (radius * 1.1, height - 0.5), (0.0, height + 0.7)]
        inner = [(x * 0.62, height - 0.06 + (y - height + 0.06) * 0.6) for x, y in outer]
        plate = [upright(outer, red, label), upright(inner, white, KEEP)]
    elif kind == 3:
        plate = [disc(0, height, radius * 1.1, red, label, 8), bar((-0.34, height), (0.34, height), 0.16, white, KEEP)]
    elif kind == 4:
        diamond = [(0.0, height - 0.65), (0.65, height), (0.0, height + 0.65), (-0.65, height)]
        inner = [(x * 0.7, height + (y - height) * 0.7) for x, y in diamond]
        plate = [upright(diamond, white, label), upright(inner, yellow, KEEP)]
    else:
        colour = [blue, yellow, (40, 110, 70), white][rng.integers(4)]
        board = [(-0.8, height - 0.4), (0.8, height - 0.4), (0.8, height + 0.45), (-0.8, height + 0.45)]
        plate = [upright(board, colour, label)]
        ink = (30, 30, 32) if colour in (yellow, white) else white
        plate += [bar((-0.6, height + y), (0.45, height + y), 0.12, ink, KEEP) for y in (0.2, -0.12)]
    return [*pole, *(Face(face.points - (0.0, 0.0, 0.14), face.rgb, face.label) for face in plate)]


def trunk(rng: np.random.Generator) -> list[Face]:
    """Build the trunk of a tree, which belongs to the vegetation."""
    girth, rgb = rng.uniform(0.14, 0.24), np.array([92.0, 74.0, 58.0]) * rng.uniform(0.6, 1.3)
    return box(girth, 0.0, 3.2, -girth, girth).faces(rgb, Label.VEGETATION)
