"""The sink ``http://HOST:PORT``: a page with the stream, legend, speed and controls, for a device without a screen."""

from __future__ import annotations

import errno
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from runtime.errors import UserError
from runtime.video.frames import Result, Source
from runtime.video.overlay import Overlay
from runtime.video.web.address import Address, parse_address
from runtime.video.web.broadcast import Broadcast
from runtime.video.web.page_server import PageServer

_POLL_S = 0.05  # how soon the server notices that it should stop


@contextmanager
def web_sink(
    text: str, overlay: Overlay, title: str, stop: threading.Event, source: Source | None = None
) -> Iterator[WebSink]:
    """Show the results on a live page at ``text``, http://HOST:PORT, and say on stderr where it is.

    ``title`` names the model on the page. The page has a legend and a speed display of its own, so the pictures carry
    the overlay's colours alone; the page sets the overlay's opacity. ``source`` gives a file its own speed and keeps
    the last of some images there until ``stop``. Leaving frees the port and ends every thread. Raises UserError where
    the address is wrong, taken or not ours.
    """
    address = parse_address(text)
    classes = [{"name": name, "colour": colour} for colour, name in overlay.rows]
    broadcast = Broadcast(overlay)
    try:
        server = _listen(address, broadcast, json.dumps({"title": title, "classes": classes}))
    except BaseException:
        broadcast.close()
        raise
    accepting = threading.Thread(target=server.serve_forever, args=(_POLL_S,), name="web server", daemon=True)
    accepting.start()
    try:
        _announce(address, server.server_port)
        yield WebSink(broadcast, stop, source, server.server_port)
        if source is not None and source.still:
            broadcast.finish()
            stop.wait()
    finally:
        server.shutdown()
        accepting.join()
        broadcast.close()
        server.hang_up()


class WebSink:
    """Hands results to the broadcast, which never waits for a viewer; a file's at the file's own speed."""

    def __init__(self, broadcast: Broadcast, stop: threading.Event, source: Source | None, port: int) -> None:
        self.port = port
        self._broadcast = broadcast
        self._stop = stop
        self._interval_s = 0.0 if source is None or source.live else 1 / source.fps
        self._due_s = 0.0  # when the next frame may be shown

    def wants_more(self) -> bool:
        """Always: the page may close and come back."""
        return True

    def write(self, result: Result) -> None:
        """Show the next result."""
        self._stop.wait(max(0.0, self._due_s - time.monotonic()))
        now_s = time.monotonic()
        on_time = now_s - self._due_s < self._interval_s  # if not, what was missed is not caught up with
        self._due_s = (self._due_s if on_time else now_s) + self._interval_s
        self._broadcast.write(result)


def _listen(address: Address, broadcast: Broadcast, model_json: str) -> PageServer:
    try:
        return PageServer(address, broadcast, model_json)
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: f"another program listens on port {address.port}. End it, or choose another port",
            errno.EACCES: f"only root may use port {address.port}. Choose one from 1024 up, e.g. 8080",
            errno.EADDRNOTAVAIL: f"{address.host} is not an address of this machine. Write localhost, or 0.0.0.0",
        }
        reason = reasons.get(error.errno or 0, error.strerror or str(error))
        raise UserError(f"cannot serve {address.host}:{address.port}: {reason}.") from error


def _announce(address: Address, port: int) -> None:
    print(f"open http://{address.browser_host}:{port} in a browser", file=sys.stderr)
    if not address.local:
        print(
            f"note: everyone whose network reaches {address.browser_host} can watch and steer; "
            f"http://localhost:{port} would keep it to this machine",
            file=sys.stderr,
        )
