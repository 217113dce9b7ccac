"""The plugin library cross-built for Jetsons: what it holds, and what it answers TensorRT's registries on aarch64."""

import functools
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.packages import UV, install
from tests.trt_plugins import test_plugin
from tests.trt_plugins.registry_session import NVCC, Session, compile_driver
from tests.trt_plugins.test_plugin import BUILD, needs_cmake, needs_nvcc, slow

HERE = Path(__file__).parent
COMPILER = "aarch64-linux-gnu-g++"
QEMU = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
EMULATE = [QEMU, "-L", "/usr/aarch64-linux-gnu"]  # where the packages of cross compilers put the C library
CUDA = "13.0"  # of the runtime in aarch64/cuda.txt; the script wants nvcc of the same release

pytestmark = [
    needs_nvcc,
    needs_cmake,
    pytest.mark.skipif(platform.machine() == "aarch64", reason="needs another machine than the library is built for"),
]


def cuda_release():
    version = subprocess.run([NVCC, "--version"], check=True, capture_output=True, text=True).stdout
    return re.search(r"release ([\d.]+)", version)[1]


@pytest.fixture(scope="session")
def packages(tmp_path_factory):
    """Unpack the packages that a file in aarch64/ lists; skip where they cannot be had."""

    @functools.cache
    def unpack(name):
        folder = tmp_path_factory.mktemp(name)
        install(HERE / "aarch64" / f"{name}.txt", folder, "aarch64-manylinux_2_35")
        return folder

    return unpack


@pytest.fixture(scope="module", params=[10, 11])
def built(request, packages, tmp_path_factory):
    """Cross-build the library of a TensorRT major version against the project's own declarations."""
    if not (shutil.which(COMPILER) and QEMU and UV):
        pytest.skip(f"needs {COMPILER}, qemu-aarch64 (g++-aarch64-linux-gnu, qemu-user-static) and uv")
    if cuda_release() != CUDA:
        pytest.skip(f"needs nvcc of CUDA {CUDA}")
    out = tmp_path_factory.mktemp("plugin")
    runtime = packages("cuda") / "nvidia" / "cu13"
    command = [BUILD, "--tensorrt-major", str(request.param), "--aarch64", runtime, "--out", out]
    environment = {**os.environ, "CMAKE_BUILD_PARALLEL_LEVEL": "1", "CXX": ""}
    done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    assert "architectures 87,110" in done.stdout
    assert "serves JetPack 7" in done.stdout
    return request.param, out / "aarch64" / f"tensorrt{request.param}" / "libhyperseg_plugins.so"


@pytest.fixture(scope="module")
def start_session(packages, tmp_path_factory):
    """Start sessions with a library in an emulated aarch64."""

    @functools.cache
    def driver(major):
        path = tmp_path_factory.mktemp("session") / "registry_session"
        cross = ["-ccbin", COMPILER, "-target-dir", f"{platform.machine()}-linux"]
        compile_driver(path, [HERE / "registry_session.cpp"], major, *cross, "-ldl")
        return path

    sessions = []

    def start(major, library):
        runtime = packages(f"tensorrt{major}") / "tensorrt_lean_libs" / f"libnvinfer_lean.so.{major}"
        sessions.append(Session(*EMULATE, driver(major), runtime, library))
        return sessions[-1]

    yield start
    for session in sessions:
        session.close()


@pytest.fixture(scope="module")
def session(built, start_session):
    return start_session(*built)


@slow
def test_library_is_for_aarch64_and_exports_two_functions(built):
    _, library = built
    assert test_plugin.exported_symbols(library) == {"getCreators", "setLoggerFinder"}
    elf = subprocess.run(["readelf", "-h", "-d", library], check=True, capture_output=True, text=True).stdout
    assert re.search(r"Machine: +AArch64", elf)
    assert "libnvinfer" not in elf
    assert "libcudart" not in elf


@slow
def test_library_holds_code_for_orin_and_thor(built, packages):
    _, library = built
    cuobjdump = packages("cuda") / "nvidia" / "cu13" / "bin" / "cuobjdump"
    command = [*EMULATE, cuobjdump, "--list-elf", "--list-ptx", library]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.findall(r"sm_(\d+)\.(cubin|ptx)", listing)
    # For each file of kernels.
    assert sorted(found) == sorted([("87", "cubin"), ("110", "cubin"), ("110", "ptx")] * 3)


class TestRegistryOnAarch64(test_plugin.TestRegistry):
    """The same questions as on this machine, and the same answers."""


class TestWrongRuntimes:
    """What the script says of a folder that is not the CUDA runtime for aarch64."""

    @pytest.fixture
    def refusal(self, tmp_path):
        """Build with a folder as runtime and read why that is refused; the compiler only says what it is for."""
        compiler = tmp_path / "g++"
        compiler.write_text("#!/bin/sh\necho aarch64-linux-gnu\n")
        compiler.chmod(0o755)

        def build(folder, compiler=compiler):
            command = [BUILD, "--aarch64", folder, "--out", tmp_path / "out"]
            environment = {**os.environ, "CXX": str(compiler)}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            assert done.returncode == 2
            return done.stderr

        return build

    @staticmethod
    def runtime(folder, version):
        for file, content in (
            ("include/cuda_runtime_api.h", f"#define CUDART_VERSION  {version}\n"),
            ("lib/libcudart_static.a", "!<arch>\n"),
        ):
            path = folder / file
            path.parent.mkdir(parents=True)
            path.write_text(content)
        return folder

    def test_a_compiler_that_is_missing_or_for_another_machine_is_explained(self, tmp_path, refusal):
        assert "There is no compiler /no/g++" in refusal(tmp_path, "/no/g++")
        other = tmp_path / "other"
        other.write_text("#!/bin/sh\necho riscv64-linux-gnu\n")
        other.chmod(0o755)
        assert "compiles for riscv64-linux-gnu" in refusal(tmp_path, other)

    def test_a_folder_without_the_runtime_is_explained(self, tmp_path, refusal):
        assert "holds no include/cuda_runtime_api.h" in refusal(tmp_path)
        assert "There is a space in" in refusal(tmp_path / "my cuda")

    def test_a_runtime_of_another_release_is_explained(self, tmp_path, refusal):
        assert f"is CUDA 9.2, but {NVCC} is CUDA {cuda_release()}" in refusal(self.runtime(tmp_path / "cuda", 9020))

    def test_a_runtime_for_another_machine_is_explained(self, tmp_path, refusal):
        major, minor = map(int, cuda_release().split("."))
        assert "is not for aarch64" in refusal(self.runtime(tmp_path / "cuda", 1000 * major + 10 * minor))
