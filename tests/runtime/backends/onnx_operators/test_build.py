import os
import shutil
import subprocess

import pytest

from tests.runtime.backends.onnx_operators.conftest import NAME, SCRIPT


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
    failed = subprocess.run([SCRIPT, "--out", tmp_path], env=os.environ | {"CXXFLAGS": "-Dnamespace=0"})
    assert failed.returncode
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("compiler", ["true", "false"])
def test_what_is_no_compiler_is_named(compiler, tmp_path):
    assert f"{compiler} cannot compile C++17" in fails("--out", tmp_path, CXX=compiler)


@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
@pytest.mark.parametrize("variable", [{"CXX": "g++ -march=native"}, {"CXXFLAGS": "-g -march=native"}])
def test_options_may_not_choose_instructions(variable, tmp_path):
    assert "has -march=native" in fails("--out", tmp_path, **variable)


@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
def test_a_compiler_of_two_words_and_folders_with_spaces(tmp_path):
    temporary, out = tmp_path / "temporary files", tmp_path / "the operators"
    temporary.mkdir()
    environment = {"CXX": "env g++", "CXXFLAGS": "-O0", "TMPDIR": str(temporary)}
    subprocess.run([SCRIPT, "--out", out], check=True, env=os.environ | environment)
    assert sorted(path.name for path in out.iterdir()) == [NAME, f"{NAME}.sha256"]
    assert not list(temporary.iterdir())
