"""What a scene is made of: meshes and pictures on a footprint, and the catalogue that meshes are taken from."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from runtime.street import figures, furniture, vehicles
from runtime.street.camera import FloatArray
from runtime.street.classes import Label
from runtime.street.randomness import rng_for
from runtime.street.solids import Body, Face, Mesh, mesh
from runtime.street.texture import Picture


class Footprint(NamedTuple):
    """The rectangle of the ground that a thing stands on."""

    x0: float
    x1: float
    z0: float
    z1: float


@dataclass(frozen=True)
class Panel:
    """A picture on a rectangle in space, visible from both sides."""

    origin: FloatArray  # (3,) its upper left corner
    across: FloatArray  # (3,) to its upper right corner
    down: FloatArray  # (3,) to its lower left corner
    pictures: tuple[Picture, ...]  # the same in ever smaller sizes
    gain: FloatArray  # (3,) the light on it
    label: int


@dataclass(frozen=True)
class Thing:
    """What is painted in one go: its parts, in their order."""

    footprint: Footprint
    height: float  # of what casts a shadow
    parts: tuple[Panel | Body, ...]
    canopy: float = 0.0  # how far its top reaches beyond the footprint


VARIANTS = 64
"""Number of different shapes of each kind."""

Builder = Callable[[np.random.Generator, float], list[list[Face]]]

BUILDERS: dict[str, Builder] = {
    "car": lambda rng, _: [vehicles.car(rng)],
    "truck": lambda rng, _: vehicles.truck(rng),
    "bus": lambda rng, _: [vehicles.bus(rng)],
    "tram": lambda rng, _: vehicles.tram(rng),
    "person": lambda rng, swing: [figures.person(rng, swing)],
    "cyclist": lambda rng, swing: [figures.angled(rng, figures.cyclist(rng, swing))],
    "cyclist from behind": lambda rng, swing: [figures.from_behind(rng, Label.BICYCLE, swing)],
    "motorcyclist": lambda rng, _: [figures.angled(rng, figures.motorcyclist(rng))],
    "motorcyclist from behind": lambda rng, swing: [figures.from_behind(rng, Label.MOTORCYCLE, 0.0)],
    "bicycle": lambda rng, _: [figures.angled(rng, figures.bicycle(rng))],
    "motorcycle": lambda rng, _: [figures.angled(rng, figures.motorcycle(rng))],
    "lamp to the left": lambda rng, _: [furniture.lamp(rng, -1)],
    "lamp to the right": lambda rng, _: [furniture.lamp(rng, 1)],
    "trunk": lambda rng, _: [furniture.trunk(rng)],
    "traffic light": lambda rng, _: [furniture.traffic_light(rng)],
    "sign": lambda rng, _: [furniture.sign(rng)],
}
"""How each kind is built from a random generator and a swing from -1 to 1, the phase of a step or of the pedals.

A kind is a list of bodies, from its front to its back.
"""


class Model(NamedTuple):
    """One shape of a kind."""

    bodies: tuple[Mesh, ...]  # from its front to its back
    half_x: float  # the model fits into -half_x..half_x across and -half_z..half_z along
    half_z: float
    height: float


@cache
def model(kind: str, variant: int, phase: int) -> Model:
    """Return one shape of a kind; models are kept, for building one takes longer than painting it."""
    bodies = tuple(mesh(faces) for faces in BUILDERS[kind](rng_for(variant, kind), float(np.sin(np.pi * phase / 4))))
    half_x, height, half_z = np.abs(np.concatenate([body.points for body in bodies])).max(axis=0).tolist()
    return Model(bodies, half_x, half_z, height)


def place(kind: str, rng: np.random.Generator, x: float, z: float, *, heading: float = 0.0, phase: int = 0) -> Thing:
    """Put one of the VARIANTS shapes of a kind on the ground; heading is a multiple of a quarter turn.

    phase, 0 to 7, is the moment of a step or of a turn of the pedals.
    """
    bodies, half_x, half_z, height = model(kind, int(rng.integers(VARIANTS)), phase % 8)
    cos = np.cos(heading)
    if abs(cos) < 0.5:
        half_x, half_z = half_z, half_x
    if cos < -0.5:  # what comes towards the camera is painted from its back to its front
        bodies = bodies[::-1]
    footprint = Footprint(x - half_x, x + half_x, z - half_z, z + half_z)
    return Thing(footprint, height, tuple(Body(body, x, z, heading) for body in bodies))
