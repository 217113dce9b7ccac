"""The names, signatures and subclasses that we use, against TensorRT's real Python bindings."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.runtime.backends.tensorrt.conftest import write_library
from tests.runtime.backends.tensorrt.mirror import broken_promises, signatures_of
from tests.runtime.backends.tensorrt.real_bindings import ROOT, VERSIONS, RealBindings, prepare
from tests.runtime.backends.tensorrt.tensorrt_double import make_tensorrt


@pytest.fixture(scope="module", params=VERSIONS)
def bindings(request: pytest.FixtureRequest) -> RealBindings:
    return prepare(request.param, request.config.cache.mkdir("tensorrt-bindings"))


@pytest.fixture(scope="module")
def names(bindings: RealBindings) -> dict[str, str]:
    return bindings.names()


def run(bindings: RealBindings, program: str) -> str:
    done = bindings.run(program)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_double_promises_what_the_real_one_keeps(bindings: RealBindings, names: dict[str, str]):
    assert broken_promises(make_tensorrt(bindings.version), names) == []


def test_a_double_that_promises_too_much_is_caught(names: dict[str, str]):
    class Builder:
        def __init__(self, logger): ...
        def create_network(self, flags): ...
        def create_builder_config(self, flags): ...
        def build_serialized_network(self, config, network): ...
        def build_cuda_engine(self, network): ...

    class OnnxParser:
        def parse(self, model, path): ...
        def parse_from_file(self): ...

    double = ModuleType("tensorrt")
    double.Builder, double.OnnxParser, double.NoSuchClass = Builder, OnnxParser, type("NoSuchClass", (), {})
    caught = [broken.partition(":")[0].partition("(")[0] for broken in broken_promises(double, names)]
    assert caught == [
        "Builder.create_builder_config",
        "Builder.build_serialized_network",
        "Builder.build_cuda_engine",
        "OnnxParser.parse_from_file",
        "NoSuchClass",
    ]


def test_signatures_are_read_from_docstrings():
    docstring = (
        "f(*args, **kwargs)\nOverloaded function.\n\n"
        "1. f(self: trt.A, of: dict[str, int] = {}, n: int = <E.X: 0>) -> int\n\n2. f(self: trt.A) -> None\n\n Text."
    )
    assert signatures_of(docstring) == [[("self", False), ("of", True), ("n", True)], [("self", False)]]


def test_the_logger_collects_through_the_real_base_class(bindings: RealBindings):
    said = run(
        bindings,
        """
import tensorrt as trt
from runtime.backends.tensorrt.logger import logger_of
logger = logger_of(trt)
for severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR, trt.ILogger.WARNING, trt.ILogger.INFO):
    logger.log(severity, severity.name)
print(logger.take_errors(), logger.take_warnings(), logger.take_errors())
""",
    )
    assert said == "['INTERNAL_ERROR', 'ERROR'] ['WARNING'] []\n"


def test_the_monitor_serves_the_real_base_class(bindings: RealBindings):
    if bindings.version.startswith("8."):
        pytest.skip("TensorRT 8 has no progress monitor")
    said = run(
        bindings,
        """
import tensorrt as trt
from runtime.backends.tensorrt.progress import Progress, create_monitor
progress = Progress()
monitor = create_monitor(trt, progress)
# Called through the base class, as TensorRT calls it: C++ finds the method of the subclass.
trt.IProgressMonitor.phase_start(monitor, "build", None, 4)
print(trt.IProgressMonitor.step_complete(monitor, "build", 0), progress.fraction())
progress.stop()
print(trt.IProgressMonitor.step_complete(monitor, "build", 1))
trt.IProgressMonitor.phase_finish(monitor, "build")
print(progress.fraction())
""",
    )
    assert said == "True (0.25, 'build')\nFalse\n(0.0, '')\n"


def test_a_tensorrt_that_gives_no_builder_is_a_clear_message(bindings: RealBindings, bundle: Path):
    """The stubs give none, as TensorRT does without a driver."""
    library = write_library(bundle, int(bindings.version.partition(".")[0]))
    done = bindings.run(
        f"""
import sys
from runtime.__main__ import main
from runtime.backends.tensorrt import build
from runtime.backends.tensorrt.gpu import Gpu
from runtime.errors import run_command
build.current_gpu = lambda: Gpu("Orin", "8.7")
sys.argv = ["runtime", "build", {str(bundle)!r}, "--plugin", {str(library)!r}]
sys.exit(run_command(main))
"""
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: TensorRT cannot start. Is the NVIDIA driver new enough")


PLUGIN_LIBRARY = """
#include "tensorrt_abi.h"

struct Creator final : nvinfer1::IPluginCreatorV3One {
    nvinfer1::IPluginV3* createPlugin(char const*, nvinfer1::PluginFieldCollection const*,
                                      nvinfer1::TensorRTPhase) noexcept override { return nullptr; }
    nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override { return &fields; }
    char const* getPluginName() const noexcept override { return "Nothing"; }
    char const* getPluginVersion() const noexcept override { return "1"; }
    char const* getPluginNamespace() const noexcept override { return ""; }
    nvinfer1::PluginFieldCollection fields{};
};

extern "C" void setLoggerFinder(nvinfer1::ILoggerFinder*) {}
extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
    static Creator creator;
    static nvinfer1::IPluginCreatorInterface* const creators[] = {&creator};
    count = 1;
    return creators;
}
"""


def test_the_real_registry_loads_a_library_once_and_refuses_what_is_none(bindings: RealBindings, tmp_path: Path):
    if bindings.lean is None:
        pytest.skip(f"needs the lean runtime of TensorRT {bindings.version}")
    library = tmp_path / "libplugins.so"
    (tmp_path / "plugins.cpp").write_text(PLUGIN_LIBRARY)
    headers = ["-I", ROOT / "trt_plugins" / "abi", "-I", ROOT / "trt_plugins" / "cpu"]
    major = f"-DHYPERSEG_ABI_MAJOR={bindings.version.partition('.')[0]}"
    command = ["c++", "-std=c++17", "-shared", "-fPIC", major, *headers, tmp_path / "plugins.cpp", "-o", library]
    subprocess.run(command, check=True)
    said = run(
        bindings,
        f"""
import tensorrt as trt
from pathlib import Path
from runtime.backends.tensorrt.plugin import load_plugin
from runtime.errors import UserError
load_plugin(trt, Path({str(library)!r}))
load_plugin(trt, Path({str(library)!r}))  # TensorRT itself refuses it now
assert trt.get_plugin_registry().load_library({str(library)!r}) is None
assert trt.get_plugin_registry().get_creator("Nothing", "1", "") is not None
try:
    load_plugin(trt, Path("README.md"))
except UserError as error:
    print(error)
""",
    )
    assert said.startswith(f"TensorRT {bindings.version} cannot load the plugin library ")


def test_the_real_runtime_without_a_driver_is_a_clear_message_and_no_crash(bindings: RealBindings):
    if bindings.lean is None:
        pytest.skip(f"needs the lean runtime of TensorRT {bindings.version}")
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a driver here")
    done = bindings.run(
        """
import sys, tensorrt as trt
from runtime.backends.tensorrt.logger import logger_of, make
from runtime.errors import run_command
sys.exit(run_command(lambda: make(trt.Runtime, logger_of(trt))))
"""
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        "TensorRT says: createInferRuntime: Error Code 6: API Usage Error (CUDA initialization failure" in done.stderr
    )
    assert "the NVIDIA driver is missing" in done.stderr
