"""Surfaces: facades, walls, fences, hedges and tree crowns, as RGB or RGBA pictures, and the noise they are made of."""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.street import colours
from runtime.street.camera import FloatArray
from runtime.street.colours import choose
from runtime.street.randomness import rng_for

Picture = NDArray[np.uint8]

TEXELS_PER_M = 14
COVERED = 60
"""Alpha from which a pixel counts as the surface."""
GAP = 180
"""Alpha of the wire mesh between the pales of a fence: what is behind shines through, yet the pixel counts as fence."""


@lru_cache(maxsize=8)
def cloud_noise(size: int, octaves: int, purpose: str) -> FloatArray:
    """Return smooth noise [size, size] from 0 to 1, float32, that tiles; each octave doubles the detail."""
    rng = rng_for(0, purpose)
    total: FloatArray = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        cells = 4 << octave
        lattice = np.pad(rng.random((cells, cells), np.float32), 2, mode="wrap")
        step = size // cells
        smooth: FloatArray = cv2.resize(lattice, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
        total += smooth[2 * step : 2 * step + size, 2 * step : 2 * step + size] / 1.6**octave
    total -= total.min()
    return np.asarray(total / total.max())


@lru_cache(maxsize=1)
def speckle() -> FloatArray:
    """Return fine-grained noise [512, 512] around 1, float32, to dirty a surface with."""
    rng = rng_for(0, "speckle")
    fine = rng.normal(0.0, 0.045, (512, 512)).astype(np.float32)
    return 1.0 + cv2.GaussianBlur(fine, (3, 3), 0) * 1.6 + (cloud_noise(512, 6, "dirt") - 0.5) * 0.28


def weathered(surface: FloatArray, rng: np.random.Generator) -> Picture:
    """Dirty a float RGB picture of up to 512 x 512 and round it to uint8."""
    height, width = surface.shape[:2]
    row, column = rng.integers(513 - height), rng.integers(513 - width)
    dirt = speckle()[row : row + height, column : column + width, None]
    return (surface * dirt).clip(0, 255).astype(np.uint8)


def facade(rng: np.random.Generator, width_m: float, height_m: float) -> Picture:
    """Draw a house front: rows of windows over a ground floor with a shop or a door."""
    base = choose(rng, colours.PLASTERS)
    glass = np.array([60, 72, 86.0]) + rng.uniform(-25, 45)
    frame = base * 0.6 if rng.random() < 0.4 else np.full(3, rng.uniform(170, 235))
    floor_m, bay_m = rng.uniform(2.9, 3.5), rng.uniform(2.0, 3.4)
    floors, bays = max(1, round(height_m / floor_m) - 1), max(1, round(width_m / bay_m))
    rows, columns = int(floor_m * TEXELS_PER_M), int(bay_m * TEXELS_PER_M)
    modern = rng.random() < 0.3
    side = columns * (0.06 if modern else rng.uniform(0.2, 0.3))
    left, right = int(side), columns - int(side)
    top, bottom = int(rows * rng.uniform(0.14, 0.24)), int(rows * rng.uniform(0.72, 0.84))

    bay = np.empty((rows, columns, 3), np.float32)
    bay[:] = base
    bay[top - 2 : bottom + 3, left - 1 : right + 1] = frame
    bay[bottom + 2 : bottom + 4, left - 2 : right + 2] = base * 1.12
    bay[bottom + 4 : bottom + 5, left - 2 : right + 2] = base * 0.7
    bay[top:bottom, left:right] = glass + np.linspace(18, -14, bottom - top)[:, None, None]
    upper = np.tile(bay, (floors, bays, 1))
    panes = upper.reshape(floors, rows, bays, columns, 3)[:, top:bottom, :, left:right]
    panes *= rng.uniform(0.65, 1.35, (floors, bays)).astype(np.float32)[:, None, :, None, None]
    panes += (rng.random((floors, bays)) < 0.12)[:, None, :, None, None] * np.float32(70.0)
    middle = (left + right) // 2
    upper.reshape(floors, rows, bays, columns, 3)[:, top:bottom, :, middle : middle + 1] = frame
    if rng.random() < 0.3:  # a ledge between the floors
        upper[::rows] = upper[1::rows] = base * 1.15
    surface = np.concatenate([upper, ground_floor(rng, base, rows, columns, bays)])
    surface[:4] = base * 1.2
    surface[4:6] = base * 0.65
    return weathered(surface, rng)


def ground_floor(rng: np.random.Generator, base: FloatArray, rows: int, columns: int, bays: int) -> FloatArray:
    """Draw the lowest floor of a house [rows, columns * bays, 3], float32."""
    floor = np.empty((rows, columns * bays, 3), np.float32)
    floor[:] = base
    if rng.random() < 0.45:  # shop windows under a board
        floor[:] = choose(rng, colours.SHOP_PAINTS) * 0.5 + base * 0.4
        floor[4:12] = choose(rng, colours.SHOP_PAINTS)
        for bay in range(bays):
            floor[15:-5, bay * columns + 3 : (bay + 1) * columns - 3] = np.array([70, 80, 92]) * rng.uniform(0.6, 1.9)
    else:
        for bay in range(bays):
            floor[8 : rows * 2 // 3, bay * columns + columns // 4 : (bay + 1) * columns - columns // 4] = (62, 72, 84)
        floor[-8:] = base * 0.75
    door = rng.integers(bays) * columns + columns // 3
    floor[10:, door : door + 14] = choose(rng, colours.SHOP_PAINTS) * 0.8
    floor[10:18, door + 2 : door + 12] = (80, 92, 104)
    return floor


def masonry(rng: np.random.Generator, width_m: float, height_m: float) -> Picture:
    """Draw a free-standing wall: courses of brick, stone or concrete panels under a coping."""
    texels = 24
    rows, columns = int(height_m * texels), int(width_m * texels)
    base = choose(rng, colours.MASONRY)
    course, stone = [(6, 14), (12, 26), (rows, 60)][rng.integers(3)]
    y, x = np.mgrid[:rows, :columns]
    row = y // course
    brick = (x + (row % 2) * (stone // 2)) // stone
    tone = rng.uniform(0.8, 1.15, 256).astype(np.float32)[(row * 37 + brick * 101) & 255]
    joint = ((y % course == 0) & (course < rows)) | ((x + (row % 2) * (stone // 2)) % stone == 0)
    surface = base.astype(np.float32) * np.where(joint, np.float32(0.68), tone)[..., None]
    coping = max(3, rows // 12)
    surface[:coping] = base * 1.25
    surface[coping : coping + 2] = base * 0.5
    surface[-rows // 8 :] *= 0.85
    return weathered(surface, rng)


def fence(rng: np.random.Generator, width_m: float, height_m: float) -> Picture:
    """Draw a fence, RGBA: pales on two rails, with gaps that show what is behind."""
    texels = 28
    rows, columns = int(height_m * texels), int(width_m * texels)
    base = choose(rng, colours.FENCE_PAINTS)
    pitch = int(rng.integers(6, 10))
    pale = int(rng.integers(3, pitch - 1))
    x = np.arange(columns)
    upright_pale = (x % pitch) < pale
    surface = np.empty((rows, columns, 3), np.float32)
    surface[:] = base * np.where(x % pitch == 0, 0.7, 1.0)[:, None]
    alpha = np.full((rows, columns), GAP, np.uint8)
    alpha[:, upright_pale] = 255
    for rail in (rows // 6, rows * 3 // 4):
        alpha[rail : rail + max(2, rows // 14)] = 255
        surface[rail : rail + max(2, rows // 14)] = base * 0.9
    post = (x % (columns // max(1, round(width_m / 2)))) < 5
    alpha[:, post] = 255
    surface[:, post] = base * 0.8
    if rng.random() < 0.5:  # pointed pales
        alpha[:3, (x % pitch) != pale // 2] = GAP
    return np.dstack([weathered(surface, rng), alpha])


@lru_cache(maxsize=16)
def leaves(shape: int) -> tuple[FloatArray, Picture]:
    """Return one of 12 tree crowns [128, 128]: lightness around 1 and alpha; 0-3 tall, 4-7 conical, 8-11 round."""
    rng = rng_for(shape, "leaves")
    size = 128
    cover = np.zeros((size, size), np.uint8)
    relief: FloatArray = np.full((size, size), 0.75, np.float32)
    for _ in range(70):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 1.0) ** 0.6
        x, y = reach * np.cos(angle), reach * np.sin(angle)
        if 4 <= shape < 8:
            x *= 0.25 + 0.75 * (y + 1) / 2
        elif shape < 4:
            x *= 0.62
        centre, radius = (int(64 + 48 * x), int(64 + 48 * y)), int(rng.uniform(8, 15))
        cv2.circle(cover, centre, radius, 255, -1, cv2.LINE_AA)
        cv2.circle(relief, centre, radius, float(rng.uniform(0.68, 0.92) - 0.16 * y), -1)
        cv2.circle(relief, (centre[0] - 2, centre[1] - 3), radius * 2 // 3, float(rng.uniform(0.85, 1.2) - 0.2 * y), -1)
    grain = cloud_noise(128, 6, "foliage")
    relief = cv2.GaussianBlur(relief, (5, 5), 0) * (0.55 + 0.9 * grain)
    ragged = np.where(grain + cover / 255.0 * 0.9 > 0.95, cover, 0).astype(np.uint8)
    return relief, np.asarray(cv2.GaussianBlur(ragged, (3, 3), 0), np.uint8)


def crown(rng: np.random.Generator, width_m: float, height_m: float) -> Picture:
    """Draw the crown of a tree, RGBA [128, 128], whatever its size."""
    relief, alpha = leaves(int(rng.integers(12)))
    if rng.random() < 0.5:
        relief, alpha = relief[:, ::-1], alpha[:, ::-1]
    rgb = relief[..., None] * choose(rng, colours.FOLIAGES).astype(np.float32)
    return np.dstack([rgb.clip(0, 255).astype(np.uint8), alpha])


def hedge(rng: np.random.Generator, width_m: float, height_m: float) -> Picture:
    """Draw a hedge or the edge of a wood, RGBA, with an uneven upper edge."""
    texels = int(np.clip(90 / height_m, 10, 30))
    rows, columns = int(height_m * texels), int(width_m * texels)
    grain = cloud_noise(512, 7, "hedge")
    column = int(rng.integers(512))
    patch = np.take(grain[:rows], np.arange(column, column + columns), 1, mode="wrap")
    rough = patch[rows // 2] * rows * rng.uniform(0.15, 0.5)
    lightness = (0.35 + 1.15 * patch) * np.linspace(1.15, 0.75, rows, dtype=np.float32)[:, None]
    alpha = np.where(np.arange(rows)[:, None] >= rough, 255, 0).astype(np.uint8)
    rgb = lightness[..., None] * choose(rng, colours.FOLIAGES).astype(np.float32)
    return np.dstack([rgb.clip(0, 255).astype(np.uint8), alpha])


VARIANTS = 64
"""Number of different surfaces of each kind."""

Range = tuple[float, float]

SURFACES: dict[str, tuple[Callable[[np.random.Generator, float, float], Picture], Range, Range]] = {
    "facade": (facade, (15.0, 15.0), (7.0, 19.0)),
    "cottage": (facade, (13.0, 13.0), (5.0, 9.0)),
    "wall": (masonry, (12.0, 12.0), (1.9, 3.4)),
    "fence": (fence, (12.0, 12.0), (1.2, 2.1)),
    "hedge": (hedge, (12.0, 12.0), (1.0, 2.2)),
    "wood": (hedge, (12.0, 12.0), (5.0, 9.0)),
    "crown": (crown, (3.4, 5.6), (4.0, 6.0)),
}
"""How each kind is drawn, and the ranges of its width and height in metres."""


class Surface(NamedTuple):
    """A picture in ever smaller sizes, each half the one before, and the size of what it shows."""

    pictures: tuple[Picture, ...]
    width_m: float
    height_m: float

    def cut(self, width_m: float) -> tuple[Picture, ...]:
        """Return the pictures of the first metres."""
        share = min(1.0, width_m / self.width_m)
        return tuple(picture[:, : max(2, round(picture.shape[1] * share))] for picture in self.pictures)


@cache
def surface(kind: str, variant: int) -> Surface:
    """Return one of the VARIANTS surfaces of a kind; they are kept, for drawing one takes longer than painting it."""
    rng = rng_for(variant, kind)
    draw, widths, heights = SURFACES[kind]
    width, height = rng.uniform(*widths), rng.uniform(*heights)
    pictures = [draw(rng, width, height)]
    while min(pictures[-1].shape[:2]) > 8:
        rows, columns = pictures[-1].shape[:2]
        half = cv2.resize(pictures[-1], (columns // 2, rows // 2), interpolation=cv2.INTER_AREA)
        pictures.append(np.asarray(half, np.uint8))
    return Surface(tuple(pictures), width, height)
