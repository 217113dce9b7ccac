"""The images that ranges are measured on: which they are, and each at the network's size.

They come from training images, never from those that a network is judged by. Each is drawn from another of as many
equal parts of the source, so that every city of a data set and every scene of a film has its share.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryFile, gettempdir

import cv2
import numpy as np
from tqdm import tqdm

from runtime import street
from runtime.bundle import ModelInfo
from runtime.data import fitting
from runtime.data.catalogue import DATA_SETS, SPLITS, open_data_set
from runtime.data.files import read_picture
from runtime.data.label_sets import VOC
from runtime.errors import UserError, writing
from runtime.video.files import IMAGE_SUFFIXES

MIN_IMAGES = 8

# Video compression leaves black a level or two of noise.
_MAX_LEVELS_OF_ONE_COLOUR = 4


@dataclass(frozen=True)
class ImageRecord:
    """An image's name and the hash of its pixels as the network sees them, for no film or rendered scene is a file."""

    name: str
    sha256: str


@dataclass(frozen=True)
class CalibrationImages:
    """The chosen images. ``load`` returns the one of ``records[index]``, uint8 RGB [H, W, 3] of the network's size."""

    source: str  # in words
    seed: int
    records: tuple[ImageRecord, ...]
    load: Callable[[int], np.ndarray]

    def __len__(self) -> int:
        return len(self.records)


@dataclass(frozen=True)
class _Source:
    """All images that there are to choose from, at their own sizes, and how they come to the network's."""

    title: str
    count: int
    name: Callable[[int], str]
    read: Callable[[int], np.ndarray]
    padded: bool = False


def choose_images(
    data: str, root: Path | None, info: ModelInfo, *, count: int = 128, seed: int = 0
) -> CalibrationImages:
    """Choose ``count`` images, or all if there are fewer, for a network; the same ones for the same ``seed``.

    ``data`` is the name of a data set, of which the training images are taken, from below ``root`` (``street``: scenes
    that are not held out), or the path of a folder of images or of a film. Each chosen image is read once, and kept in
    a temporary file. Raises UserError for fewer than MIN_IMAGES, and for an image that cannot be read, is of one colour
    (black), has less than half of the network's height or width, or is too large to be padded.
    """
    source = _open(data, root, info)
    if count < MIN_IMAGES or source.count < MIN_IMAGES:
        there_are = f"{source.title} has {source.count}" if count >= MIN_IMAGES else f"{count} are asked for"
        raise UserError(
            f"ranges are measured on at least {MIN_IMAGES} images, and better on 100 or more, but {there_are}. "
            "Too few show the network too little of what it will see. Give more."
        )
    chosen = _spread(source.count, min(count, source.count), seed)

    # Rendering a scene or seeking in a film is slow, and the ranges take the images several times.
    shape = (info.height, info.width, 3)
    spool = TemporaryFile(prefix="hyperseg-calibration-")  # noqa: SIM115  it is gone when `load` is
    records = []
    for index in tqdm(chosen, desc="choosing calibration images", unit="image", leave=False, disable=None):
        pixels = _fitted(source, index, info).tobytes()
        records.append(ImageRecord(source.name(index), hashlib.sha256(pixels).hexdigest()))
        with writing(Path(gettempdir())):
            spool.write(pixels)
            spool.flush()

    def load(index: int) -> np.ndarray:
        pixels = os.pread(spool.fileno(), prod(shape), index * prod(shape))
        return np.frombuffer(pixels, np.uint8).reshape(shape)

    return CalibrationImages(f"{source.title}, {len(chosen)} of {source.count:,} images", seed, tuple(records), load)


def _spread(total: int, count: int, seed: int) -> list[int]:
    """Draw an index from each of ``count`` equal parts of ``range(total)``."""
    edges = np.arange(count + 1) * total // count
    indices: list[int] = np.random.default_rng(seed).integers(edges[:-1], edges[1:]).tolist()
    return indices


