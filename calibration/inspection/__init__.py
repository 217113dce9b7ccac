"""``python -m calibration inspect FILE.onnx``: what runs in which precision, what TensorRT will not fuse, and why."""

from pathlib import Path

from calibration.inspection.inspection import Inspection, LayerPrecision, inspect_model
from calibration.inspection.text import as_text

__all__ = ["Inspection", "LayerPrecision", "as_text", "inspect_model", "main"]


def main(path: Path) -> int:
    """Print a file's inspection; the exit code is 1 if it has faults, else 0. Raises UserError for bad input."""
    inspection = inspect_model(path)
    print(as_text(inspection))
    return 1 if inspection.faults else 0
