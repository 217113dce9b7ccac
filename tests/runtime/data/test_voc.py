import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.data.label_sets import VOC
from runtime.data.voc import open_voc
from runtime.errors import UserError
from tests.runtime.data.pictures import grey, noise, write

STEMS = ("2008_000002", "2007_000033", "2007_000032")


def indices() -> np.ndarray:
    return np.resize(np.array([*range(21), 255], np.uint8), grey().shape)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "VOCdevkit/VOC2012"
    for stem in STEMS:
        write(folder / f"JPEGImages/{stem}.jpg", noise(0))
        write(folder / f"SegmentationClassAug/{stem}.png", indices())
    for split, count in (("train_aug", 3), ("val", 2)):
        lines = [f"/JPEGImages/{stem}.jpg /SegmentationClassAug/{stem}.png\n" for stem in STEMS[:count]]
        (folder / f"{split}.txt").write_text("".join(lines) + "\n")
    return tmp_path


def list_of(root: Path) -> Path:
    return root / "VOCdevkit/VOC2012/val.txt"


@pytest.mark.parametrize(
    ("split", "name", "count"),
    [("train_aug", "PASCAL VOC 2012 + SBD train_aug", 3), ("val", "PASCAL VOC 2012 val", 2)],
)
def test_a_split_is_read_in_the_order_of_its_list(root: Path, split: str, name: str, count: int):
    data = open_voc(root, split)
    assert (data.name, data.labels, len(data)) == (name, VOC, count)
    assert tuple(data.stem(index) for index in range(count)) == STEMS[:count]
    image, labels = data[1]
    with Image.open(root / f"VOCdevkit/VOC2012/JPEGImages/{STEMS[1]}.jpg") as picture:
        assert np.array_equal(image, np.asarray(picture))
    assert np.array_equal(labels, indices())
    assert pickle.loads(pickle.dumps(data)) == data


def test_palette_labels_are_indices(root: Path):
    palette = Image.fromarray(indices()).convert("P")
    palette.putpalette([channel for colour in VOC.palette for channel in colour] + [0] * 3 * (256 - 21))
    palette.putdata(indices().ravel().tolist())
    palette.save(root / f"VOCdevkit/VOC2012/SegmentationClassAug/{STEMS[0]}.png")
    assert np.array_equal(open_voc(root, "val")[0][1], indices())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (noise(0), "holds colours .* convert the colours to indices"),
        (grey(38), "holds the value 38, which is no"),
    ],
)
def test_labels_that_are_no_indices_are_refused(root: Path, labels: np.ndarray, message: str):
    path = write(root / f"VOCdevkit/VOC2012/SegmentationClassAug/{STEMS[0]}.png", labels)
    with pytest.raises(UserError, match=f"{path} {message}"):
        open_voc(root, "val")[0]


def test_a_missing_list_is_described(root: Path):
    list_of(root).unlink()
    with pytest.raises(UserError) as error:
        open_voc(root, "val")
    text = str(error.value)
    assert text.startswith("PASCAL VOC 2012 val is not complete: there is no VOCdevkit/VOC2012/val.txt.")
    assert "\n      `-- val.txt      (lines of: /JPEGImages/NAME.jpg /SegmentationClassAug/NAME.png)" in text
    assert "\n  VOCdevkit/VOC2012/JPEGImages: 3 files *.jpg, 0 others" in text
    assert "\n  VOCdevkit/VOC2012: 1 files *.txt, 0 others" in text


def test_files_that_the_list_names_and_are_not_there(root: Path):
    (root / f"VOCdevkit/VOC2012/SegmentationClassAug/{STEMS[1]}.png").unlink()
    with pytest.raises(UserError) as error:
        open_voc(root, "val")
    assert f"1 of the 4 files in val.txt do not exist, such as SegmentationClassAug/{STEMS[1]}.png" in str(error.value)
    assert "VOCdevkit/VOC2012/SegmentationClassAug: 2 files *.png, 0 others" in str(error.value)


def test_no_labels_at_all(root: Path):
    folder = root / "VOCdevkit/VOC2012"
    (folder / "SegmentationClassAug").rename(folder / "SegmentationClass")
    with pytest.raises(UserError) as error:
        open_voc(root, "train_aug")
    assert "3 of the 6 files in train_aug.txt do not exist" in str(error.value)
    assert "VOCdevkit/VOC2012/SegmentationClassAug: no such folder" in str(error.value)


def test_a_list_of_names_alone_comes_with_the_command_that_mends_it(root: Path):
    list_of(root).write_text("2007_000033\n")
    with pytest.raises(UserError, match=r"has the line '2007_000033', but each should be two paths") as error:
        open_voc(root, "val")
    command = "sed 's|.*|/JPEGImages/&.jpg /SegmentationClassAug/&.png|' NAMES.txt > val.txt"
    assert str(error.value).endswith(command)


@pytest.mark.parametrize(("content", "message"), [(b"\n \n", "is empty"), (b"\xff\xfe\x00", "cannot read the list")])
def test_a_list_that_is_none(root: Path, content: bytes, message: str):
    list_of(root).write_bytes(content)
    with pytest.raises(UserError, match=message):
        open_voc(root, "val")
