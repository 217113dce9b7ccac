"""``python -m runtime.parity``: PyTorch against every exported file and engine, side by side."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from runtime.arguments import positive_int
from runtime.bundle import open_bundle
from runtime.data.catalogue import DATA_SETS
from runtime.errors import run_command
from runtime.files import replace_file
from runtime.parity import markdown, page, report
from runtime.parity.budgets import PASSED
from runtime.parity.compare import Request, compare
from runtime.parity.names import BACKENDS, PRECISIONS

_DESCRIPTION = """
Is the exported network still the network that was trained? Runs PyTorch, ONNX Runtime and TensorRT on the same images,
in every precision there is: logits, labels, IoU of each class, latency, FPS, power. What cannot run here is reported
as not run. The report is written as parity.json, parity.md and parity.html.
"""

_EPILOG = """
exit code: 0 if every budget that was checked is kept, 1 if one is missed or none could be checked, 2 for bad input.
budgets: FP32 gives the same label on 99.9 % of the pixels; mIoU falls by at most 0.05 points (INT8: 0.5).

examples:
  scripts/parity.sh out/quickstart/bundle
  scripts/parity.sh BUNDLE --data cityscapes --data-root /data/cityscapes --scenes 500
  scripts/parity.sh BUNDLE --data photos/ --layers
  python -m runtime.parity BUNDLE --backends onnxruntime,tensorrt      on a device without PyTorch: ONNX Runtime's
                                                                       FP32 is the reference
"""


def main() -> int:
    """Run the command; returns 1 if a budget is missed or none could be checked."""
    parser = argparse.ArgumentParser(
        prog="python -m runtime.parity",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("bundle", type=Path, help="the folder that scripts/export.sh wrote")
    parser.add_argument("--backends", type=_some_of(BACKENDS), default=BACKENDS, metavar="A,B", help=_default(BACKENDS))
    parser.add_argument(
        "--precisions", type=_some_of(PRECISIONS), default=PRECISIONS, metavar="A,B", help=_default(PRECISIONS)
    )
    parser.add_argument(
        "--data", default="street", metavar="NAME|DIR",
        help=f"{', '.join(DATA_SETS)}, or a folder of images without truth (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="where the data set was unpacked")
    parser.add_argument("--scenes", type=positive_int, default=50, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--threads", type=positive_int, metavar="N", help="CPU threads of each (default: all)")
    parser.add_argument("--plugin", type=Path, metavar="LIB", help="TensorRT's plugin library (default: looked for)")
    parser.add_argument("--layers", action="store_true", help="also find the first tensor that departs")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the report goes (default: out/parity/NAME)")
    arguments = parser.parse_args()

    bundle = open_bundle(arguments.bundle)
    result = compare(
        bundle,
        Request(
            backends=arguments.backends,
            precisions=arguments.precisions,
            data=arguments.data,
            data_root=arguments.data_root,
            scenes=arguments.scenes,
            threads=arguments.threads,
            plugin=arguments.plugin,
            layers=arguments.layers,
        ),
    )
    folder = arguments.out or Path("out/parity") / bundle.info.name
    texts = {
        "parity.json": report.as_json(result),
        "parity.md": markdown.as_markdown(result),
        "parity.html": page.as_html(result),
    }
    for name, text in texts.items():
        with replace_file(folder / name) as aside:
            aside.write_text(text, encoding="utf-8")
    print(texts["parity.md"])
    print("Written to", ", ".join(str(folder / name) for name in texts))
    return 0 if result.verdict == PASSED else 1


def _some_of(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    """Read a list with commas, each a known word."""

    def read(text: str) -> tuple[str, ...]:
        words = tuple(dict.fromkeys(text.split(",")))
        if strange := [word for word in words if word not in known]:
            raise argparse.ArgumentTypeError(f"{strange[0]!r} is none of {', '.join(known)}; write some with commas")
        return words

    return read


def _default(words: tuple[str, ...]) -> str:
    return f"some of {','.join(words)} (default: all)"


if __name__ == "__main__":
    sys.exit(run_command(main))
