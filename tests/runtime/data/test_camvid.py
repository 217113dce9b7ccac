import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.data.camvid import open_camvid, open_camvid_11
from runtime.data.label_sets import CAMVID, CAMVID_11
from runtime.errors import UserError
from tests.runtime.data.pictures import grey, noise, write

# Colour, name, index of the 12 published classes, index of SegNet's 11; 255 where it does not count.
TABLE = """
64 128 64 Animal 255 9
192 0 128 Archway 255 1
0 128 192 Bicyclist 10 10
0 128 64 Bridge 255 1
128 0 0 Building 1 1
64 0 128 Car 8 8
64 0 192 CartLuggagePram 255 9
192 128 64 Child 255 9
192 192 128 Column_Pole 2 2
64 64 128 Fence 7 7
128 0 192 LaneMkgsDriv 255 3
192 0 64 LaneMkgsNonDriv 255 3
128 128 64 Misc_Text 255 6
192 0 192 MotorcycleScooter 255 10
128 64 64 OtherMoving 255 8
64 192 128 ParkingBlock 255 4
64 64 0 Pedestrian 9 9
128 64 128 Road 3 3
128 128 192 RoadShoulder 255 4
0 0 192 Sidewalk 4 4
192 128 128 SignSymbol 6 6
128 128 128 Sky 0 0
64 128 192 SUVPickupTruck 255 8
0 0 64 TrafficCone 255 2
0 64 64 TrafficLight 255 6
192 64 128 Train 255 8
128 128 0 Tree 5 5
192 128 192 Truck_Bus 255 8
64 0 64 Tunnel 255 1
192 192 0 VegetationMisc 255 5
0 0 0 Void 11 255
64 192 0 Wall 255 1
"""
ROWS = [line.split() for line in TABLE.strip().splitlines()]
NUMBERS = np.array([[int(row[column]) for column in (0, 1, 2, 4, 5)] for row in ROWS])
COUNTS = {"train": 3, "val": 2, "test": 1}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A path in which every word of the tree occurs already."""
    root = tmp_path / "train.png" / "val_labels" / "test_L"
    for split, count in COUNTS.items():
        for number in range(count):
            stem = f"{split}_L_{count - number}"
            write(root / f"{split}/{stem}.png", noise(number))
            write(root / f"{split}_labels/{stem}_L.png", all_colours())
    write(root / "class_dict.csv.png", noise(0))
    return root


def all_colours() -> np.ndarray:
    """All 32 colours, one a row, each two pixels wide; then some that are none of them."""
    odd = [(128, 64, 129), (127, 0, 0), (1, 2, 3), (255, 255, 255), (192, 192, 192)]
    return np.array([*NUMBERS[:, :3], *odd], np.uint8)[:, None].repeat(2, axis=1)


@pytest.mark.parametrize(
    ("open_split", "column", "labels", "protocol"),
    [
        (open_camvid, 3, CAMVID, "the published code's 12 classes with Void"),
        (open_camvid_11, 4, CAMVID_11, "11 classes merged from 32 (SegNet)"),
    ],
)
def test_every_colour_becomes_its_class(root: Path, open_split, column, labels, protocol):
    write(root / "test/test_L_1.png", np.zeros((37, 2, 3), np.uint8))
    data = open_split(root, "test")
    assert (data.name, data.labels, len(data)) == (f"CamVid test, {protocol}", labels, 1)
    _, read = data[0]
    assert read.dtype == np.uint8
    assert read[:32, 0].tolist() == NUMBERS[:, column].tolist()
    assert (read[32:] == 255).all()
    assert np.array_equal(read[:, 0], read[:, 1])
    assert pickle.loads(pickle.dumps(data)) == data
    assert len(pickle.dumps(data)) < 10_000, "the table of 16 MiB stays behind"


@pytest.mark.parametrize("open_split", [open_camvid, open_camvid_11])
def test_a_colour_off_by_one_bit_does_not_count(root: Path, open_split):
    flipped = NUMBERS[:, None, :3] ^ np.concatenate([np.eye(3, dtype=int) << bit for bit in range(8)])
    known = {tuple(colour) for colour in NUMBERS[:, :3].tolist()}
    off = np.array([[tuple(colour) not in known for colour in row] for row in flipped.tolist()])
    assert off.sum() > 600
    write(root / "test/test_L_1.png", flipped.astype(np.uint8))
    write(root / "test_labels/test_L_1_L.png", flipped.astype(np.uint8))
    assert (open_split(root, "test")[0][1][off] == 255).all()


@pytest.mark.parametrize("labels", [CAMVID, CAMVID_11])
def test_names_and_colours_agree_with_the_label_sets(labels):
    published = {tuple(numbers[:3]): row[3] for row, numbers in zip(ROWS, NUMBERS.tolist(), strict=True)}
    names = [published[colour].lower().replace("_", "-") for colour in labels.palette]
    assert names == [name.replace("sign-symbol", "signsymbol") for name in labels.classes]


def test_splits_are_sorted_and_trainval_is_both(root: Path):
    stems = {}
    for split in (*COUNTS, "trainval"):
        data = open_camvid(root, split)
        stems[split] = [data.stem(index) for index in range(len(data))]
    assert stems["train"] == ["train_L_1", "train_L_2", "train_L_3"]
    assert stems["val"] == ["val_L_1", "val_L_2"]
    assert stems["trainval"] == stems["train"] + stems["val"]
    assert open_camvid(root, "trainval").name.startswith("CamVid train + val, ")


def test_palette_images_are_colours_too(root: Path):
    path = root / "test_labels/test_L_1_L.png"
    Image.fromarray(all_colours()).quantize(64).save(path)
    write(root / "test/test_L_1.png", np.zeros((37, 2, 3), np.uint8))
    assert open_camvid(root, "test")[0][1][:32, 0].tolist() == NUMBERS[:, 3].tolist()


def test_grey_labels_are_refused(root: Path):
    path = write(root / "test_labels/test_L_1_L.png", grey())
    with pytest.raises(UserError, match=f"{path} has no colours .* Kaggle edition"):
        open_camvid_11(root, "test")[0]


def test_missing_labels_of_one_part_of_trainval(root: Path):
    (root / "val_labels/val_L_2_L.png").unlink()
    with pytest.raises(UserError) as error:
        open_camvid_11(root, "trainval")
    text = str(error.value)
    assert text.startswith("CamVid val is not complete: 1 of 2 images have no labels: val_L_2.")
    assert f"\n  {root}\n  |-- val/NAME.png\n  `-- val_labels/NAME_L.png\n" in text
    assert "\n  val_labels: 1 files *_L.png, 0 others" in text
    assert len(open_camvid_11(root, "train")) == 3
