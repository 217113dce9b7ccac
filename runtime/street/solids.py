"""Coloured convex polygons in space, and the few shapes everything else is built from.

A face's points run counter-clockwise as seen from its visible side; from the other side it is not drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from runtime.street.camera import FloatArray
from runtime.street.light import Light

KEEP = -1
"""Label of a face that leaves the class map as it is: a detail painted on another face."""

Colour = Sequence[float] | FloatArray


class Face(NamedTuple):
    """One convex polygon."""

    points: FloatArray  # (K, 3)
    rgb: Colour
    label: int


@dataclass(frozen=True)
class Mesh:
    """Faces as arrays, painted in their order."""

    points: FloatArray  # (N, 3), the faces' points one after the other
    starts: NDArray[np.intp]  # (M,) index of each face's first point
    rgb: FloatArray  # (M, 3), 0 to 255
    normals: FloatArray  # (M, 3) outward unit vectors
    labels: NDArray[np.int16]  # (M,) train id or KEEP


@dataclass(frozen=True)
class Body:
    """A mesh at a place: turned by heading radians from +z towards +x, then moved."""

    mesh: Mesh
    x: float = 0.0
    z: float = 0.0
    heading: float = 0.0


def mesh(faces: Sequence[Face]) -> Mesh:
    """Pack faces into arrays."""
    points = np.concatenate([face.points for face in faces])
    starts = np.cumsum([0, *(len(face.points) for face in faces[:-1])])
    first, second, third = points[starts], points[starts + 1], points[starts + 2]
    normals = np.cross(third - first, second - first)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    rgb, labels = np.array([face.rgb for face in faces], float), np.array([face.label for face in faces], np.int16)
    return Mesh(points, starts, rgb, normals, labels)


def assemble(bodies: Sequence[Body], light: Light) -> Mesh:
    """Return one mesh, in world coordinates and lit, of many bodies."""
    meshes = [body.mesh for body in bodies]
    poses = np.array([(body.x, body.z, np.cos(body.heading), np.sin(body.heading)) for body in bodies])
    point_counts, face_counts = [len(part.points) for part in meshes], [len(part.starts) for part in meshes]
    points = np.concatenate([part.points for part in meshes])
    normals = np.concatenate([part.normals for part in meshes])
    x, z, cos, sin = np.repeat(poses, point_counts, axis=0).T
    points = np.column_stack([points[:, 0] * cos + points[:, 2] * sin + x, points[:, 1],
                              points[:, 2] * cos - points[:, 0] * sin + z])  # fmt: skip
    _, _, cos, sin = np.repeat(poses, face_counts, axis=0).T
    normals = np.column_stack([normals[:, 0] * cos + normals[:, 2] * sin, normals[:, 1],
                               normals[:, 2] * cos - normals[:, 0] * sin])  # fmt: skip
    offsets = np.repeat(np.cumsum([0, *point_counts[:-1]]), face_counts)
    rgb = np.concatenate([part.rgb for part in meshes]) * light.shade(normals)
    return Mesh(
        points,
        np.concatenate([part.starts for part in meshes]) + offsets,
        np.minimum(rgb, 255.0),
        normals,
        np.concatenate([part.labels for part in meshes]),
    )


def upright(outline: Sequence[tuple[float, float]], rgb: Colour, label: int, z: float = 0.0) -> Face:
    """Return the polygon with the (x, y) outline that faces -z, the camera."""
    return Face(np.array([(x, y, z) for x, y in outline]), rgb, label)


def bar(a: tuple[float, float], b: tuple[float, float], thickness: float, rgb: Colour, label: int) -> Face:
    """Return the upright stroke from (x, y) a to b."""
    start, end = np.asarray(a), np.asarray(b)
    along = (end - start) / (np.linalg.norm(end - start) + 1e-9)
    across = np.array([-along[1], along[0]]) * thickness / 2
    corners = [start - across, end - across, end + across, start + across]
    return upright([(x, y) for x, y in corners], rgb, label)


def disc(x: float, y: float, radius: float, rgb: Colour, label: int, corners: int = 12, squeeze: float = 1.0) -> Face:
    """Return an upright regular polygon; squeeze is its width over its height."""
    angles = np.linspace(0.0, 2.0 * np.pi, corners, endpoint=False) + np.pi / corners
    outline = zip(x + radius * squeeze * np.cos(angles), y + radius * np.sin(angles), strict=True)
    return upright(list(outline), rgb, label)


def ground(x0: float, x1: float, z0: float, z1: float, rgb: Colour, label: int) -> Face:
    """Return a rectangle on the ground, visible from above."""
    return Face(np.array([(x0, 0.0, z0), (x1, 0.0, z0), (x1, 0.0, z1), (x0, 0.0, z1)]), rgb, label)


class Prism(NamedTuple):
    """A convex (z, y) profile, counter-clockwise seen from +x, extruded to half_width on both sides of x = 0.

    half_widths gives one value a profile point, so that a cabin may narrow towards its roof.
    """

    profile: Sequence[tuple[float, float]]
    half_widths: Sequence[float]

    def edge(self, index: int, rgb: Colour, label: int) -> Face:
        """Return the quad over the profile's edge from point index to the next; see inlay for its order."""
        following = (index + 1) % len(self.profile)
        (z, y), (next_z, next_y) = self.profile[index], self.profile[following]
        w, next_w = self.half_widths[index], self.half_widths[following]
        return Face(np.array([(-w, y, z), (-next_w, next_y, next_z), (next_w, next_y, next_z), (w, y, z)]), rgb, label)

    def faces(self, rgb: Colour, label: int) -> list[Face]:
        """Return both sides and all edges."""
        right = np.array([(w, y, z) for (z, y), w in zip(self.profile, self.half_widths, strict=True)])
        left = (right * (-1.0, 1.0, 1.0))[::-1]
        edges = [self.edge(index, rgb, label) for index in range(len(self.profile))]
        return [*edges, Face(right, rgb, label), Face(left, rgb, label)]


