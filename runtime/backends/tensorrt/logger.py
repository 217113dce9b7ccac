"""What TensorRT has to say: its errors become part of the message that the user reads.

TensorRT's calls return nothing on failure; the reason goes to its logger. TensorRT keeps one logger per process, the
first it is given, as long as any builder or runtime lives, and calls it from threads of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import re
from collections import deque
from types import ModuleType
from typing import Any, Protocol

from runtime.errors import UserError

_KEPT_MESSAGES = 50
_SHOWN_ERRORS = 3
_SHOWN_CHARACTERS = 300

# Cause and remedy by what TensorRT, CUDA or our plugin writes; the first that matches counts.
_CAUSES = (
    (
        r"out ?of ?memory|insufficient memory|memoryallocation|cuda (runtime )?(error|failure):? 2\b",
        "The GPU has too little free memory. Close other programs that use it; for a build give a smaller --batch or "
        "--workspace-mib.",
    ),
    (
        r"cuda initialization failure|no cuda-capable device|driver version is insufficient|libcuda",
        "TensorRT found no usable GPU: the NVIDIA driver is missing, does not run, or is too old for this TensorRT's "
        "CUDA. nvidia-smi (on a Jetson: jetson_release) shows it; in a container, give it the GPU (--gpus all or "
        "--runtime nvidia).",
    ),
    (
        r"plugin not found|no importer registered|could not find plugin|getcreator|getplugincreator",
        "The operators' plugin library lacks what the file needs. Build it again: scripts/build_plugin.sh",
    ),
    (
        r"no kernel image",
        "The plugin library holds no code for this GPU. Build it here: scripts/build_plugin.sh",
    ),
    (
        r"\b(DPW\w+|LabelHead):",
        "The file does not fit this plugin library. Take both from the same version of this project: export again with "
        "scripts/export.sh, build the library with scripts/build_plugin.sh.",
    ),
    (
        r"version tag|expecting library version|serialization version|plan file is not compatible",
        "The engine is of another version of TensorRT.",
    ),
    (
        r"incompatible device|expecting compute|different compute capability",
        "The engine is of another GPU.",
    ),
    (
        r"magic tag|corrupt|truncated|unexpected end|deserializ\w+ .*size",
        "The file is broken or incomplete.",
    ),
)


class Logger(Protocol):
    """TensorRT's logger as this program sees it."""

    def take_errors(self) -> list[str]:
        """The errors since the last time, oldest first, each once."""

    def take_warnings(self) -> list[str]:
        """The warnings since the last time, oldest first, each once."""


@functools.cache
def logger_of(trt: ModuleType) -> Logger:
    """The process's logger; it lives as long as the process, as TensorRT demands."""
    errors: deque[str] = deque(maxlen=_KEPT_MESSAGES)
    warnings: deque[str] = deque(maxlen=_KEPT_MESSAGES)

    class CollectingLogger(trt.ILogger):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 wants the base class initialised by name

        def log(self, severity: object, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                errors.append(msg)
            elif severity == trt.ILogger.Severity.WARNING:
                warnings.append(msg)

        def take_errors(self) -> list[str]:
            return _take(errors)

        def take_warnings(self) -> list[str]:
            return _take(warnings)

    return CollectingLogger()


def make(kind: Any, logger: Logger) -> Any:
    """Make TensorRT's Builder or Runtime. Raises UserError where TensorRT cannot start.

    Without a usable driver some versions give nothing, others log an error and give an object that crashes when it is
    used, or only deleted.
    """
    made = None
    with contextlib.suppress(TypeError):  # pybind11's answer to TensorRT giving nothing
        made = kind(logger)
    errors = logger.take_errors()
    if made is not None and not errors:
        return made
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(made))  # keeps it from ever being deleted
    remedy = "Is the NVIDIA driver new enough for the CUDA version that this TensorRT was built with?"
    raise failure("TensorRT cannot start", errors, remedy)


def failure(happened: str, errors: list[str], remedy: str = "") -> UserError:
    """The UserError of a failed call: what happened, TensorRT's last errors shortened, likely cause and remedy.

    Where the errors point to a known cause, its sentence stands before ``remedy``.
    """
    parts = [f"{happened}."]
    if errors:
        parts.append("TensorRT says: " + " / ".join(_shortened(error) for error in errors[-_SHOWN_ERRORS:]))
    parts += [likely_cause(errors), remedy]
    return UserError(" ".join(part for part in parts if part))


def likely_cause(errors: list[str]) -> str:
    """The sentence on cause and remedy that TensorRT's errors point to; empty where they point to none we know."""
    text = "\n".join(errors)
    return next((sentence for pattern, sentence in _CAUSES if re.search(pattern, text, re.IGNORECASE)), "")


def _shortened(error: str) -> str:
    line = " ".join(error.split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[: _SHOWN_CHARACTERS - 3] + "..."


def _take(messages: deque[str]) -> list[str]:
    taken = []
    while messages:  # one by one: TensorRT's threads may append meanwhile
        taken.append(messages.popleft())
    return list(dict.fromkeys(taken))
