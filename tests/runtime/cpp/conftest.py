"""runtime/cpp compiled by g++ with sanitizers, with the doubles in double/ in the place of TensorRT and CUDA."""

import functools
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "runtime" / "cpp"
HERE = Path(__file__).parent
FLAGS = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def compile_together(out, sources, *options):
    """Compile sources as one, which is three times as fast as one by one."""
    if shutil.which("g++") is None:
        pytest.skip("needs the compiler g++")
    includes = "".join(f'#include "{source}"\n' for source in sources)
    command = ["g++", *FLAGS, "-I", SOURCES, *options, "-x", "c++", "-", "-ldl", "-o", out]
    subprocess.run(command, input=includes, text=True, check=True)
    return out


@pytest.fixture(scope="session")
def build_program(tmp_path_factory):
    """Build hyperseg_run for the double of a TensorRT major version, once."""

    @functools.cache
    def build(major):
        out = tmp_path_factory.mktemp("hyperseg_run") / "hyperseg_run"
        return compile_together(out, sorted(SOURCES.glob("*.cpp")), f"-DDOUBLE_MAJOR={major}", "-I", HERE / "double")

    return build


@pytest.fixture(scope="session")
def parts(tmp_path_factory):
    sources = [HERE / "parts.cpp", *(SOURCES / f"{name}.cpp" for name in ("files", "images", "latency"))]
    return compile_together(tmp_path_factory.mktemp("parts") / "parts", sources)
