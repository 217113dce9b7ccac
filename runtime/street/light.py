"""Time of day and weather: sun, sky, haze, and the sensor that sees them."""

from dataclasses import dataclass

import numpy as np

from runtime.street.camera import FloatArray
from runtime.street.randomness import pick, rng_for

FADE_M = (80.0, 140.0)
"""Between these distances everything dissolves into the haze, so that nothing pops up at the end of the street."""


@dataclass(frozen=True)
class Light:
    """Light of one scene; colours are RGB from 0 to 255, gains are factors per channel."""

    sun: FloatArray  # (3,) unit vector towards the sun
    sun_gain: FloatArray  # (3,)
    ambient_gain: FloatArray  # (3,)
    zenith: FloatArray  # (3,) colour of the sky overhead
    horizon: FloatArray  # (3,) colour of the sky at the horizon
    haze: FloatArray  # (3,) colour that distance fades to
    haze_m: float  # distance at which 1 - 1/e of a colour is haze
    clouds: float  # 0 (none) to 1
    shadow: float  # share of the light that a cast shadow takes, 0 to 1

    def shade(self, normals: FloatArray) -> FloatArray:
        """Return the gains (N, 3) of surfaces with the outward unit normals (N, 3)."""
        lit = np.clip(normals @ self.sun, 0.0, None)[:, None]
        # What looks up sees more of the sky than what looks down.
        sky = 0.8 + 0.2 * normals[:, 1:2]
        return np.asarray(self.ambient_gain * sky + self.sun_gain * lit)

    def haze_share(self, distance_m: FloatArray) -> FloatArray:
        """Return how much of the colour at a distance is haze, 0 to 1."""
        near, far = FADE_M
        fade = np.clip((distance_m - near) / (far - near), 0.0, 1.0)
        share = 1.0 - np.exp(-distance_m / self.haze_m)
        return share + (0.78 - share).clip(0.0) * fade


def light_of(seed: int) -> Light:
    """Choose the light of a scene: clear, hazy, overcast, or a low sun."""
    rng = rng_for(seed, "light")
    weather = pick(rng, {"clear": 0.45, "hazy": 0.18, "overcast": 0.25, "low sun": 0.12})
    azimuth = rng.uniform(0.0, 2.0 * np.pi)
    elevation = np.radians(rng.uniform(12, 22) if weather == "low sun" else rng.uniform(28, 65))
    sun = np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
    white = np.array([1.0, 1.0, 1.0])
    if weather == "clear":
        sun_gain, ambient = np.array([0.56, 0.53, 0.46]), np.array([0.64, 0.66, 0.70])
        zenith, horizon = np.array([70, 125, 205.0]), np.array([180, 208, 235.0])
        haze_m, clouds, shadow = rng.uniform(250, 600), rng.uniform(0.1, 0.8), 0.52
    elif weather == "hazy":
        sun_gain, ambient = white * 0.3, white * 0.76
        zenith, horizon = np.array([150, 175, 205.0]), np.array([215, 218, 220.0])
        haze_m, clouds, shadow = rng.uniform(120, 220), rng.uniform(0.2, 0.6), 0.3
    elif weather == "overcast":
        sun_gain, ambient = white * 0.12, white * rng.uniform(0.8, 0.95)
        zenith, horizon = np.array([150, 156, 164.0]), np.array([205, 208, 212.0])
        haze_m, clouds, shadow = rng.uniform(150, 500), rng.uniform(0.5, 1.0), 0.22
        sun = np.array([0.1, 0.99, 0.1])
    else:
        sun_gain, ambient = np.array([0.58, 0.48, 0.38]), np.array([0.62, 0.6, 0.64])
        zenith, horizon = np.array([110, 130, 175.0]), np.array([245, 200, 150.0])
        haze_m, clouds, shadow = rng.uniform(150, 400), rng.uniform(0.2, 0.9), 0.45
    # The camera exposes for the road, whatever the light.
    exposure = 0.95 / float((ambient + sun_gain * sun[1]).mean())
    drift = rng.uniform(0.95, 1.05, 3)
    return Light(
        sun=sun / np.linalg.norm(sun),
        sun_gain=sun_gain * exposure,
        ambient_gain=ambient * exposure,
        zenith=np.clip(zenith * drift, 0, 255),
        horizon=np.clip(horizon * drift, 0, 255),
        haze=np.clip(horizon * drift * 0.84, 0, 255),
        haze_m=float(haze_m),
        clouds=float(clouds),
        shadow=shadow,
    )
