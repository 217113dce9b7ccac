"""What all tests stand on."""

import signal


def pytest_configure(config):
    # Started in the background, a shell has us and our children ignore Ctrl-C, which some tests send.
    signal.signal(signal.SIGINT, signal.default_int_handler)
