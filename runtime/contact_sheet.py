"""Write one PNG of a few held-out street scenes: image, prediction and truth side by side, with a legend."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from runtime import street
from runtime.arguments import positive_int
from runtime.errors import UserError, run_command
from runtime.segmenter import Segmenter
from runtime.video.overlay import PANEL_RGB, LegendRow, colour_table, lay, panel
from runtime.video.sinks import write_png

_COLUMN_WIDTH = 512
_TEXT_PX = 11
_MARGIN = _TEXT_PX  # as a panel's own, so that captions and pictures begin at one line
_CAPTION_HEIGHT = 3 * _TEXT_PX


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m runtime.contact_sheet", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a bundle folder, or one .onnx file of it")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="the picture to write")
    parser.add_argument("--scenes", type=positive_int, default=4, metavar="N", help="how many (default: %(default)s)")
    arguments = parser.parse_args()
    if arguments.out.suffix.lower() != ".png":
        raise UserError(f"cannot write {arguments.out}: a contact sheet is a PNG. Give a name that ends in .png.")
    sheet_rgb = contact_sheet(Segmenter(arguments.model), scenes=arguments.scenes)
    write_png(arguments.out, cv2.cvtColor(sheet_rgb, cv2.COLOR_RGB2BGR))
    print(f"{arguments.out}: {arguments.scenes} scenes, {sheet_rgb.shape[1]}x{sheet_rgb.shape[0]}")


def contact_sheet(segmenter: Segmenter, *, scenes: int) -> np.ndarray:
    """Draw the sheet, uint8 RGB [H, W, 3]. Raises UserError for a model of other classes than the scenes'."""
    info = segmenter.info
    if info.classes != street.CLASSES:
        raise UserError(
            f"{info.name} has other classes than the street scenes, so there is no truth to show. "
            f"See its predictions with runtime/demo.py instead."
        )
    colours = colour_table(info.palette)
    classes_seen = np.zeros(256, bool)
    rows = []
    for seed in street.HELD_OUT_SEEDS[:scenes]:
        image_rgb, truth = street.render(seed, height=info.height, width=info.width)
        labels = segmenter(image_rgb)
        classes_seen[np.union1d(labels, truth)] = True
        right = np.mean((labels == truth)[truth != street.IGNORE])
        rows.append(
            [
                _captioned(image_rgb, f"street scene {seed}"),
                _captioned(colours[labels], f"prediction, {right:.1%} of the pixels right"),
                _captioned(colours[truth], "truth"),
            ]
        )
    pictures_rgb = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    legend = [
        (colour, name) for colour, name, seen in zip(info.palette, info.classes, classes_seen, strict=False) if seen
    ]
    return np.concatenate([pictures_rgb, _legend_strip(legend, pictures_rgb.shape[1])])


def _captioned(picture_rgb: np.ndarray, caption: str) -> np.ndarray:
    """Scale a picture to the column's width, and put a caption above it and a margin around it."""
    height = round(picture_rgb.shape[0] * _COLUMN_WIDTH / picture_rgb.shape[1])
    cell_rgb = np.full((_CAPTION_HEIGHT + height, _COLUMN_WIDTH + 2 * _MARGIN, 3), PANEL_RGB, np.uint8)
    lay(cell_rgb, panel([(None, caption)], _TEXT_PX), top=0, left=0)
    scaled_rgb = cv2.resize(picture_rgb, (_COLUMN_WIDTH, height), interpolation=cv2.INTER_AREA)
    cell_rgb[_CAPTION_HEIGHT:, _MARGIN:-_MARGIN] = scaled_rgb
    return cell_rgb


def _legend_strip(rows: Sequence[LegendRow], width: int) -> np.ndarray:
    """The legend in as few lines as fit the width."""
    for lines in range(1, len(rows) + 1):
        legend_rgba = panel(rows, _TEXT_PX, max_height=(2 * lines + 1) * _TEXT_PX)
        if legend_rgba.shape[1] <= width:
            break
    strip_rgb = np.full((legend_rgba.shape[0] + _TEXT_PX, width, 3), PANEL_RGB, np.uint8)
    lay(strip_rgb, legend_rgba, top=0, left=0)
    return strip_rgb


if __name__ == "__main__":
    sys.exit(run_command(main))
