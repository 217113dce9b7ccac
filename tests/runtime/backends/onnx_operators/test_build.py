import os
import shutil
import subprocess

import pytest

from tests.runtime.backends.onnx_operators.conftest import SCRIPT


def fails(*arguments, **environment):
    done = subprocess.run([SCRIPT, *arguments], env=os.environ | environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def test_mistakes_are_named(tmp_path):
    assert "There is no option --fast" in fails("--fast")
    assert "--out needs a value" in fails("--out")
    assert "no compiler c++42, which the variable CXX names" in fails("--out", tmp_path, CXX="c++42")
    assert not list(tmp_path.iterdir())


def test_without_a_compiler_it_says_what_to_install(tmp_path):
    for tool in ("bash", "dirname", "realpath"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    assert "apt-get install g++" in fails(PATH=str(tmp_path), CXX="")


@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
def test_a_failed_compilation_leaves_no_library(tmp_path):
    failed = subprocess.run([SCRIPT, "--out", tmp_path], env=os.environ | {"CXXFLAGS": "-fno-such-option"})
    assert failed.returncode
    assert not list(tmp_path.iterdir())
