"""CamVid as Kaggle has it (carlolepelaars/camvid, 720x960, colour-coded labels), in two protocols.

``camvid`` is the published code's: 12 classes, Void one of them, and the other 20 of the 32 colours not counted.
``camvid-11`` is SegNet's, which most papers follow: the 32 classes merged into 11, Void not counted.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from runtime.data.data_set import IGNORE
from runtime.data.files import LabelledFiles, Pairs, Place, paired, read_picture
from runtime.data.label_sets import CAMVID, CAMVID_11
from runtime.errors import UserError

COLOURS = {
    "Animal": (64, 128, 64), "Archway": (192, 0, 128), "Bicyclist": (0, 128, 192), "Bridge": (0, 128, 64),
    "Building": (128, 0, 0), "Car": (64, 0, 128), "CartLuggagePram": (64, 0, 192), "Child": (192, 128, 64),
    "Column_Pole": (192, 192, 128), "Fence": (64, 64, 128), "LaneMkgsDriv": (128, 0, 192),
    "LaneMkgsNonDriv": (192, 0, 64), "Misc_Text": (128, 128, 64), "MotorcycleScooter": (192, 0, 192),
    "OtherMoving": (128, 64, 64), "ParkingBlock": (64, 192, 128), "Pedestrian": (64, 64, 0), "Road": (128, 64, 128),
    "RoadShoulder": (128, 128, 192), "SUVPickupTruck": (64, 128, 192), "Sidewalk": (0, 0, 192),
    "SignSymbol": (192, 128, 128), "Sky": (128, 128, 128), "TrafficCone": (0, 0, 64), "TrafficLight": (0, 64, 64),
    "Train": (192, 64, 128), "Tree": (128, 128, 0), "Truck_Bus": (192, 128, 192), "Tunnel": (64, 0, 64),
    "VegetationMisc": (192, 192, 0), "Void": (0, 0, 0), "Wall": (64, 192, 0),
}  # fmt: skip
"""RGB colour of each of the 32 classes that CamVid is labelled with."""

PUBLISHED_12 = (
    ("Sky",), ("Building",), ("Column_Pole",), ("Road",), ("Sidewalk",), ("Tree",), ("SignSymbol",), ("Fence",),
    ("Car",), ("Pedestrian",), ("Bicyclist",), ("Void",),
)  # fmt: skip
SEGNET_11 = (
    ("Sky",),
    ("Building", "Archway", "Bridge", "Tunnel", "Wall"),
    ("Column_Pole", "TrafficCone"),
    ("Road", "LaneMkgsDriv", "LaneMkgsNonDriv"),
    ("Sidewalk", "ParkingBlock", "RoadShoulder"),
    ("Tree", "VegetationMisc"),
    ("SignSymbol", "Misc_Text", "TrafficLight"),
    ("Fence",),
    ("Car", "SUVPickupTruck", "Truck_Bus", "Train", "OtherMoving"),
    ("Pedestrian", "Child", "CartLuggagePram", "Animal"),
    ("Bicyclist", "MotorcycleScooter"),
)

_TREE = """
|-- {split}/NAME.png
`-- {split}_labels/NAME_L.png
"""


def open_camvid(root: Path, split: str) -> LabelledFiles:
    """Open a split by the published code's protocol. Raises UserError where files are missing."""
    name = f"CamVid {_words(split)}, the published code's 12 classes with Void"
    return LabelledFiles(name, CAMVID, _pairs(root, split), read_labels)


def open_camvid_11(root: Path, split: str) -> LabelledFiles:
    """Open a split by SegNet's protocol. Raises UserError where files are missing."""
    name = f"CamVid {_words(split)}, 11 classes merged from 32 (SegNet)"
    return LabelledFiles(name, CAMVID_11, _pairs(root, split), read_labels_11)


def read_labels(path: Path) -> np.ndarray:
    """Read a colour-coded file by the published code's protocol, uint8 [H, W].

    Raises UserError for a grey image: those are labels by index, and no one knows in which order of the classes.
    """
    return _indices(path, PUBLISHED_12)


def read_labels_11(path: Path) -> np.ndarray:
    """Read a colour-coded file by SegNet's protocol, uint8 [H, W]. Raises UserError as :func:`read_labels` does."""
    return _indices(path, SEGNET_11)


def _indices(path: Path, merged: tuple[tuple[str, ...], ...]) -> np.ndarray:
    picture = read_picture(path)
    if picture.mode not in ("RGB", "RGBA", "P"):
        raise UserError(
            f"{path} has no colours (Pillow's mode {picture.mode}), but CamVid's labels are colour-coded. "
            f"Take the label files of the Kaggle edition, carlolepelaars/camvid."
        )
    indices: np.ndarray = _index_by_colour(merged)[_packed(np.asarray(picture.convert("RGB")))]
    return indices


@cache
def _index_by_colour(merged: tuple[tuple[str, ...], ...]) -> np.ndarray:
    """The index into ``merged`` of every 24-bit colour, IGNORE where it is in none; 16 MiB, made once a process."""
    table = np.full(1 << 24, IGNORE, np.uint8)
    for index, names in enumerate(merged):
        table[_packed(np.array([COLOURS[name] for name in names], np.uint8))] = index
    return table


def _packed(rgb: np.ndarray) -> np.ndarray:
    """Pack uint8 RGB [..., 3] into one 24-bit number each."""
    wide = rgb.astype(np.int32)
    packed: np.ndarray = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
    return packed


def _pairs(root: Path, split: str) -> Pairs:
    parts = ("train", "val") if split == "trainval" else (split,)
    return tuple(
        pair
        for part in parts
        for pair in paired(
            f"CamVid {part}", root, _TREE.format(split=part), Place(part, "*.png"), Place(f"{part}_labels", "*_L.png")
        )
    )


def _words(split: str) -> str:
    return "train + val" if split == "trainval" else split