def straight_prism(profile: Sequence[tuple[float, float]], half_width: float) -> Prism:
    """Return a prism of constant width."""
    return Prism(profile, [half_width] * len(profile))


def box(x: float, y0: float, y1: float, z0: float, z1: float) -> Prism:
    """Return the box with half width x from y0 to y1 and z0 to z1."""
    return straight_prism([(z0, y0), (z1, y0), (z1, y1), (z0, y1)], x)


def inlay(quad: Face, s0: float, t0: float, s1: float, t1: float, rgb: Colour) -> Face:
    """Return the detail that covers s0..s1 (from -x to x) and t0..t1 (along the profile) of a prism's edge quad."""
    start_left, end_left, end_right, start_right = quad.points
    corners = []
    for s, t in ((s0, t0), (s0, t1), (s1, t1), (s1, t0)):
        start, end = start_left + (start_right - start_left) * s, end_left + (end_right - end_left) * s
        corners.append(start + (end - start) * t)
    return Face(np.array(corners), rgb, KEEP)


def on_sides(outline: Sequence[tuple[float, float]], x: float, rgb: Colour, label: int = KEEP) -> list[Face]:
    """Return the (z, y) outline, counter-clockwise seen from +x, on both sides at x and -x."""
    right = np.array([(x, y, z) for z, y in outline])
    return [Face(right, rgb, label), Face((right * (-1.0, 1.0, 1.0))[::-1], rgb, label)]


def wheel(z: float, radius: float, x: float, label: int) -> list[Face]:
    """Return a pair of wheels on the sides of a vehicle."""
    angles = np.linspace(0.0, 2.0 * np.pi, 10, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    tyre = [(z + radius * c, radius + radius * s) for c, s in circle]
    rim = [(z + 0.55 * radius * c, radius + 0.55 * radius * s) for c, s in circle[::2]]
    return [*on_sides(tyre, x, (28, 28, 30), label), *on_sides(rim, x, (150, 150, 152))]
