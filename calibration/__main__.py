"""``python -m calibration COMMAND``: networks in lower precision."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from calibration.inspection import command as inspection
from calibration.search import command as search
from runtime.arguments import image_size, positive_int
from runtime.errors import run_command

AddArguments = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace], int]

_EXPORT_EXAMPLES = """\
examples:
  scripts/export.sh out/quickstart/training/best.ckpt
  scripts/export.sh model.ckpt --precision fp16,int8 --calibration-data cityscapes --calibration-root /data/cityscapes
  scripts/export.sh model.ckpt --precision int8 --calibration-data drive.mp4 --int8-recipe model.int8.recipe.json
  scripts/export.sh model.ckpt --precision int8 --calibration-cache model.calibration.json      no images needed

The bundle holds the precisions asked for, and fp32, which they are made from. Run again with nothing changed, it does
nothing. docs/precision.md says which precision when, and how to choose images.
"""


def main() -> int:
    """Read the command line and run the command that it names; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m calibration",
        description="Export networks in lower precision, search which layers may be INT8, look into the files.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, purpose: str, add_arguments: AddArguments, run: Run, prog: str | None = None) -> None:
        command = commands.add_parser(
            name,
            prog=prog,
            help=purpose,
            description=f"{purpose[0].upper()}{purpose[1:]}.",
            epilog=_EXPORT_EXAMPLES if name == "export" else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(command)
        command.set_defaults(run=run)

    add("export", "export a checkpoint to a bundle", _export_arguments, _export, "scripts/export.sh")
    add("search", "search the layers that may be INT8 within a loss of mIoU", search.add_arguments, search.main)
    add(
        "inspect",
        "say what of an ONNX file runs in which precision, and find faults",
        inspection.add_arguments,
        inspection.main,
    )
    arguments = parser.parse_args()
    run: Run = arguments.run
    return run(arguments)


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, metavar="DIR", help="bundle folder (default: out/bundles/VARIANT)")
    parser.add_argument("--size", type=image_size, metavar="HxW", help="input size (default: the published one)")
    parser.add_argument(
        "--precision",
        type=_precisions,
        default=(),
        metavar="P,P",
        help="of fp32,fp16,int8 (default: fp32, which is always made)",
    )
    parser.add_argument("--logits", action="store_true", help="add the logits as a second output, for parity")
    parser.add_argument(
        "--unfused",
        action="store_true",
        help="keep enlargements, coordinates and arg max as nodes of their own, for comparison",
    )
    calibration = parser.add_argument_group("fp16 and int8 are made by ranges measured on images")
    calibration.add_argument(
        "--calibration-data",
        metavar="NAME|DIR|VIDEO",
        help="a data set (its training images), a folder of images, or a film",
    )
    calibration.add_argument("--calibration-root", type=Path, metavar="DIR", help="where the data set was unpacked")
    calibration.add_argument(
        "--calibration-images", type=positive_int, default=128, metavar="N", help="how many (default: %(default)s)"
    )
    calibration.add_argument(
        "--calibration-cache", type=Path, metavar="FILE", help="NAME.calibration.json of an earlier export, not images"
    )
    calibration.add_argument(
        "--int8-recipe",
        type=Path,
        metavar="FILE",
        help="the layers that are INT8, from `python -m calibration search` (default: what gains by it)",
    )


def _export(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from calibration.bundle import Request, export_precisions

    request = Request(
        precisions=arguments.precision,
        data=arguments.calibration_data,
        root=arguments.calibration_root,
        count=arguments.calibration_images,
        cache=arguments.calibration_cache,
        recipe=arguments.int8_recipe,
    )
    steps = 5 + bool(request.precisions) + len(request.precisions)
    with tqdm(total=steps, bar_format="{desc:<40} {bar:20} {n_fmt}/{total_fmt}", leave=False, disable=None) as bar:

        def progress(step: str) -> None:
            bar.set_description_str(step)
            bar.update()

        made = export_precisions(
            arguments.checkpoint,
            arguments.out,
            request,
            size=arguments.size,
            logits=arguments.logits,
            fused=not arguments.unfused,
            progress=progress,
        )

    info, folder = made.bundle.info, made.bundle.folder
    print(f"{folder}: {info.name}, {info.height}x{info.width}, {len(info.classes)} classes")
    for name in [*made.bundle.manifest.files, "manifest.json"]:
        print(f"  {name:<36}{(folder / name).stat().st_size / 1e6:8.2f} MB  {_purpose(name)}")
    for wide in made.wide:
        print(f"  stays FP32 (TensorRT 8.6 decides by itself): {wide.tensor}, up to {wide.largest:.3g} on these images")
    if made.export is None:
        print("  nothing has changed since it was made, so nothing was done")
        return 0
    if made.removed:
        print(f"  removed: {', '.join(made.removed)}, which the bundle had before and --precision does not name")
    for dropped in made.export.dropped:
        print(f"  dropped: {dropped.what}, {dropped.parameters:,} parameters without effect")
    for precision, agreement in made.export.label_agreement.items():
        print(f"  ONNX Runtime in {precision} = PyTorch on {agreement:.4%} of the pixels")
    return 0


def _purpose(name: str) -> str:
    if name.endswith(".trt.onnx"):
        return "for TensorRT, with the plugin"
    if name.endswith(".onnx"):
        return "for ONNX Runtime, as it is"
    if name.endswith(".calibration.json"):
        return "ranges measured on images"
    if name.endswith(".recipe.json"):
        return "which layers are INT8"
    return "PyTorch reference, not folded" if name.endswith(".pt2") else "what belongs together"


def _precisions(text: str) -> tuple[str, ...]:
    """Read fp32,int8 as the precisions beside fp32, in the order of falling width: ("int8",)."""
    words = text.split(",")
    if strange := [word for word in words if word not in ("fp32", "fp16", "int8")]:
        raise argparse.ArgumentTypeError(f"{strange[0]!r} is none of fp32, fp16, int8; write some with commas")
    return tuple(precision for precision in ("fp16", "int8") if precision in words)


if __name__ == "__main__":
    sys.exit(run_command(main))
