"""Render one frame: the sky, the ground, then all things from far to near, then what the sensor adds."""

import numpy as np
from numpy.typing import NDArray

from runtime.street.camera import Camera, look
from runtime.street.canvas import Canvas
from runtime.street.ground import paint_ground
from runtime.street.painter import far_to_near, paint_things
from runtime.street.plan import Street, street_of
from runtime.street.randomness import rng_for
from runtime.street.scene import BLOCK_M, SIGHT_M, block_of, furniture_of, skyline, strips
from runtime.street.sensor import expose, paint_bonnet
from runtime.street.sky import paint_sky
from runtime.street.solids import Body
from runtime.street.things import Thing
from runtime.street.traffic import FRAMES_PER_S, camera_z, traffic

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
    here = float(camera.position[2])
    floor, things = in_sight(street, time_s, here)
    paint_sky(canvas)
    paint_ground(canvas, floor, things)
    paint_things(canvas, [things[index] for index in far_to_near(things, float(camera.position[0]))])
    rng = rng_for(seed, "sensor")
    if rng.random() < 0.35:
        paint_bonnet(canvas, rng)
    return expose(canvas.rgb, rng, frame), canvas.labels


def in_sight(street: Street, time_s: float, here: float) -> tuple[list[Body], list[Thing]]:
    """Return the ground, in its order of painting, and the things that can be seen from z = here at a time."""
    first = int((here - 4.0) // BLOCK_M)
    blocks = [block_of(street.seed, index) for index in range(first, int((here + SIGHT_M) // BLOCK_M) + 1)]
    floor = [Body(strips(street, here)), *(Body(block.ground) for block in blocks)]
    things = [thing for block in blocks for thing in block.things]
    for index in range(first, int((here + STREET_SIGHT_M) // BLOCK_M) + 1):
        things += furniture_of(street.seed, index)
    things += traffic(street, time_s)
    things = [thing for thing in things if here + 1.0 < thing.footprint.z1 and thing.footprint.z0 < here + SIGHT_M]
    return floor, [skyline(street, here), *things]


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
