"""Packages that tests look into and that cannot be in the environment they run in."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UV = shutil.which("uv") or shutil.which(Path(__file__).parents[1] / ".uv/bin/uv")


def install(requirements, folder, platform):
    """Unpack what a file of requirements with hashes lists, for a platform; skip the test where it cannot be had."""
    if UV is None:
        pytest.skip("needs uv")
    command = [UV, "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--python", sys.executable, "--python-platform", platform, "--target", folder]
    done = subprocess.run([*command, "--requirements", requirements], capture_output=True, text=True, check=False)
    assert "Hash mismatch" not in done.stderr, done.stderr
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"needs the packages of {requirements}: {' '.join(done.stderr.split())}")
