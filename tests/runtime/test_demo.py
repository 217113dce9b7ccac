import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime import demo
from runtime.errors import UserError, run_command
from runtime.segmenter import Pending, Segmenter
from runtime.video.cameras import live
from tests.runtime.tiny_models import colour_frame
from tests.runtime.video.rtsp_server import RtspServer
from tests.runtime.video.videos import read_video, write_video

PROJECT_ROOT = Path(__file__).parents[2]
SCRIPT = PROJECT_ROOT / "runtime" / "demo.py"


@pytest.fixture
def run_demo(monkeypatch: pytest.MonkeyPatch, colour_bundle: Path):
    """Run the command in this process and return its exit code; the model is the colour bundle unless given."""

    def run(source: object, sink: object, *options: object, model: Path = colour_bundle) -> int:
        words = ["demo.py", "--model", model, "--source", source, "--sink", sink, *options]
        monkeypatch.setattr(sys, "argv", [str(word) for word in words])
        return run_command(demo.main)

    return run


def test_video_to_video(run_demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out.mp4"
    assert run_demo(write_video(tmp_path / "in.mp4", 15, fps=20), out) == 0
    assert len(read_video(out)) == 15
    assert cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FPS) == 20
    summary = capsys.readouterr().out
    assert re.fullmatch(
        r"15 frames in [\d.]+ s \| [\d.]+ FPS \| latency p50 [\d.]+, p95 [\d.]+, p99 [\d.]+ ms\n", summary
    )


def test_images_to_folder(run_demo, tmp_path: Path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name in ("a.png", "b.jpg"):
        cv2.imwrite(str(photos / name), colour_frame()[..., ::-1].copy())
    assert run_demo(photos, out) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        f"{name}_{kind}.png" for name in "ab" for kind in ("labels", "overlay")
    ]
    labels = cv2.imread(str(out / "a_labels.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(labels[24, [10, 32, 54]], [0, 1, 2])


def test_options_reach_the_overlay(run_demo, tmp_path: Path, colour_info):
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), colour_frame()[..., ::-1].copy())
    assert run_demo(photo, tmp_path / "out", "--opacity", 1, "--legend", "none") == 0
    overlay_rgb = cv2.imread(str(tmp_path / "out" / "photo_overlay.png"))[..., ::-1]
    assert [tuple(overlay_rgb[24, column]) for column in (10, 32, 54)] == list(colour_info.palette)


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_synthetic_drive_with_either_backend(run_demo, backend: str, capsys: pytest.CaptureFixture[str]):
    assert run_demo("synthetic:3", "none", "--frames", 5, "--size", "64x128", "--backend", backend) == 0
    assert capsys.readouterr().out.startswith("5 frames")


def test_options_reach_the_segmenter(run_demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, colour_bundle: Path):
    seen: dict[str, object] = {}

    class Watched(Segmenter):
        def __init__(self, path: Path, backend: str, **options: object) -> None:
            seen.update(options, path=path, backend=backend, closed=False)
            super().__init__(path)

        def close(self) -> None:
            seen["closed"] = True

    monkeypatch.setattr(demo, "Segmenter", Watched)
    options = ["--backend", "tensorrt", "--precision", "fp16", "--threads", 2, "--plugin", "lib/libplugin.so"]
    assert run_demo("synthetic", "none", "--frames", 1, "--size", "64x128", *options) == 0
    assert seen == {
        "path": colour_bundle,
        "backend": "tensorrt",
        "precision": "fp16",
        "threads": 2,
        "plugin": Path("lib/libplugin.so"),
        "closed": True,
    }


def test_a_page_shows_the_frames_in_real_time(run_demo, capsys: pytest.CaptureFixture[str]):
    start_s = time.monotonic()
    assert run_demo("synthetic", "http://localhost:0", "--frames", 10, "--size", "64x128") == 0
    assert time.monotonic() - start_s >= 9 / 30
    captured = capsys.readouterr()
    assert re.search(r"^open http://localhost:\d+ in a browser$", captured.err, re.MULTILINE)
    assert re.search(r"\d+ dropped$", captured.out)


def test_a_port_in_use(run_demo, capsys: pytest.CaptureFixture[str]):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert run_demo("synthetic", f"http://127.0.0.1:{port}", "--size", "64x128") == 2
    assert f"another program listens on port {port}" in capsys.readouterr().err


