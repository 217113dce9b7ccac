"""What all tests stand on."""

import os
import resource
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock


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


@pytest.fixture(scope="session", autouse=True)
def no_operators_from_before():
    """Let no test depend on whether scripts/build_cpu_operators.sh ran in this checkout; some set their own library."""
    from runtime.backends.onnx_operators import library

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library, "BUILT_LIBRARY", library.BUILT_LIBRARY.with_name("none-in-tests.so"))
        yield


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


@pytest.fixture(scope="session")
def random_model():
    """Make a variant in eval mode whose BatchNorms have random statistics and affine, so that folding them shows.

    The weights are the same each time.
    """
    import torch  # the tests of runtime/ can do without
    from torch import nn

    from training import create_model

    def make(name, signal_offsets="cumulative"):
        torch.manual_seed(0)
        model = create_model(name, signal_offsets=signal_offsets).eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.2)
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
        return model

    return make


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Give a folder of a name, filled by the first who asks: once a session, however many processes run its tests.

    All tests read the same files: copy the folder to change it.
    """
    common = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        common = common.parent

    def folder_of(name, fill):
        folder = common / name
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                aside = Path(f"{folder}.part")
                aside.mkdir()
                fill(aside)
                aside.rename(folder)
        return folder

    return folder_of


@pytest.fixture(scope="session")
def random_bundle(random_model, made_once):
    """Export a variant of ``random_model`` at its smallest size twice as wide as high, with logits."""
    from export.bundle import export_bundle
    from runtime.bundle import open_bundle
    from training import save_model

    def make(name):
        def fill(folder):
            model = random_model(name)
            save_model(model, folder / f"{name}.ckpt")
            size = (model.config.size_multiple, 2 * model.config.size_multiple)
            export_bundle(folder / f"{name}.ckpt", folder / name, size=size, logits=True)

        return open_bundle(made_once(f"random-{name}", fill) / name)

    return make


@pytest.fixture
def brief_timing(monkeypatch):
    """Let a parity report time one frame of each network: for tests of accuracy, whose reports are to be whole."""
    from runtime.parity import speed

    monkeypatch.setattr(speed, "ROUNDS", 1)
    monkeypatch.setattr(speed, "FRAMES_A_TURN", 1)
    monkeypatch.setattr(speed, "_POWER_SECONDS", 0.0)
