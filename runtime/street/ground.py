"""The ground: its flat colours, their grain, and the shadows on it."""

from functools import lru_cache

import cv2
import numpy as np

from runtime.street.camera import NEAR_M, FloatArray, clip_near
from runtime.street.canvas import SUBPIXEL_BITS, SUBPIXELS, Canvas
from runtime.street.classes import Label
from runtime.street.randomness import rng_for
from runtime.street.solids import Body, assemble
from runtime.street.texture import cloud_noise
from runtime.street.things import Thing

TILE_M = 8.0
"""The grain of the ground repeats after this distance."""
SHADOW_SIGHT_M = 60.0


@lru_cache(maxsize=1)
def grain() -> FloatArray:
    """Return the surfaces of road, pavement and grass as the channels of one tile [512, 512, 3], uint8, 128 is even."""
    rng = rng_for(0, "grain")
    size = 512
    asphalt = 128 + rng.normal(0, 14, (size, size)) + (cloud_noise(size, 6, "asphalt") - 0.5) * 44
    y, x = np.mgrid[:size, :size]
    row = y // 32
    joint = (y % 32 < 2) | ((x + 16 * (row % 2)) % 32 < 2)
    slab = rng.normal(0, 7, (16, 17))[row, ((x + 16 * (row % 2)) // 32) % 16]
    slabs = 128 + slab + rng.normal(0, 7, (size, size)) - 30 * joint + (cloud_noise(size, 5, "slabs") - 0.5) * 30
    grass = 128 + (cloud_noise(size, 7, "grass") - 0.5) * 150 + rng.normal(0, 12, (size, size))
    return np.stack([asphalt, slabs, grass], axis=-1).clip(0, 255).astype(np.uint8)


def paint_ground(canvas: Canvas, floor: list[Body], things: list[Thing]) -> None:
    """Paint the ground in its flat colours, then give them their grain, the shadows of things, and the haze."""
    camera, light = canvas.camera, canvas.light
    for outline in canvas.outlines(assemble(floor, light), hazy=False):
        if outline:
            canvas.fill(outline)
    top = min(max(int(np.ceil(camera.horizon + 0.5)), 0), camera.height)
    rows = range(top, camera.height)
    if not rows:
        return
    x, z, depth = camera.level_plane(rows, 0.0)
    texels = np.float32(512 / TILE_M)
    offset_x, offset_z = camera.position[0] % TILE_M, camera.position[2] % TILE_M
    surfaces = cv2.remap(
        grain(),
        (x + np.float32(offset_x)) * texels,
        (z + np.float32(offset_z)) * texels,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    labels = canvas.labels[top:]
    surface = surfaces[..., 0].copy()
    np.copyto(surface, surfaces[..., 1], where=labels == Label.SIDEWALK)
    np.copyto(surface, surfaces[..., 2], where=labels == Label.TERRAIN)
    # A pixel far away covers many grains, which cancel out.
    strength = 1.0 / (1.0 + (depth / 14.0) ** 2) / 128.0
    gain = 1.0 + (surface.astype(np.float32) - 128.0) * strength
    gain *= 1.0 - light.shadow * shadows(canvas, things, top)
    share = light.haze_share(depth).astype(np.float32)
    gain *= 1.0 - share
    window = canvas.rgb[top:]
    hazy = window * gain[..., None] + (share[..., None] * light.haze.astype(np.float32))
    window[:] = cv2.convertScaleAbs(hazy)


def shadows(canvas: Canvas, things: list[Thing], top: int) -> FloatArray:
    """Return how much of the ground is in a shadow [H - top, W], float32, 0 to 1."""
    camera, sun = canvas.camera, canvas.light.sun
    mask = np.zeros((camera.height - top, camera.width), np.uint8)
    casting = [thing for thing in things if thing.height and thing.footprint.z0 < camera.position[2] + SHADOW_SIGHT_M]
    x0, x1, z0, z1, height, canopy = np.array([(*t.footprint, t.height, t.canopy) for t in casting]).reshape(-1, 6).T
    # A shadow is the hull of the footprint and of where the sun throws the top.
    shift_x, shift_z = -sun[0] / sun[1] * height, -sun[2] / sun[1] * height
    left, right, near, far = x0 - canopy + shift_x, x1 + canopy + shift_x, z0 - canopy + shift_z, z1 + canopy + shift_z
    x = np.stack([x0, x1, x1, x0, left, right, right, left], axis=1)
    z = np.stack([z0, z0, z1, z1, near, near, far, far], axis=1)
    corners = camera.view(np.stack([x, np.zeros_like(x), z], axis=2).reshape(-1, 3)).reshape(-1, 8, 3)
    for viewed in corners[corners[..., 2].max(axis=1) > NEAR_M]:
        if viewed[:, 2].min() < NEAR_M:
            hull = cv2.convexHull(viewed[:, ::2].astype(np.float32), returnPoints=False)[:, 0]
            viewed = clip_near(viewed[hull])
        pixels = np.rint((camera.project(viewed) - (0.0, top)) * SUBPIXELS).astype(np.int32)
        cv2.fillConvexPoly(mask, cv2.convexHull(pixels), 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return np.asarray(cv2.GaussianBlur(mask, (5, 5), 0) * np.float32(1 / 255))
