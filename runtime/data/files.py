"""Data sets that lie on disk as pairs of an image and a label file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from runtime.data.data_set import LabelSet
from runtime.errors import UserError

Pairs = tuple[tuple[Path, Path], ...]

_NAMED = 3  # how many files or folders an error message names


@dataclass(frozen=True)
class LabelledFiles:
    """A DataSet of pairs (image file, label file). ``read_labels`` is a plain function, so that workers can get it."""

    name: str
    labels: LabelSet
    pairs: Pairs
    read_labels: Callable[[Path], np.ndarray]  # -> uint8 [H, W]: class indices, or IGNORE

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image_path, labels_path = self.pairs[index]
        image_rgb, labels = np.array(read_picture(image_path).convert("RGB")), self.read_labels(labels_path)
        if image_rgb.shape[:2] != labels.shape:
            raise UserError(
                f"{image_path} is {image_rgb.shape[0]}x{image_rgb.shape[1]}, but its labels {labels_path} are "
                f"{labels.shape[0]}x{labels.shape[1]}. One of them was resized: restore both from the data set."
            )
        return image_rgb, labels

    def stem(self, index: int) -> str:
        """Return the image file's name without folder and ending."""
        return self.pairs[index][0].stem


def read_picture(path: Path) -> Image.Image:
    """Read an image file wholly. Raises UserError for one that is missing, broken or cut off."""
    try:
        picture = Image.open(path)
        with picture:
            picture.load()
        return picture
    # Pillow's decoders let all of these through for broken files.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise UserError(
            f"cannot read the image {path}: {error}. It is missing, broken or was copied only in part. "
            f"Unpack or copy it again."
        ) from error


def read_indices(path: Path) -> np.ndarray:
    """Read a grey or palette image as it is stored, uint8 [H, W]. Raises UserError for one with colours."""
    picture = read_picture(path)
    if picture.mode not in ("L", "P"):
        raise UserError(
            f"{path} holds colours or wide numbers (Pillow's mode {picture.mode}), but labels must be class indices: "
            f"an 8-bit grey or palette image. Take the data set's own label files, or convert the colours to indices."
        )
    return np.array(picture)


@dataclass(frozen=True)
class Place:
    """A folder, relative to a data set's root, and the pattern of its files within, e.g. ``*/*_leftImg8bit.png``."""

    folder: str
    pattern: str

    def files(self, root: Path) -> dict[str, Path]:
        """Return the files in order of their paths, each by its path within the folder without the pattern's ending."""
        folder, ending = root / self.folder, self.pattern.rpartition("*")[2]
        # Archives packed on a Mac bring a hidden ._NAME beside every file.
        paths = sorted(path for path in folder.glob(self.pattern) if not path.name.startswith("."))
        return {path.relative_to(folder).as_posix().removesuffix(ending): path for path in paths}

    def describe(self, root: Path) -> str:
        """Say in one line what is there."""
        if not (root / self.folder).is_dir():
            return f"{self.folder}: no such folder"
        matching = len(self.files(root))
        level = "*/" * self.pattern.count("/") + "*"
        others = sum(path.is_file() for path in (root / self.folder).glob(level)) - matching
        return f"{self.folder}: {matching} files {self.pattern}, {others} others"


def paired(title: str, root: Path, tree: str, images: Place, labels: Place) -> Pairs:
    """Pair the files of two places by their paths within them.

    Raises UserError, with the expected ``tree`` and what was found, unless there are images and every one has its
    labels and all labels have their image: what lacks one half was unpacked or copied in part.
    """
    image_files, label_files = images.files(root), labels.files(root)
    if not image_files:
        problem = f"there are no images in {images.folder}"
    elif unlabelled := [key for key in image_files if key not in label_files]:
        problem = f"{len(unlabelled)} of {len(image_files)} images have no labels: {_first(unlabelled)}"
    elif alone := [key for key in label_files if key not in image_files]:
        problem = f"{len(alone)} of {len(label_files)} label files have no image: {_first(alone)}"
    else:
        return tuple((path, label_files[key]) for key, path in image_files.items())
    raise incomplete(title, root, tree, problem, [images.describe(root), labels.describe(root)])


def incomplete(title: str, root: Path, tree: str, problem: str, found: Sequence[str]) -> UserError:
    """The error for a data set that is missing or half unpacked; ``tree`` is drawn below the root."""
    if not root.is_dir():
        problem, found = f"the folder {root} does not exist", []
    else:
        entries = sorted(entry.name + "/" * entry.is_dir() for entry in root.iterdir())
        found = [*found, f"in the folder itself: {_first(entries, 8) or 'nothing'}"]
    lines = [
        f"{title} is not complete: {problem}. It was not unpacked wholly, or the folder is another one than the data "
        f"set's own. Unpack it so that it looks like this:",
        f"  {root}",
        *(f"  {line}" for line in tree.strip().splitlines()),
        *(["Found:"] if found else []),
        *(f"  {line}" for line in found),
    ]
    return UserError("\n".join(lines))


def _first(names: Sequence[str], count: int = _NAMED) -> str:
    return ", ".join(names[:count]) + ", ..." * (len(names) > count)
