"""The sky and its clouds."""

import cv2
import numpy as np

from runtime.street.canvas import Canvas
from runtime.street.classes import Label
from runtime.street.texture import cloud_noise

CLOUDS_M = 900.0
"""Height of the clouds."""


def paint_sky(canvas: Canvas) -> None:
    """Fill the frame above the horizon with the sky, and label everything as sky for a start."""
    camera, light = canvas.camera, canvas.light
    canvas.labels[:] = Label.SKY
    rows = range(0, min(max(int(np.floor(camera.horizon - 0.5)), 0), camera.height))
    canvas.rgb[rows.stop :] = light.horizon.astype(np.uint8)
    if not rows:
        return
    x, z, depth = camera.level_plane(rows, CLOUDS_M)
    texels = np.float32(0.12)
    clouds = cv2.remap(
        cloud_noise(512, 6, "clouds"), x * texels, z * texels, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP
    )
    rise = np.minimum(1.4 * CLOUDS_M / depth, 1.0) ** 0.7  # [rows, 1], 0 at the horizon
    cover = ((clouds - np.float32(1.0 - 0.75 * light.clouds)) * 3.0).clip(0.0, 0.9) * rise
    clear = (light.horizon + (light.zenith - light.horizon) * rise).astype(np.float32)[:, None]  # [rows, 1, 3]
    white = (0.3 * light.horizon + 178.0).astype(np.float32)
    canvas.rgb[: rows.stop] = cv2.convertScaleAbs(clear + cover[..., None] * (white - clear))
