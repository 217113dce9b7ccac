"""PASCAL VOC 2012 with the additional labels of SBD: 10582 images to train on, 1449 to validate, at most 500x500."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from runtime.data.data_set import IGNORE
from runtime.data.files import LabelledFiles, Pairs, Place, incomplete, read_indices
from runtime.data.label_sets import VOC
from runtime.errors import UserError

_FOLDER = "VOCdevkit/VOC2012"
_TREE = """
`-- VOCdevkit/VOC2012
    |-- JPEGImages/NAME.jpg                (VOCtrainval_11-May-2012.tar)
    |-- SegmentationClassAug/NAME.png      (VOC's labels and SBD's, class indices)
    `-- {split}.txt      (lines of: /JPEGImages/NAME.jpg /SegmentationClassAug/NAME.png)
"""
# VOC's own lists in ImageSets/Segmentation hold names alone.
_TWO_COLUMNS = "sed 's|.*|/JPEGImages/&.jpg /SegmentationClassAug/&.png|'"


def open_voc(root: Path, split: str) -> LabelledFiles:
    """Open a split (train_aug or val) below ``root``, in the order of its list.

    Raises UserError where files are missing or the list is not one of pairs.
    """
    name = "PASCAL VOC 2012 + SBD train_aug" if split == "train_aug" else f"PASCAL VOC 2012 {split}"
    folder = root / _FOLDER
    list_path, tree = folder / f"{split}.txt", _TREE.format(split=split)
    try:
        pairs = _pairs(folder, list_path)
    except FileNotFoundError as error:
        problem = f"there is no {_FOLDER}/{split}.txt"
        raise incomplete(name, root, tree, problem, _found(root)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the list {list_path}: {error}. Unpack or copy it again.") from error
    paths = [path for pair in pairs for path in pair]
    # Read once what each folder holds: asking for 21 thousand files one by one is slow over a network.
    present = {folder: _names(folder) for folder in {path.parent for path in paths}}
    if missing := [path for path in paths if path.name not in present[path.parent]]:
        first = missing[0].relative_to(folder)
        problem = f"{len(missing)} of the {2 * len(pairs)} files in {split}.txt do not exist, such as {first}"
        raise incomplete(name, root, tree, problem, _found(root))
    return LabelledFiles(name, VOC, pairs, read_labels)


def read_labels(path: Path) -> np.ndarray:
    """Read a file of class indices. Raises UserError for values that are no class."""
    labels = read_indices(path)
    wrong = labels[(labels >= len(VOC.classes)) & (labels != IGNORE)]
    if wrong.size:
        raise UserError(
            f"{path} holds the value {wrong[0]}, which is no class of VOC (0 to {len(VOC.classes) - 1}, and {IGNORE} "
            f"for pixels that do not count). Its colours were probably turned into grey; take the data set's own file."
        )
    return labels


def _pairs(folder: Path, list_path: Path) -> Pairs:
    """Read a list of lines with two paths, which begin with a slash but are relative to the folder."""
    rows = [row for line in list_path.read_text().splitlines() if (row := line.split())]
    for row in rows:
        if len(row) != 2:
            raise UserError(
                f"{list_path} has the line {' '.join(row)!r}, but each should be two paths, image and labels: "
                f"/JPEGImages/NAME.jpg /SegmentationClassAug/NAME.png. "
                f"Make them of a list of names with: {_TWO_COLUMNS} NAMES.txt > {list_path.name}"
            )
    if not rows:
        raise UserError(f"the list {list_path} is empty. Unpack or copy it again.")
    return tuple((folder / image.lstrip("/"), folder / labels.lstrip("/")) for image, labels in rows)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def _found(root: Path) -> list[str]:
    places = (
        Place(f"{_FOLDER}/JPEGImages", "*.jpg"),
        Place(f"{_FOLDER}/SegmentationClassAug", "*.png"),
        Place(_FOLDER, "*.txt"),
    )
    return [place.describe(root) for place in places]
