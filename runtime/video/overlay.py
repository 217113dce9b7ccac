"""Class colours over a frame, with a legend and a caption that stay readable at every size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

Colour = tuple[int, int, int]
LegendRow = tuple[Colour | None, str]  # the colour of the swatch, if there is to be one, and the text beside it
LEGENDS = ("present", "all", "none")
PANEL_RGB = (18, 20, 26)

_FONT = cv2.FONT_HERSHEY_DUPLEX
_TEXT_RGB = (240, 242, 245)
_RIM_RGB = (150, 153, 160)  # around a swatch, which may be as dark as the panel
_PANEL_ALPHA = 0.72
_SUPERSAMPLING = 4  # panels are drawn larger and scaled down: OpenCV's own anti-aliasing is poor at small sizes
_SEEN_SHARE = 0.001  # of the frame's pixels; what covers less is not worth a line of the legend


class Overlay:
    """Paints labels over frames. ``opacity`` 0 leaves the frame as it is, 1 hides it behind the class colours.

    ``legend`` is ``present`` (the classes in the frame), ``all`` or ``none``. ``opacity`` may be set between frames,
    from any thread; ``rows`` holds every class.
    """

    def __init__(
        self, classes: Sequence[str], palette: Sequence[Colour], *, opacity: float = 0.55, legend: str = "present"
    ) -> None:
        self.opacity = opacity
        self.rows: list[LegendRow] = list(zip(palette, classes, strict=True))
        self._colours = colour_table(palette)
        self._legend = legend

    def paint(self, frame_rgb: np.ndarray, labels: np.ndarray, caption: str = "") -> np.ndarray:
        """Return a new RGB frame with colours, the caption at the top left and the legend at the top right."""
        painted_rgb = self.blend(frame_rgb, labels)
        height, width = labels.shape
        text_px = text_height(height, width)
        margin = text_px
        if caption:
            lay(painted_rgb, panel([(None, caption)], text_px), top=margin, left=margin)
        if rows := self.legend_rows(labels):
            legend_rgba = panel(rows, text_px, max_height=height - 2 * margin)
            lay(painted_rgb, legend_rgba, top=margin, left=width - margin - legend_rgba.shape[1])
        return painted_rgb

    def blend(self, frame_rgb: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return a new RGB frame with the class colours alone."""
        opacity = self.opacity  # read once: another thread may set it meanwhile
        tint_rgb = np.take(self._colours, labels, axis=0)  # several times as fast as indexing
        return cv2.addWeighted(frame_rgb, 1 - opacity, tint_rgb, opacity, 0)

    def legend_rows(self, labels: np.ndarray) -> list[LegendRow]:
        """The lines of the legend for a frame's labels."""
        if self._legend == "none":
            return []
        if self._legend == "all":
            return self.rows
        pixels = np.bincount(labels.ravel(), minlength=len(self.rows))
        return [row for row, seen in zip(self.rows, pixels, strict=False) if seen > _SEEN_SHARE * labels.size]


def colour_table(palette: Sequence[Colour]) -> np.ndarray:
    """RGB of every possible label, uint8 [256, 3]; labels beyond the palette are black."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    return table


def text_height(height: int, width: int) -> int:
    """The height in pixels of a capital letter that suits a frame: 7 at 256x512, 17 at 1080p."""
    return max(7, round(min(height, width / 1.6) / 64))


def panel(rows: Sequence[LegendRow], text_px: int, *, max_height: int | None = None) -> np.ndarray:
    """A translucent panel, uint8 RGBA, of text lines with an optional swatch of colour before each.

    Rows that do not fit under one another in ``max_height`` pixels continue in further columns.
    """
    fitting = len(rows) if max_height is None else max(1, (max_height - text_px) // (2 * text_px))
    columns = -(-len(rows) // fitting)
    return _draw_panel(tuple(rows), text_px, -(-len(rows) // columns))


def lay(frame_rgb: np.ndarray, panel_rgba: np.ndarray, *, top: int, left: int) -> None:
    """Blend a panel into an RGB frame in place, unless the frame is too small to hold it."""
    height, width = panel_rgba.shape[:2]
    if left < 0 or top + height > frame_rgb.shape[0] or left + width > frame_rgb.shape[1]:
        return
    region = frame_rgb[top : top + height, left : left + width]
    alpha = panel_rgba[..., 3:].astype(np.float32) / 255
    region[...] = np.rint(region + (panel_rgba[..., :3] - region.astype(np.float32)) * alpha)


@lru_cache(maxsize=64)  # a legend rarely changes from one frame to the next
def _draw_panel(rows: tuple[LegendRow, ...], text_px: int, per_column: int) -> np.ndarray:
    unit = text_px * _SUPERSAMPLING
    stroke = max(1, round(unit / 9))
    scale = cv2.getFontScaleFromHeight(_FONT, unit, stroke)
    has_swatch = any(colour is not None for colour, _ in rows)
    indent = round(1.8 * unit) if has_swatch else 0
    widest = max(cv2.getTextSize(text, _FONT, scale, stroke)[0][0] for _, text in rows)
    column = indent + widest + unit
    columns = -(-len(rows) // per_column)
    height, width = (2 * per_column + 1) * unit, unit + columns * column

    rgb = np.full((height, width, 3), PANEL_RGB, np.uint8)
    opaque = np.zeros((height, width), np.uint8)
    for index, (colour, text) in enumerate(rows):
        left, top = unit + index // per_column * column, unit + index % per_column * 2 * unit
        if colour is not None:
            rim, right = unit // 10, left + round(1.2 * unit)
            _rounded(rgb, left, top, right, top + unit, unit // 4, _RIM_RGB)
            _rounded(rgb, left + rim, top + rim, right - rim, top + unit - rim, unit // 5, colour)
            _rounded(opaque, left, top, right, top + unit, unit // 4, 255)
        for canvas, ink in ((rgb, _TEXT_RGB), (opaque, 255)):
            cv2.putText(canvas, text, (left + indent, top + unit), _FONT, scale, ink, stroke, cv2.LINE_AA)
    body = np.zeros((height, width), np.uint8)
    _rounded(body, 0, 0, width - 1, height - 1, unit // 2, round(255 * _PANEL_ALPHA))
    rgba = np.dstack((rgb, np.maximum(body, opaque)))
    return cv2.resize(rgba, (width // _SUPERSAMPLING, height // _SUPERSAMPLING), interpolation=cv2.INTER_AREA)


def _rounded(canvas: np.ndarray, left: int, top: int, right: int, bottom: int, radius: int, ink: Colour | int) -> None:
    """Fill a rectangle with rounded corners."""
    cv2.rectangle(canvas, (left + radius, top), (right - radius, bottom), ink, cv2.FILLED)
    cv2.rectangle(canvas, (left, top + radius), (right, bottom - radius), ink, cv2.FILLED)
    for x in (left + radius, right - radius):
        for y in (top + radius, bottom - radius):
            cv2.circle(canvas, (x, y), radius, ink, cv2.FILLED)
