"""The page over HTTP: fixed files, the stream, events, snapshots and steering; nothing else is reachable."""

from __future__ import annotations

import json
import socket
import socketserver
import sys
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import cv2

from runtime.video.web.address import Address
from runtime.video.web.broadcast import Broadcast, TooManyViewers

_MAX_CONNECTIONS = 64
_MAX_BODY_BYTES = 1024
_TIMEOUT_S = 10.0  # of a connection that sends or takes nothing
_STATE_EVERY_S = 0.5
_RESEND_AFTER_S = 2.0  # a picture that stays the same is sent again, which shows whether the viewer is still there
_STREAM_BUFFER_BYTES = 256 * 1024  # a few pictures: what waits in a buffer for a slow viewer only grows old
_FAREWELL_S = 0.5  # for viewers to take the news that the stream ended

_FOLDER = Path(__file__).parent
_FILES = {
    "/": (_FOLDER / "page.html", "text/html; charset=utf-8"),
    "/page.css": (_FOLDER / "page.css", "text/css; charset=utf-8"),
    "/page.js": (_FOLDER / "page.js", "text/javascript; charset=utf-8"),
}
_METHODS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((*_FILES, "/stream.mjpg", "/events", "/snapshot.png"), ("GET", "HEAD")),
    "/control": ("POST",),
}

_NEXT_PICTURE = b"\r\n--picture\r\nContent-Type: image/jpeg\r\n\r\n"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",  # a page of another site cannot show our stream either
    "X-Content-Type-Options": "nosniff",
}


