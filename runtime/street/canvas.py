"""The picture and its class map, painted together so that they agree to the pixel."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from runtime.street.camera import NEAR_M, Camera, FloatArray, clip_near
from runtime.street.light import Light
from runtime.street.solids import KEEP, Mesh
from runtime.street.texture import COVERED, Picture
from runtime.street.things import Panel

SUBPIXEL_BITS = 4
SUBPIXELS = 1 << SUBPIXEL_BITS
SMALL_PX2 = 4.0
"""Details smaller than this are not painted."""

UNIT_SQUARE = np.array([[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])


class Outline(NamedTuple):
    """A face on the screen, ready to be filled."""

    points: NDArray[np.int32]  # (K, 2), in 1/SUBPIXELS of a pixel
    rgb: tuple[float, float, float]
    label: int


@dataclass(frozen=True)
class Canvas:
    """A frame that is being painted."""

    camera: Camera
    light: Light
    rgb: NDArray[np.uint8]  # [H, W, 3]
    labels: NDArray[np.uint8]  # [H, W]

    def outlines(self, mesh: Mesh, hazy: bool = True) -> list[Outline | None]:
        """Project a mesh; a face that is turned away, behind the camera or too small becomes None."""
        viewed = self.camera.view(mesh.points)
        depth = viewed[:, 2]
        pixels = self.camera.project(np.column_stack([viewed[:, :2], np.maximum(depth, NEAR_M)]))
        ends = np.append(mesh.starts[1:], len(depth))
        nearest = np.minimum.reduceat(depth, mesh.starts)
        following = np.arange(1, len(depth) + 1)
        following[ends - 1] = mesh.starts
        u, v = pixels.T
        # Twice the area; v points down, so a face seen from its front runs clockwise there.
        area = np.add.reduceat(u[following] * v - u * v[following], mesh.starts)
        right, left = np.maximum.reduceat(u, mesh.starts), np.minimum.reduceat(u, mesh.starts)
        detail = mesh.labels == KEEP
        seen = (area > np.where(detail, 2 * SMALL_PX2, 0.0)) & (right >= 0) & (left < self.camera.width)
        cut = (nearest < NEAR_M) & (np.maximum.reduceat(depth, mesh.starts) > NEAR_M)
        visible = np.flatnonzero((seen & (nearest >= NEAR_M)) | cut)
        rgb = mesh.rgb[visible]
        if hazy:
            share = self.light.haze_share(nearest[visible].clip(0.0))[:, None]
            rgb = rgb * (1.0 - share) + self.light.haze * share
        fixed = np.rint(pixels * SUBPIXELS).astype(np.int32)
        faces: list[Outline | None] = [None] * len(ends)
        spans = zip(visible.tolist(), mesh.starts[visible].tolist(), ends[visible].tolist(), strict=True)
        for (index, start, end), colour in zip(spans, rgb.tolist(), strict=True):
            points = fixed[start:end]
            if cut[index]:
                clipped = self.camera.project(clip_near(viewed[start:end]))
                if signed_area(clipped) <= 0:
                    continue
                points = np.rint(clipped * SUBPIXELS).astype(np.int32)
            faces[index] = Outline(points, tuple(colour), int(mesh.labels[index]))
        return faces

    def fill(self, outline: Outline) -> None:
        """Fill a face, smoothed in the picture, exact in the class map."""
        cv2.fillConvexPoly(self.rgb, outline.points, outline.rgb, cv2.LINE_AA, SUBPIXEL_BITS)
        if outline.label != KEEP:
            cv2.fillConvexPoly(self.labels, outline.points, outline.label, cv2.LINE_8, SUBPIXEL_BITS)

    def paint_panel(self, panel: Panel) -> None:
        """Paint a picture on a rectangle in space."""
        offset = panel.origin - self.camera.position
        from_square = self.camera.pixels_from_world @ np.column_stack([panel.across, panel.down, offset])
        corners = clip_near((from_square @ UNIT_SQUARE).T)
        if len(corners) < 3:
            return
        depth = corners[:, 2]
        pixels = corners[:, :2] / depth[:, None]
        left, top = pixels.min(axis=0).tolist()
        right, bottom = pixels.max(axis=0).tolist()
        x0, y0 = max(int(left), 0), max(int(top), 0)
        x1, y1 = min(int(right) + 2, self.camera.width), min(int(bottom) + 2, self.camera.height)
        if x0 >= x1 or y0 >= y1:
            return
        picture = panel.pictures[level(panel.pictures, right - left, bottom - top)]
        rows, columns = picture.shape[:2]
        # Texel (i, j) shows the square's ((i + 0.5) / columns, (j + 0.5) / rows).
        to_square = np.array([[1 / columns, 0.0, 0.5 / columns], [0.0, 1 / rows, 0.5 / rows], [0.0, 0.0, 1.0]])
        to_window = np.array([[1.0, 0.0, -x0], [0.0, 1.0, -y0], [0.0, 0.0, 1.0]])
        warped = cv2.warpPerspective(
            picture, to_window @ from_square @ to_square, (x1 - x0, y1 - y0), borderMode=cv2.BORDER_REPLICATE
        )
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillConvexPoly(
            mask, np.rint((pixels - (x0, y0)) * SUBPIXELS).astype(np.int32), 255, cv2.LINE_8, SUBPIXEL_BITS
        )
        share = self.light.haze_share(depth.mean())
        has_alpha = picture.shape[2] == 4
        tint = np.eye(picture.shape[2], picture.shape[2] + 1)
        tint[:3, :3] *= panel.gain * (1.0 - share)
        tint[:3, -1] = self.light.haze * share
        warped = cv2.transform(warped, tint)
        window, label_window = self.rgb[y0:y1, x0:x1], self.labels[y0:y1, x0:x1]
        if has_alpha:
            cv2.bitwise_and(mask, cv2.extractChannel(warped, 3), mask)
            weight = mask * np.float32(1 / 255)
            colour = cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB)
            window[:] = cv2.blendLinear(colour, np.ascontiguousarray(window), weight, 1.0 - weight)
            label_window[mask >= COVERED] = panel.label
        else:
            cv2.copyTo(warped, mask, window)
            label_window[mask > 0] = panel.label


def signed_area(pixels: FloatArray) -> float:
    """Return twice the area of a polygon on the screen, positive where its front is seen."""
    if len(pixels) < 3:
        return 0.0
    u, v = pixels.T
    return float(np.sum(np.roll(u, -1) * v - u * np.roll(v, -1)))


def level(pictures: Sequence[Picture], width_px: float, height_px: float) -> int:
    """Return which of the ever smaller pictures has about the resolution that the screen asks for."""
    rows, columns = pictures[0].shape[:2]
    shrink = math.sqrt(rows * columns / (width_px * height_px + 1.0))
    return min(max(round(math.log2(shrink)), 0), len(pictures) - 1)
