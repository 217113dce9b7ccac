"""The picture and its class map, painted together so that they agree to the pixel."""

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
SMALL_PX2 = 3.0
"""Details smaller than this are not painted."""


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
    haze: NDArray[np.uint8]  # [H, W, 3], the colour of the haze everywhere

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
        rgb = mesh.rgb
        if hazy:
            share = self.light.haze_share(nearest.clip(0.0))[:, None]
            rgb = rgb * (1.0 - share) + self.light.haze * share
        fixed = np.rint(pixels * SUBPIXELS).astype(np.int32)
        faces: list[Outline | None] = [None] * len(ends)
        colours, labels = rgb.tolist(), mesh.labels.tolist()
        for index in np.flatnonzero((seen & (nearest >= NEAR_M)) | cut).tolist():
            span = slice(mesh.starts[index], ends[index])
            points = fixed[span]
            if cut[index]:
                clipped = self.camera.project(clip_near(viewed[span]))
                if signed_area(clipped) <= 0:
                    continue
                points = np.rint(clipped * SUBPIXELS).astype(np.int32)
            faces[index] = Outline(points, tuple(colours[index]), labels[index])
        return faces

    def fill(self, outline: Outline) -> None:
        """Fill a face, smoothed in the picture, exact in the class map."""
        cv2.fillConvexPoly(self.rgb, outline.points, outline.rgb, cv2.LINE_AA, SUBPIXEL_BITS)
        if outline.label != KEEP:
            cv2.fillConvexPoly(self.labels, outline.points, outline.label, cv2.LINE_8, SUBPIXEL_BITS)

    def paint_panel(self, panel: Panel) -> None:
        """Paint a picture on a rectangle in space."""
        origin, across, down = panel.origin, panel.across, panel.down
        corners = np.array([origin, origin + across, origin + across + down, origin + down])
        viewed = clip_near(self.camera.view(corners))
        if len(viewed) < 3:
            return
        pixels = self.camera.project(viewed)
        low = np.floor(pixels.min(axis=0)).astype(int).clip(0)
        high = np.ceil(pixels.max(axis=0)).astype(int) + 1
        x0, y0, x1, y1 = *low.tolist(), min(int(high[0]), self.camera.width), min(int(high[1]), self.camera.height)
        if x0 >= x1 or y0 >= y1:
            return
        picture = fitted(panel.picture, pixels)
        rows, columns = picture.shape[:2]
        to_pixels = self.camera.plane_homography(origin, across / columns, down / rows)
        texel_centre = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
        to_window = np.array([[1.0, 0.0, -x0], [0.0, 1.0, -y0], [0.0, 0.0, 1.0]])
        warped = cv2.warpPerspective(
            picture, to_window @ to_pixels @ texel_centre, (x1 - x0, y1 - y0), borderMode=cv2.BORDER_REPLICATE
        )
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillConvexPoly(mask, np.rint((pixels - (x0, y0)) * SUBPIXELS).astype(np.int32), 255, cv2.LINE_8, SUBPIXEL_BITS)
        share = float(self.light.haze_share(np.maximum(viewed[:, 2].mean(), 0.0)))
        window, label_window = self.rgb[y0:y1, x0:x1], self.labels[y0:y1, x0:x1]
        if picture.shape[2] == 4:
            alpha = cv2.bitwise_and(cv2.extractChannel(warped, 3), mask)
            colour = cv2.addWeighted(warped[..., :3], 1.0 - share, self.haze[: y1 - y0, : x1 - x0], share, 0.0)
            weight = alpha * np.float32(1 / 255)
            window[:] = cv2.blendLinear(colour, np.ascontiguousarray(window), weight, 1.0 - weight)
            label_window[alpha >= COVERED] = panel.label
        else:
            colour = cv2.addWeighted(warped, 1.0 - share, self.haze[: y1 - y0, : x1 - x0], share, 0.0)
            cv2.copyTo(colour, mask, window)
            label_window[mask > 0] = panel.label


def signed_area(pixels: FloatArray) -> float:
    """Return twice the area of a polygon on the screen, positive where its front is seen."""
    if len(pixels) < 3:
        return 0.0
    u, v = pixels.T
    return float(np.sum(np.roll(u, -1) * v - u * np.roll(v, -1)))


def fitted(picture: Picture, pixels: FloatArray) -> Picture:
    """Shrink a picture to about the size it has on the screen, so that it does not shimmer in the distance."""
    rows, columns = picture.shape[:2]
    width, height = np.ptp(pixels, axis=0)
    size = int(np.clip(width, 2, columns)), int(np.clip(height, 2, rows))
    if size[0] > 0.7 * columns and size[1] > 0.7 * rows:
        return picture
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
