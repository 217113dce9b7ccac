import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[4] / "scripts" / "build_cpu_operators.sh"
SOURCES = SCRIPT.parents[1] / "runtime" / "backends" / "onnx_operators"
NAME = "libhyperseg_cpu_operators.so"
GIVEN = "HYPERSEG_TEST_CPU_OPERATORS"  # the library that a process with sanitizers tests


def build(folder, **environment):
    subprocess.run([SCRIPT, "--out", folder], check=True, env=os.environ | environment, stdout=subprocess.PIPE)
    return folder / NAME


@pytest.fixture(scope="session")
def library(made_once):
    """Build the library of operators for this machine."""
    if given := os.environ.get(GIVEN):
        return Path(given)
    if not (shutil.which(os.environ.get("CXX", "g++").partition(" ")[0]) or shutil.which("clang++")):
        pytest.skip("needs a C++ compiler")
    return made_once("cpu_operators", build) / NAME
