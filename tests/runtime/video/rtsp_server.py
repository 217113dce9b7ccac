"""A network camera: as much of RTSP (RFC 2326, over TCP) as a real client asks for, with MPEG-4 video (RFC 6416)."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from pathlib import Path

import cv2

from tests.runtime.video.videos import SIZE, write_video

FPS = 25
_VIDEO_OBJECT_PLANE = b"\x00\x00\x01\xb6"  # what stands before it in the first packet describes the stream
_PAYLOAD_BYTES = 1400


class RtspServer:
    """Sends the frames of :func:`numbered_frame`, from 0 again to every client, and stops when and how it is told.

    After ``frames`` of them it hangs up, or falls silent if it ``hangs``. ``status`` other than 200 answers DESCRIBE.
    """

    def __init__(
        self,
        tmp_path: Path,
        *,
        frames: int = 1000,
        hangs: bool = False,
        status: int = 200,
        port: int = 0,
        size: tuple[int, int] = SIZE,
    ) -> None:
        self.clients = 0
        self.requests: list[str] = []
        self.sent_s: list[float] = []
        self._packets = _encode(tmp_path / "camera.avi", min(frames, 500), size)
        self._frames, self._hangs, self._status = frames, hangs, status
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.url = f"rtsp://127.0.0.1:{self.port}/street"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Pull the plug."""
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def __enter__(self) -> RtspServer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as lines, contextlib.suppress(OSError):
            while (request := lines.readline()) and not self._closing.is_set():
                method, _, _ = request.decode().partition(" ")
                headers = {}
                while (line := lines.readline().decode().strip()) != "":
                    name, _, value = line.partition(":")
                    headers[name.lower()] = value.strip()
                self.requests.append(method)
                self._answer(client, method, headers)
                if method == "PLAY":
                    self._play(client)
                    return

    def _answer(self, client: socket.socket, method: str, headers: dict[str, str]) -> None:
        status, extra, body = 200, [], ""
        if method == "DESCRIBE":
            status = self._status
            config = self._packets[0].partition(_VIDEO_OBJECT_PLANE)[0].hex()
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=street\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                f"a=rtpmap:96 MP4V-ES/90000\r\na=fmtp:96 profile-level-id=1;config={config}\r\n"
                f"a=framerate:{FPS}\r\na=control:track0\r\n"
            )
            extra = ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            extra = [f"Transport: {headers['transport']}", "Session: 1"]
        elif method == "OPTIONS":
            extra = ["Public: OPTIONS, DESCRIBE, SETUP, PLAY"]
        lines = [f"RTSP/1.0 {status} {'OK' if status == 200 else 'No'}", f"CSeq: {headers['cseq']}", *extra, "", body]
        client.sendall("\r\n".join(lines).encode())

    def _play(self, client: socket.socket) -> None:
        self.clients += 1
        sequence, start_s = 0, time.monotonic()
        for index in range(self._frames):
            if self._closing.wait(max(0.0, start_s + index / FPS - time.monotonic())):
                return
            packet = self._packets[index % len(self._packets)]
            self.sent_s.append(time.monotonic())
            for begin in range(0, len(packet), _PAYLOAD_BYTES):
                payload = packet[begin : begin + _PAYLOAD_BYTES]
                last = begin + _PAYLOAD_BYTES >= len(packet)
                rtp = struct.pack(">BBHII", 0x80, 96 | last << 7, sequence % 2**16, index * 90000 // FPS % 2**32, 7)
                client.sendall(struct.pack(">cBH", b"$", 0, len(rtp) + len(payload)) + rtp + payload)
                sequence += 1
        if self._hangs:
            self._closing.wait()


def _encode(path: Path, frames: int, size: tuple[int, int]) -> list[bytes]:
    """The frames as MPEG-4 packets."""
    capture = cv2.VideoCapture(str(write_video(path, frames, size=size)), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    packets = []
    while (read := capture.read())[0]:
        packets.append(read[1].tobytes())
    capture.release()
    assert len(packets) == frames
    return packets
