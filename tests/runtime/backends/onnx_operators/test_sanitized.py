"""The operators' tests once more, with a library that watches its memory, in a process that preloads the watcher."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.backends.onnx_operators.conftest import GIVEN, build

SANITIZE = "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
TESTS = [Path(__file__).with_name(name) for name in ("test_operators.py", "test_mbconv.py")]
PYTEST = "-m pytest -x -q -p no:xdist -p no:cacheprovider -s"  # -s: pytest would keep the watcher's report to itself


def path_of(name):
    return subprocess.run(
        ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
def test_the_operators_stay_within_their_memory(tmp_path):
    environment = os.environ | {
        GIVEN: str(build(tmp_path, CXX="g++", CXXFLAGS=SANITIZE)),
        "LD_PRELOAD": f"{path_of('libasan.so')} {path_of('libstdc++.so')}",  # it must find what throws exceptions
        "ASAN_OPTIONS": "detect_leaks=0",  # Python itself leaves memory behind at its end
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, *PYTEST.split(), *TESTS]
    child = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert child.returncode == 0, child.stdout[-2000:] + child.stderr[-4000:]
