"""The plugin library, which gives TensorRT the operators of the network: where it is, and loading it."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from types import ModuleType

from runtime.backends.tensorrt.aot.operators import NAMESPACE, OPERATORS
from runtime.backends.tensorrt.logger import failure, logger_of
from runtime.backends.tensorrt.versions import has_aot_plugins
from runtime.errors import UserError

LIBRARY_NAME = "libhyperseg_plugins.so"
LIBRARY_VARIABLE = "HYPERSEG_PLUGIN"

_PROJECT = Path(__file__).resolve().parents[3]


def find_plugin(major: int, given: Path | None, *beside: Path) -> Path:
    """The library for a major version of TensorRT: ``given``, or the first that there is of these.

    ``out/plugin/tensorrtMAJOR`` of the project, the folders ``beside`` (the engine's and its ONNX file's), and what the
    environment variable HYPERSEG_PLUGIN names. Raises UserError where there is none, and for a library of another major
    version.
    """
    if given is not None:
        places = [given]
    else:
        folders = dict.fromkeys([_PROJECT / "out" / "plugin" / f"tensorrt{major}", *beside])
        places = [folder / LIBRARY_NAME for folder in folders]
        if named := os.environ.get(LIBRARY_VARIABLE):
            places.append(Path(named))
    library = next((place for place in places if place.is_file()), None)
    if library is None:
        looked = ", ".join(map(str, places))
        raise UserError(
            f"there is no plugin library for TensorRT {major}; looked for {looked}. "
            f"Build it on this device: {_build_command(major)}. One that is elsewhere can be named by --plugin or the "
            f"environment variable {LIBRARY_VARIABLE}."
        )
    built_for = _majors_served(library)
    if major not in built_for:
        raise UserError(
            f"{library} is for TensorRT {' or '.join(map(str, built_for))}, but here is TensorRT {major}, and each "
            f"major version needs a library of its own. Build it: {_build_command(major)}"
        )
    return library


def load_plugin(trt: ModuleType, library: Path) -> None:
    """Make TensorRT know the library's operators.

    Raises UserError if it does not accept the library, and in a process that has built an engine with --plugin aot. A
    builder or runtime with our logger must exist already: until then TensorRT has nobody to tell errors to.
    """
    _load_once(trt, library.resolve())


@functools.cache  # TensorRT refuses operators that it already has
def _load_once(trt: ModuleType, library: Path) -> None:
    registry = trt.get_plugin_registry()
    if registry is not None and has_aot_plugins(trt.__version__):
        if any(registry.get_creator(operator.name, "1", NAMESPACE) is not None for operator in OPERATORS):
            raise UserError(
                "this process has built an engine with --plugin aot, and TensorRT would confuse its operators with the "
                f"library's. Use {library} in a process of its own."
            )
        logger_of(trt).take_errors()  # some versions log what they do not find
    if registry is None or registry.load_library(str(library)) is None:
        major = int(trt.__version__.split(".")[0])
        raise failure(
            f"TensorRT {trt.__version__} cannot load the plugin library {library}",
            logger_of(trt).take_errors(),
            "It may be of another processor, of another major version of TensorRT, or need a newer system (ldd shows "
            f"what it misses). Build it on this device: {_build_command(major)}",
        )


def _majors_served(library: Path) -> tuple[int, ...]:
    """The major versions of TensorRT that a library may serve, by what stands in it and by its folder's name.

    TensorRT 10 and 11 look for equal names in a library and call it differently: a wrong one crashes.
    """
    content = library.read_bytes()
    if marker := re.search(rb"hyperseg_plugins for TensorRT (\d+)", content):
        return (int(marker[1]),)
    if folder := re.fullmatch(r"tensorrt(\d+)", library.resolve().parent.name):
        return (int(folder[1]),)
    return (8,) if b"getPluginCreators" in content else (10, 11)


def _build_command(major: int) -> str:
    # For 8 it must find TensorRT's headers; of 10 and 11 the project has its own declarations.
    return "scripts/build_plugin.sh" + ("" if major == 8 else f" --tensorrt-major {major}")
