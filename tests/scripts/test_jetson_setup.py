"""The set-up of a Jetson, as far as it goes without one: what it looks at, refuses and would do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/jetson_setup.sh"
RELEASE = "# R{} (release), REVISION: {}, GCID: 1, BOARD: generic, EABI: aarch64, DATE: Thu Sep 18 22:54:44 UTC 2025\n"
ORIN = "nvidia,p3768-0000+p3767-0005-super\0nvidia,p3767-0005\0nvidia,tegra234\0"
THOR = "nvidia,p4071-0000+p3834-0008\0nvidia,p3834-0008\0nvidia,tegra264\0"
# Python of a board: its version, and modules that are not there.
PYTHON = """#!/bin/sh
case $2 in
*version_info*) echo {version} ;;
{missing}) exit 1 ;;
esac
"""


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def board(tmp_path: Path):
    """Make a board's files, run the script on them and return what it did."""

    def run(
        release: str | None,
        compatible: str = ORIN,
        python: str = "3.10",
        cuda: str = "12.6",
        missing: str = "",
        option: str | None = "--dry-run",
    ):
        root = tmp_path / "root"
        shutil.rmtree(root, ignore_errors=True)
        (root / "etc").mkdir(parents=True)
        if release is not None:
            (root / "etc/nv_tegra_release").write_text(release)
        (root / "proc/device-tree").mkdir(parents=True)
        (root / "proc/device-tree/model").write_text("NVIDIA Jetson Orin Nano Developer Kit\0")
        if compatible:
            (root / "proc/device-tree/compatible").write_text(compatible)
        modules = "|".join(f"*{name}*" for name in missing.split()) or "nothing"
        executable(root / "usr/bin/python3", PYTHON.format(version=python, missing=modules))
        executable(root / "usr/local/cuda/bin/nvcc", f"#!/bin/sh\necho 'release {cuda}, V{cuda}.68'\n")
        header = root / "usr/include/aarch64-linux-gnu/NvInferRuntime.h"
        if "NvInfer" not in missing:
            header.parent.mkdir(parents=True)
            header.touch()
        for name in ("g++", "cmake", "gst-launch-1.0"):
            if name not in missing:
                executable(root / "bin" / name, "#!/bin/sh\n")
        for name in ("bash", "sed", "head", "tail", "tr", "grep", "sort", "paste", "dirname", "cat"):
            (root / "bin").mkdir(exist_ok=True)
            (root / "bin" / name).symlink_to(shutil.which(name) or name)
        environment = {"PATH": str(root / "bin"), "HYPERSEG_JETSON_ROOT": str(root)}
        return subprocess.run(
            [SCRIPT, *filter(None, [option])], env=environment, capture_output=True, text=True, cwd=tmp_path
        )

    return run


def plan(stdout: str, root: Path) -> list[str]:
    return [line[2:].replace(str(root), "") for line in stdout.splitlines() if line.startswith("+ ")]


@pytest.mark.parametrize(
    ("release", "compatible", "python", "cuda", "jetpack", "arch"),
    [
        (RELEASE.format(36, "3.0"), ORIN, "3.10", "12.2", "6.0", 87),
        (RELEASE.format(36, "4.0"), ORIN, "3.10", "12.6", "6.1", 87),
        (RELEASE.format(36, "4.2"), ORIN, "3.10", "12.6", "6.1", 87),
        (RELEASE.format(36, "4.3"), ORIN, "3.10", "12.6", "6.2", 87),
        (RELEASE.format(36, "5.0"), ORIN, "3.10", "12.6", "6.2", 87),
        (RELEASE.format(38, "2.0"), THOR, "3.12", "13.0", "7.0", 110),
        (RELEASE.format(38, "4.0"), THOR, "3.12", "13.0", "7.1", 110),
        (RELEASE.format(39, "2.1"), ORIN, "3.12", "13.2", "7.2", 87),
        (RELEASE.format(39, "2.1"), THOR, "3.12", "13.2", "7.2", 110),
    ],
)
def test_every_jetpack_gets_its_own(board, tmp_path: Path, release, compatible, python, cuda, jetpack, arch):
    done = board(release, compatible, python, cuda)
    assert (done.returncode, done.stderr) == (0, "")
    assert f": JetPack {jetpack} (L4T " in done.stdout
    assert "missing" not in done.stdout
    cuda_python = "cuda-python>=12.6,<13" if cuda.startswith("12") else "cuda-python>=13,<14"
    pip = ".venv/bin/python -m pip --disable-pip-version-check install"
    assert plan(done.stdout, tmp_path / "root") == [
        "/usr/bin/python3 -m venv --system-site-packages .venv",
        f"{pip} --require-hashes -r requirements-runtime.lock",
        f"{pip} pycuda>=2026.1 {cuda_python}",
        f"scripts/build_plugin.sh --arch {arch}",
        "import everything and call the driver",
    ]


# cuda-python's module for the driver, as far as the last check calls it: {0} is what cuInit returns.
DRIVER = """
import enum
CUresult = enum.IntEnum("CUresult", {{"CUDA_SUCCESS": 0, "CUDA_ERROR_NO_DEVICE": 100}})
def cuInit(flags):
    return ({0},)
"""
FINE = DRIVER.format("CUresult.CUDA_SUCCESS")


