from pathlib import Path

import numpy as np
import pytest

from runtime import street
from runtime.data.catalogue import DATA_SETS, SPLITS, open_data_set
from runtime.errors import UserError
from tests.runtime.data.pictures import grey, noise, write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One image of every split of every data set, all in one folder."""
    for split in ("train", "val"):
        write(tmp_path / f"leftImg8bit/{split}/ulm/ulm_1_leftImg8bit.png", noise(0))
        write(tmp_path / f"gtFine/{split}/ulm/ulm_1_gtFine_labelIds.png", grey(7))
    for split in ("train", "val", "test"):
        write(tmp_path / f"{split}/1.png", noise(0))
        write(tmp_path / f"{split}_labels/1_L.png", np.zeros_like(noise(0)))
    voc = tmp_path / "VOCdevkit/VOC2012"
    write(voc / "JPEGImages/1.jpg", noise(0))
    write(voc / "SegmentationClassAug/1.png", grey(20))
    for split in ("train_aug", "val"):
        (voc / f"{split}.txt").write_text("/JPEGImages/1.jpg /SegmentationClassAug/1.png\n")
    return tmp_path


# The one label of each tree: road, Void, Void that does not count, tv/monitor.
LABEL = {"cityscapes": 0, "camvid": 11, "camvid-11": 255, "voc": 20}


@pytest.mark.parametrize(("name", "split"), [(name, split) for name in LABEL for split in SPLITS[name]])
def test_every_split_of_every_data_set_opens(root: Path, name: str, split: str):
    data = open_data_set(name, root, split)
    assert len(data) == (2 if split == "trainval" else 1)
    image, labels = data[len(data) - 1]
    assert (image.shape, labels.shape) == ((32, 64, 3), (32, 64))
    assert np.unique(labels).tolist() == [LABEL[name]]
    assert data.labels.name == name


def test_all_names_are_known():
    assert set(DATA_SETS) == {"street", *LABEL} == set(SPLITS)


def test_names_tell_all_splits_and_protocols_apart(root: Path):
    names = [open_data_set(name, root, split).name for name in LABEL for split in SPLITS[name]]
    assert len(set(names)) == len(names) == 12


def test_street_scenes_are_rendered():
    train = open_data_set("street", None, "train", scenes=2, size=(32, 64))
    val = open_data_set("street", None, "val", scenes=3, size=(32, 64))
    assert (train.name, val.name) == ("street, 2 scenes", "street, 3 held-out scenes")
    for data, seed in ((train, 1), (val, street.HELD_OUT_SEEDS[1])):
        assert np.array_equal(data[1][0], street.render(seed, height=32, width=64)[0])


@pytest.mark.parametrize(
    ("name", "folder", "split", "message"),
    [
        ("cityscape", "x", "val", "no data set 'cityscape'. Did you mean cityscapes? There are street, cityscapes,"),
        ("imagenet", "x", "val", "no data set 'imagenet'. There are street"),
        ("cityscapes", "x", "test", "cityscapes has no split 'test'. It has train, val."),
        ("voc", "x", "train", "voc has no split 'train'. Did you mean train_aug? It has train_aug, val."),
        ("street", None, "test", "street has no split 'test'"),
        ("street", "x", "val", "rendered and read no files. Leave out the folder x."),
        ("camvid", None, "val", "camvid is read from files, but no folder is given"),
        ("camvid", "/nowhere", "val", "the folder /nowhere does not exist"),
    ],
)
def test_a_wrong_request_is_explained(name: str, folder: str, split: str, message: str):
    with pytest.raises(UserError) as error:
        open_data_set(name, None if folder is None else Path(folder), split)
    assert message in str(error.value)


def test_street_scenes_of_an_impossible_size():
    with pytest.raises(UserError, match=r"cannot render street scenes of 16x64: .* Choose another size"):
        open_data_set("street", None, "val", size=(16, 64))
