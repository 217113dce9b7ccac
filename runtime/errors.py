"""The one exception for a user's mistake, and how every command ends on it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


class UserError(Exception):
    """A mistake that the user can mend; the message says what happened, the likely cause and what to do."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError while writing to ``path`` (read-only, missing parent, full disk) into a UserError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"cannot write {path}: {reason}. Check that the folder exists, is yours to write and has free space."
        ) from error


def run_command(main: Callable[[], int | None]) -> int:
    """Run a command's ``main`` and return its exit code: 2 and one message for a UserError, 130 for Ctrl-C.

    SIGTERM ends it like Ctrl-C, so that half-written files are cleared away then too.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return main() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `python -m training describe | head`: the reader left, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
