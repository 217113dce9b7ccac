"""What moves: vehicles in lanes, riders, walkers, trams. Where anything is follows from the time alone.

A lane is an endless row of slots that moves at one speed, so nothing in it ever collides.
"""

from collections.abc import Iterator

import numpy as np

from runtime.street.plan import CYCLE_STRIP_M, Street
from runtime.street.randomness import pick, rng_for
from runtime.street.things import Thing, place

FRAMES_PER_S = 30
EGO_M_PER_S = 7.0
SIGHT_M = 90.0
"""How far ahead traffic is drawn."""

MOTORCYCLIST = "motorcyclist from behind"


def camera_z(seed: int, time_s: float) -> float:
    """Return how far along the street the camera is."""
    return float(rng_for(seed, "start").uniform(200.0, 800.0)) + EGO_M_PER_S * time_s


def slots(
    street: Street, lane: str, time_s: float, speed: float, spacing: float
) -> Iterator[tuple[np.random.Generator, float]]:
    """Yield what fills each slot of a lane in sight: its random generator and its z."""
    here, drift = camera_z(street.seed, time_s), speed * time_s
    for slot in range(int((here - drift) // spacing), int((here + SIGHT_M - drift) // spacing) + 1):
        rng = rng_for(street.seed, lane, slot)
        yield rng, (slot + rng.uniform(0.0, 0.35)) * spacing + drift


def traffic(street: Street, time_s: float) -> list[Thing]:
    """Return everything that moves, where it is at a time."""
    return [
        *vehicles(street, time_s),
        *leader(street, time_s),
        *trams(street, time_s),
        *riders_and_walkers(street, time_s),
    ]


def vehicles(street: Street, time_s: float) -> list[Thing]:
    """Return what drives in the lanes, except ahead of the camera."""
    things = []
    for lane in range(street.lanes):
        x = street.lane_x(lane)
        for rng, z in slots(street, f"oncoming {lane}", time_s, -8.0, 22.0):
            kind = pick(rng, {"car": 0.3, "truck": 0.15, "bus": 0.13, "none": 0.42})
            if kind != "none":
                things.append(place(kind, rng, -x, z, heading=np.pi))
        if lane != street.ego_lane:
            for rng, z in slots(street, f"same way {lane}", time_s, EGO_M_PER_S + 1.5, 22.0):
                kind = pick(rng, {"car": 0.35, "truck": 0.18, "bus": 0.14, MOTORCYCLIST: 0.2, "none": 0.13})
                if kind != "none":
                    things.append(place(kind, rng, x, z))
    return things


def leader(street: Street, time_s: float) -> list[Thing]:
    """Return the vehicle ahead of the camera, if there is one."""
    if not street.leader_gap_m:
        return []
    rng = rng_for(street.seed, "leader")
    kind = pick(rng, {"car": 0.28, "truck": 0.22, "bus": 0.18, MOTORCYCLIST: 0.32})
    half_length = {"car": 2.2, "truck": 4.0, "bus": 5.5, MOTORCYCLIST: -4.0}[kind]
    gap = street.leader_gap_m + half_length + 1.5 * np.sin(0.3 * time_s)
    return [place(kind, rng, street.lane_x(street.ego_lane), camera_z(street.seed, time_s) + gap)]


def trams(street: Street, time_s: float) -> list[Thing]:
    """Return the trams on the median; all go the same way."""
    if street.median != "tram":
        return []
    way = 1 if rng_for(street.seed, "tram").random() < 0.5 else -1
    heading = 0.0 if way > 0 else np.pi
    return [place("tram", rng, 0.0, z, heading=heading) for rng, z in slots(street, "tram", time_s, 6.0 * way, 48.0)]


def riders_and_walkers(street: Street, time_s: float) -> list[Thing]:
    """Return the cyclists on their strips and the people on the pavements."""
    things = []
    steps = int(time_s * 12)
    for side in (-1, 1):
        x = side * (street.strip_m + CYCLE_STRIP_M / 2)
        for rng, z in slots(street, f"cyclists {side}", time_s, 4.5 * side, 13.0):
            kind = pick(rng, {"cyclist from behind": 0.2, "cyclist": 0.28, "none": 0.52})
            if kind != "none":
                things.append(place(kind, rng, x, z, phase=steps + int(rng.integers(8))))
        for row, speed in ((0.55, -1.2), (0.85, 1.3)):
            x = side * (street.frontage_m - row * street.pavement_m)
            for rng, z in slots(street, f"walkers {side} {row}", time_s, speed, 16.0):
                for _ in range(rng.integers(3)):
                    at = z + rng.uniform(0.0, 5.0)
                    things.append(place("person", rng, x, at, phase=steps + int(rng.integers(8))))
    return things
