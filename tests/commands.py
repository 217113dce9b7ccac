"""Commands run in the tests' own process, where importing PyTorch need not be waited for again."""

import contextlib
import io
import signal
import subprocess
import sys
from unittest import mock

from runtime.errors import run_command


def run_here(main, *arguments):
    """Run a command's ``main`` as ``python -m`` does; what is no user's mistake comes through as it was raised."""
    out, errors = io.StringIO(), io.StringIO()
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(errors),
            mock.patch.object(sys, "argv", ["command", *map(str, arguments)]),
        ):
            code = run_command(main)
    except SystemExit as ended:  # argparse's way
        code = ended.code
    finally:
        signal.signal(signal.SIGTERM, on_sigterm)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), errors.getvalue())
