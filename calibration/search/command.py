"""``python -m calibration search``: find the layers that may run in INT8, and write recipe and report."""

from __future__ import annotations

import argparse
from pathlib import Path

from runtime.arguments import positive_int
from runtime.bundle import open_bundle
from runtime.data.catalogue import DATA_SETS
from runtime.errors import UserError
from runtime.files import refuse_unwritable

_DESCRIPTION = """
Find the largest set of layers that may run in INT8 without losing more mIoU than the budget: measures every layer
alone, then whole sets, as they would ship, in ONNX Runtime. Writes the recipe, which scripts/export.sh replays, and a
report as search.json, search.md and search.html.
"""

_EPILOG = """
exit code: 0 if a recipe within the budget was found, 1 if not, 2 for bad input.

examples:
  python -m calibration search out/bundle --budget 0.3
  python -m calibration search BUNDLE --data cityscapes --data-root /data/cityscapes --scenes 100
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``python -m calibration search``."""
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    parser.add_argument("bundle", type=Path, help="folder that scripts/export.sh wrote, with a calibration")
    parser.add_argument(
        "--data", default="street", metavar="NAME", help=f"one of {', '.join(DATA_SETS)} (default: %(default)s)"
    )
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="where the data set was unpacked")
    parser.add_argument(
        "--budget", type=float, default=0.5, metavar="POINTS", help="mIoU that may be lost (default: %(default)s)"
    )
    parser.add_argument("--scenes", type=positive_int, default=50, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--threads", type=positive_int, metavar="N", help="CPU threads (default: all)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where recipe and report go (default: out/search/NAME)")


def main(arguments: argparse.Namespace) -> int:
    """Search and write; returns 1 if nothing keeps the budget."""
    from calibration.bundle import calibration_path
    from calibration.cache import read_calibration
    from calibration.search.files import write_report
    from calibration.search.markdown import as_markdown
    from calibration.search.search import Request, search

    bundle = open_bundle(arguments.bundle)
    folder = arguments.out or Path("out/search") / bundle.info.name
    refuse_unwritable(folder)
    cache = calibration_path(bundle.folder, bundle.info)
    if not cache.is_file():
        raise UserError(
            f"{bundle.folder} has no {cache.name}, so nothing can be quantised. Export the checkpoint again with "
            "ranges: scripts/export.sh CHECKPOINT --precision int8 --calibration-data NAME"
        )
    report = search(
        bundle,
        read_calibration(cache),
        Request(
            budget_points=arguments.budget,
            data=arguments.data,
            data_root=arguments.data_root,
            scenes=arguments.scenes,
            threads=arguments.threads,
        ),
    )
    written = write_report(report, folder)
    print(as_markdown(report))
    print("Written to", ", ".join(map(str, written)))
    if report.chosen is None:
        return 1
    print(
        f"Export by it, with the bundle's other options: scripts/export.sh CHECKPOINT --precision fp16,int8 "
        f"--calibration-cache {cache} --int8-recipe {written[0]}"
    )
    return 0
