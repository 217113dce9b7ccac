import pickle
from pathlib import Path

import numpy as np
import pytest

from runtime.data.cityscapes import label_ids_from_train_ids, open_cityscapes, train_ids_from_label_ids
from runtime.data.label_sets import CITYSCAPES
from runtime.errors import UserError
from tests.runtime.data.pictures import grey, noise, write

# The data set's own names of the label ids that count.
NAME_OF_ID = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
    20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip
STEMS = ("aachen_000001_000019", "aachen_000000_000019", "zurich_000000_000019")


def write_split(root: Path, split: str) -> Path:
    for seed, stem in enumerate(STEMS):
        city = stem.partition("_")[0]
        write(root / f"leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png", noise(seed))
        ids = np.resize(np.arange(256, dtype=np.uint8), grey().shape)
        write(root / f"gtFine/{split}/{city}/{stem}_gtFine_labelIds.png", ids)
        for other in ("color", "instanceIds"):
            write(root / f"gtFine/{split}/{city}/{stem}_gtFine_{other}.png", grey())
    return root


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_is_read(tmp_path: Path, split: str):
    data = open_cityscapes(write_split(tmp_path, split), split)
    assert (data.name, data.labels, len(data)) == (f"Cityscapes fine, {split}", CITYSCAPES, 3)
    assert [data.stem(index) for index in range(3)] == [f"{stem}_leftImg8bit" for stem in sorted(STEMS)]
    image, labels = data[0]
    assert np.array_equal(image, noise(1))
    for label_id, label in enumerate(labels.ravel()[:256]):
        name = NAME_OF_ID.get(label_id)
        assert label == (255 if name is None else CITYSCAPES.classes.index(name)), label_id
    assert pickle.loads(pickle.dumps(data)) == data


def test_a_root_whose_path_holds_the_words_of_the_tree(tmp_path: Path):
    root = tmp_path / "leftImg8bit/val.d/gtFine"
    assert len(open_cityscapes(write_split(root, "val"), "val")) == 3


def test_train_ids_become_official_ids_again():
    everything = np.arange(256, dtype=np.uint8).reshape(16, 16)
    official = label_ids_from_train_ids(everything)
    assert official.dtype == np.uint8
    assert [NAME_OF_ID[label_id] for label_id in official.ravel()[:19]] == list(CITYSCAPES.classes)
    assert (official.ravel()[19:] == 0).all()
    back = train_ids_from_label_ids(official)
    assert np.array_equal(back.ravel()[:19], np.arange(19))
    assert (back.ravel()[19:] == 255).all()


def test_the_labels_archive_not_unpacked(tmp_path: Path):
    write_split(tmp_path, "val")
    (tmp_path / "gtFine").rename(tmp_path / "gtCoarse")
    with pytest.raises(UserError) as error:
        open_cityscapes(tmp_path, "val")
    text = str(error.value)
    assert text.startswith(
        "Cityscapes fine, val is not complete: 3 of 3 images have no labels: "
        "aachen/aachen_000000_000019, aachen/aachen_000001_000019, zurich/zurich_000000_000019."
    )
    assert "\n  |-- leftImg8bit/val/CITY/NAME_leftImg8bit.png     (leftImg8bit_trainvaltest.zip)" in text
    assert "\n  `-- gtFine/val/CITY/NAME_gtFine_labelIds.png      (gtFine_trainvaltest.zip)" in text
    assert "\n  leftImg8bit/val: 3 files */*_leftImg8bit.png, 0 others" in text
    assert "\n  gtFine/val: no such folder" in text
    assert "\n  in the folder itself: gtCoarse/, leftImg8bit/" in text


def test_labels_of_other_kinds_alone(tmp_path: Path):
    write_split(tmp_path, "val")
    for path in tmp_path.glob("gtFine/*/*/*_labelIds.png"):
        path.unlink()
    with pytest.raises(UserError, match=r"gtFine/val: 0 files \*/\*_gtFine_labelIds\.png, 6 others"):
        open_cityscapes(tmp_path, "val")
