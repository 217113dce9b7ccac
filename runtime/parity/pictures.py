"""The scenes on which the networks differ most, as pictures side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from runtime.errors import UserError
from runtime.parity.names import NetworkName
from runtime.parity.scenes import Scene
from runtime.video.overlay import Colour, colour_table

KEPT_SCENES = 3

_MAX_WIDTH = 640
_JPEG_QUALITY = 88
_DIFFERENT_RGB = (255, 0, 200)


@dataclass(frozen=True)
class Picture:
    """A JPEG file's bytes and what it shows."""

    caption: str
    jpeg: bytes


@dataclass(frozen=True)
class Pictures:
    """All pictures of one scene, ``width`` x ``height`` pixels each.

    ``known`` are image, truth where there is one, and the reference's labels; ``compared`` the labels of each other
    network and where they differ.
    """

    title: str
    width: int
    height: int
    known: tuple[Picture, ...]
    compared: tuple[tuple[Picture, Picture], ...]


class Album:
    """Keeps the pictures of the KEPT_SCENES scenes on which most pixels differ from the reference's labels."""

    def __init__(self, reference: NetworkName, palette: tuple[Colour, ...]) -> None:
        self._reference = reference
        self._colours = colour_table(palette)
        self._kept: list[tuple[int, int, Pictures]] = []  # differing pixels, order of coming
        self._seen = 0

    @property
    def pages(self) -> tuple[Pictures, ...]:
        """The kept scenes, the most different first."""
        return tuple(pictures for _, _, pictures in self._kept)

    def consider(self, scene: Scene, labels: Mapping[NetworkName, np.ndarray]) -> None:
        """Draw a scene if it is among the most different so far; of equals, the earlier."""
        expected = labels[self._reference]
        differing = max((np.count_nonzero(found != expected) for found in labels.values()), default=0)
        self._seen += 1
        if len(self._kept) == KEPT_SCENES and differing <= self._kept[-1][0]:
            return
        self._kept.append((int(differing), self._seen, self._draw(scene, labels)))
        self._kept.sort(key=lambda kept: (-kept[0], kept[1]))
        del self._kept[KEPT_SCENES:]

    def _draw(self, scene: Scene, labels: Mapping[NetworkName, np.ndarray]) -> Pictures:
        expected = labels[self._reference]
        height, width = expected.shape
        scale = min(1.0, _MAX_WIDTH / width)
        size = (round(width * scale), round(height * scale))

        def picture(caption: str, rgb: np.ndarray) -> Picture:
            return Picture(caption, _jpeg(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)))

        known = [picture("image", scene.image_rgb)]
        if scene.truth is not None:
            known.append(picture("truth", self._colours[scene.truth_at_network()]))
        known.append(picture(f"{self._reference.title}, the reference", self._colours[expected]))
        compared = []
        for name, found in labels.items():
            if name != self._reference:
                different = found != expected
                count = int(np.count_nonzero(different))
                caption = f"{count:,} of {different.size:,} pixels differ" if count else "no pixel differs"
                difference_rgb = _difference_rgb(scene.image_rgb, different)
                compared.append((picture(name.title, self._colours[found]), picture(caption, difference_rgb)))
        return Pictures(scene.name, *size, tuple(known), tuple(compared))


def _difference_rgb(image_rgb: np.ndarray, different: np.ndarray) -> np.ndarray:
    """A dim, grey image on which differing pixels glow, grown so that a single one survives being scaled down."""
    grey = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2GRAY) // 3
    drawn_rgb = np.repeat(grey[..., None], 3, axis=2)
    reach = 2 * max(1, round(image_rgb.shape[1] / _MAX_WIDTH)) + 1
    grown = cv2.dilate(different.astype(np.uint8), np.ones((reach, reach), np.uint8))
    drawn_rgb[grown > 0] = _DIFFERENT_RGB
    return drawn_rgb


def _jpeg(image_rgb: np.ndarray) -> bytes:
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    if not done:
        raise UserError("OpenCV cannot write JPEG. Install opencv-python from PyPI.")
    return data.tobytes()
