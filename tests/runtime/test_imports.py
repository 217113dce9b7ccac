"""A Jetson has none of the training libraries: runtime must import and explain itself without them."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT_ROOT = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(path.relative_to(PROJECT_ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (PROJECT_ROOT / "runtime").rglob("*.py")
)
COMMANDS = ("runtime", "runtime.demo", "runtime.parity", "runtime.contact_sheet")

BARE_ENVIRONMENT = """
import importlib, runpy, sys

BLOCKED = {"torch", "torchvision", "timm", "lightning", "onnx", "onnxscript", "tensorrt", "pycuda", "cuda",
           "training", "export"}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocker())
"""


def run_bare(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BARE_ENVIRONMENT + program],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_blocker_blocks():
    assert "torch is blocked" in run_bare("import torch").stderr


def test_every_module_imports_and_says_nothing():
    done = run_bare(f"for name in {MODULES!r}: importlib.import_module(name)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("module", COMMANDS)
def test_every_command_explains_itself(module: str):
    done = run_bare(f"sys.argv = ['x', '--help']; runpy.run_module({module!r}, run_name='__main__', alter_sys=True)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: python")
    assert done.stderr == ""


def test_a_missing_torch_is_a_clear_message(colour_bundle: Path):
    words = ["x", "--model", str(colour_bundle), "--source", "synthetic", "--sink", "none", "--backend", "torch"]
    done = run_bare(f"sys.argv = {words!r}; runpy.run_module('runtime.demo', run_name='__main__')")
    assert done.returncode == 2
    assert done.stderr.startswith("error: the torch backend needs PyTorch, which is not installed.")
