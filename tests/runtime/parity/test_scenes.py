import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.bundle import ModelInfo
from runtime.data.data_set import IGNORE
from runtime.data.label_sets import CITYSCAPES, VOC
from runtime.errors import UserError
from runtime.parity.scenes import Scene, open_scenes
from runtime.street import render


@pytest.fixture
def street_info(colour_info: ModelInfo) -> ModelInfo:
    return dataclasses.replace(
        colour_info, name="street", classes=CITYSCAPES.classes, palette=CITYSCAPES.palette, height=64, width=96
    )


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def test_street_scenes_are_the_held_out_ones_at_the_networks_size(street_info: ModelInfo):
    scenes = open_scenes("street", None, street_info, 2)
    assert (scenes.count, scenes.no_truth) == (2, "")
    scene = scenes.load(1)
    image_rgb, truth = render(1_000_001, height=64, width=96)
    np.testing.assert_array_equal(scene.image_rgb, image_rgb)
    np.testing.assert_array_equal(scene.truth, truth)


def test_street_scenes_have_no_truth_for_other_classes(colour_info: ModelInfo):
    scenes = open_scenes("street", None, colour_info, 1)
    assert scenes.load(0).truth is None
    assert "other classes" in scenes.no_truth


def test_cityscapes_is_resized_and_its_truth_is_not(street_info: ModelInfo, tmp_path: Path):
    rng = np.random.default_rng(0)
    image_rgb = rng.integers(0, 256, (128, 192, 3), np.uint8)
    save(tmp_path / "leftImg8bit/val/ulm/ulm_0_leftImg8bit.png", image_rgb)
    save(tmp_path / "gtFine/val/ulm/ulm_0_gtFine_labelIds.png", np.full((128, 192), 7, np.uint8))
    scenes = open_scenes("cityscapes", tmp_path, street_info, 50)
    assert scenes.count == 1
    scene = scenes.load(0)
    # Halved by a bilinear filter with its support scaled, as Pillow does, each pixel is a mean of 4x4, not one of four.
    expected = Image.fromarray(image_rgb).resize((96, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(scene.image_rgb, np.array(expected))
    assert scene.truth is not None
    assert scene.truth.shape == (128, 192)
    np.testing.assert_array_equal(scene.truth, 0)
    labels = rng.integers(0, 19, (64, 96), np.uint8)
    np.testing.assert_array_equal(scene.at_truth(labels), labels.repeat(2, 0).repeat(2, 1))


def test_voc_is_padded_and_labels_are_cropped(colour_info: ModelInfo, tmp_path: Path):
    info = dataclasses.replace(colour_info, classes=VOC.classes, palette=VOC.palette, height=64, width=96)
    folder = tmp_path / "VOCdevkit/VOC2012"
    image_rgb = np.full((40, 50, 3), 200, np.uint8)
    save(folder / "JPEGImages/a.jpg", image_rgb)
    save(folder / "SegmentationClassAug/a.png", np.full((40, 50), 3, np.uint8))
    (folder / "val.txt").write_text("/JPEGImages/a.jpg /SegmentationClassAug/a.png\n")
    scene = open_scenes("voc", tmp_path, info, 1).load(0)
    assert scene.image_rgb.shape == (64, 96, 3)
    assert scene.image_rgb[:40, :50].min() > 190
    assert scene.image_rgb[40:].max() == scene.image_rgb[:, 50:].max() == 0
    labels = np.arange(64 * 96, dtype=np.uint32).astype(np.uint8).reshape(64, 96)
    np.testing.assert_array_equal(scene.at_truth(labels), labels[:40, :50])
    shown = scene.truth_at_network()
    assert (shown[:40, :50] == 3).all()
    assert (shown[40:] == IGNORE).all()

    small = dataclasses.replace(info, height=32)
    with pytest.raises(UserError, match="the image a is 40x50, larger than the 32x96"):
        open_scenes("voc", tmp_path, small, 1).load(0)


def test_another_data_sets_classes_are_no_truth(colour_info: ModelInfo, tmp_path: Path):
    save(tmp_path / "leftImg8bit/val/ulm/ulm_0_leftImg8bit.png", np.zeros((8, 8, 3), np.uint8))
    save(tmp_path / "gtFine/val/ulm/ulm_0_gtFine_labelIds.png", np.zeros((8, 8), np.uint8))
    scenes = open_scenes("cityscapes", tmp_path, colour_info, 1)
    assert "other classes" in scenes.no_truth
    assert scenes.load(0).truth is None


def test_a_folder_of_images_in_the_order_of_names(colour_info: ModelInfo, tmp_path: Path):
    save(tmp_path / "b.png", np.full((10, 20, 3), 9, np.uint8))
    save(tmp_path / "a.jpg", np.full((30, 20), 100, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    scenes = open_scenes(str(tmp_path), None, colour_info, 50)
    assert scenes.count == 2
    assert scenes.no_truth
    first, second = scenes.load(0), scenes.load(1)
    assert (first.name, second.name) == ("a.jpg", "b.png")
    assert first.truth is None
    assert first.image_rgb.shape == (32, 48, 3)
    assert np.abs(first.image_rgb.astype(int) - 100).max() <= 2
    assert (second.image_rgb == 9).all()
    assert open_scenes(str(tmp_path), None, colour_info, 1).count == 1


def test_the_first_scenes_can_be_skipped(street_info: ModelInfo, tmp_path: Path):
    street = open_scenes("street", None, street_info, 2, skip=50)
    assert (street.count, street.load(1).name) == (2, "street scene 1000051")
    assert "seeds from 1000050" in street.title

    for value, name in enumerate("abcde"):
        image = np.full((8, 8, 3), value, np.uint8)
        save(tmp_path / f"leftImg8bit/val/ulm/{name}_leftImg8bit.png", image)
        save(tmp_path / f"gtFine/val/ulm/{name}_gtFine_labelIds.png", np.full((8, 8), 7 + value, np.uint8))
        save(tmp_path / f"images/{name}.png", image)
    for data, root in (("cityscapes", tmp_path), (str(tmp_path / "images"), None)):
        scenes = open_scenes(data, root, street_info, 2, skip=2)
        assert "3 to 4 of 5 images" in scenes.title
        assert [scenes.load(index).image_rgb.max() for index in range(scenes.count)] == [2, 3]
        assert open_scenes(data, root, street_info, 9, skip=4).count == 1
        with pytest.raises(UserError, match="has 5 images, and what is wanted are those after the first 5"):
            open_scenes(data, root, street_info, 2, skip=5)


def test_the_truth_is_shown_at_the_networks_size():
    scene = Scene("x", np.zeros((2, 2, 3), np.uint8), np.arange(16, dtype=np.uint8).reshape(4, 4))
    assert scene.truth_at_network().shape == (2, 2)


@pytest.mark.parametrize(
    ("data", "root", "message"),
    [
        ("citiscapes", None, "Did you mean cityscapes?"),
        ("cityscapes", None, "--data-root DIR"),
        ("cityscapes", "missing", "the folder .*missing does not exist"),
        ("street", "somewhere", "Leave out --data-root"),
        ("{folder}", "somewhere", "Leave it out"),
        ("{folder}/missing", None, "does not exist"),
        ("{folder}/notes.txt", None, "is a file"),
        ("{folder}", None, "holds no image"),
    ],
)
def test_bad_input(colour_info: ModelInfo, tmp_path: Path, data: str, root: str | None, message: str):
    (tmp_path / "notes.txt").write_text("not an image")
    with pytest.raises(UserError, match=message):
        open_scenes(data.format(folder=tmp_path), root and tmp_path / root, colour_info, 5)


def test_an_unreadable_image(colour_info: ModelInfo, tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    with pytest.raises(UserError, match=r"cannot read the image .*a\.png"):
        open_scenes(str(tmp_path), None, colour_info, 5).load(0)


def test_a_network_too_small_for_the_street(colour_info: ModelInfo):
    with pytest.raises(UserError, match="at least 32x32"):
        open_scenes("street", None, dataclasses.replace(colour_info, height=16), 1)
