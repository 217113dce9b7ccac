"""Network cameras, by the Real Time Streaming Protocol."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import cv2

from runtime.errors import UserError
from runtime.video.cameras.live import SILENCE_S, Camera
from runtime.video.cameras.opencv import OpenCvCapture

_PORT = 554


def rtsp_camera(text: str) -> Camera:
    """``rtsp://[USER:PASSWORD@]HOST[:PORT]/PATH``. Raises UserError for an address that cannot be one."""
    try:
        address = urlsplit(text)
        host, port = address.hostname, address.port or _PORT
    except ValueError as error:
        raise UserError(f"the camera's address is wrong: {error}. Write rtsp://HOST:PORT/PATH.") from error
    if not host:
        raise UserError("the camera's address names no host. Write rtsp://HOST:PORT/PATH.")
    title = address._replace(netloc=address.netloc.rpartition("@")[2]).geturl()

    def open_camera() -> OpenCvCapture:
        _require_answer(host, port, title)
        capture = cv2.VideoCapture(
            text,
            cv2.CAP_FFMPEG,
            [
                *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 1000 * SILENCE_S),
                *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, 1000 * SILENCE_S),
                *(cv2.CAP_PROP_N_THREADS, 1),  # every further decoding thread holds back one more frame
            ],
        )
        if not capture.isOpened():
            raise UserError(
                f"{title} answers, but gives no video: its path, user or password is wrong, or the video is of a kind "
                f"that OpenCV cannot read. Write rtsp://USER:PASSWORD@HOST:PORT/PATH as the camera's manual has it, "
                f"and try it with: ffplay {title}"
            )
        return OpenCvCapture(capture)

    return Camera(title, host.replace(":", "_"), open_camera, "Restart the camera, or give it fewer viewers.")


def _require_answer(host: str, port: int, title: str) -> None:
    """Raise UserError with the network's reason if nobody listens: OpenCV tells none."""
    try:
        socket.create_connection((host, port), timeout=SILENCE_S).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"{title} does not answer at port {port}: {reason}. The camera is off, or its address is another one. "
            f"Try: ping {host}"
        ) from error