def test_a_recording_goes_on_when_the_camera_is_back(
    run_demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    away_s = 4
    monkeypatch.setattr(live, "_FIRST_WAITS_S", (away_s,) * 20)
    out = tmp_path / "out.mp4"
    with RtspServer(tmp_path, frames=25) as server:
        assert run_demo(server.url, out, "--frames", 26) == 0  # more than the camera sends at once
        absences = server.clients - 1  # more than one where a slow machine drops frames
        assert absences >= 1
    captured = capsys.readouterr()
    assert f"next attempt in {away_s} s: {server.url} sends no frames." in captured.err
    assert f"{server.url} is back after" in captured.err
    # About 26 frames at 25 a second; filled up with the seconds that the camera was away, they would be 100 more each.
    assert 20 <= len(read_video(out)) < 26 + 25 * away_s * absences


def bad_inputs(tmp_path: Path) -> None:
    """Fill a folder with one of each mistake."""
    write_video(tmp_path / "good.mp4", 5)
    write_video(tmp_path / "whole.avi", 60, noise=True)
    whole = (tmp_path / "whole.avi").read_bytes()
    (tmp_path / "half.avi").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "text.mp4").write_text("hello")
    (tmp_path / "empty").mkdir()


@pytest.mark.parametrize(
    ("source", "sink", "message"),
    [
        ("text.png", "out.mp4", "is not an image"),
        ("text.mp4", "out.mp4", "is not a video"),
        ("empty", "out.mp4", "holds no image"),
        ("missing.mp4", "out.mp4", "does not exist"),
        ("good.mp4", "text.mp4/out.mp4", "cannot write"),
        ("good.mp4", "text.mp4/folder", "cannot write"),
        ("good.mp4", "out.gif", "is not a kind of video"),
    ],
)
def test_bad_input_changes_nothing(
    run_demo, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, sink: str, message: str
):
    bad_inputs(tmp_path)
    (tmp_path / "out.mp4").write_bytes(b"old")
    before = sorted(tmp_path.iterdir())
    assert run_demo(tmp_path / source, tmp_path / sink) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "out.mp4").read_bytes() == b"old"


def test_camera_that_does_not_open(run_demo, capsys: pytest.CaptureFixture[str]):
    assert run_demo(99, "none") == 2
    assert "camera 99 does not open" in capsys.readouterr().err


