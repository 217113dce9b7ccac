"""What all tests stand on."""

import resource
import signal
from contextlib import contextmanager

import pytest


def pytest_configure(config):
    # Started in the background, a shell has us and our children ignore Ctrl-C, which some tests send.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption(
        "--require-gpu",
        action="store_true",
        help="fail what is marked gpu or tensorrt and would be skipped: for machines that must have both",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    needs_gpu = any(item.get_closest_marker(name) for name in ("gpu", "tensorrt"))
    if report.skipped and needs_gpu and item.config.getoption("--require-gpu") and not hasattr(report, "wasxfail"):
        *_, reason = report.longrepr
        report.outcome, report.longrepr = "failed", f"--require-gpu was given, but: {reason}"
    return report


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