class PageServer(ThreadingHTTPServer):
    """One thread a connection, a limited number of them, and hang_up() ends them all. Raises OSError."""

    daemon_threads = False  # so that server_close() waits for them

    def __init__(self, address: Address, broadcast: Broadcast, model_json: str) -> None:
        self.address = address
        self.broadcast = broadcast
        self.model_json = model_json
        self.address_family = address.family
        self._connections: set[socket.socket] = set()
        self._connections_changed = threading.Condition()
        super().__init__((address.ip, address.port), _Handler)

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of our full name, which takes seconds where no name server answers."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.address.host, self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a connection's thread, or hang up where there are too many."""
        with self._connections_changed:
            welcome = len(self._connections) < _MAX_CONNECTIONS
            if welcome:
                self._connections.add(request)
        if welcome:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._connections_changed:
            self._connections.discard(request)
            self._connections_changed.notify_all()
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Free the port and end every connection; what the viewers are being told last has a moment to arrive."""
        with self._connections_changed:
            self._connections_changed.wait_for(lambda: not self._connections, _FAREWELL_S)
            for connection in self._connections:
                with suppress(OSError):  # it may just have left
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about viewers who leave in the middle of an answer."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version = "HyperSeg"
    sys_version = ""
    timeout = _TIMEOUT_S

    def _answer(self) -> None:
        host = self.headers.get("Host", "")
        path = self.path.partition("?")[0]
        methods = _METHODS.get(path)
        if not self.server.address.admits(host):
            self._send_text(HTTPStatus.FORBIDDEN, f"This machine is not called {host!r}. Use its IP address.")
        elif methods is None:
            self._send_text(HTTPStatus.NOT_FOUND, "There is nothing here; the page is at /.")
        elif self.command not in methods:
            self._send_text(HTTPStatus.METHOD_NOT_ALLOWED, f"Use {methods[0]}.", {"Allow": ", ".join(methods)})
        elif path == "/stream.mjpg":
            self._send_stream()
        elif path == "/events":
            self._send_events()
        elif path == "/snapshot.png":
            self._send_snapshot()
        elif path == "/control":
            self._steer(host)
        else:
            file, kind = _FILES[path]
            self._send(HTTPStatus.OK, kind, file.read_bytes())

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer  # noqa: N815

    def _send_stream(self) -> None:
        """Motion JPEG: pictures one after another, each in the place of the one before."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _STREAM_BUFFER_BYTES)
        broadcast = self.server.broadcast
        try:
            with broadcast.viewing(self._viewer()):
                self._start(HTTPStatus.OK, "multipart/x-mixed-replace; boundary=picture")
                self._write(_NEXT_PICTURE)
                number = 0
                while not broadcast.closed and self.command != "HEAD":
                    picture = broadcast.next_picture(number, _RESEND_AFTER_S)
                    if picture is not None:
                        number = picture.number
                        # Chromium shows a picture when the header of the next arrives, so that goes along at once.
                        self._write(picture.jpeg + _NEXT_PICTURE)
        except TooManyViewers:
            self._send_text(HTTPStatus.SERVICE_UNAVAILABLE, "Too many are watching. Close another page first.")

    def _send_events(self) -> None:
        """Server-sent events: ``model`` once, ``state`` twice a second and at every change, ``ended`` at the end."""
        broadcast = self.server.broadcast
        self._start(HTTPStatus.OK, "text/event-stream")
        self._send_event("model", self.server.model_json)
        changes = 0
        while not broadcast.closed and self.command != "HEAD":
            self._send_event("state", json.dumps(broadcast.state(self._viewer())))
            changes = broadcast.wait_for_change(changes, _STATE_EVERY_S)
        self._send_event("ended", "{}")

    def _viewer(self) -> str:
        """The name that a page gives itself, the same for its stream and its events."""
        return parse_qs(self.path.partition("?")[2]).get("viewer", [""])[0]

    def _send_event(self, name: str, data_json: str) -> None:
        self._write(f"event: {name}\ndata: {data_json}\n\n".encode())

    def _send_snapshot(self) -> None:
        snapshot = self.server.broadcast.snapshot()
        if snapshot is None:
            self._send_text(HTTPStatus.SERVICE_UNAVAILABLE, "No frame has arrived yet.")
            return
        name, frame_rgb = snapshot
        _, png = cv2.imencode(".png", cv2.cvtColor(frame_rgb, cv2.COLOR_RGB2BGR))
        disposition = f"attachment; filename*=UTF-8''{quote(name, safe='', errors='surrogateescape')}.png"
        self._send(HTTPStatus.OK, "image/png", png.tobytes(), {"Content-Disposition": disposition})

    def _steer(self, host: str) -> None:
        """Do what the JSON in the body says: {"opacity": 0.5} or {"paused": true}."""
        length = self.headers.get("Content-Length", "")
        # Of a page of another site, the browser names the site as Origin, and asks us before it sends JSON.
        if self.headers.get("Origin", f"http://{host}") != f"http://{host}":
            self._send_text(HTTPStatus.FORBIDDEN, "A page of another site may not steer this one.")
        elif self.headers.get_content_type() != "application/json":
            self._send_text(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send application/json.")
        elif not length.isdecimal():
            self._send_text(HTTPStatus.LENGTH_REQUIRED, "Send a Content-Length.")
        elif len(length) > len(str(_MAX_BODY_BYTES)) or int(length) > _MAX_BODY_BYTES:
            self._send_text(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"Send at most {_MAX_BODY_BYTES} bytes.")
        elif self._obey(self.rfile.read(int(length))):
            self._send(HTTPStatus.NO_CONTENT)
        else:
            self._send_text(HTTPStatus.BAD_REQUEST, 'Send {"opacity": 0 to 1} or {"paused": true or false}.')

    def _obey(self, body: bytes) -> bool:
        try:
            order = json.loads(body)
        except (ValueError, RecursionError):
            return False
        match order:
            case {"paused": bool(paused)}:
                self.server.broadcast.set_paused(paused)
                return True
            case {"opacity": int(opacity) | float(opacity)} if 0 <= opacity <= 1 and not isinstance(opacity, bool):
                self.server.broadcast.set_opacity(float(opacity))
                return True
        return False

    def _send_text(self, status: HTTPStatus, text: str, headers: dict[str, str] | None = None) -> None:
        self._send(status, "text/plain; charset=utf-8", f"{text}\n".encode(), headers)

    def _send(
        self, status: HTTPStatus, kind: str = "", body: bytes = b"", headers: dict[str, str] | None = None
    ) -> None:
        length = {"Content-Length": str(len(body))} if kind else {}  # 204 has neither
        self._start(status, kind, length | (headers or {}))
        self._write(body)

    def _start(self, status: HTTPStatus, kind: str = "", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def _write(self, content: bytes) -> None:
        if self.command != "HEAD":
            self.wfile.write(content)

    def end_headers(self) -> None:
        """Close the header, that of an error of the base class included, with what every answer carries."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet: the terminal belongs to the demo."""