@pytest.mark.parametrize(
    ("module", "text", "says", "works"),
    [
        ("cuda.bindings.driver", FINE, "cuda.bindings.driver   12.9.4, cuInit(0) returned CUDA_SUCCESS", True),
        ("cuda.cuda", FINE, "cuda.cuda              12.9.4, cuInit(0) returned CUDA_SUCCESS", True),
        (
            "cuda.bindings.driver",
            DRIVER.format("CUresult.CUDA_ERROR_NO_DEVICE"),
            "cuda.bindings.driver   12.9.4, cuInit(0) returned CUDA_ERROR_NO_DEVICE",
            False,
        ),
        ("cuda.bindings.driver", DRIVER.format("1 / 0"), "cuda-python            FAILED: division by zero", False),
        ("cuda.other", FINE, "cuda-python            FAILED: cannot import name 'cuda' from 'cuda'", False),
    ],
)
def test_the_last_check_calls_the_driver(tmp_path: Path, module: str, text: str, says: str, works: bool):
    check = SCRIPT.read_text().partition("<<'EOF'\nimport dataclasses\n")[2].partition("\nEOF\n")[0]
    assert check
    for name in ("tensorrt", "pycuda", "pycuda.driver", "cuda", "cuda.bindings", module):
        file = tmp_path / name.replace(".", "/")
        file.mkdir(parents=True, exist_ok=True)
        (file / "__init__.py").write_text(text if name == module else "__version__ = '1'\n")
    metadata = tmp_path / "cuda_python-12.9.4.dist-info/METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: cuda-python\nVersion: 12.9.4\n")
    done = subprocess.run(
        [sys.executable, "-"],
        input=f"import dataclasses\n{check}",
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert f"  {says}" in done.stdout
    assert (done.returncode, done.stderr) == ((0, "") if works else (1, "These do not work: cuda-python\n"))


def test_what_apt_must_bring_is_one_command(board, tmp_path: Path):
    missing = "tensorrt NvInfer ensurepip cmake gst-launch-1.0 jtop"
    command = "sudo apt-get update && sudo apt-get install cmake gstreamer1.0-tools nvidia-jetpack python3-venv"
    done = board(RELEASE.format(36, "4.3"), missing=missing)
    assert done.returncode == 0  # it only looks
    assert done.stdout.count("  missing  ") == 5
    assert plan(done.stdout, tmp_path / "root")[0] == command
    in_earnest = board(RELEASE.format(36, "4.3"), missing=missing, option=None)
    assert in_earnest.returncode == 2
    assert in_earnest.stderr == f"Install what is missing, then run this script again:\n  {command}\n"
    assert plan(in_earnest.stdout, tmp_path / "root") == []
    assert "sudo pip3 install -U jetson-stats" in done.stdout


def test_jetson_stats_on_ubuntu_24(board):
    done = board(RELEASE.format(39, "2.0"), python="3.12", cuda="13.2", missing="jtop")
    assert "sudo pip3 install --break-system-packages -U jetson-stats" in done.stdout


@pytest.mark.parametrize(("python", "cuda", "found"), [("3.11", "12.6", "Python 3.10"), ("3.10", "13.0", "CUDA 12")])
def test_another_python_or_cuda_does_not_count(board, python: str, cuda: str, found: str):
    assert f"  missing  {found}" in board(RELEASE.format(36, "4.3"), python=python, cuda=cuda).stdout


@pytest.mark.parametrize(
    ("release", "compatible", "message"),
    [
        (None, ORIN, "This is no Jetson: there is no /etc/nv_tegra_release.\n"),
        ("something else\n", ORIN, "/etc/nv_tegra_release does not say which Jetson Linux this is: something else\n"),
        (RELEASE.format(35, "6.1"), ORIN, "Jetson Linux 35.6.1 is not served"),
        (RELEASE.format(36, "2.0"), ORIN, "Jetson Linux 36.2.0 is not served"),
        (RELEASE.format(40, "1.0"), ORIN, "Jetson Linux 40.1.0 is not served"),
        (RELEASE.format(36, "4.3"), "nvidia,p2972\0nvidia,tegra194\0", "chip (tegra194) is neither Orin"),
        (RELEASE.format(36, "4.3"), "", "chip (unknown) is neither Orin"),
    ],
)
def test_elsewhere_it_refuses(board, release: str | None, compatible: str, message: str):
    done = board(release, compatible)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_help_and_a_wrong_option():
    done = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("scripts/jetson_setup.sh [--dry-run]\n")
    done = subprocess.run([SCRIPT, "--foo"], capture_output=True, text=True)
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "There is no option --foo.")


@pytest.mark.skipif(Path("/etc/nv_tegra_release").exists(), reason="tells what another machine says")
def test_on_this_machine_it_refuses():
    environment = {name: value for name, value in os.environ.items() if name != "HYPERSEG_JETSON_ROOT"}
    done = subprocess.run([SCRIPT, "--dry-run"], capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("This is no Jetson")
