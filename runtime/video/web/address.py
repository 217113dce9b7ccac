"""Which address ``http://HOST:PORT`` means, and who may ask for it."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from runtime.errors import UserError

_EXAMPLES = "http://localhost:8080 for this machine alone, http://0.0.0.0:8080 for everyone in its network"


@dataclass(frozen=True)
class Address:
    """Where to listen. ``host`` is what the user wrote, without the brackets of IPv6."""

    host: str
    port: int
    family: socket.AddressFamily
    ip: str

    @property
    def local(self) -> bool:
        """True where only this machine gets in."""
        return ipaddress.ip_address(self.ip).is_loopback

    @property
    def browser_host(self) -> str:
        """The host for a browser's address bar."""
        if ipaddress.ip_address(self.ip).is_unspecified:
            return socket.gethostname()
        return f"[{self.host}]" if ":" in self.host else self.host

    def admits(self, host_header: str) -> bool:
        """Whether a request may carry this Host header.

        A foreign page can let its own name resolve to our address (DNS rebinding) and would then read our stream as its
        own; the name in the header gives it away. Plain numbers and the machine's own names cannot be such a name.
        """
        try:
            name = (urlsplit(f"//{host_header}").hostname or "").lower()
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            own = socket.gethostname().lower()
            return name in {"localhost", self.host.lower(), own, f"{own}.local"}
        return True


def parse_address(text: str) -> Address:
    """Read ``http://HOST:PORT``; port 0 is any free one. Raises UserError for whatever is no such address."""
    if text.lower().startswith("https://"):
        raise UserError(
            f"cannot serve {text}: there is no https here. Serve http://localhost:8080 and reach it from afar through "
            f"SSH: ssh -L 8080:localhost:8080 THIS_MACHINE"
        )
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UserError(f"{text} is not an address: {error}. Write {_EXAMPLES}.") from error
    if not host or port is None or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise UserError(f"{text} is not of the form http://HOST:PORT. Write {_EXAMPLES}.")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UserError(f"cannot serve {text}: no machine is called {host}. Write {_EXAMPLES}.") from error
    family, *_, socket_address = min(found, key=lambda entry: entry[0] != socket.AF_INET)  # IPv4 where there is one
    return Address(host, port, family, str(socket_address[0]))
