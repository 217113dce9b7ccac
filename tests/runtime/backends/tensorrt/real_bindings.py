"""TensorRT's real Python bindings without TensorRT: the wheels import once the libraries they link are stubs.

No call gets behind the stubs, but names, signatures and what pybind11 does with arguments and subclasses are the real
ones. Where the lean runtime of the same version is installed, so are the plugin registry and, as far as it goes without
a driver, the Runtime. Each program runs in a process of its own, because one process cannot hold two versions.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packages import install

ROOT = Path(__file__).parents[4]
REQUIREMENTS = [
    line
    for line in Path(__file__).with_name("real_bindings.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
VERSIONS = tuple(line.split()[0].partition("==")[2] for line in REQUIREMENTS)

# Makes `import tensorrt` give the bindings, as the package of that name does.
_PREAMBLE = "import sys, tensorrt_bindings; sys.modules['tensorrt'] = tensorrt_bindings\n"

_DESCRIBE = """
import json, tensorrt

names = {}

def describe(owner, prefix, depth):
    for name in dir(owner):
        value = getattr(owner, name, None)  # __abstractmethods__ has no value
        is_function = callable(value) and not isinstance(value, type)
        names[prefix + name] = (value.__doc__ or "") if is_function else ""
        if isinstance(value, type) and depth < 2:
            describe(value, prefix + name + ".", depth + 1)

describe(tensorrt, "", 0)
print(json.dumps(names))
"""


@dataclass(frozen=True)
class RealBindings:
    """One version of the bindings, ready to be imported by programs."""

    version: str
    folder: Path
    lean: Path | None  # the lean runtime behind the stubs

    def run(self, program: str) -> subprocess.CompletedProcess[str]:
        """Run a program for which ``import tensorrt`` works."""
        return subprocess.run(
            [sys.executable, "-c", _PREAMBLE + program],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(self.folder), "LD_LIBRARY_PATH": str(self.folder / "stubs")},
            capture_output=True,
            text=True,
            check=False,
        )

    def names(self) -> dict[str, str]:
        """Every name of the module, its classes and theirs, with the docstring where it is a function."""
        done = self.run(_DESCRIBE)
        assert done.returncode == 0, done.stderr
        names: dict[str, str] = json.loads(done.stdout)
        return names


def prepare(version: str, cache: Path) -> RealBindings:
    """Install a version's bindings and stubs of their libraries below ``cache``; skip the test where that cannot be."""
    if platform.machine() != "x86_64" or sys.platform != "linux":
        pytest.skip("the bindings are pinned for Linux on x86-64")
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler (cc) for stubs of TensorRT's libraries")
    lean = _lean_runtime(version)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache / f"{version}-{python}{'-lean' if lean else ''}"
    if not folder.is_dir():
        aside = folder.with_name(f"{folder.name}.{os.getpid()}")
        _install(REQUIREMENTS[VERSIONS.index(version)], aside)
        _write_stubs(aside / "tensorrt_bindings" / "tensorrt.so", aside / "stubs", lean)
        aside.rename(folder)
    return RealBindings(version, folder, lean)


def _lean_runtime(version: str) -> Path | None:
    """The library of TensorRT's lean runtime, if the package of this very version is installed."""
    packages = {package.version for package in importlib.metadata.distributions() if "lean" in package.name}
    module = importlib.util.find_spec("tensorrt_lean_libs")
    if version not in packages or module is None:
        return None
    folder = Path(next(iter(module.submodule_search_locations or [])))
    library = folder / f"libnvinfer_lean.so.{version.partition('.')[0]}"
    return library if library.is_file() else None


def _install(requirement: str, folder: Path) -> None:
    """Install one line of the requirements, by its hash."""
    folder.mkdir(parents=True)
    listed = folder / "requirements.txt"
    listed.write_text(requirement, encoding="utf-8")
    install(listed, folder, "x86_64-manylinux_2_28")


def _write_stubs(bindings: Path, folder: Path, lean: Path | None) -> None:
    """Compile a library under each name that the bindings link. Its functions are the lean runtime's or return null."""
    folder.mkdir()
    dynamic = subprocess.run(["readelf", "-d", bindings], check=True, capture_output=True, text=True).stdout
    libraries = re.findall(r"NEEDED.*\[(libnv\S+)\]", dynamic)
    functions = {symbol for symbol in _symbols(bindings, "--undefined-only") if _is_nvidias(symbol)}
    link = []
    if lean is not None:
        functions -= _symbols(lean, "--defined-only")
        link = ["-Wl,--no-as-needed", lean, f"-Wl,-rpath,{lean.parent}"]
    source = folder / "stubs.c"
    source.write_text("".join(f"void* {name}(void) {{ return 0; }}\n" for name in functions), encoding="utf-8")
    for library in libraries:
        command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{library}", source, "-o", folder / library, *link]
        subprocess.run(command, check=True)


def _symbols(library: Path, which: str) -> set[str]:
    listing = subprocess.run(["nm", "-D", which, library], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1] for line in listing.splitlines() if line.split()[-2] in ("U", "T")}


def _is_nvidias(symbol: str) -> bool:
    return "@" not in symbol and not symbol.startswith(("Py", "_Py"))
