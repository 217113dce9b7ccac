"""``python -m calibration inspect``: say what of an ONNX file runs in which precision, and find faults."""

from __future__ import annotations

import argparse
from pathlib import Path

_DESCRIPTION = """
Say what of an ONNX file runs in which precision, layer by layer, and what of it TensorRT will not run as meant: faults
break a rule of TensorRT's, notes cost or risk something. Only the graph is read: nothing is run, and no GPU is needed.
"""

_EPILOG = """
FILE.onnx may be any ONNX file of a bundle, of fp32, fp16 or int8, for ONNX Runtime (NAME.int8.onnx) or for TensorRT
(NAME.int8.trt.onnx), or another valid ONNX file with convolutions, also one with operators of other domains. Where its
weights lie in a file of their own, that must be beside it. Engines, .pt2 files and checkpoints are not ONNX files.

exit code: 0 without faults, whatever the notes, 1 with faults, 2 for a file that cannot be inspected.

examples:
  python -m calibration inspect out/bundles/street-tiny/street-tiny.int8.trt.onnx
  python -m calibration inspect FILE.onnx > /dev/null || echo "look at it before the build"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``python -m calibration inspect``."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.add_argument("model", type=Path, metavar="FILE.onnx", help="of a bundle, or another with convolutions")


def main(arguments: argparse.Namespace) -> int:
    """Print a file's inspection; returns 1 if it has faults. Raises UserError for a file that cannot be inspected."""
    from calibration.inspection.inspection import inspect_model
    from calibration.inspection.text import as_text

    inspection = inspect_model(arguments.model)
    print(as_text(inspection))
    return 1 if inspection.faults else 0