def _fitted(source: _Source, index: int, info: ModelInfo) -> np.ndarray:
    """Read and check an image and bring it to the network's size."""
    image_rgb, name = source.read(index), source.name(index)
    height, width = image_rgb.shape[:2]
    if not source.padded and (2 * height < info.height or 2 * width < info.width):
        raise UserError(
            f"the image {name} of {source.title} is {height}x{width} pixels, less than half of the "
            f"{info.height}x{info.width} that {info.name} takes: enlarged, it is nothing like the images to come. "
            "Leave it out, or give the images at their full size."
        )
    if int(np.ptp(image_rgb.reshape(-1, 3), axis=0).max()) < _MAX_LEVELS_OF_ONE_COLOUR:
        colour = "black" if image_rgb.max() < _MAX_LEVELS_OF_ONE_COLOUR else "of one colour"
        raise UserError(
            f"the image {name} of {source.title} is all {colour}: nothing can be measured on it. Was the camera "
            "covered, or does the film fade in? Leave it out."
        )
    return fitting.padded(image_rgb, info, name) if source.padded else fitting.resized(image_rgb, info)


def _open(data: str, root: Path | None, info: ModelInfo) -> _Source:
    if data == "street":
        return _street(root, info)
    if data in DATA_SETS:
        return _data_set(data, root)
    path = Path(data)
    if not path.exists() and path.name == data:
        open_data_set(data, root, "train")  # raises, with the names there are
    if root is not None:
        raise UserError(f"a root folder belongs to a data set, but {path} is none. Leave {root} out.")
    if not path.exists():
        raise UserError(
            f"{path} does not exist. Give a folder of images, a film, or one of the data sets {', '.join(DATA_SETS)}."
        )
    if path.is_dir():
        paths = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in IMAGE_SUFFIXES)
        if not paths:
            known = " ".join(sorted(IMAGE_SUFFIXES))
            raise UserError(f"the folder {path} holds no image itself. Give one with files of these kinds: {known}.")
        return _pictures(f"folder {path.resolve().name}", paths)
    return _pictures(path.name, [path]) if path.suffix.lower() in IMAGE_SUFFIXES else _film(path)


def _street(root: Path | None, info: ModelInfo) -> _Source:
    if root is not None:
        raise UserError(f"the street scenes are rendered and read no files. Leave out the folder {root}.")
    if min(info.height, info.width) < 32:
        raise UserError(
            f"the street scenes are at least 32x32 pixels, but {info.name} takes {info.height}x{info.width}. "
            "Give a folder of images instead."
        )
    return _Source(
        title="street scenes",
        count=street.HELD_OUT_SEEDS.start,
        name=lambda seed: f"street_{seed}",
        read=lambda seed: street.render(seed, height=info.height, width=info.width)[0],
    )


def _data_set(name: str, root: Path | None) -> _Source:
    data = open_data_set(name, root, SPLITS[name][0])  # the first is the one to train on
    return _Source(data.name, len(data), data.stem, lambda index: data[index][0], padded=data.labels == VOC)


def _pictures(title: str, paths: Sequence[Path]) -> _Source:
    return _Source(
        title=title,
        count=len(paths),
        name=lambda index: paths[index].name,
        read=lambda index: np.array(read_picture(paths[index]).convert("RGB")),
    )


def _film(path: Path) -> _Source:
    announced = int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT))
    if announced < 1:
        raise UserError(
            f"{path} is not a video that OpenCV can read, or does not say how long it is. "
            "Try to play it, and convert it to .mp4 if it plays."
        )
    # Some containers only estimate their length.
    count = announced - min(announced // 2, max(2, announced // 100))
    return _Source(
        f"film {path.name}", count, lambda index: f"{path.stem}_{index:06d}", lambda index: _frame(path, index)
    )


def _frame(path: Path, index: int) -> np.ndarray:
    capture = cv2.VideoCapture(str(path))
    capture.set(cv2.CAP_PROP_POS_FRAMES, index)
    read, frame_bgr = capture.read()
    capture.release()
    if not read:
        raise UserError(
            f"frame {index} of {path} cannot be read: the file is damaged or was copied only in part. Copy it again."
        )
    return cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2RGB)
