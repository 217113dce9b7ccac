import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from runtime.errors import UserError
from runtime.video import sinks
from runtime.video.frames import EndedEarly, Frame, Result, Source
from runtime.video.overlay import Overlay
from runtime.video.sinks import open_sink
from tests.runtime.tiny_models import COLOUR_INFO, colour_frame
from tests.runtime.video.videos import SIZE, number_of, numbered_frame, read_video

FPS = 20.0
PROJECT_ROOT = Path(__file__).parents[3]


def result(index: int, *, time_s: float | None = None, size: tuple[int, int] = SIZE) -> Result:
    time_s = index / FPS if time_s is None else time_s
    frame = Frame(f"frame_{index}", numbered_frame(index, size), time_s)
    return Result(frame, np.full(size, index, np.uint8), latency_ms=1.0, fps=30.0)


def source(*, live: bool = False, still: bool = False, fps: float = FPS) -> Source:
    return Source("test", (frame for frame in ()), fps, None, live, still)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class NoPaint(Overlay):
    def paint(self, frame_rgb: np.ndarray, labels: np.ndarray, caption: str = "") -> np.ndarray:
        return frame_rgb


NO_PAINT = NoPaint(COLOUR_INFO.classes, COLOUR_INFO.palette, opacity=0)


def sink_at(path: Path | str, of: Source | None = None, stop: threading.Event | None = None):
    return open_sink(str(path), of or source(), NO_PAINT, "colours", stop or threading.Event())


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv"])
def test_video_holds_every_frame_at_the_sources_speed(tmp_path: Path, suffix: str):
    path = tmp_path / f"out{suffix}"
    with sink_at(path) as sink:
        for index in range(10):
            sink.write(result(index))
        assert not path.exists()
    assert [number_of(frame) for frame in read_video(path)] == list(range(10))
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == FPS
    assert names_in(tmp_path) == [path.name]


def test_video_repeats_frames_for_those_that_a_live_source_dropped(tmp_path: Path):
    with sink_at(tmp_path / "out.mp4") as sink:
        for index, time_s in [(0, 7.0), (1, 7.05), (2, 7.2), (3, 7.25)]:
            sink.write(result(index, time_s=time_s))
    assert [number_of(frame) for frame in read_video(tmp_path / "out.mp4")] == [0, 1, 1, 1, 2, 3]


def test_video_has_one_size(tmp_path: Path):
    def write_two_sizes() -> None:
        with sink_at(tmp_path / "out.mp4") as sink:
            sink.write(result(0))
            sink.write(result(1, size=(64, 64)))

    with pytest.raises(EndedEarly, match=r"frame_1 is 64x64, but the video began with 128x96.* ends after 1 frames"):
        write_two_sizes()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_keeps_the_old_video(tmp_path: Path, error: type[BaseException]):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")

    def fail() -> None:
        with sink_at(path) as sink:
            sink.write(result(0))
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["out.mp4"]


def test_video_without_a_frame_is_not_written(tmp_path: Path):
    with pytest.raises(UserError, match="no frame arrived"), sink_at(tmp_path / "out.mp4"):
        pass
    assert names_in(tmp_path) == []


def test_video_on_a_nearly_full_disk_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "out.mp4"
    with sink_at(path) as sink:
        sink.write(result(0))
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2**20))
        with pytest.raises(EndedEarly, match=r"is full \(1 MiB free, .* so the video ends after 1 frames"):
            sink.write(result(1))
    assert len(read_video(path)) == 1


