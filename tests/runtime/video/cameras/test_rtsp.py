import socket
import time
from pathlib import Path

import pytest

from runtime.errors import UserError
from runtime.video.cameras import live, rtsp
from runtime.video.cameras.live import live_source
from runtime.video.cameras.rtsp import rtsp_camera
from tests.runtime.video.rtsp_server import FPS, RtspServer
from tests.runtime.video.videos import SIZE, number_of


def test_frames_come_in_order_and_the_newest_is_not_held_back(tmp_path: Path):
    with RtspServer(tmp_path) as server:
        source = live_source(rtsp_camera(server.url))
        assert (source.title, source.fps, source.live) == (server.url, FPS, True)
        numbers, behind = [], []
        for _, frame in zip(range(10), source.frames, strict=False):
            assert frame.rgb.shape == (*SIZE, 3)
            numbers.append(number_of(frame.rgb))
            behind.append(len(server.sent_s) - 1 - numbers[-1])
        source.frames.close()
    assert numbers == list(range(10))
    # A stream has no frame's end, so one frame waits for the next one's beginning; a second one may just be on its way.
    # With eight decoding threads it would be eight.
    assert sorted(behind)[5] <= 2


def test_a_stream_that_ends_is_connected_to_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(live, "_FIRST_WAITS_S", (0.1, 0.1))
    with RtspServer(tmp_path, frames=10) as server:
        source = live_source(rtsp_camera(server.url))
        numbers = [number_of(next(source.frames).rgb) for _ in range(13)]
        source.frames.close()
        assert server.clients == 2
    assert numbers == [*range(10), 0, 1, 2]
    assert f"{server.url} is back after" in capsys.readouterr().err


def test_a_stream_that_falls_silent_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(live, "_FIRST_WAITS_S", (0.1,))
    monkeypatch.setattr(rtsp, "SILENCE_S", 1)
    with RtspServer(tmp_path, frames=10, hangs=True) as server:
        source = live_source(rtsp_camera(server.url))
        for _ in range(13):
            next(source.frames)
        source.frames.close()
        assert server.clients == 2
    assert "street sends no frames." in capsys.readouterr().err


def test_the_password_stays_out_of_titles(tmp_path: Path):
    with RtspServer(tmp_path) as server:
        source = live_source(rtsp_camera(server.url.replace("127.0.0.1", "user:secret@127.0.0.1")))
        assert source.title == server.url
        assert next(source.frames).name == "127.0.0.1_000000"
        source.frames.close()


@pytest.mark.parametrize("status", [401, 404])
def test_a_camera_that_refuses(tmp_path: Path, status: int):
    with RtspServer(tmp_path, status=status) as server:
        address = server.url.replace("127.0.0.1", "user:secret@127.0.0.1")
        with pytest.raises(UserError, match="answers, but gives no video: its path, user or password") as error:
            live_source(rtsp_camera(address))
    assert "secret" not in str(error.value)


def test_a_camera_that_says_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rtsp, "SILENCE_S", 1)
    start_s = time.monotonic()
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(UserError, match="answers, but gives no video"),
    ):
        live_source(rtsp_camera(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/street"))
    assert time.monotonic() - start_s < 10  # FFmpeg's own limit is 30


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UserError, match=rf"does not answer at port {port}: Connection refused\. .*ping 127\.0\.0\.1"):
        live_source(rtsp_camera(f"rtsp://user:secret@127.0.0.1:{port}/street"))
    with pytest.raises(UserError, match="does not answer at port 554"):
        live_source(rtsp_camera("rtsp://camera.invalid/street"))


@pytest.mark.parametrize(
    "address", ["rtsp://", "rtsp:///street", "rtsp://camera:99999/", "rtsp://camera:x/", "rtsp://[::/"]
)
def test_wrong_addresses(address: str):
    with pytest.raises(UserError, match="rtsp://HOST:PORT/PATH"):
        rtsp_camera(address)
