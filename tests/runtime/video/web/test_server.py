import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import cv2
import numpy as np
import pytest

from runtime.errors import UserError
from runtime.video.frames import Source
from runtime.video.web import page_server
from runtime.video.web.broadcast import MAX_VIEWERS
from runtime.video.web.server import WebSink, web_sink
from tests.runtime.video.web.viewer import (
    JPEG_TOLERANCE,
    OPACITY,
    ROUNDING,
    ask,
    differs,
    next_event,
    next_picture,
    opened,
    overlay,
    result,
    serving,
    steer,
)


@pytest.fixture
def sink() -> Iterator[WebSink]:
    with serving() as sink:
        yield sink


def snapshot(port: int) -> np.ndarray:
    status, _, png = ask(port, "GET", "/snapshot.png")
    assert status == 200
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_the_stream_shows_the_painted_frames(sink: WebSink):
    with opened(sink.port, "/stream.mjpg") as stream:
        assert stream.getheader("Content-Type") == "multipart/x-mixed-replace; boundary=picture"
        for index in range(5):
            sink.write(result(index * 4))
            while differs(next_picture(stream), result(index * 4)) > JPEG_TOLERANCE:
                pass  # a picture from before; one that never comes ends in a time-out


def test_a_picture_that_stays_is_sent_again(sink: WebSink, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(page_server, "_RESEND_AFTER_S", 0.1)
    sink.write(result(3))
    with opened(sink.port, "/stream.mjpg") as stream:
        for _ in range(2):
            assert differs(next_picture(stream), result(3)) <= JPEG_TOLERANCE


@pytest.mark.parametrize("opacity", [0, 0.25, 1, 1.0])
def test_opacity_acts_on_what_is_shown(sink: WebSink, opacity: float):
    sink.write(result(10))
    with opened(sink.port, "/stream.mjpg") as stream:
        assert differs(next_picture(stream), result(10)) <= JPEG_TOLERANCE
        assert steer(sink.port, {"opacity": opacity}) == 204
        while differs(next_picture(stream), result(10), opacity) > JPEG_TOLERANCE:
            pass
    assert differs(snapshot(sink.port), result(10), opacity) <= ROUNDING


def test_pause_freezes_stream_and_snapshot(sink: WebSink, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(page_server, "_RESEND_AFTER_S", 0.1)
    sink.write(result(1))
    with opened(sink.port, "/stream.mjpg") as stream:
        next_picture(stream)
        assert steer(sink.port, {"paused": True}) == 204
        sink.write(result(20))
        for _ in range(5):
            assert differs(next_picture(stream), result(1)) <= JPEG_TOLERANCE
        assert differs(snapshot(sink.port), result(1)) <= ROUNDING
        assert steer(sink.port, {"paused": False}) == 204
        while differs(next_picture(stream), result(20)) > JPEG_TOLERANCE:
            pass


def test_snapshot_is_the_frame_at_full_size_under_its_name(sink: WebSink):
    assert ask(sink.port, "GET", "/snapshot.png")[0] == 503
    sink.write(result(7, size=(1000, 2000)))
    status, headers, _ = ask(sink.port, "HEAD", "/snapshot.png")
    assert (status, headers["Content-Type"]) == (200, "image/png")
    assert headers["Content-Disposition"] == "attachment; filename*=UTF-8''frame%207.png"
    saved = snapshot(sink.port)
    assert saved.shape == (1000, 2000, 3)
    assert differs(saved, result(7, size=(1000, 2000))) <= ROUNDING


def test_a_snapshot_keeps_the_bytes_of_a_name_that_is_no_text(sink: WebSink):
    odd = result(0)
    sink.write(replace(odd, frame=replace(odd.frame, name='a"\udcff\u20ac')))
    disposition = ask(sink.port, "GET", "/snapshot.png")[1]["Content-Disposition"]
    assert disposition == "attachment; filename*=UTF-8''a%22%FF%E2%82%AC.png"


def test_a_slow_viewer_holds_nobody_up_and_catches_up(sink: WebSink, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(page_server._Handler, "timeout", 600)  # or it is dropped where this test itself is slow
    frames = 30
    with opened(sink.port, "/stream.mjpg") as slow, opened(sink.port, "/stream.mjpg") as quick:
        for index in range(frames):  # some 25 MB for each viewer, far more than all buffers between us hold
            sink.write(result(index, size=(720, 1280), noise=True))
            next_picture(quick)
        sink.write(result(25))
        last = result(25)
        for stream in (quick, slow):
            pictures = 1
            while (picture := next_picture(stream)).shape != last.frame.rgb.shape:
                pictures += 1
            assert differs(picture, last) <= JPEG_TOLERANCE
            assert pictures < frames / 2


def test_many_viewers_up_to_a_limit(sink: WebSink):
    sink.write(result(5))
    with ExitStack() as stack:
        streams = [stack.enter_context(opened(sink.port, "/stream.mjpg")) for _ in range(MAX_VIEWERS)]
        for stream in streams:
            assert differs(next_picture(stream), result(5)) <= JPEG_TOLERANCE
        status, _, text = ask(sink.port, "GET", "/stream.mjpg")
        assert (status, text) == (503, b"Too many are watching. Close another page first.\n")


def test_connections_are_limited(sink: WebSink):
    with ExitStack() as stack:
        for _ in range(page_server._MAX_CONNECTIONS):
            next_event(stack.enter_context(opened(sink.port, "/events")))
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            ask(sink.port, "GET", "/")


def test_events_tell_model_state_and_end():
    with ExitStack() as stack:
        with serving(title="street 128x256") as sink:
            events = stack.enter_context(opened(sink.port, "/events"))
            name, model = next_event(events)
            assert (name, model["title"]) == ("model", "street 128x256")
            assert model["classes"][1] == {"name": "green", "colour": [107, 142, 35]}
            sink.write(result(0))
            steer(sink.port, {"opacity": 0.75})
            while (state := next_event(events)[1])["opacity"] != 0.75:
                assert state["opacity"] == OPACITY
            assert state["shares"] == [0.5, 0.0, 0.5]
            assert state["size"] == [128, 96]
            assert state["history"]["latency_ms"].count(20.0) == 1
        while (event := next_event(events))[0] != "ended":
            pass
        assert event == ("ended", {})
        assert events.read() == b""


def test_the_size_of_the_frames_is_told_at_once(sink: WebSink, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(page_server, "_STATE_EVERY_S", 600)
    with opened(sink.port, "/events") as events:
        assert next_event(events)[0] == "model"
        assert next_event(events)[1]["size"] is None
        sink.write(result(0))
        assert next_event(events)[1]["size"] == [128, 96]
        sink.write(result(1))
        sink.write(result(2, size=(48, 64)))
        assert next_event(events)[1]["size"] == [64, 48]


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js", "/?from=elsewhere"])
def test_the_page_needs_nothing_from_elsewhere(sink: WebSink, path: str):
    status, headers, body = ask(sink.port, "GET", path)
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert headers["Content-Length"] == str(len(body))
    text = body.decode().replace("http://www.w3.org/2000/svg", "")  # a name, which nobody loads
    assert "//" not in text.replace("// ", "")
    status, head_headers, head_body = ask(sink.port, "HEAD", path)
    assert (status, head_headers["Content-Length"], head_body) == (200, headers["Content-Length"], b"")


@pytest.mark.parametrize("path", ["/stream.mjpg", "/events"])
def test_head_of_what_never_ends(sink: WebSink, path: str):
    assert ask(sink.port, "HEAD", path)[::2] == (200, b"")


@pytest.mark.parametrize(
    "path", ["/x", "/page.html", "/../server.py", "/%2e%2e/server.py", "//etc/passwd", "/page.css/", "/page.js%00"]
)
def test_nothing_else_is_there(sink: WebSink, path: str):
    assert ask(sink.port, "GET", path)[0] == 404
    assert ask(sink.port, "POST", path)[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/", "GET, HEAD"),
        ("PUT", "/snapshot.png", "GET, HEAD"),
        ("DELETE", "/stream.mjpg", "GET, HEAD"),
        ("GET", "/control", "POST"),
        ("OPTIONS", "/control", "POST"),
    ],
)
def test_wrong_methods_are_told_the_right_ones(sink: WebSink, method: str, path: str, allowed: str):
    status, headers, _ = ask(sink.port, method, path)
    assert (status, headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize("path", ["/", "/stream.mjpg", "/snapshot.png", "/events", "/control", "/x"])
def test_a_foreign_name_for_this_machine_gets_nothing(sink: WebSink, path: str):
    for method in ("GET", "POST"):
        assert ask(sink.port, method, path, headers={"Host": f"evil.example:{sink.port}"})[0] == 403


def test_pages_of_other_sites_cannot_steer(sink: WebSink):
    own = f"http://127.0.0.1:{sink.port}"
    assert steer(sink.port, {"paused": True}, {"Origin": own}) == 204
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1", f"https://127.0.0.1:{sink.port}", ""):
        assert steer(sink.port, {"paused": False}, {"Origin": origin}) == 403
    # What a form can send without asking first.
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert steer(sink.port, {"paused": False}, {"Content-Type": kind}) == 415
    with opened(sink.port, "/events") as events:
        next_event(events)
        assert next_event(events)[1]["paused"] is True


@pytest.mark.parametrize(
    "order",
    [
        *({}, [], None, "x", 1, {"paused": 1}, {"paused": "yes"}, {"paused": None}),
        *({"opacity": wrong} for wrong in (1.01, -0.1, float("nan"), True, "0.5", None)),
    ],
)
def test_orders_that_make_no_sense(sink: WebSink, order: object):
    assert steer(sink.port, order) == 400


def test_bodies_that_are_no_orders(sink: WebSink):
    json_kind = {"Content-Type": "application/json"}
    for body in ("", "{", "[" * 1024, "\udcff".encode("utf-8", "surrogateescape")):
        assert ask(sink.port, "POST", "/control", body, {**json_kind, "Content-Length": str(len(body))})[0] == 400
    for length, status in [("1025", 413), ("9" * 30, 413), ("-1", 411), ("ten", 411)]:
        assert ask(sink.port, "POST", "/control", headers={**json_kind, "Content-Length": length})[0] == status


def test_broken_requests_end_only_themselves(sink: WebSink, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    for request, status in [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n", b"400"),  # a browser that tries https
        (b"GET / HTTP/9.9\r\n\r\n", b"505"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"431"),
        (b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"501"),
        (b"GET / HTTP/1.1\r\n\r\n", b"403"),  # no Host
    ]:
        with socket.create_connection(("127.0.0.1", sink.port)) as connection:
            connection.settimeout(20)
            connection.sendall(request)
            assert status in connection.recv(400)
    assert ask(sink.port, "GET", "/")[0] == 200
    assert capsys.readouterr().err == ""


@pytest.mark.timeout(60)
def test_leaving_ends_threads_and_frees_the_port(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(page_server._Handler, "timeout", 600)  # so that no connection ends by itself
    before = set(threading.enumerate())
    with ExitStack() as stack:
        with serving() as sink:
            for _ in range(3):
                stack.enter_context(opened(sink.port, "/stream.mjpg"))  # one that never reads
                stack.enter_context(opened(sink.port, "/events"))
            stack.enter_context(socket.create_connection(("127.0.0.1", sink.port)))  # one that never asks
            for index in range(20):
                sink.write(result(index, size=(720, 1280), noise=True))
            assert len(set(threading.enumerate()) - before) >= 8
        assert set(threading.enumerate()) == before
        with serving(f"http://127.0.0.1:{sink.port}") as again:
            assert again.port == sink.port


def test_leaving_with_an_error_too():
    before = set(threading.enumerate())
    with pytest.raises(RuntimeError, match="from inside"), serving():
        raise RuntimeError("from inside")
    assert set(threading.enumerate()) == before


def cannot_serve(text: str, message: str) -> None:
    before = set(threading.enumerate())
    with pytest.raises(UserError, match=message), serving(text):
        pytest.fail("entered")
    assert set(threading.enumerate()) == before


def test_a_port_in_use(sink: WebSink):
    cannot_serve(f"http://127.0.0.1:{sink.port}", f"another program listens on port {sink.port}")


def test_a_port_for_root_alone(monkeypatch: pytest.MonkeyPatch):
    """Tests may run as root, whom nothing forbids."""

    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(page_server.PageServer, "server_bind", forbidden)
    cannot_serve("http://127.0.0.1:80", "only root may use port 80. Choose one from 1024 up")


def test_an_address_of_another_machine():
    cannot_serve("http://192.0.2.7:8080", "192.0.2.7 is not an address of this machine")  # for documentation, RFC 5737


def test_the_terminal_learns_where_and_for_whom(capsys: pytest.CaptureFixture[str]):
    with serving("http://localhost:0") as sink:
        assert capsys.readouterr().err == f"open http://localhost:{sink.port} in a browser\n"
    with serving("http://0.0.0.0:0") as sink:
        said = capsys.readouterr().err
    assert f"open http://{socket.gethostname()}:{sink.port} in a browser\nnote: everyone" in said


class RecordingStop(threading.Event):
    """Notes for how long it was waited for, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_s: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits_s.append(timeout)
        return True


@pytest.mark.parametrize(("live", "waited_s"), [(False, 100.0), (True, 0.0)])
def test_a_file_plays_at_its_own_speed_and_a_camera_at_once(live: bool, waited_s: float):
    stop = RecordingStop()
    source = Source("film", (frame for frame in ()), 0.01, None, live=live)
    with web_sink("http://127.0.0.1:0", overlay(), "net", stop, source) as sink:
        for index in range(3):
            sink.write(result(index))
    first, second, third = stop.waits_s
    assert first == 0
    assert second == pytest.approx(waited_s, abs=50)  # less what the first frame took
    assert third == pytest.approx(2 * waited_s, abs=50)  # the second was not waited for in truth


def test_the_last_image_stays_until_stopped():
    stop = threading.Event()
    source = Source("photos", (frame for frame in ()), 1000, 1, still=True)

    def look() -> None:
        assert differs(snapshot(port.pop()), result(4)) <= ROUNDING
        with opened(served.port, "/events") as events:
            next_event(events)
            while not next_event(events)[1]["finished"]:
                pass
        looked.append(True)
        stop.set()

    port: list[int] = []
    looked: list[bool] = []
    viewer = threading.Thread(target=look)
    with web_sink("http://127.0.0.1:0", overlay(), "net", stop, source) as served:
        port.append(served.port)
        served.write(result(4))
        viewer.start()
    viewer.join()
    assert looked == [True]
    with pytest.raises(ConnectionRefusedError):
        ask(served.port, "GET", "/")


def test_nothing_odd_comes_out_as_json(sink: WebSink):
    """Browsers refuse NaN, which json.dumps would write."""
    with opened(sink.port, "/events") as events:
        next_event(events)
        assert json.dumps(next_event(events)[1], allow_nan=False)
