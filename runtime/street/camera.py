"""The pinhole camera and its drive along the street.

World: x to the right, y up, z along the street, in metres. Camera: x right, y down, z forward. Pixels: (u, v) with
integers at pixel centres.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[Any]
"""An array of float32 or float64; numpy's own types do not follow one through arithmetic."""

NEAR_M = 0.4
"""Nothing closer than this is drawn: polygons are cut there."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera at one moment."""

    position: FloatArray  # (3,) world
    rotation: FloatArray  # (3, 3) world to camera
    focal_px: float
    height: int
    width: int

    @property
    def centre(self) -> tuple[float, float]:
        """The principal point (u, v): a little above the middle, as a dashboard camera looks."""
        return self.width / 2 - 0.5, self.height * 0.45 - 0.5

    def view(self, points: FloatArray) -> FloatArray:
        """Turn world points (N, 3) into camera coordinates (N, 3)."""
        return np.asarray((points - self.position) @ self.rotation.T)

    def project(self, viewed: FloatArray) -> FloatArray:
        """Project camera coordinates (N, 3), all with z > 0, to pixels (N, 2)."""
        scale = self.focal_px / viewed[:, 2:]
        return np.asarray(viewed[:, :2] * scale + self.centre)

    @cached_property
    def pixels_from_world(self) -> FloatArray:
        """The (3, 3) map of a world vector from the camera to homogeneous pixels (u w, v w, w); w is its depth."""
        u, v = self.centre
        return np.array([[self.focal_px, 0.0, u], [0.0, self.focal_px, v], [0.0, 0.0, 1.0]]) @ self.rotation

    @property
    def horizon(self) -> float:
        """Row of the horizon; there is no roll, so it is level."""
        _, down, forward = self.rotation @ np.array([0.0, 0.0, 1.0])
        return float(self.centre[1] + self.focal_px * down / forward)

    def level_plane(self, rows: range, elevation_m: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Intersect the rays of some pixel rows with the level plane at a world height.

        Returns x and z of the hit relative to the camera, [rows, W] float32, and the depth along the optical axis,
        [rows, 1]. The rows must all lie on the plane's side of the horizon.
        """
        u, v = self.centre
        ray_u = ((np.arange(self.width) - u) / self.focal_px).astype(np.float32)
        ray_v = ((np.arange(rows.start, rows.stop) - v) / self.focal_px).astype(np.float32)[:, None]
        to_world = self.rotation.T.astype(np.float32)
        climb = to_world[1, 1] * ray_v + to_world[1, 2]
        depth = (elevation_m - np.float32(self.position[1])) / climb
        x = depth * (to_world[0, 0] * ray_u + (to_world[0, 1] * ray_v + to_world[0, 2]))
        z = depth * (to_world[2, 0] * ray_u + (to_world[2, 1] * ray_v + to_world[2, 2]))
        return x, z, depth


def clip_near(viewed: FloatArray) -> FloatArray:
    """Cut a convex polygon (N, 3), whose last coordinate is the depth, at the near plane; returns (M, 3).

    M is 0 if all is behind. The other two are camera coordinates or homogeneous pixels: both are linear.
    """
    if viewed[:, 2].min() >= NEAR_M:
        return viewed
    kept = []
    for a, b in zip(viewed, np.roll(viewed, -1, axis=0), strict=True):
        if a[2] >= NEAR_M:
            kept.append(a)
        if (a[2] >= NEAR_M) != (b[2] >= NEAR_M):
            kept.append(a + (b - a) * ((NEAR_M - a[2]) / (b[2] - a[2])))
    return np.array(kept).reshape(-1, 3)


def look(position: FloatArray, yaw: float, pitch: float, height: int, width: int) -> Camera:
    """Return the camera at a position that looks yaw radians to the right and pitch radians down.

    The field of view belongs to a frame of 2:1; other shapes show a crop of it, never a distorted street.
    """
    cos_yaw, sin_yaw, cos_pitch, sin_pitch = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
    turn = np.array([[cos_yaw, 0.0, -sin_yaw], [0.0, -1.0, 0.0], [sin_yaw, 0.0, cos_yaw]])
    nod = np.array([[1.0, 0.0, 0.0], [0.0, cos_pitch, -sin_pitch], [0.0, sin_pitch, cos_pitch]])
    return Camera(position, nod @ turn, 1.05 * max(width, 2 * height), height, width)
