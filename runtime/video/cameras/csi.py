"""The camera on a Jetson's ribbon cable, through NVIDIA's GStreamer elements."""

from __future__ import annotations

from runtime.errors import UserError
from runtime.video.cameras.address import fps_of, place_and_options, size_of
from runtime.video.cameras.gstreamer import GStreamerCapture
from runtime.video.cameras.live import Camera

_EXAMPLE = "csi://0?size=720x1280&fps=30&flip=rotate-180"
_SIZE = (720, 1280)
_FPS = 30
_FLIP_METHODS = {"none": 0, "rotate-180": 2, "horizontal": 4, "vertical": 6}  # of nvvidconv, those that keep the size


def csi_camera(text: str) -> Camera:
    """``csi://0``, the sensor's number, with the options ``size`` (HxW), ``fps`` and ``flip``.

    The image processor scales to every size; a rate that the sensor does not have is refused. Raises UserError.
    """
    place, options = place_and_options(text, ("size", "fps", "flip"), _EXAMPLE)
    if not place.isdecimal():
        raise UserError(f"{text} names no camera: it needs the sensor's number. Write for instance '{_EXAMPLE}'.")
    flip = options.get("flip", "none")
    if flip not in _FLIP_METHODS:
        raise UserError(f"{flip!r} is no way to flip a picture. Choose one of: {', '.join(_FLIP_METHODS)}.")
    size, fps = size_of(options) or _SIZE, fps_of(options) or _FPS
    pipeline = csi_pipeline(int(place), size, fps, flip)
    return Camera(
        f"csi://{place}",
        f"csi{place}",
        lambda: GStreamerCapture(pipeline, size, fps),
        "This source needs a Jetson with a CSI camera. Check the cable and the sensor's number, restart NVIDIA's "
        "camera service (sudo systemctl restart nvargus-daemon), and see whether NVIDIA's own nvgstcapture-1.0 shows a "
        "picture. A USB camera is --source 0.",
    )


def csi_pipeline(sensor: int, size: tuple[int, int], fps: int, flip: str) -> str:
    """What gst-launch-1.0 runs up to the frames: capture, scaling and flipping all happen outside the CPU."""
    height, width = size
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! "
        f"video/x-raw(memory:NVMM),width={width},height={height},framerate={fps}/1 ! "
        f"nvvidconv flip-method={_FLIP_METHODS[flip]}"
    )
