import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibration.images import choose_images
from runtime import street
from runtime.data.label_sets import VOC
from runtime.errors import UserError
from tests.runtime.tiny_models import COLOUR_INFO as INFO  # it takes 32x48
from tests.runtime.video.videos import number_of, write_video


def noise(seed: int, height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """20 images, 00.png to 19.png."""
    for number in range(20):
        save(tmp_path / f"images/{number:02}.png", noise(number))
    return tmp_path / "images"


def test_a_folders_images_are_drawn_from_equal_parts(folder: Path):
    images = choose_images(str(folder), None, INFO, count=10, seed=3)
    assert len(images) == 10
    assert (images.source, images.seed) == ("folder images, 10 of 20 images", 3)
    numbers = [int(record.name.removesuffix(".png")) for record in images.records]
    assert [number // 2 for number in numbers] == list(range(10)), "one of each two"
    for index, number in enumerate(numbers):
        expected = np.array(Image.fromarray(noise(number)).resize((48, 32), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(images.load(index), expected)
        assert images.records[index].sha256 == hashlib.sha256(expected.tobytes()).hexdigest()


def test_the_choice_depends_on_the_seed_alone(folder: Path):
    first, again, other = (choose_images(str(folder), None, INFO, count=8, seed=seed).records for seed in (0, 0, 1))
    assert first == again != other


def test_all_are_taken_of_fewer_than_asked_for(folder: Path):
    images = choose_images(str(folder), None, INFO)
    assert [record.name for record in images.records] == [f"{number:02}.png" for number in range(20)]


def test_the_images_outlive_their_files(folder: Path):
    images = choose_images(str(folder), None, INFO, count=8)
    before = images.load(7)
    for path in folder.iterdir():
        path.unlink()
    np.testing.assert_array_equal(images.load(7), before)


def test_street_scenes_are_never_held_out():
    images = choose_images("street", None, INFO, count=8)
    seeds = [int(record.name.removeprefix("street_")) for record in images.records]
    assert len(set(seeds)) == 8
    assert not {*seeds} & {*street.HELD_OUT_SEEDS}
    np.testing.assert_array_equal(images.load(5), street.render(seeds[5], height=32, width=48)[0])


@pytest.mark.parametrize(
    ("data", "image", "labels"),
    [
        ("cityscapes", "leftImg8bit/train/ulm/{}_leftImg8bit.png", "gtFine/train/ulm/{}_gtFine_labelIds.png"),
        ("camvid", "train/{}.png", "train_labels/{}_L.png"),
        ("camvid-11", "train/{}.png", "train_labels/{}_L.png"),
    ],
)
def test_a_data_sets_training_images(tmp_path: Path, data: str, image: str, labels: str):
    for number in range(8):
        save(tmp_path / image.format(number), noise(number))
        save(tmp_path / labels.format(number), np.zeros((40, 60) if data == "cityscapes" else (40, 60, 3), np.uint8))
    images = choose_images(data, tmp_path, INFO)
    assert [record.name.partition("_")[0] for record in images.records] == [str(number) for number in range(8)]
    assert "train" in images.source


def test_vocs_images_are_padded(tmp_path: Path):
    info = dataclasses.replace(INFO, classes=VOC.classes, palette=VOC.palette, height=64, width=96)
    folder = tmp_path / "VOCdevkit/VOC2012"
    lines = []
    for number in range(8):
        save(folder / f"JPEGImages/{number}.jpg", noise(number, 25, 30))
        save(folder / f"SegmentationClassAug/{number}.png", np.zeros((25, 30), np.uint8))
        lines.append(f"/JPEGImages/{number}.jpg /SegmentationClassAug/{number}.png\n")
    (folder / "train_aug.txt").write_text("".join(lines))
    image_rgb = choose_images("voc", tmp_path, info).load(3)
    np.testing.assert_array_equal(image_rgb[:25, :30], np.array(Image.open(folder / "JPEGImages/3.jpg")))
    assert image_rgb[25:].max() == image_rgb[:, 30:].max() == 0


def test_a_films_frames_come_from_all_of_it(tmp_path: Path):
    film = write_video(tmp_path / "drive.mp4", 102, noise=True)
    images = choose_images(str(film), None, INFO, count=10)
    assert images.source == "film drive.mp4, 10 of 100 images"
    frames = [int(record.name.removeprefix("drive_")) for record in images.records]
    assert [frame // 10 for frame in frames] == list(range(10))


def test_a_films_frames_are_the_ones_named(tmp_path: Path):
    from calibration.images import _frame

    film = write_video(tmp_path / "drive.mp4", 60)  # the frames of one colour each, which tells their number
    for index in (0, 1, 13, 40, 57):
        assert number_of(_frame(film, index)) == index % 20


def test_a_film_that_breaks_off(tmp_path: Path):
    whole = write_video(tmp_path / "whole.avi", 60, noise=True).read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"frame \d+ of .*cut\.avi cannot be read: the file is damaged"):
        choose_images(str(cut), None, INFO, count=10)


def spoil(folder: Path, image: np.ndarray) -> None:
    save(folder / "13.png", image)


def test_images_that_say_nothing(folder: Path):
    black = np.zeros((40, 60, 3), np.uint8)
    black[0, 0] = 2  # as compression leaves it
    spoil(folder, black)
    with pytest.raises(UserError, match=r"13\.png of folder images is all black"):
        choose_images(str(folder), None, INFO)
    spoil(folder, np.full((40, 60, 3), (9, 200, 70), np.uint8))
    with pytest.raises(UserError, match=r"13\.png of folder images is all of one colour"):
        choose_images(str(folder), None, INFO)


@pytest.mark.parametrize(("height", "width"), [(15, 60), (40, 23)])
def test_an_image_much_too_small(folder: Path, height: int, width: int):
    spoil(folder, noise(13, height, width))
    with pytest.raises(UserError, match=rf"13\.png of folder images is {height}x{width} pixels, less than half of"):
        choose_images(str(folder), None, INFO)


def test_half_the_size_is_enough(folder: Path):
    spoil(folder, noise(13, 16, 24))
    assert len(choose_images(str(folder), None, INFO)) == 20


def test_an_unreadable_image(folder: Path):
    (folder / "13.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    with pytest.raises(UserError, match=r"cannot read the image .*13\.png"):
        choose_images(str(folder), None, INFO)


@pytest.mark.parametrize(
    ("data", "root", "count", "message"),
    [
        ("{folder}", None, 7, "at least 8 images.*but 7 are asked for"),
        ("{empty}", None, 8, "empty holds no image itself. Give one with files of these kinds: .bmp"),
        ("{few}", None, 8, "at least 8 images.*but folder few has 1"),
        ("{few}/00.png", None, 8, "at least 8 images.*but 00.png has 1"),
        ("{few}/notes.txt", None, 8, "is not a video that OpenCV can read"),
        ("{few}/missing", None, 8, "missing does not exist. Give a folder of images, a film, or one of"),
        ("citiscapes", None, 8, "Did you mean cityscapes?"),
        ("cityscapes", None, 8, "no folder is given"),
        ("{folder}", "somewhere", 8, "belongs to a data set"),
        ("street", "somewhere", 8, "read no files"),
    ],
)
def test_bad_input(folder: Path, data: str, root: str | None, count: int, message: str):
    few, empty = folder.with_name("few"), folder.with_name("empty")
    empty.mkdir()
    save(few / "00.png", noise(0))
    (few / "notes.txt").write_text("not a film")
    with pytest.raises(UserError, match=message):
        choose_images(data.format(folder=folder, few=few, empty=empty), root and Path(root), INFO, count=count)


def test_a_network_too_small_for_the_street():
    with pytest.raises(UserError, match="at least 32x32"):
        choose_images("street", None, dataclasses.replace(INFO, height=16))


def test_a_full_disk(folder: Path, file_size_limit):
    with file_size_limit(1000), pytest.raises(UserError, match="free space"):
        choose_images(str(folder), None, INFO, count=8)
