"""Frames from files: a video, an image or a folder of images."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import cv2
import numpy as np

from runtime.errors import UserError
from runtime.video.frames import EndedEarly, Frame, Source

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})

_IMAGE_FPS = 10.0  # how fast a folder of images plays
_FALLBACK_FPS = 30.0  # of cameras and videos that name none, or one that cannot be


def open_path(path: Path) -> Source:
    """Open a video, an image or a folder. Raises UserError; a folder's images are opened only when they are due."""
    if path.is_dir():
        paths = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES)
        if not paths:
            known = " ".join(sorted(IMAGE_SUFFIXES))
            raise UserError(f"the folder {path} holds no image. Give a folder with files of these kinds: {known}.")
        return _open_images(path.name, paths)
    if not path.exists():
        raise UserError(
            f"the source {path} does not exist. Give a camera's number, a video, an image, a folder, or synthetic."
        )
    if path.suffix.lower() in IMAGE_SUFFIXES:
        _read_image(path)
        return _open_images(path.name, [path])
    return _open_video(path)


def _open_images(title: str, paths: list[Path]) -> Source:
    stems = {path.stem for path in paths}
    names = [path.stem if len(stems) == len(paths) else path.name for path in paths]

    def frames() -> Generator[Frame, None, None]:
        for index, (path, name) in enumerate(zip(paths, names, strict=True)):
            try:
                rgb = _read_image(path)
            except UserError as error:
                raise EndedEarly(f"stopped after {index} of {len(paths)} images: {error}") from error
            yield Frame(name, rgb, index / _IMAGE_FPS)

    return Source(title, frames(), _IMAGE_FPS, len(paths), still=True)


def _read_image(path: Path) -> np.ndarray:
    image_bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image_bgr is None:
        raise UserError(f"{path} is not an image that OpenCV can read: it is broken, or of another kind. Replace it.")
    return cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)


def _open_video(path: Path) -> Source:
    capture = cv2.VideoCapture(str(path))
    opened, first_bgr = capture.read()
    if not opened:
        raise UserError(
            f"{path} is not a video that OpenCV can read: it is broken, incomplete, or of another kind. "
            f"Try to play it, and convert it to .mp4 if it plays."
        )
    fps = plausible_fps(capture)
    announced = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def frames() -> Generator[Frame, None, None]:
        try:
            frame_bgr, read = first_bgr, 0
            while True:
                yield Frame(f"{path.stem}_{read:06d}", cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2RGB), read / fps)
                read += 1
                more, frame_bgr = capture.read()
                if not more:
                    break
        finally:
            capture.release()
        # Some containers only estimate their length, so a little less is no sign of damage.
        if read < announced - max(2, announced // 100):
            raise EndedEarly(
                f"{path} broke off: {read} frames could be read of the {announced} that it announces. "
                f"The file is damaged or was copied only in part. Copy it again."
            )

    return Source(path.name, frames(), fps, announced or None)


def plausible_fps(capture: cv2.VideoCapture) -> float:
    """The frames per second that an open video or camera names, or 30 if that cannot be."""
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if 1 <= fps <= 240 else _FALLBACK_FPS
