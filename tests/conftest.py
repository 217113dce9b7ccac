"""What all tests stand on."""

import resource
import signal
from contextlib import contextmanager

import pytest


def pytest_configure(config):
    # Started in the background, a shell has us and our children ignore Ctrl-C, which some tests send.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def file_size_limit():
    """Let no file grow beyond so many bytes: like a full disk, the write comes back with an OSError."""

    @contextmanager
    def limit(size):
        previous = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, previous[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, previous)

    return limit
