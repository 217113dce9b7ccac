"""The library with the network's operators for the CPU: where it is, and giving it to ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from runtime.backends.onnx_operators.mbconv import with_blocks
from runtime.errors import UserError
from runtime.files import sha256_of

BUILT_LIBRARY = Path(__file__).resolve().parents[3] / "out" / "cpu_operators" / "libhyperseg_cpu_operators.so"
BUILD_AGAIN = (
    "Build it again on this machine, scripts/build_cpu_operators.sh, or delete it: networks run without it, only slower"
)


def register_operators(options: onnxruntime.SessionOptions) -> bool:
    """Let sessions use the library, if it was built. An operator that it has wins over its function body in a file.

    Raises UserError if the library is not of these sources, or cannot be loaded: one that was built on another machine,
    for instance.
    """
    if not BUILT_LIBRARY.is_file():
        return False
    if not _is_of_these_sources(BUILT_LIBRARY):
        raise UserError(f"{BUILT_LIBRARY} was built from other sources than these, or is damaged. {BUILD_AGAIN}.")
    try:
        options.register_custom_ops_library(str(BUILT_LIBRARY))
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise UserError(
            f"ONNX Runtime {onnxruntime.__version__} cannot use {BUILT_LIBRARY}: {error}. {BUILD_AGAIN}."
        ) from error
    return True


def _is_of_these_sources(library: Path) -> bool:
    """Compare with the checksums that the build wrote beside the library, as sha256sum writes them."""
    stamp = library.with_name(f"{library.name}.sha256")
    if not stamp.is_file():
        return False
    folder = Path(__file__).parent
    paths = (library, *folder.glob("*.cpp"), *folder.glob("*.h"))
    return set(stamp.read_text(errors="replace").splitlines()) == {
        f"{sha256_of(path)}  ./{path.name}" for path in paths
    }


def can_group() -> bool:
    """Whether the package onnx can be imported, which ``grouped_model`` needs."""
    try:
        import onnx  # noqa: F401
    except Exception:  # not installed, or at odds with the protobuf that is
        return False
    return True


def grouped_model(path: Path) -> bytes:
    """The file's model with the encoder's blocks as operators of the library."""
    import onnx

    model: bytes = with_blocks(onnx.load(path)).SerializeToString()
    return model
