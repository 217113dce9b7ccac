import time
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime.errors import UserError
from runtime.video import synthetic
from runtime.video.cameras import live
from runtime.video.frames import EndedEarly, Frame, Source
from runtime.video.sources import open_source
from tests.runtime.tiny_models import colour_frame
from tests.runtime.video.videos import number_of, write_video


def read_all(source: Source) -> list[Frame]:
    with closing(source.frames):
        return list(source.frames)


def write_image(path: Path) -> Path:
    cv2.imwrite(str(path), cv2.cvtColor(colour_frame(), cv2.COLOR_RGB2BGR))
    return path


def test_video_yields_every_frame_in_order(tmp_path: Path):
    source = open_source(str(write_video(tmp_path / "drive.mp4", 12, fps=20)))
    assert (source.fps, source.length, source.live) == (20, 12, False)
    frames = read_all(source)
    assert [number_of(frame.rgb) for frame in frames] == list(range(12))
    assert [frame.name for frame in frames[:2]] == ["drive_000000", "drive_000001"]
    assert [frame.time_s for frame in frames[:3]] == pytest.approx([0, 0.05, 0.1])


def test_max_frames_ends_a_source_and_releases_it(tmp_path: Path):
    source = open_source(str(write_video(tmp_path / "drive.mp4", 12)), max_frames=5)
    assert source.length == 5
    assert len(read_all(source)) == 5  # and no complaint that frames are missing
    assert open_source(str(tmp_path / "drive.mp4"), max_frames=50).length == 12


def test_image_is_rgb(tmp_path: Path):
    source = open_source(str(write_image(tmp_path / "photo.png")))
    (frame,) = read_all(source)
    assert source.still
    assert frame.name == "photo"
    assert np.array_equal(frame.rgb, colour_frame())


def test_folder_yields_its_images_by_name(tmp_path: Path):
    for name in ("b.png", "a.JPG", "c.bmp"):
        write_image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    source = open_source(str(tmp_path))
    assert source.length == 3
    assert [frame.name for frame in read_all(source)] == ["a", "b", "c"]


def test_images_of_one_stem_keep_their_suffix(tmp_path: Path):
    for name in ("a.png", "a.jpg"):
        write_image(tmp_path / name)
    assert [frame.name for frame in read_all(open_source(str(tmp_path)))] == ["a.jpg", "a.png"]


def test_synthetic_drive_is_endless_and_follows_its_seed():
    def first(text: str) -> list[np.ndarray]:
        source = open_source(text, size=(64, 128), max_frames=2)
        assert source.length == 2
        return [frame.rgb for frame in read_all(source)]

    assert open_source("synthetic", size=(64, 128)).length is None
    zero, seven = first("synthetic"), first("synthetic:7")
    assert zero[0].shape == (64, 128, 3)
    assert np.array_equal(zero, first("synthetic:0"))
    assert not np.array_equal(zero[0], seven[0])
    assert not np.array_equal(zero[0], zero[1])


def test_synthetic_drive_in_real_time_keeps_its_speed(monkeypatch: pytest.MonkeyPatch):
    rendered = []

    def slow_render(seed: int, index: int, *, height: int, width: int) -> tuple[np.ndarray, None]:
        rendered.append(index)
        time.sleep(0.2 if index == 1 else 0)  # the time of six frames
        return np.zeros((height, width, 3), np.uint8), None

    monkeypatch.setattr(synthetic, "render", slow_render)
    source = open_source("synthetic", max_frames=4, in_real_time=True)
    start_s = time.monotonic()
    assert source.live
    assert len(read_all(source)) == 4
    assert rendered[:2] == [0, 1]
    assert rendered[2] > 2
    assert time.monotonic() - start_s >= rendered[3] / 30


class FakeCamera:
    """Three frames, then the cable is pulled, for a second of two waits."""

    opened = 0

    def __init__(self, index: int) -> None:
        FakeCamera.opened += 1
        self.left = 3 if FakeCamera.opened != 2 else 0

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (True, colour_frame()[..., ::-1].copy()) if self.left >= 0 else (False, None)

    def get(self, which: int) -> float:
        return 0.0

    def release(self) -> None:
        self.left = 0


def test_a_number_is_a_camera_that_may_come_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    monkeypatch.setattr(live, "_FIRST_WAITS_S", (0.01, 0.01))
    source = open_source("0", max_frames=5)
    assert (source.live, source.length, source.fps) == (True, 5, 30)
    frames = read_all(source)
    assert [frame.name for frame in frames] == [f"camera0_00000{number}" for number in range(5)]
    assert np.array_equal(frames[4].rgb, colour_frame())
    assert FakeCamera.opened == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("csi://x", "csi://x names no camera"),
        ("rtsp://", "the camera's address names no host"),
        ("v4l2://video0", "names no device file"),
        ("http://camera/", r"http:// is no kind of camera\. There are csi://, rtsp://, v4l2://"),
    ],
)
def test_addresses_reach_their_camera(text: str, message: str):
    with pytest.raises(UserError, match=message):
        open_source(text)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken.png", "is not an image"),
        ("broken.mp4", "is not a video"),
        ("notes.txt", "is not a video"),
        ("missing.mp4", "does not exist"),
        ("empty", "holds no image"),
    ],
)
def test_what_cannot_be_opened(tmp_path: Path, name: str, message: str):
    (tmp_path / "empty").mkdir()
    for broken in ("broken.png", "broken.mp4", "notes.txt"):
        (tmp_path / broken).write_text("hello")
    with pytest.raises(UserError, match=message):
        open_source(str(tmp_path / name))


def test_video_cut_before_its_index_is_no_video(tmp_path: Path):
    whole = write_video(tmp_path / "whole.mp4", 30, noise=True).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="is not a video"):
        open_source(str(tmp_path / "cut.mp4"))


@pytest.mark.parametrize("suffix", [".avi", ".mkv"])
def test_video_that_breaks_off_yields_what_it_has(tmp_path: Path, suffix: str):
    whole = write_video(tmp_path / f"whole{suffix}", 60, noise=True).read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: len(whole) // 2])
    frames: list[Frame] = []
    with pytest.raises(EndedEarly, match=r"broke off: \d+ frames could be read of the 60") as raised:
        frames.extend(open_source(str(path)).frames)
    assert 10 < len(frames) < 58
    assert f"{len(frames)} frames" in str(raised.value)


def test_broken_image_in_a_folder_says_how_far_it_came(tmp_path: Path):
    write_image(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("hello")
    write_image(tmp_path / "c.png")
    frames = open_source(str(tmp_path)).frames
    assert next(frames).name == "a"
    with pytest.raises(EndedEarly, match=r"after 1 of 3 images: .*b\.png is not an image"):
        next(frames)


@pytest.mark.parametrize("text", ["synthetic:x", "synthetic:-1", "synthetic:1.5"])
def test_seed_must_be_a_number(text: str):
    with pytest.raises(UserError, match="is no seed"):
        open_source(text)


def test_size_is_only_for_the_synthetic_drive(tmp_path: Path):
    with pytest.raises(UserError, match="--size"):
        open_source(str(tmp_path), size=(64, 128))
