"""What the camera adds to what it sees: its own bonnet, softness, vignette, exposure and noise."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.street.canvas import Canvas
from runtime.street.classes import IGNORE
from runtime.street.randomness import rng_for


def paint_bonnet(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint the bonnet of the camera's own car over the lower edge."""
    height, width = canvas.labels.shape
    tone = rng.uniform(15, 70)
    centre, axes = (width // 2, height + height // 20), (int(width * 0.42), int(height * rng.uniform(0.09, 0.13)))
    cv2.ellipse(canvas.rgb, centre, axes, 0, 180, 360, (tone, tone, tone * 1.05), -1, cv2.LINE_AA)
    cv2.ellipse(canvas.labels, centre, axes, 0, 180, 360, IGNORE, -1)


@lru_cache(maxsize=4)
def vignette(height: int, width: int) -> NDArray[np.uint8]:
    """Return how much light the lens lets through [H, W, 3], 255 for all."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 255.0 * (1.0 - 0.13 * (x**2 + y**2))
    return np.repeat(light[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)


@lru_cache(maxsize=1)
def sensor_noise() -> NDArray[np.uint8]:
    """Return white noise around 128 to cut each frame's noise from."""
    return rng_for(0, "sensor noise").normal(128.0, 24.0, (1024, 1024, 3)).clip(0, 255).astype(np.uint8)


def expose(rgb: NDArray[np.uint8], rng: np.random.Generator, frame: int) -> NDArray[np.uint8]:
    """Add what lens and sensor do: softness, vignette, exposure and white balance of the scene, noise of the frame."""
    height, width = rgb.shape[:2]
    gamma, gain, tint = rng.uniform(0.92, 1.08), rng.uniform(0.94, 1.06), rng.uniform(0.98, 1.02, 3)
    levels = np.arange(256) / 255.0
    curve = (255.0 * np.outer(levels**gamma, gain * tint)).clip(0, 255).astype(np.uint8)
    strength = rng.uniform(0.06, 0.2)
    soft = cv2.GaussianBlur(rgb, (3, 3), 0.6)
    graded = cv2.LUT(cv2.multiply(soft, vignette(height, width), scale=1 / 255), curve[None])
    y, x = rng_for(frame, "noise").integers(0, 256, 2)
    noise = np.take(np.take(sensor_noise(), range(y, y + height), 0, mode="wrap"), range(x, x + width), 1, mode="wrap")
    return np.asarray(cv2.addWeighted(graded, 1.0, noise, strength, -128.0 * strength), np.uint8)