def test_window_without_a_display(
    run_demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert run_demo(write_video(tmp_path / "in.mp4", 5), "window") == 2
    assert "there is no display" in capsys.readouterr().err


def test_models_that_cannot_run(run_demo, tmp_path: Path, colour_bundle: Path, capsys: pytest.CaptureFixture[str]):
    changed = shutil.copytree(colour_bundle, tmp_path / "changed")
    (changed / "colours.fp32.onnx").write_bytes(b"changed")
    (tmp_path / "empty").mkdir()
    for model, message in [
        (tmp_path / "missing", "does not exist"),
        (tmp_path / "empty", "is not a bundle"),
        (changed, "does not match the sha256"),
    ]:
        assert run_demo("synthetic", "none", model=model) == 2
        assert message in capsys.readouterr().err


def test_a_video_that_breaks_off_leaves_a_complete_output(run_demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    bad_inputs(tmp_path)
    assert run_demo(tmp_path / "half.avi", tmp_path / "out.mp4") == 2
    captured = capsys.readouterr()
    read = int(re.search(r"broke off: (\d+) frames could be read of the 60", captured.err)[1])
    assert captured.out.startswith(f"{read} frames")
    assert len(read_video(tmp_path / "out.mp4")) == read


def test_a_device_that_fails_leaves_a_complete_output(
    run_demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    labels, count = Pending.labels, 0

    def fail(self: Pending) -> np.ndarray:
        nonlocal count
        count += 1
        if count == 11:  # the first is the warm-up's
            raise UserError("the GPU is out of memory")
        return labels(self)

    monkeypatch.setattr(Pending, "labels", fail)
    assert run_demo(write_video(tmp_path / "in.mp4", 50), tmp_path / "out.mp4") == 2
    captured = capsys.readouterr()
    assert captured.out.startswith("9 frames in")
    assert captured.err.endswith("error: the GPU is out of memory\n")
    assert len(read_video(tmp_path / "out.mp4")) == 9


def test_a_synthetic_drive_too_small_to_render(run_demo, capsys: pytest.CaptureFixture[str]):
    assert run_demo("synthetic", "none", "--size", "8x16") == 2
    assert "Choose another --size" in capsys.readouterr().err


@pytest.mark.parametrize("option", [("--opacity", "2"), ("--size", "12"), ("--frames", "0"), ("--threads", "x")])
def test_wrong_options(run_demo, option: tuple[str, str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as raised:
        run_demo("synthetic", "none", *option)
    assert raised.value.code == 2
    assert option[0] in capsys.readouterr().err


def interrupt_at(monkeypatch: pytest.MonkeyPatch, *calls: int) -> None:
    """Press Ctrl-C while the network runs for these times."""
    start, count = demo.Segmenter.start, 0

    def interrupted(self: demo.Segmenter, frame_rgb: np.ndarray) -> Pending:
        nonlocal count
        count += 1
        if count in calls:
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.1)
        return start(self, frame_rgb)

    monkeypatch.setattr(demo.Segmenter, "start", interrupted)


def test_ctrl_c_on_a_file_keeps_what_was_done_and_says_that_it_is_not_all(
    run_demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = write_video(tmp_path / "in.mp4", 200)
    interrupt_at(monkeypatch, 20)
    assert run_demo(source, tmp_path / "out.mp4") == 130
    assert 1 <= len(read_video(tmp_path / "out.mp4")) < 30
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_ends_at_once_and_discards(run_demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = write_video(tmp_path / "in.mp4", 200)

    def never_stops(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(demo, "run", never_stops)
    assert run_demo(source, tmp_path / "out.mp4") == 130
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_on_an_endless_source_is_its_normal_end(tmp_path: Path, colour_bundle: Path, ending: signal.Signals):
    """As a user or the system does it: the script in a process of its own, started elsewhere, and a real signal."""
    out = tmp_path / "out.mp4"
    words = [SCRIPT, "--model", colour_bundle, "--source", "synthetic", "--size", "64x128", "--sink", out]
    process = subprocess.Popen(
        [sys.executable, *map(str, words)], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert "synthetic street 0" in process.stderr.readline()
    while not any(path.stat().st_size for path in tmp_path.iterdir()):  # the first frame opens the video
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(ending)
    summary, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert errors == ""
    frames = int(re.match(r"(\d+) frames", summary)[1])
    assert len(read_video(out)) == frames > 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_ctrl_c_ends_the_first_connection_at_once(colour_bundle: Path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/street"
        words = [SCRIPT, "--model", colour_bundle, "--source", address, "--sink", "none"]
        process = subprocess.Popen([sys.executable, *map(str, words)], stderr=subprocess.PIPE, text=True)
        connections = [silent.accept()[0] for _ in range(2)]  # is anyone there?, and FFmpeg, which waits for an answer
        asked_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        for connection in connections:
            connection.close()
    assert (process.returncode, errors) == (130, "interrupted\n")
    assert time.monotonic() - asked_s < 4  # FFmpeg waits for five seconds


def test_ctrl_c_ends_the_wait_for_a_lost_camera_at_once(tmp_path: Path, colour_bundle: Path):
    out = tmp_path / "out" / "camera.mp4"
    with RtspServer(tmp_path, frames=10) as server:
        words = [SCRIPT, "--model", colour_bundle, "--source", server.url, "--sink", out]
        process = subprocess.Popen(
            [sys.executable, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr.readline().startswith("colours 32x48 on onnxruntime")
        assert "next attempt in 1 s" in process.stderr.readline()
        server.close()
        while "next attempt in 8 s" not in (line := process.stderr.readline()):
            assert line
        asked_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert time.monotonic() - asked_s < 7.5  # before the eight seconds are over; ending takes a part of one
    assert read_video(out)  # complete, though a slow machine drops frames


def test_the_script_keeps_runtime_off_the_module_path(tmp_path: Path):
    program = f"""
import runpy, sys
sys.path[0], sys.argv = {str(SCRIPT.parent)!r}, ["demo.py", "--help"]  # as python runtime/demo.py --help does
try:
    runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
except SystemExit:
    sys.exit(sys.path[0] != {str(PROJECT_ROOT)!r} or {str(SCRIPT.parent)!r} in sys.path)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "examples:" in done.stdout
