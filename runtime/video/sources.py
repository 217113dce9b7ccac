"""Where frames come from: a camera, a video, images, or the synthetic street drive."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

from runtime.errors import UserError
from runtime.video.cameras.csi import csi_camera
from runtime.video.cameras.live import Camera, live_source
from runtime.video.cameras.rtsp import rtsp_camera
from runtime.video.cameras.v4l2 import numbered_camera, v4l2_camera
from runtime.video.files import open_path
from runtime.video.frames import Frame, Source
from runtime.video.synthetic import open_synthetic

__all__ = ["SYNTHETIC_SIZE", "Source", "open_source"]

SYNTHETIC_SIZE = (512, 1024)

_CAMERAS: dict[str, Callable[[str], Camera]] = {"csi": csi_camera, "rtsp": rtsp_camera, "v4l2": v4l2_camera}


def open_source(
    text: str, *, size: tuple[int, int] | None = None, max_frames: int | None = None, in_real_time: bool = False
) -> Source:
    """Open ``text``: a camera's number or address (``csi://``, ``rtsp://``, ``v4l2://``), ``synthetic`` or
    ``synthetic:SEED``, or the path of a video, image or folder.

    ``size`` (height, width) is the synthetic drive's; ``in_real_time`` renders it live, at 30 frames per second.
    Raises UserError for whatever cannot be opened; the first frame is there by then, except a folder's.
    """
    kind, _, seed = text.partition(":")
    if size is not None and kind != "synthetic":
        raise UserError(
            "--size sets the size of the synthetic source; other sources keep their own. Leave it out, or write a "
            "camera's into its address: csi://0?size=720x1280"
        )
    if kind == "synthetic":
        source = open_synthetic(seed or "0", size or SYNTHETIC_SIZE, in_real_time)
    elif text.isdecimal():
        source = live_source(numbered_camera(text))
    elif "://" in text:
        source = live_source(_camera(text))
    else:
        source = open_path(Path(text))
    if max_frames is None:
        return source
    length = max_frames if source.length is None else min(max_frames, source.length)
    return replace(source, frames=_first(max_frames, source.frames), length=length)


def _camera(address: str) -> Camera:
    kind = address.partition("://")[0]
    if kind not in _CAMERAS:
        raise UserError(f"{kind}:// is no kind of camera. There are {', '.join(f'{known}://' for known in _CAMERAS)}.")
    return _CAMERAS[kind](address)


def _first(max_frames: int, frames: Generator[Frame, None, None]) -> Generator[Frame, None, None]:
    with closing(frames):
        yield from islice(frames, max_frames)
