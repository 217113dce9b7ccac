"""The plan of a street: how wide it is, what lies in its middle, what colours it has, who drives ahead."""

from dataclasses import dataclass
from functools import lru_cache

from runtime.street import colours
from runtime.street.camera import FloatArray
from runtime.street.light import Light, light_of
from runtime.street.randomness import rng_for

LANE_M = 3.0
CYCLE_STRIP_M = 1.3
PARKING_M = 2.2


@dataclass(frozen=True)
class Street:
    """What stays the same along one street. Widths count from the centre line outwards, the same on both sides."""

    seed: int
    light: Light
    median: str  # what lies between the directions: "line", "tram", "barrier", "fence" or "green"
    lanes: int  # a direction
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
        return self.strip_m + CYCLE_STRIP_M + PARKING_M

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
    lanes = int(rng.choice([1, 1, 2]))
    grey = rng.uniform(82, 135)
    tint = rng.uniform(-5, 5, 3)
    return Street(
        seed=seed,
        light=light_of(seed),
        median=str(rng.choice(["line", "tram", "barrier", "fence", "green"], p=[0.2, 0.4, 0.13, 0.13, 0.14])),
        lanes=lanes,
        verge_m=float(rng.choice([0.0, 1.6, 2.4])),
        pavement_m=float(rng.uniform(2.4, 4.0)),
        road_rgb=grey + tint,
        pavement_rgb=grey + rng.uniform(-12, 45) + rng.uniform(-9, 9, 3),
        meadow_rgb=colours.meadow(rng),
        ego_lane=int(rng.integers(lanes)),
        leader_gap_m=float(rng.choice([0.0, 1.0], p=[0.3, 0.7]) * rng.uniform(11, 30)),
    )
