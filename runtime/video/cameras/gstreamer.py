"""Frames from a GStreamer pipeline that runs as a process of its own: OpenCV from PyPI is built without GStreamer."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import subprocess
import tempfile
import time

import cv2
import numpy as np

from runtime.errors import UserError
from runtime.video.cameras.live import SILENCE_S, Lost

_PIPE_BYTES = 1 << 20  # what Linux gives without asking; a frame then takes few switches between the processes
_FAREWELL_S = 2.0
# "ERROR: from element /pipeline/name: reason." or "WARNING: erroneous pipeline: reason", or else the words of NVIDIA's
# camera service, which can end the stream without either.
_REASON = re.compile(r"^(?:ERROR: from element \S+: |WARNING: erroneous pipeline: |.*(?=No cameras))(.+?)\.?$", re.M)


class GStreamerCapture:
    """Frames of ``pipeline``, which ends before its sink and can deliver RGBA of ``size`` (height, width).

    RGBA, because its rows need no padding and NVIDIA's converter has no three-byte format. Raises UserError if
    GStreamer is not installed.
    """

    def __init__(self, pipeline: str, size: tuple[int, int], fps: float) -> None:
        self.fps = fps
        self._rgba = np.empty((*size, 4), np.uint8)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (release() closes it); a pipe would fill up, unread
        self._frames_fd, sink_fd = os.pipe()  # not its standard output: NVIDIA's elements write their news there
        fcntl.fcntl(sink_fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        height, width = size
        raw = f"video/x-raw,format=RGBA,width={width},height={height}"
        words = f"gst-launch-1.0 --quiet {pipeline} ! {raw} ! fdsink fd={sink_fd} sync=false".split()
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                pass_fds=(sink_fd,),
                start_new_session=True,  # Ctrl-C is for us to handle
            )
        except OSError as error:
            os.close(self._frames_fd)
            self._log.close()
            raise UserError(
                f"this camera is read through gst-launch-1.0, which does not run: {error.strerror}. "
                f"Install it: sudo apt install gstreamer1.0-tools"
            ) from error
        finally:
            os.close(sink_fd)

    def read(self) -> np.ndarray:
        """Wait for the next frame, uint8 RGB [H, W, 3]. Raises Lost."""
        rest = self._rgba.data.cast("B")
        give_up_s = time.monotonic() + SILENCE_S
        while rest:
            if not select.select([self._frames_fd], [], [], max(0.0, give_up_s - time.monotonic()))[0]:
                raise Lost(f"has sent no frame for {SILENCE_S} s")
            filled = os.readv(self._frames_fd, [rest])
            if filled == 0:
                raise Lost(f"sends no frames: {self._reason()}")
            rest = rest[filled:]
        return cv2.cvtColor(self._rgba, cv2.COLOR_RGBA2RGB)

    def release(self) -> None:
        """End the process; may be called twice."""
        if self._frames_fd < 0:
            return
        os.close(self._frames_fd)
        self._frames_fd = -1
        self._process.send_signal(signal.SIGINT)  # on which it gives the camera back, as it does not when killed
        try:
            self._process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _reason(self) -> str:
        """Why the process ended, in its own words."""
        try:
            self._process.wait(_FAREWELL_S)  # its last words come after the end of the frames
        except subprocess.TimeoutExpired:
            return "gst-launch-1.0 closed the stream"
        self._log.seek(0)
        reasons = _REASON.findall(self._log.read().decode(errors="replace"))
        return str(reasons[0]) if reasons else f"gst-launch-1.0 ended with code {self._process.returncode}"
