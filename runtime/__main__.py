"""``python -m runtime COMMAND``: make a bundle ready for the device that runs it."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from runtime.arguments import positive_int
from runtime.backends.tensorrt.versions import PRECISIONS
from runtime.errors import run_command
from runtime.handoff import deepstream, triton

AddArguments = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace], None]

_SHOWN_WARNINGS = 5

_EXAMPLES = """\
examples:
  python -m runtime build out/quickstart/bundle
  python -m runtime build out/bundles/cityscapes-m --precision fp16 --batch 1,4
  python -m runtime build model.fp16.trt.onnx --precision fp16 --out model.fp16.engine
  python -m runtime build out/quickstart/bundle --plugin aot

An engine serves the GPU, TensorRT and plugin library that it was built with, and no other: build it on the device that
runs it. With --plugin aot it needs no library, nor does the build: NVRTC (pip install nvidia-cuda-nvrtc) compiles the
operators' kernels for this GPU, and they become part of the engine.

Beside an engine stand its record, ENGINE.json, which says what it was built for, and the timings that make the next
build shorter. Ctrl-C stops a build and leaves what was there before.
"""


def main() -> int:
    """Read the command line and run the command that it names."""
    parser = argparse.ArgumentParser(
        prog="python -m runtime",
        description="Make a bundle ready for the device that runs it. Segmenting itself is runtime/demo.py.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, purpose: str, add_arguments: AddArguments, run: Run, epilog: str = "") -> None:
        command = commands.add_parser(
            name,
            help=purpose,
            description=f"{purpose[0].upper()}{purpose[1:]}.",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(command)
        command.set_defaults(run=run)

    add("build", "build a bundle's TensorRT engine for this device's GPU", _build_arguments, _build, _EXAMPLES)
    add("triton", "write a bundle as a model of NVIDIA's Triton Inference Server", triton.add_arguments, triton.main)
    add("deepstream", "write the configuration for NVIDIA's DeepStream", deepstream.add_arguments, deepstream.main)

    arguments = parser.parse_args()
    arguments.run(arguments)
    return 0


def _build_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help="a bundle folder, or one .onnx file")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="fp32",
        help="which of the bundle's ONNX files (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="ENGINE", help="the engine (default: NAME.PRECISION.engine beside the ONNX file)"
    )
    parser.add_argument(
        "--batch",
        type=_batches,
        default=(1,),
        metavar="N,N",
        help="how many images it takes at once; for each number, and no other, it gets kernels (default: 1)",
    )
    parser.add_argument(
        "--workspace-mib",
        type=positive_int,
        metavar="N",
        help="GPU memory for intermediate results of a layer (default: all that the GPU has)",
    )
    parser.add_argument(
        "--timing-cache",
        type=Path,
        metavar="FILE",
        help="timings of earlier builds (default: timing.cache beside ENGINE)",
    )
    parser.add_argument(
        "--plugin",
        type=_plugin,
        metavar="LIB",
        help="the plugin library (default: out/plugin/tensorrtMAJOR/libhyperseg_plugins.so, else the one beside MODEL, "
        "else what the variable HYPERSEG_PLUGIN names); or aot: an engine that holds the operators' kernels itself and "
        "needs no library to run, from TensorRT 10.9 on",
    )


def _build(arguments: argparse.Namespace) -> None:
    from runtime.backends.tensorrt.build import BuildOptions, build_engine

    options = BuildOptions(
        precision=arguments.precision,
        batches=arguments.batch,
        workspace_mib=arguments.workspace_mib,
        timing_cache=arguments.timing_cache,
        plugin=arguments.plugin,
    )
    start_s = time.monotonic()
    built = build_engine(arguments.model, arguments.out, options, say=print)
    record = built.record
    info = record.info
    for warning in built.warnings[:_SHOWN_WARNINGS]:
        print(f"TensorRT warns: {' '.join(warning.split())}")
    print(
        f"{built.engine}: {info.name} {record.precision}, {info.height}x{info.width}, "
        f"batch {', '.join(map(str, record.batches))}, {built.engine.stat().st_size / 1e6:.1f} MB, "
        f"for {record.gpu} and TensorRT {record.tensorrt}, built in {time.monotonic() - start_s:.0f} s"
    )


def _plugin(text: str) -> Path | Literal["aot"]:
    return "aot" if text == "aot" else Path(text)


def _batches(text: str) -> tuple[int, ...]:
    """Read 1,4 as (1, 4)."""
    batches = tuple(positive_int(number) for number in text.split(","))
    if len(set(batches)) != len(batches):
        raise argparse.ArgumentTypeError(f"{text!r} names a batch twice")
    return batches


if __name__ == "__main__":
    sys.exit(run_command(main))
