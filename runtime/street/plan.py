"""The plan of a street: how wide it is, what lies in its middle, what colours it has, who drives ahead."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from runtime.street import colours
from runtime.street.camera import FloatArray
from runtime.street.light import Light, light_of
from runtime.street.randomness import pick, rng_for

LANE_M = 2.9
CYCLE_STRIP_M = 1.2
PARKING_M = 2.2


@dataclass(frozen=True)
class Street:
    """What stays the same along one street. Widths count from the centre line outwards, the same on both sides."""

    seed: int
    light: Light
    median: str  # what lies between the directions: "line", "tram", "barrier", "fence" or "green"
    lanes: int  # a direction
    parking_m: float  # strip for parked cars, or 0
    verge_m: float  # strip of grass between the kerb and the pavement
    pavement_m: float
    road_rgb: FloatArray
    pavement_rgb: FloatArray
    meadow_rgb: FloatArray
    ego_lane: int
    leader_gap_m: float  # distance of the vehicle ahead; 0 where there is none

    @property
    def median_m(self) -> float:
        """Half the width of the median."""
        return {"line": 0.0, "tram": 1.75, "barrier": 0.5, "fence": 0.5, "green": 1.2}[self.median]

    @property
    def strip_m(self) -> float:
        """Where the lanes end and the cycle strip begins."""
        return self.median_m + LANE_M * self.lanes

    @property
    def kerb_m(self) -> float:
        """Where the road ends, beyond the parked cars."""
        return self.strip_m + CYCLE_STRIP_M + self.parking_m

    @property
    def frontage_m(self) -> float:
        """Where the pavement ends and the lots begin."""
        return self.kerb_m + self.verge_m + self.pavement_m

    def lane_x(self, lane: int) -> float:
        """Centre of a lane on the right side; the left side mirrors it."""
        return self.median_m + LANE_M * (lane + 0.5)


@lru_cache(maxsize=64)
def street_of(seed: int) -> Street:
    """Choose a street."""
    rng = rng_for(seed, "street")
    lanes = 1 if rng.random() < 0.85 else 2
    grey = rng.uniform(84, 116)
    return Street(
        seed=seed,
        light=light_of(seed),
        median=pick(rng, {"line": 0.2, "tram": 0.4, "barrier": 0.13, "fence": 0.13, "green": 0.14}),
        lanes=lanes,
        parking_m=PARKING_M if rng.random() < 0.4 else 0.0,
        verge_m=float(rng.choice([0.0, 1.8, 3.0])),
        pavement_m=float(rng.uniform(2.8, 4.5)),
        road_rgb=grey + rng.uniform(-3.0, 3.0, 3) + np.array([-4.0, 0.0, 4.0]),
        pavement_rgb=grey + rng.uniform(22.0, 58.0) + np.array([22.0, 1.0, -16.0]),
        meadow_rgb=colours.choose(rng, colours.MEADOWS),
        ego_lane=int(rng.integers(lanes)),
        leader_gap_m=float(rng.uniform(8.0, 20.0)) if rng.random() < 0.5 else 0.0,
    )
