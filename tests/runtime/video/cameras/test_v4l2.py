from __future__ import annotations

import errno
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import UserError
from runtime.video.cameras.v4l2 import numbered_camera, v4l2_camera
from tests.runtime.tiny_models import colour_frame

FOURCC = {name: cv2.VideoWriter.fourcc(*name) for name in ("MJPG", "YUYV")}


class FakeDevice:
    """A USB camera: 640x480 at 30 as YUYV, more only as MJPG. Like OpenCV's, it keeps quiet about what it refuses."""

    opened: list[FakeDevice]

    def __init__(self, name: int | str, api: int = cv2.CAP_ANY) -> None:
        self.name, self.api = name, api
        self.state = {
            cv2.CAP_PROP_FOURCC: FOURCC["YUYV"],
            cv2.CAP_PROP_FRAME_WIDTH: 640,
            cv2.CAP_PROP_FRAME_HEIGHT: 480,
            cv2.CAP_PROP_FPS: 30,
        }
        self.released = False
        FakeDevice.opened.append(self)

    def isOpened(self) -> bool:  # noqa: N802
        return self.name != 99

    def set(self, which: int, value: float) -> bool:
        compressed = self.state[cv2.CAP_PROP_FOURCC] == FOURCC["MJPG"]
        offered = {
            cv2.CAP_PROP_FOURCC: FOURCC.values(),
            cv2.CAP_PROP_FRAME_WIDTH: (640, 1280) if compressed else (640,),
            cv2.CAP_PROP_FRAME_HEIGHT: (480, 720) if compressed else (480,),
            cv2.CAP_PROP_FPS: (15, 30),
        }[which]
        if value in offered:
            self.state[which] = value
        return value in offered

    def get(self, which: int) -> float:
        return float(self.state[which])

    def read(self) -> tuple[bool, np.ndarray | None]:
        return True, colour_frame()[..., ::-1].copy()

    def release(self) -> None:
        self.released = True


@pytest.fixture(autouse=True)
def devices(monkeypatch: pytest.MonkeyPatch) -> list[FakeDevice]:
    FakeDevice.opened = []
    monkeypatch.setattr(cv2, "VideoCapture", FakeDevice)
    monkeypatch.setenv("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "10")  # put back whatever it was
    monkeypatch.delenv("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT")
    return FakeDevice.opened


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "video0"
    path.touch()
    return path


def test_a_number_is_left_to_opencv(devices: list[FakeDevice]):
    camera = numbered_camera("0")
    capture, rgb = camera.connect()
    assert (camera.title, camera.stem, capture.fps) == ("camera 0", "camera0", 30)
    assert (devices[0].name, devices[0].api) == (0, cv2.CAP_ANY)
    assert np.array_equal(rgb, colour_frame())
    assert os.environ["OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"] == "5"


def test_a_number_without_a_camera():
    with pytest.raises(UserError, match=r"camera 99 does not open.*ls /dev/video"):
        numbered_camera("99").connect()


def test_a_device_that_opencv_cannot_open(monkeypatch: pytest.MonkeyPatch, device: Path):
    monkeypatch.setattr(FakeDevice, "isOpened", lambda self: False)
    with pytest.raises(UserError, match="video0 is no camera, or another program uses it"):
        v4l2_camera(f"v4l2://{device}").connect()


def test_options_reach_the_device_in_an_order_that_it_can_follow(device: Path, devices: list[FakeDevice]):
    camera = v4l2_camera(f"v4l2://{device}?fps=15&size=720x1280&format=MJPG")
    capture, _ = camera.connect()
    assert (camera.title, camera.stem, capture.fps) == (str(device), "video0", 15)
    assert (devices[0].name, devices[0].api) == (str(device), cv2.CAP_V4L2)
    assert list(devices[0].state.values()) == [FOURCC["MJPG"], 1280, 720, 15]


def test_without_options_the_device_stays_as_it_is(device: Path, devices: list[FakeDevice]):
    v4l2_camera(f"v4l2://{device}").connect()
    assert list(devices[0].state.values()) == [FOURCC["YUYV"], 640, 480, 30]


@pytest.mark.parametrize("options", ["format=NV12", "size=720x1280", "fps=60", "format=MJPG&size=1080x1920"])
def test_what_the_device_refuses_is_an_error(device: Path, devices: list[FakeDevice], options: str):
    with pytest.raises(UserError, match=r"does not take these options: it offers format=.*v4l2-ctl --device .*video0"):
        v4l2_camera(f"v4l2://{device}?{options}").connect()
    assert devices[0].released


def test_a_rate_just_beside_the_wanted_one_is_taken(device: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        FakeDevice, "get", lambda self, which: 29.97 if which == cv2.CAP_PROP_FPS else self.state[which]
    )
    capture, _ = v4l2_camera(f"v4l2://{device}?fps=30").connect()
    assert capture.fps == 29.97


def test_a_device_that_is_missing(tmp_path: Path):
    with pytest.raises(UserError, match=r"there is no camera .*video7: it is not plugged in"):
        v4l2_camera(f"v4l2://{tmp_path / 'video7'}").connect()


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENODEV, "there is no camera"),
        (errno.EACCES, "you may not read .* sudo usermod -aG video"),
        (errno.EBUSY, "does not open: Device or resource busy"),
    ],
)
def test_what_the_kernel_says(device: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str):
    def refuse(path: Path, flags: int) -> int:
        raise OSError(number, os.strerror(number), str(path))

    camera = v4l2_camera(f"v4l2://{device}")
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserError, match=message):
        camera.connect()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("v4l2://dev/video0", "three slashes"),
        ("v4l2://", "three slashes"),
        ("v4l2:///dev/video0?format=MJPEG", "four letters"),
        ("v4l2:///dev/video0?flip=none", "no option of this camera"),
    ],
)
def test_wrong_addresses(address: str, message: str):
    with pytest.raises(UserError, match=message):
        v4l2_camera(address)
