"""Results to show, and a viewer that speaks plain HTTP."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np

from runtime.video.frames import Frame, Result, Source
from runtime.video.overlay import Overlay
from runtime.video.web.server import WebSink, web_sink
from tests.runtime.tiny_models import COLOUR_INFO

OPACITY = 0.5


def overlay() -> Overlay:
    return Overlay(COLOUR_INFO.classes, COLOUR_INFO.palette, opacity=OPACITY)


def result(index: int, size: tuple[int, int] = (96, 128), *, noise: bool = False) -> Result:
    """A frame whose brightness is 10 x index (up to 25), left half class 0, right half class 2."""
    rgb = np.full((*size, 3), min(index, 25) * 10, np.uint8)
    if noise:  # so that it compresses badly
        rgb = np.random.default_rng(index).integers(0, 256, (*size, 3), np.uint8)
    labels = np.zeros(size, np.uint8)
    labels[:, size[1] // 2 :] = 2
    return Result(Frame(f"frame {index}", rgb, index / 30), labels, latency_ms=20.0 + index, fps=30.0)


def expected_rgb(of: Result, opacity: float = OPACITY) -> np.ndarray:
    """The painted frame from the definition: frame (1 - opacity) + colour opacity."""
    colours = np.array(COLOUR_INFO.palette, float)[of.labels]
    return np.rint(of.frame.rgb * (1 - opacity) + colours * opacity)


def differs(painted_rgb: np.ndarray, of: Result, opacity: float = OPACITY) -> int:
    """The largest difference from what was expected, leaving out the edge that JPEG's blocks of 16 pixels blur."""
    difference = np.abs(painted_rgb - expected_rgb(of, opacity)).max(axis=(0, 2))
    middle = len(difference) // 2
    return int(np.concatenate((difference[: middle - 16], difference[middle + 16 :])).max())


JPEG_TOLERANCE = 4  # of even areas at quality 85: quantisation of the mean of a block and of its colour
ROUNDING = 1  # OpenCV's fixed point against ours


@contextmanager
def serving(text: str = "http://127.0.0.1:0", source: Source | None = None, title: str = "net") -> Iterator[WebSink]:
    with web_sink(text, overlay(), title, threading.Event(), source) as sink:
        yield sink


def ask(
    port: int, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def steer(port: int, order: Any, headers: dict[str, str] | None = None) -> int:
    """The status of an order."""
    return ask(port, "POST", "/control", json.dumps(order), {"Content-Type": "application/json", **(headers or {})})[0]


@contextmanager
def opened(port: int, path: str) -> Iterator[http.client.HTTPResponse]:
    """An answer that goes on."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", path)
        with connection.getresponse() as answer:
            yield answer
    finally:
        connection.close()


def next_picture(stream: http.client.HTTPResponse) -> np.ndarray:
    """The next picture of a stream, RGB."""
    jpeg = b""
    while True:
        line = stream.readline()
        assert line, "the stream ended"
        if line == b"--picture\r\n":
            assert (stream.readline(), stream.readline()) == (b"Content-Type: image/jpeg\r\n", b"\r\n")
            if jpeg:
                break
        elif jpeg or line != b"\r\n":
            jpeg += line
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def next_event(events: http.client.HTTPResponse) -> tuple[str, Any]:
    """Name and data of the next server-sent event."""
    name = events.readline().decode().removeprefix("event: ").strip()
    data = json.loads(events.readline().decode().removeprefix("data: "))
    assert events.readline() == b"\n"
    return name, data
