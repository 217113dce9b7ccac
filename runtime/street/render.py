"""Paint one frame: the sky, the ground, then all things from far to near, then what the sensor adds."""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.street import colours
from runtime.street.camera import Camera, FloatArray, look
from runtime.street.canvas import Canvas
from runtime.street.classes import IGNORE, Label
from runtime.street.colours import choose
from runtime.street.ground import paint_sky, texture_ground
from runtime.street.plan import Street, street_of
from runtime.street.randomness import rng_for
from runtime.street.scene import BLOCK_M, block_of, furniture_of
from runtime.street.solids import Body, Mesh, assemble, ground, mesh, upright
from runtime.street.things import Footprint, Panel, Thing
from runtime.street.traffic import FRAMES_PER_S, camera_z, traffic

SIGHT_M = 140.0
"""How far houses are drawn."""
STREET_SIGHT_M = 85.0
"""How far the smaller things of the street are drawn."""
MIN_SIZE = 32


def render(
    seed: int, frame: int = 0, *, height: int = 256, width: int = 512
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Render one frame of an endless drive along a street.

    Every seed (>= 0) is another street; frame (>= 0) counts 30 a second. The same arguments give the same bytes.

    Returns the RGB image [height, width, 3], uint8, and its labels [height, width], uint8: train ids, and IGNORE on the
    bonnet of the camera's own car. Raises ValueError for a negative seed or frame and for sizes below 32 pixels.
    """
    if seed < 0 or frame < 0:
        raise ValueError(f"seed and frame must be 0 or more, not {seed} and {frame}")
    if min(height, width) < MIN_SIZE:
        raise ValueError(f"height and width must be {MIN_SIZE} pixels or more, not {height} x {width}")
    street, time_s = street_of(seed), frame / FRAMES_PER_S
    camera = camera_of(street, time_s, height, width)
    canvas = Canvas(camera, street.light, np.empty((height, width, 3), np.uint8), np.empty((height, width), np.uint8))
    here = camera.position[2]
    first = int((here - 4.0) // BLOCK_M)
    blocks = [block_of(seed, index) for index in range(first, int((here + SIGHT_M) // BLOCK_M) + 1)]
    things = [thing for block in blocks for thing in block.things] + traffic(street, time_s)
    for index in range(first, int((here + STREET_SIGHT_M) // BLOCK_M) + 1):
        things += furniture_of(seed, index)
    things = [thing for thing in things if here + 1.0 < thing.footprint.z1 and thing.footprint.z0 < here + SIGHT_M]
    things.append(skyline(street, here))
    paint_sky(canvas)
    for outline in canvas.outlines(
        assemble([Body(strips(street, here)), *(Body(block.ground) for block in blocks)], street.light), hazy=False
    ):
        if outline:
            canvas.fill(outline)
    texture_ground(canvas, things)
    paint_things(canvas, [things[index] for index in far_to_near(things, camera.position)])
    rng = rng_for(seed, "sensor")
    if rng.random() < 0.35:
        paint_bonnet(canvas, rng)
    return expose(canvas.rgb, rng, frame), canvas.labels


def camera_of(street: Street, time_s: float, height: int, width: int) -> Camera:
    """Return the camera at a time; it sways a little, as a car does."""
    rng = rng_for(street.seed, "camera")
    eye, yaw, pitch = rng.uniform(1.35, 1.9), rng.uniform(-0.05, 0.05), rng.uniform(-0.02, 0.03)
    phases = rng.uniform(0.0, 2 * np.pi, 4)
    sway = np.sin(np.array([0.5, 0.7, 2.1, 5.0]) * time_s + phases)
    x = street.lane_x(street.ego_lane) + 0.25 * sway[0]
    y = eye + 0.012 * sway[3]
    position = np.array([x, y, camera_z(street.seed, time_s)])
    return look(position, yaw + 0.02 * sway[1], pitch + 0.004 * sway[2], height, width)


def strips(street: Street, here: float) -> Mesh:
    """Lay the strips that run along the whole street: meadow, road, verges and pavements."""
    near, far = here - 4.0, here + 1500.0
    kerb, front = street.kerb_m, street.frontage_m
    faces = [
        ground(-900.0, 900.0, near, far, street.meadow_rgb, Label.TERRAIN),
        ground(-front, front, near, far, street.pavement_rgb, Label.SIDEWALK),
        ground(-kerb - street.verge_m, kerb + street.verge_m, near, far, street.meadow_rgb, Label.TERRAIN),
        ground(-kerb - 0.3, kerb + 0.3, near, far, street.pavement_rgb * 1.12, Label.SIDEWALK),
        ground(-kerb, kerb, near, far, street.road_rgb, Label.ROAD),
    ]
    if street.median == "tram":
        faces += [ground(x - 0.07, x + 0.07, near, far, (62, 60, 60), Label.ROAD) for x in (-0.75, 0.75)]
    elif street.median == "green":
        faces.append(ground(-1.2, 1.2, near, far, street.meadow_rgb, Label.TERRAIN))
    return mesh(faces)


def skyline(street: Street, here: float) -> Thing:
    """Build the silhouette that closes the street; it keeps its distance, as far-away things seem to."""
    rng, z = rng_for(street.seed, "skyline"), here + SIGHT_M
    faces = []
    for x in np.arange(-140.0, 140.0, 8.0):
        label = Label.BUILDING if rng.random() < 0.5 else Label.VEGETATION
        rgb = choose(rng, colours.PLASTERS if label is Label.BUILDING else colours.FOLIAGES)
        wide, top = x + rng.uniform(8.0, 14.0), rng.uniform(5.0, 13.0)
        faces.append(upright([(x, 0.0), (wide, 0.0), (wide - 1.0, top), (x + 1.0, top)], rgb, label))
    return Thing(Footprint(-150.0, 150.0, z, z), 0.0, (Body(mesh(faces), 0.0, z),))


def far_to_near(things: list[Thing], eye: FloatArray) -> list[int]:
    """Return an order in which no thing is painted after one that hides a part of it.

    Thing i cannot hide thing j if a plane between their footprints, across or along the street, has i on one side and
    j and the camera on the other. If j could hide i then i must come first. Where footprints overlap the farther centre
    comes first.
    """
    x0, x1, z0, z1 = np.array([thing.footprint for thing in things]).T
    beyond = z0[:, None] >= z1
    to_the_left = (x1[:, None] <= x0) & (x1 <= eye[0])[:, None]
    to_the_right = (x0[:, None] >= x1) & (x0 >= eye[0])[:, None]
    harmless = beyond | to_the_left | to_the_right
    farther = (z0 + z1)[:, None] > z0 + z1
    must_precede = (harmless & ~harmless.T) | (~harmless & ~harmless.T & farther)
    waiting_for = must_precede.sum(axis=0)
    order: list[int] = []
    while len(order) < len(things):
        ready = np.flatnonzero(waiting_for == 0)
        if not len(ready):  # things that overlap can wait for each other in a ring: break it at its far end
            ready = np.argmax(np.where(waiting_for > 0, z1, -np.inf), keepdims=True)
        order += ready.tolist()
        waiting_for -= must_precede[ready].sum(axis=0)
        waiting_for[ready] = -len(things)
    return order


def paint_things(canvas: Canvas, things: list[Thing]) -> None:
    """Paint things in their order; all meshes are projected at once."""
    bodies = [part for thing in things for part in thing.parts if isinstance(part, Body)]
    outlines = iter(canvas.outlines(assemble(bodies, canvas.light)))
    for thing in things:
        for part in thing.parts:
            if isinstance(part, Panel):
                canvas.paint_panel(part)
                continue
            for _ in part.mesh.starts:
                outline = next(outlines)
                if outline:
                    canvas.fill(outline)


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