@pytest.mark.parametrize("name", ["out.mp4", "out.avi", "out.mkv", "folder"])
def test_what_does_not_fit_on_the_disk_is_discarded(tmp_path: Path, name: str):
    """A limit on the size of files stands for a full disk: both fail inside OpenCV's writer, which says nothing."""
    program = f"""
import resource, sys, threading
import numpy as np
from runtime.errors import UserError
from runtime.video.frames import Frame, Result, Source
from runtime.video.overlay import Overlay
from runtime.video.sinks import open_sink

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
source = Source("noise", None, 25, None)
rng = np.random.default_rng(0)
overlay = Overlay(["noise"], [(0, 0, 0)], opacity=0, legend="none")
try:
    with open_sink({str(tmp_path / name)!r}, source, overlay, "", threading.Event()) as sink:
        for index in range(60):
            noise = rng.integers(0, 256, (256, 256, 3), np.uint8)
            sink.write(Result(Frame(f"frame_{{index}}", noise, index / 25), noise[..., 0], 1.0, 1.0))
except UserError as error:
    sys.exit(str(error))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "was not written: only" in done.stderr or "cannot write" in done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_folder_gets_overlay_and_labels(tmp_path: Path):
    frame = Frame("photo", colour_frame(), 0.0)
    labels = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64).astype(np.uint8)
    with sink_at(tmp_path / "new" / "folder") as sink:
        sink.write(Result(frame, labels, 1.0, 1.0))
    folder = tmp_path / "new" / "folder"
    assert names_in(folder) == ["photo_labels.png", "photo_overlay.png"]
    assert np.array_equal(cv2.imread(str(folder / "photo_overlay.png"))[..., ::-1], frame.rgb)
    assert np.array_equal(cv2.imread(str(folder / "photo_labels.png"), cv2.IMREAD_UNCHANGED), labels)


def test_an_existing_folder_may_have_a_dot(tmp_path: Path):
    (tmp_path / "run.1").mkdir()
    with sink_at(tmp_path / "run.1") as sink:
        sink.write(result(0))
    assert len(names_in(tmp_path / "run.1")) == 2


@pytest.mark.parametrize("name", ["file/out.mp4", "file/folder", "file"])
def test_unwritable_places_are_refused_at_once(tmp_path: Path, name: str):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="cannot write"), sink_at(tmp_path / name):
        pytest.fail("entered")


def test_unknown_kind_of_output():
    with pytest.raises(UserError, match=r"out\.gif: \.gif is not a kind of video"):
        sink_at("out.gif")


def test_none_takes_everything():
    with sink_at("none") as sink:
        sink.write(result(0))
        assert sink.wants_more()


def test_window_without_a_display(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(UserError, match="cannot open a window: there is no display"), sink_at("window"):
        pytest.fail("entered")


class FakeScreen:
    """Stands for OpenCV's windows: remembers what was shown and presses the given keys, one a look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shown: list[int] = []
        self.shown_s: list[float] = []
        self.keys: list[int] = []
        self.visible = 1.0
        self.destroyed = False
        monkeypatch.setattr(sinks, "_require_display", lambda: None)
        for name in ("namedWindow", "resizeWindow"):
            monkeypatch.setattr(cv2, name, lambda *_: None)
        monkeypatch.setattr(cv2, "imshow", self.show)
        monkeypatch.setattr(cv2, "waitKey", self.wait)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda title, which: self.visible)
        monkeypatch.setattr(cv2, "destroyAllWindows", lambda: setattr(self, "destroyed", True))

    def show(self, title: str, frame: np.ndarray) -> None:
        self.shown.append(number_of(frame))
        self.shown_s.append(time.monotonic())

    def wait(self, delay_ms: int) -> int:
        time.sleep(delay_ms / 1000)
        return self.keys.pop(0) if self.keys else -1


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> FakeScreen:
    return FakeScreen(monkeypatch)


def test_window_plays_a_file_at_its_own_speed(screen: FakeScreen):
    with sink_at("window") as sink:
        for index in range(6):
            sink.write(result(index))
    assert screen.shown == list(range(6))
    assert screen.shown_s[-1] - screen.shown_s[0] >= 0.24  # five intervals of 50 ms, waited for in steps of 10 ms
    assert screen.destroyed


def test_window_shows_a_live_source_without_delay(screen: FakeScreen):
    with sink_at("window", source(live=True)) as sink:
        for index in range(20):
            sink.write(result(index))
    assert screen.shown_s[-1] - screen.shown_s[0] < 0.9  # played like a file, 20 frames would take 0.95 s


@pytest.mark.parametrize("key", [ord("q"), 27])
def test_window_closes_by_key(screen: FakeScreen, key: int):
    with sink_at("window") as sink:
        assert sink.wants_more()
        sink.write(result(0))
        screen.keys = [-1, ord("x"), key]
        assert [sink.wants_more() for _ in range(4)] == [True, True, False, False]


def test_window_closes_by_its_button(screen: FakeScreen):
    with sink_at("window") as sink:
        sink.write(result(0))
        screen.visible = 0.0
        assert not sink.wants_more()


def test_window_keeps_the_last_image_until_a_key(screen: FakeScreen):
    with sink_at("window", source(still=True)) as sink:
        sink.write(result(0))
        screen.keys = [-1, -1, ord("q")]
    assert screen.keys == []


def test_window_lets_go_of_the_last_image_on_ctrl_c(screen: FakeScreen):
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    with sink_at("window", source(still=True), stop) as sink:
        sink.write(result(0))
    assert screen.destroyed
