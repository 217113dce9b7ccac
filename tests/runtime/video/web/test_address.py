import socket

import pytest

from runtime.errors import UserError
from runtime.video.web.address import parse_address


@pytest.mark.parametrize(
    ("text", "ip", "port", "local"),
    [
        ("http://127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("http://localhost:8080/", "127.0.0.1", 8080, True),
        ("HTTP://0.0.0.0:80", "0.0.0.0", 80, False),
        ("http://192.0.2.7:0", "192.0.2.7", 0, False),
        ("http://[::1]:8080", "::1", 8080, True),
    ],
)
def test_address_and_who_reaches_it(text: str, ip: str, port: int, local: bool):
    address = parse_address(text)
    assert (address.ip, address.port, address.local) == (ip, port, local)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http://8080", "not of the form http://HOST:PORT"),
        ("http://:8080", "not of the form"),
        ("http://localhost", "not of the form"),
        ("http://localhost:8080/live", "not of the form"),
        ("http://me:secret@localhost:8080", "not of the form"),
        ("http://", "not of the form"),
        ("http://localhost:http", "is not an address"),
        ("http://localhost:65536", "is not an address"),
        ("http://[::1:8080", "is not an address"),
        ("http://no-such-host.invalid:8080", "no machine is called no-such-host.invalid"),
        (f"http://{'x' * 70}:8080", "no machine is called"),
        ("https://localhost:8080", "there is no https here.*ssh -L"),
    ],
)
def test_what_is_no_address(text: str, message: str):
    with pytest.raises(UserError, match=message):
        parse_address(text)


def test_only_names_that_nobody_else_can_own_are_admitted():
    local, everyone = parse_address("http://localhost:8080"), parse_address("http://0.0.0.0:8080")
    for address in (local, everyone):
        for host in ("localhost:8080", "LOCALHOST", "127.0.0.1:8080", "192.168.1.5:9000", "[::1]:8080"):
            assert address.admits(host)
        assert address.admits(f"{socket.gethostname()}:8080")
        assert address.admits(f"{socket.gethostname()}.local:8080")
        for host in (
            "",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[::1",
            "a b",
            "local",
        ):
            assert not address.admits(host)


def test_a_browser_gets_a_name_that_works_from_afar():
    assert parse_address("http://0.0.0.0:8080").browser_host == socket.gethostname()
    assert parse_address("http://localhost:8080").browser_host == "localhost"
    assert parse_address("http://[::1]:8080").browser_host == "[::1]"
