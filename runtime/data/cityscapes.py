"""Cityscapes with fine labels: 2975 images to train on, 500 to validate, 1024x2048 each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from runtime.data.data_set import IGNORE
from runtime.data.files import LabelledFiles, Place, paired, read_indices
from runtime.data.label_sets import CITYSCAPES

LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The official label id of each class, by train id."""

_UNLABELLED = 0
_TREE = """
|-- leftImg8bit/{split}/CITY/NAME_leftImg8bit.png     (leftImg8bit_trainvaltest.zip)
`-- gtFine/{split}/CITY/NAME_gtFine_labelIds.png      (gtFine_trainvaltest.zip)
"""


def open_cityscapes(root: Path, split: str) -> LabelledFiles:
    """Open a split (train or val) below ``root``. Raises UserError where files are missing."""
    images = Place(f"leftImg8bit/{split}", "*/*_leftImg8bit.png")
    labels = Place(f"gtFine/{split}", "*/*_gtFine_labelIds.png")
    name = f"Cityscapes fine, {split}"
    return LabelledFiles(name, CITYSCAPES, paired(name, root, _TREE.format(split=split), images, labels), read_labels)


def read_labels(path: Path) -> np.ndarray:
    """Read a file of official label ids as train ids."""
    return train_ids_from_label_ids(read_indices(path))


def train_ids_from_label_ids(label_ids: np.ndarray) -> np.ndarray:
    """Map official ids to train ids, uint8 to uint8; ids that are no class of the 19 become IGNORE."""
    table = np.full(256, IGNORE, np.uint8)
    table[list(LABEL_IDS)] = np.arange(len(LABEL_IDS))
    train_ids: np.ndarray = table[label_ids]
    return train_ids


def label_ids_from_train_ids(train_ids: np.ndarray) -> np.ndarray:
    """Map train ids to official ids, uint8 to uint8, as results are submitted; all but the 19 become 0, unlabelled."""
    table = np.full(256, _UNLABELLED, np.uint8)
    table[: len(LABEL_IDS)] = LABEL_IDS
    label_ids: np.ndarray = table[train_ids]
    return label_ids
