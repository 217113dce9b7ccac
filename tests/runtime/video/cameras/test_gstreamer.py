import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import UserError
from runtime.video.cameras import gstreamer
from runtime.video.cameras.csi import csi_camera, csi_pipeline
from runtime.video.cameras.gstreamer import GStreamerCapture
from runtime.video.cameras.live import Lost, live_source

needs_gstreamer = pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="gst-launch-1.0 is not installed")
SIZE = (90, 122)  # whose rows would be padded if there were three bytes a pixel
BAR_COLOURS = [(255, 255, 255), (255, 255, 0), (0, 255, 255), (0, 255, 0), (255, 0, 255), (255, 0, 0), (0, 0, 255)]


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@needs_gstreamer
def test_frames_arrive_whole_and_in_colour():
    capture = GStreamerCapture("videotestsrc num-buffers=5 pattern=smpte100", SIZE, 30)
    frames = [capture.read() for _ in range(5)]
    for rgb in frames:
        assert rgb.shape == (*SIZE, 3)
        bars = rgb[:, [round((bar + 0.5) * SIZE[1] / 7) for bar in range(7)]]
        assert np.array_equal(bars, np.broadcast_to(np.uint8(BAR_COLOURS), bars.shape))
    assert not np.shares_memory(frames[0], frames[1])
    with pytest.raises(Lost, match="sends no frames"):
        capture.read()
    capture.release()


@needs_gstreamer
def test_frames_larger_than_the_pipe_arrive_whole():
    capture = GStreamerCapture(
        "videotestsrc num-buffers=2 pattern=solid-color foreground-color=0xff102030", (720, 1280), 30
    )
    for _ in range(2):
        assert (capture.read() == (0x10, 0x20, 0x30)).all()
    capture.release()


@needs_gstreamer
@pytest.mark.parametrize(
    ("pipeline", "reason"),
    [
        ("nosuchelement", 'sends no frames: no element "nosuchelement"'),
        ("filesrc location=/missing ! decodebin", "sends no frames: Resource not found"),
        ("v4l2src device=/dev/missing", "sends no frames: Cannot identify device '/dev/missing'"),
        ("videotestsrc num-buffers=0", "sends no frames: gst-launch-1.0 ended with code"),
    ],
)
def test_why_there_are_no_frames(pipeline: str, reason: str):
    capture = GStreamerCapture(pipeline, SIZE, 30)
    with pytest.raises(Lost) as lost:
        capture.read()
    capture.release()
    assert str(lost.value).startswith(reason)


@needs_gstreamer
def test_a_camera_that_falls_silent_is_noticed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gstreamer, "SILENCE_S", 1)
    capture = GStreamerCapture("videotestsrc is-live=true ! identity", SIZE, 30)
    capture.read()
    os.kill(capture._process.pid, signal.SIGSTOP)
    stopped = capture.read  # what is in the pipe already still arrives
    with pytest.raises(Lost, match="has sent no frame for 1 s"):
        list(iter(stopped, None))
    os.kill(capture._process.pid, signal.SIGCONT)
    capture.release()


@needs_gstreamer
@pytest.mark.parametrize("stubborn", [False, True])
def test_release_ends_the_process_even_if_it_hangs(monkeypatch: pytest.MonkeyPatch, stubborn: bool):
    monkeypatch.setattr(gstreamer, "_FAREWELL_S", 0.5 if stubborn else 10)
    capture = GStreamerCapture("videotestsrc is-live=true", SIZE, 30)
    capture.read()
    if stubborn:
        os.kill(capture._process.pid, signal.SIGSTOP)
    capture.release()
    assert capture._process.returncode == (-signal.SIGKILL if stubborn else 0)
    capture.release()


@needs_gstreamer
def test_ctrl_c_in_the_terminal_leaves_the_process_to_us():
    capture = GStreamerCapture("videotestsrc is-live=true", SIZE, 30)
    assert os.getsid(capture._process.pid) != os.getsid(0)
    capture.release()


def test_gstreamer_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    before = open_files()
    with pytest.raises(
        UserError, match=r"No such file or directory\. Install it: sudo apt install gstreamer1\.0-tools"
    ):
        GStreamerCapture("videotestsrc", SIZE, 30)
    assert open_files() == before


@needs_gstreamer
def test_no_file_stays_open(capfd: pytest.CaptureFixture[str]):
    def once() -> None:
        capture = GStreamerCapture("videotestsrc num-buffers=1", SIZE, 30)
        capture.read()
        capture.release()

    once()
    before = open_files()
    once()
    assert open_files() == before
    assert capfd.readouterr() == ("", "")


def test_what_nvidias_camera_service_says_is_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    script = tmp_path / "gst-launch-1.0"
    script.write_text("#!/bin/sh\necho 'Error generated. gstnvarguscamerasrc.cpp, execute:814 No cameras available'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    capture = GStreamerCapture("nvarguscamerasrc", SIZE, 30)
    with pytest.raises(Lost, match=r"^sends no frames: No cameras available$"):
        capture.read()
    capture.release()


def test_csi_pipeline():
    assert csi_pipeline(1, (1080, 1920), 60, "rotate-180") == (
        "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1920,height=1080,framerate=60/1 ! "
        "nvvidconv flip-method=2"
    )


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gst-launch-1.0 that runs the real one with a test picture for NVIDIA's camera, and writes down its words."""
    real = shutil.which("gst-launch-1.0")
    script = tmp_path / "gst-launch-1.0"
    script.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/words
echo "GST_ARGUS: Creating output stream"
exec {real} $(echo "$@" | sed 's/nvarguscamerasrc sensor-id=[0-9]*/videotestsrc is-live=true pattern=smpte100/
s/(memory:NVMM)//; s/nvvidconv flip-method=[0-9]/identity/')
"""
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


@needs_gstreamer
def test_csi_camera_with_a_test_picture_in_the_sensors_place(jetson: Path):
    source = live_source(csi_camera("csi://0?size=90x122&fps=60&flip=horizontal"))
    assert (source.title, source.fps, source.live) == ("csi://0", 60, True)
    frame = next(source.frames)
    assert frame.name == "csi0_000000"
    assert frame.rgb.shape == (90, 122, 3)
    assert np.array_equal(frame.rgb[0, 8], BAR_COLOURS[0])
    source.frames.close()
    words = (jetson / "words").read_text()
    assert (
        "sensor-id=0 ! video/x-raw(memory:NVMM),width=122,height=90,framerate=60/1 ! nvvidconv flip-method=4" in words
    )


@needs_gstreamer
def test_csi_camera_without_options(jetson: Path):
    source = live_source(csi_camera("csi://1"))
    assert next(source.frames).rgb.shape == (720, 1280, 3)
    assert source.fps == 30
    source.frames.close()
    assert "sensor-id=1" in (jetson / "words").read_text()


@needs_gstreamer
def test_csi_camera_off_a_jetson():
    with pytest.raises(UserError, match=r'csi://0 sends no frames: no element "nvarguscamerasrc".*needs a Jetson'):
        live_source(csi_camera("csi://0"))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("csi://", "needs the sensor's number"),
        ("csi://front", "needs the sensor's number"),
        ("csi://0?flip=upside-down", "Choose one of: none, rotate-180, horizontal, vertical"),
        ("csi://0?format=NV12", "There are: size, fps, flip"),
    ],
)
def test_wrong_csi_addresses(address: str, message: str):
    with pytest.raises(UserError, match=message):
        csi_camera(address)
