"""``python -m export CHECKPOINT``: checkpoint to bundle."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from runtime.arguments import image_size
from runtime.errors import UserError, run_command


def main() -> None:
    """Parse the command line, export, and print what was made."""
    parser = argparse.ArgumentParser(
        prog="scripts/export.sh", description="Export a checkpoint to a bundle: ONNX, PyTorch reference, manifest."
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, metavar="DIR", help="bundle folder (default: out/bundles/VARIANT)")
    parser.add_argument("--size", type=image_size, metavar="HxW", help="input size (default: the published one)")
    parser.add_argument("--precision", default="fp32", help="only fp32 for now")
    parser.add_argument("--logits", action="store_true", help="add the logits as a second output, for parity")
    arguments = parser.parse_args()
    if arguments.precision != "fp32":
        raise UserError(f"--precision {arguments.precision}: only fp32 can be exported yet; leave the option out.")

    from tqdm import tqdm

    from export.bundle import export_bundle

    with tqdm(total=5, bar_format="{desc:<40} {bar:20} {n_fmt}/{total_fmt}", leave=False, disable=None) as bar:

        def progress(step: str) -> None:
            bar.set_description_str(step)
            bar.update()

        export = export_bundle(
            arguments.checkpoint, arguments.out, size=arguments.size, logits=arguments.logits, progress=progress
        )

    info = export.manifest.info
    print(f"{export.folder}: {info.name}, {info.height}x{info.width}, {len(info.classes)} classes")
    for name in [*export.manifest.files, "manifest.json"]:
        print(f"  {name:<32}{(export.folder / name).stat().st_size / 1e6:8.2f} MB  {_purpose(name)}")
    for dropped in export.dropped:
        print(f"  dropped: {dropped.what}, {dropped.parameters:,} parameters without effect")
    print(f"  ONNX Runtime = PyTorch on {export.label_agreement:.4%} of the pixels")


def _purpose(name: str) -> str:
    if name.endswith(".trt.onnx"):
        return "for TensorRT, with the plugin"
    if name.endswith(".onnx"):
        return "for ONNX Runtime, as it is"
    return "PyTorch reference, not folded" if name.endswith(".pt2") else "what belongs together"


if __name__ == "__main__":
    sys.exit(run_command(main))
