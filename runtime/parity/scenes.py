"""What the networks are compared on: images at the network's size and, where there is one, their truth.

The protocol follows ``training evaluate``: images are resized bilinearly, their aspect ratio not kept (VOC's are padded
with black instead), and labels are scored at the truth's own size. One step differs, because an exported network gives
labels, not logits: its labels are brought to the truth's size by nearest neighbour, as ``Segmenter`` delivers them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from runtime import street
from runtime.bundle import ModelInfo
from runtime.data import fitting
from runtime.data.catalogue import DATA_SETS, open_data_set
from runtime.data.data_set import IGNORE, DataSet
from runtime.data.files import read_picture
from runtime.data.label_sets import VOC
from runtime.errors import UserError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})

_FOLDER_WITHOUT_TRUTH = "a folder of images has no truth"


@dataclass(frozen=True)
class Scene:
    """``image_rgb`` is uint8 [H, W, 3] of the network's size, ``truth`` uint8 at its own size, or None.

    ``padded``: the truth is the upper left corner of the labels, rather than a resized version of them.
    """

    name: str
    image_rgb: np.ndarray
    truth: np.ndarray | None
    padded: bool = False

    def at_truth(self, labels: np.ndarray) -> np.ndarray:
        """Bring labels of the network's size, uint8 [H, W], to the truth's."""
        assert self.truth is not None
        height, width = self.truth.shape
        if self.padded:
            return labels[:height, :width]
        return cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)

    def truth_at_network(self) -> np.ndarray:
        """Bring the truth to the network's size, to be looked at beside the labels."""
        assert self.truth is not None
        height, width = self.image_rgb.shape[:2]
        if self.padded:
            corner = np.full((height, width), IGNORE, np.uint8)
            corner[: self.truth.shape[0], : self.truth.shape[1]] = self.truth
            return corner
        return cv2.resize(self.truth, (width, height), interpolation=cv2.INTER_NEAREST)


@dataclass(frozen=True)
class Scenes:
    """``count`` scenes, of which ``load`` makes one at a time. ``no_truth`` says why there is none, or is empty."""

    title: str
    protocol: str
    count: int
    load: Callable[[int], Scene]
    no_truth: str = ""


def open_scenes(data: str, root: Path | None, info: ModelInfo, count: int, *, skip: int = 0) -> Scenes:
    """Open ``count`` scenes, those after the first ``skip``, of a data set by its name, below ``root``, or of a folder.

    Cityscapes and VOC are read by their val split, CamVid by its test split, as published figures are.
    Raises UserError for an unknown name, a folder without images, files that are missing and too few to skip so many.
    """
    if data == "street":
        return _street(root, info, count, skip)
    if data in DATA_SETS:
        split = "test" if data.startswith("camvid") else "val"
        return _labelled(open_data_set(data, root, split), info, count, skip)
    folder = Path(data)
    if not folder.exists() and folder.name == data:
        open_data_set(data, root, "val")  # raises, with the names there are
    return _folder(folder, root, info, count, skip)


def _street(root: Path | None, info: ModelInfo, count: int, skip: int) -> Scenes:
    if root is not None:
        raise UserError(f"the street scenes are rendered and read no files. Leave out --data-root {root}.")
    if min(info.height, info.width) < 32:
        raise UserError(
            f"the street scenes are at least 32x32 pixels, but {info.name} takes {info.height}x{info.width}. "
            "Give a folder of images instead: --data DIR."
        )
    seeds = street.HELD_OUT_SEEDS[skip : skip + count]
    same_classes = info.classes == street.CLASSES

    def load(index: int) -> Scene:
        image_rgb, truth = street.render(seeds[index], height=info.height, width=info.width)
        return Scene(f"street scene {seeds[index]}", image_rgb, truth if same_classes else None)

    return Scenes(
        title=f"street, {len(seeds)} held-out scene{'s' * (len(seeds) != 1)} (seeds from {seeds[0]})",
        protocol=f"rendered at {info.height}x{info.width}",
        count=len(seeds),
        load=load,
        no_truth="" if same_classes else "the street scenes have other classes than the model",
    )


def _labelled(data: DataSet, info: ModelInfo, count: int, skip: int) -> Scenes:
    chosen = _chosen(data.name, len(data), count, skip)
    padded = data.labels == VOC
    same_classes = data.labels.classes == info.classes

    def load(index: int) -> Scene:
        image_rgb, truth = data[chosen[index]]
        name = data.stem(chosen[index])
        fitted_rgb = fitting.padded(image_rgb, info, name) if padded else fitting.resized(image_rgb, info)
        return Scene(name, fitted_rgb, truth if same_classes else None, padded)

    fitted = "padded with black" if padded else "resized bilinearly"
    scored = "cropped" if padded else "brought by nearest neighbour"
    return Scenes(
        title=f"{data.name}, {_part(chosen, len(data))} {len(data)} images",
        protocol=f"images {fitted} to {info.height}x{info.width}; labels {scored} to the truth's size",
        count=len(chosen),
        load=load,
        no_truth="" if same_classes else f"{data.name} has other classes than the model",
    )


def _folder(folder: Path, root: Path | None, info: ModelInfo, count: int, skip: int) -> Scenes:
    if root is not None:
        raise UserError(f"--data-root belongs to a data set, but {folder} is a folder of images. Leave it out.")
    if not folder.is_dir():
        happened = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"{folder} {happened}. Give a folder of images, or one of: {', '.join(DATA_SETS)}.")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        known = " ".join(sorted(IMAGE_SUFFIXES))
        raise UserError(f"the folder {folder} holds no image. Give one with files of these kinds: {known}.")
    chosen = _chosen(f"the folder {folder}", len(paths), count, skip)

    def load(index: int) -> Scene:
        path = paths[chosen[index]]
        return Scene(path.name, fitting.resized(np.array(read_picture(path).convert("RGB")), info), None)

    return Scenes(
        title=f"folder {folder.name}, {_part(chosen, len(paths))} {len(paths)} images",
        protocol=f"images resized bilinearly to {info.height}x{info.width}",
        count=len(chosen),
        load=load,
        no_truth=_FOLDER_WITHOUT_TRUTH,
    )


def _chosen(name: str, total: int, count: int, skip: int) -> range:
    chosen = range(total)[skip : skip + count]
    if not chosen:
        raise UserError(f"{name} has {total} images, and what is wanted are those after the first {skip}. Take more.")
    return chosen


def _part(chosen: range, total: int) -> str:
    if len(chosen) == total:
        return "all"
    return f"{chosen.start + 1} to {chosen.stop} of" if chosen.start else f"the first {len(chosen)} of"
