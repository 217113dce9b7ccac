"""The data sets by name, as command lines and recipes call them."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from runtime.data.camvid import open_camvid, open_camvid_11
from runtime.data.cityscapes import open_cityscapes
from runtime.data.data_set import DataSet
from runtime.data.street_scenes import StreetScenes
from runtime.data.voc import open_voc
from runtime.errors import UserError
from runtime.street import HELD_OUT_SEEDS

DATA_SETS = ("street", "cityscapes", "camvid", "camvid-11", "voc")
SPLITS = {
    "street": ("train", "val"),
    "cityscapes": ("train", "val"),  # the labels of its test images are not published
    "camvid": ("train", "val", "test", "trainval"),
    "camvid-11": ("train", "val", "test", "trainval"),
    "voc": ("train_aug", "val"),
}
"""The splits of each data set."""

_READERS = {"cityscapes": open_cityscapes, "camvid": open_camvid, "camvid-11": open_camvid_11, "voc": open_voc}


def open_data_set(
    name: str, root: Path | None, split: str, *, scenes: int = 50, size: tuple[int, int] = (128, 256)
) -> DataSet:
    """Open a split of the data set ``name``, one of DATA_SETS, whose files lie below ``root``.

    The street scenes have no files: their ``root`` is None; ``scenes`` and ``size`` (height, width in pixels), which
    no other data set has, say how many are rendered and how large. Their val split is held out from every training.
    Raises UserError for an unknown name or split and for files that are missing.
    """
    if name not in DATA_SETS:
        raise UserError(f"there is no data set {name!r}.{_hint(name, DATA_SETS)} There are {', '.join(DATA_SETS)}.")
    if split not in SPLITS[name]:
        raise UserError(
            f"the data set {name} has no split {split!r}.{_hint(split, SPLITS[name])} It has {', '.join(SPLITS[name])}."
        )
    if name == "street":
        if root is not None:
            raise UserError(f"the street scenes are rendered and read no files. Leave out the folder {root}.")
        return _open_street(split, scenes, size)
    if root is None:
        raise UserError(
            f"{name} is read from files, but no folder is given. Name the one it was unpacked to: --data-root DIR."
        )
    return _READERS[name](root, split)


def _open_street(split: str, scenes: int, size: tuple[int, int]) -> StreetScenes:
    seeds = HELD_OUT_SEEDS[:scenes] if split == "val" else range(scenes)
    try:
        return StreetScenes(seeds, *size)
    except ValueError as error:
        raise UserError(f"cannot render street scenes of {size[0]}x{size[1]}: {error}. Choose another size.") from error


def _hint(word: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(word, known, n=1)
    return f" Did you mean {close[0]}?" if close else ""
