"""The library with the network's operators for the CPU: where it is, and giving it to ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from runtime.backends.onnx_operators.mbconv import with_blocks
from runtime.errors import UserError

BUILT_LIBRARY = Path(__file__).resolve().parents[3] / "out" / "cpu_operators" / "libhyperseg_cpu_operators.so"


def register_operators(options: onnxruntime.SessionOptions) -> bool:
    """Let sessions use the library, if it was built. An operator that it has wins over its function body in a file.

    Raises UserError if the library cannot be loaded: one that was built on another machine, for instance.
    """
    if not BUILT_LIBRARY.is_file():
        return False
    try:
        options.register_custom_ops_library(str(BUILT_LIBRARY))
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise UserError(
            f"ONNX Runtime {onnxruntime.__version__} cannot use {BUILT_LIBRARY}: {error}. Build it again on this "
            "machine, scripts/build_cpu_operators.sh, or delete it: networks run without it, only slower."
        ) from error
    return True


def grouped_model(path: Path) -> bytes | str:
    """The file's model with the encoder's blocks as operators of the library; the path where onnx is not installed."""
    try:
        import onnx
    except ImportError:
        return str(path)
    model: bytes = with_blocks(onnx.load(path)).SerializeToString()
    return model
