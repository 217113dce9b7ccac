"""Building hyperseg_run with TensorRT's own headers where there are any, and what is said where there are none."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.trt_plugins.registry_session import NVCC

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "runtime" / "cpp"
BUILD = ROOT / "scripts" / "build_plugin.sh"

needs_nvcc = pytest.mark.skipif(NVCC is None, reason="needs the CUDA compiler nvcc")
needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")


@pytest.mark.slow
@needs_nvcc
def test_compiles_against_tensorrts_own_headers(tmp_path):
    folders = [Path(os.environ.get("TENSORRT_ROOT", "/none"), "include"), *Path("/usr/include").glob("*-linux-gnu")]
    found = [folder for folder in folders if (folder / "NvInfer.h").is_file() and (folder / "NvOnnxParser.h").is_file()]
    if not found:
        pytest.skip("needs TensorRT's headers, in the system or in TENSORRT_ROOT")
    whole = tmp_path / "whole.cpp"
    whole.write_text("".join(f'#include "{source}"\n' for source in sorted(SOURCES.glob("*.cpp"))))
    warnings = "-Xcompiler=-Wall,-Wextra,-Werror"
    command = [NVCC, "-std=c++17", "-O1", warnings, "-isystem", found[0], "-c", whole, "-o", tmp_path / "whole.o"]
    subprocess.run(command, check=True)


@needs_nvcc
@needs_cmake
def test_cmake_says_what_it_needs(tmp_path):
    command = ["cmake", "-S", SOURCES, "-B", tmp_path / "build", f"-DTENSORRT_ROOT={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "NVINFER_INCLUDE_DIR is missing: hyperseg_run needs the headers and libraries of TensorRT" in said
    assert "libnvinfer-dev and libnvonnxparsers-dev" in said


@pytest.mark.parametrize("option", [["--tensorrt-major", "10"], ["--aarch64", "/usr"]])
def test_the_script_builds_it_with_tensorrts_libraries_alone(option):
    done = subprocess.run([BUILD, "--runner", *option], capture_output=True, text=True)
    assert done.returncode == 2
    assert "--runner excludes --tensorrt-major and --aarch64" in done.stderr
