"""Asks programs and files. Nothing raises or hangs: what is missing, refuses or does not answer is a None."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

TIMEOUT_S = 5.0


def read(path: Path) -> str | None:
    """The text of a file, or None."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip().rstrip("\0")
    except OSError:
        return None


def run(*command: str) -> str | None:
    """The output of a program, or None if it is missing, fails or takes too long."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"LC_ALL": "C"},
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError:
        return None
    try:
        output, _ = process.communicate(timeout=TIMEOUT_S)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the whole group: a script's children hold its pipe open
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            return None
        raise
    return output if process.returncode == 0 else None
