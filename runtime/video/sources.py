"""Where frames come from: a camera, a video, images, or the synthetic street drive."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path

import cv2
import numpy as np

from runtime.errors import UserError
from runtime.street import render
from runtime.video.frames import EndedEarly, Frame

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
SYNTHETIC_SIZE = (512, 1024)

_SYNTHETIC_FPS = 30.0  # what runtime.street's frames count
_IMAGE_FPS = 10.0  # how fast a folder of images plays
_FALLBACK_FPS = 30.0  # of cameras and videos that name none, or one that cannot be


@dataclass(frozen=True)
class Source:
    """Frames and how they arrive. Close ``frames`` in the thread that reads it; it may raise EndedEarly."""

    title: str
    frames: Generator[Frame, None, None]
    fps: float
    length: int | None  # None: until someone stops it
    live: bool = False  # frames come in real time, whoever is too slow misses some
    still: bool = False  # images, to be looked at rather than played


def open_source(
    text: str, *, size: tuple[int, int] | None = None, max_frames: int | None = None, in_real_time: bool = False
) -> Source:
    """Open ``text``: a camera's number, ``synthetic`` or ``synthetic:SEED``, or the path of a video, image or folder.

    ``size`` (height, width) is the synthetic drive's; ``in_real_time`` renders it live, at 30 frames per second.
    Raises UserError for whatever cannot be opened; the first frame is there by then, except a folder's.
    """
    kind, _, seed = text.partition(":")
    if size is not None and kind != "synthetic":
        raise UserError("--size sets the size of the synthetic source; other sources keep their own. Leave it out.")
    if text.isdecimal():
        source = _open_camera(int(text))
    elif kind == "synthetic":
        source = _open_synthetic(seed or "0", size or SYNTHETIC_SIZE, in_real_time)
    else:
        source = _open_path(Path(text))
    if max_frames is None:
        return source
    length = max_frames if source.length is None else min(max_frames, source.length)
    return replace(source, frames=_first(max_frames, source.frames), length=length)


def _first(max_frames: int, frames: Generator[Frame, None, None]) -> Generator[Frame, None, None]:
    with closing(frames):
        yield from islice(frames, max_frames)


def _open_path(path: Path) -> Source:
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
    fps = _plausible_fps(capture)
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


def _open_camera(index: int) -> Source:
    capture = cv2.VideoCapture(index)
    opened, first_bgr = capture.read()
    if not opened:
        raise UserError(
            f"camera {index} does not open: it is not plugged in, another program uses it, or you may not read it. "
            f"See which cameras there are with: ls /dev/video*"
        )
    start_s = time.monotonic()

    def frames() -> Generator[Frame, None, None]:
        frame_bgr = first_bgr
        try:
            for read in count():
                rgb = cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2RGB)
                yield Frame(f"camera{index}_{read:06d}", rgb, time.monotonic() - start_s)
                more, frame_bgr = capture.read()
                if not more:
                    raise EndedEarly(f"camera {index} stopped after {read + 1} frames. Check its cable and power.")
        finally:
            capture.release()

    return Source(f"camera {index}", frames(), _plausible_fps(capture), None, live=True)


def _plausible_fps(capture: cv2.VideoCapture) -> float:
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if 1 <= fps <= 240 else _FALLBACK_FPS


def _open_synthetic(seed: str, size: tuple[int, int], in_real_time: bool) -> Source:
    if not seed.isdecimal():
        raise UserError(
            f"{seed!r} is no seed. Write synthetic, or synthetic:SEED with a whole number, e.g. synthetic:7."
        )
    height, width = size
    try:
        first_rgb, _ = render(int(seed), 0, height=height, width=width)
    except ValueError as error:
        raise UserError(f"cannot render the street at {height}x{width}: {error}. Choose another --size.") from error

    def frames() -> Generator[Frame, None, None]:
        rgb, index = first_rgb, 0
        start_s = time.monotonic()
        while True:
            if in_real_time:
                time.sleep(max(0.0, start_s + index / _SYNTHETIC_FPS - time.monotonic()))
            yield Frame(f"street{seed}_{index:06d}", rgb, index / _SYNTHETIC_FPS)
            # In real time, a renderer that is too slow skips frames: the drive keeps its speed.
            due = int((time.monotonic() - start_s) * _SYNTHETIC_FPS) if in_real_time else 0
            index = max(index + 1, due)
            rgb, _ = render(int(seed), index, height=height, width=width)

    return Source(f"synthetic street {seed}", frames(), _SYNTHETIC_FPS, None, live=in_real_time)
