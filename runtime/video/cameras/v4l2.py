"""Cameras of the kernel's Video4Linux: USB cameras, by number or by device file with a format."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import cv2

from runtime.errors import UserError
from runtime.video.cameras.address import fps_of, place_and_options, size_of
from runtime.video.cameras.live import SILENCE_S, Camera
from runtime.video.cameras.opencv import OpenCvCapture

_EXAMPLE = "v4l2:///dev/video0?format=MJPG&size=720x1280&fps=30"
_SEE_CAMERAS = "See which cameras there are with: ls /dev/video*"


def numbered_camera(text: str) -> Camera:
    """``0`` is the first camera, as OpenCV finds and sets it."""
    index = int(text)
    title = f"camera {index}"

    def open_camera() -> OpenCvCapture:
        _set_select_timeout()
        capture = cv2.VideoCapture(index)
        if not capture.isOpened():
            raise UserError(
                f"{title} does not open: it is not plugged in, another program uses it, or you may not read it. "
                f"{_SEE_CAMERAS}"
            )
        return OpenCvCapture(capture)

    advice = f"Another program may use it, or the number belongs to no camera but to a camera's data. {_SEE_CAMERAS}"
    return Camera(title, f"camera{index}", open_camera, advice)


def v4l2_camera(text: str) -> Camera:
    """``v4l2:///dev/video0``, with the options ``format`` (a four-letter code), ``size`` (HxW) and ``fps``.

    What is not given stays as the camera has it. Raises UserError for a wrong address, and on opening if the camera
    does not take an option: it must not silently deliver something else.
    """
    place, options = place_and_options(text, ("format", "size", "fps"), _EXAMPLE)
    if not place.startswith("/"):
        raise UserError(f"{text} names no device file: three slashes are needed. Write for instance '{_EXAMPLE}'.")
    pixel_format, size, fps = options.get("format"), size_of(options), fps_of(options)
    if pixel_format is not None and (len(pixel_format) != 4 or not pixel_format.isascii()):
        raise UserError(f"{pixel_format!r} is no pixel format: those have four letters, such as MJPG or YUYV.")
    device = Path(place)

    def open_camera() -> OpenCvCapture:
        _set_select_timeout()
        _require_device(device)
        capture = cv2.VideoCapture(str(device), cv2.CAP_V4L2)
        if not capture.isOpened():
            raise UserError(f"{device} is no camera, or another program uses it. {_SEE_CAMERAS}")
        _configure(capture, device, pixel_format, size, fps)
        return OpenCvCapture(capture)

    advice = f"Another program may use it, or its cable cannot carry this format. See both with: {_listing(device)}"
    return Camera(str(device), device.name, open_camera, advice)


def _set_select_timeout() -> None:
    """OpenCV waits ten seconds for a frame of such a camera, unless this, read at the first frame, says otherwise."""
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", str(SILENCE_S))


def _require_device(device: Path) -> None:
    """Raise UserError with the kernel's reason if the device cannot be opened: OpenCV tells none."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_NONBLOCK))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
            raise UserError(f"there is no camera {device}: it is not plugged in, or has another number. "
                            f"{_SEE_CAMERAS}") from error  # fmt: skip
        if error.errno in (errno.EACCES, errno.EPERM):
            raise UserError(
                f"you may not read {device}. Join the group that may, sudo usermod -aG video $USER, and log in again."
            ) from error
        reason = error.strerror or str(error)
        raise UserError(f"{device} does not open: {reason}. Another program may use it.") from error


def _configure(
    capture: cv2.VideoCapture, device: Path, pixel_format: str | None, size: tuple[int, int] | None, fps: int | None
) -> None:
    """Set what is given, and raise UserError if the camera then says something else."""
    # The format comes first, for it decides which sizes there are, and a size which rates.
    if pixel_format is not None:
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*pixel_format))
    if size is not None:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[1])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[0])
    if fps is not None:
        capture.set(cv2.CAP_PROP_FPS, fps)
    has_format = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little").decode("latin-1")
    has_size = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    has_fps = capture.get(cv2.CAP_PROP_FPS)
    if (
        pixel_format not in (None, has_format)
        or size not in (None, has_size)
        or (fps is not None and abs(fps - has_fps) > 0.5)  # 29.97 counts as 30
    ):
        capture.release()
        height, width = has_size
        raise UserError(
            f"{device} does not take these options: it offers format={has_format}&size={height}x{width}"
            f"&fps={has_fps:.0f} instead. See all that it has with: {_listing(device)}"
        )


def _listing(device: Path) -> str:
    return f"v4l2-ctl --device {device} --list-formats-ext"
