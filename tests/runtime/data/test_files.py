import io
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.data.data_set import DataSet
from runtime.data.files import LabelledFiles, Place, incomplete, paired, read_indices, read_picture
from runtime.data.label_sets import VOC
from runtime.errors import UserError
from tests.runtime.data.pictures import HEIGHT, WIDTH, grey, noise, write

IMAGES, LABELS = Place("images", "*.png"), Place("labels", "*_L.png")
TREE = "|-- images/NAME.png\n`-- labels/NAME_L.png\n"


def data_set(root: Path) -> LabelledFiles:
    return LabelledFiles("tiny", VOC, paired("Tiny", root, TREE, IMAGES, LABELS), read_indices)


def write_pairs(root: Path, *stems: str) -> Path:
    for seed, stem in enumerate(stems):
        write(root / f"images/{stem}.png", noise(seed))
        write(root / f"labels/{stem}_L.png", grey(seed))
    return root


def test_pairs_are_read_in_the_order_of_their_names(tmp_path: Path):
    data: DataSet = data_set(write_pairs(tmp_path, "b", "c_L", "a"))
    assert (data.name, data.labels, len(data)) == ("tiny", VOC, 3)
    assert [data.stem(index) for index in range(3)] == ["a", "b", "c_L"]
    for index, seed in enumerate((2, 0, 1)):
        image, labels = data[index]
        assert np.array_equal(image, noise(seed))
        assert np.array_equal(labels, grey(seed))
        assert (image.dtype, labels.dtype) == (np.uint8, np.uint8)
        image[...], labels[...] = 0, 0  # the caller's own
    assert np.array_equal(data[0][0], noise(2))
    with pytest.raises(IndexError):
        data[3]


def test_folders_between_keep_equal_names_apart(tmp_path: Path):
    for town in ("x", "y"):
        write(tmp_path / f"images/{town}/1.png", noise(ord(town)))
        write(tmp_path / f"labels/{town}/1_L.png", grey(ord(town)))
    pairs = paired("Towns", tmp_path, TREE, Place("images", "*/*.png"), Place("labels", "*/*_L.png"))
    assert [path.relative_to(tmp_path).as_posix() for pair in pairs for path in pair] == [
        "images/x/1.png", "labels/x/1_L.png", "images/y/1.png", "labels/y/1_L.png",
    ]  # fmt: skip


def test_hidden_files_of_a_mac_archive_are_no_images(tmp_path: Path):
    write_pairs(tmp_path, "a")
    (tmp_path / "images/._a.png").write_bytes(b"no image")
    assert len(data_set(tmp_path)) == 1


def test_a_worker_process_can_read_it(tmp_path: Path):
    data = data_set(write_pairs(tmp_path, "a", "b"))
    assert pickle.loads(pickle.dumps(data)) == data
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        image, labels = pool.apply(data.__getitem__, (1,))
    assert np.array_equal(image, noise(1))
    assert np.array_equal(labels, grey(1))


def test_a_missing_folder_is_named_with_the_tree_it_should_be(tmp_path: Path):
    root = tmp_path / "none"
    with pytest.raises(UserError) as error:
        data_set(root)
    assert str(error.value).splitlines() == [
        f"Tiny is not complete: the folder {root} does not exist. It was not unpacked wholly, or the folder is another "
        f"one than the data set's own. Unpack it so that it looks like this:",
        f"  {root}",
        "  |-- images/NAME.png",
        "  `-- labels/NAME_L.png",
    ]


def test_another_folder_is_described(tmp_path: Path):
    write_pairs(tmp_path / "tiny", "a")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError) as error:
        data_set(tmp_path)
    text = str(error.value)
    assert "there are no images in images." in text
    assert text.endswith(
        "Found:\n  images: no such folder\n  labels: no such folder\n  in the folder itself: notes.txt, tiny/"
    )


def test_images_without_labels_are_counted_and_the_first_named(tmp_path: Path):
    write_pairs(tmp_path, *"abcdef")
    for stem in "bcde":
        (tmp_path / f"labels/{stem}_L.png").rename(tmp_path / f"labels/{stem}_colour.png")
    with pytest.raises(UserError) as error:
        data_set(tmp_path)
    text = str(error.value)
    assert "4 of 6 images have no labels: b, c, d, ..." in text
    assert "  images: 6 files *.png, 0 others\n  labels: 2 files *_L.png, 4 others\n" in text


def test_labels_without_images_are_counted_and_the_first_named(tmp_path: Path):
    write_pairs(tmp_path, *"abc")
    (tmp_path / "images/b.png").unlink()
    with pytest.raises(UserError, match="1 of 3 label files have no image: b\\."):
        data_set(tmp_path)


def test_a_long_list_of_what_is_there_is_cut(tmp_path: Path):
    for number in range(12):
        (tmp_path / f"file{number:02}").touch()
    text = str(incomplete("Tiny", tmp_path, TREE, "there is nothing", []))
    assert text.endswith("in the folder itself: " + ", ".join(f"file{number:02}" for number in range(8)) + ", ...")


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_broken_image_is_named_wherever_it_is_cut(tmp_path: Path, kind: str):
    stream = io.BytesIO()
    Image.fromarray(noise(0)).save(stream, kind)
    whole = stream.getvalue()
    path = tmp_path / f"broken.{kind}"
    # Up to half: Pillow does without the last bytes of a JPEG.
    for length in range(0, len(whole) // 2, 97):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=f"cannot read the image {path}"):
            read_picture(path)


def test_a_file_that_vanished_is_named(tmp_path: Path):
    data = data_set(write_pairs(tmp_path, "a"))
    (tmp_path / "images/a.png").unlink()
    with pytest.raises(UserError, match=r"cannot read the image .*a\.png.*No such file"):
        data[0]


def test_an_image_and_labels_of_different_sizes_are_named(tmp_path: Path):
    data = data_set(write_pairs(tmp_path, "a"))
    write(tmp_path / "labels/a_L.png", grey()[:-1])
    with pytest.raises(UserError, match=rf"a\.png is {HEIGHT}x{WIDTH}, but its labels .*a_L\.png are {HEIGHT - 1}x"):
        data[0]


def test_a_grey_image_becomes_rgb(tmp_path: Path):
    data = data_set(write_pairs(tmp_path, "a"))
    write(tmp_path / "images/a.png", grey(9))
    assert np.array_equal(data[0][0], np.full((HEIGHT, WIDTH, 3), 9))


def test_indices_are_read_as_they_are_stored(tmp_path: Path):
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    palette = Image.fromarray(indices).convert("P")
    palette.putpalette(noise(0).tobytes()[:768])
    palette.putdata(indices.ravel().tolist())
    palette.save(tmp_path / "palette.png")
    assert np.array_equal(read_indices(tmp_path / "palette.png"), indices)
    assert np.array_equal(read_indices(write(tmp_path / "grey.png", indices)), indices)


@pytest.mark.parametrize("pixels", [noise(0), grey().astype(np.uint16), grey().astype(bool)], ids=["rgb", "16", "1"])
def test_indices_of_another_kind_are_refused(tmp_path: Path, pixels: np.ndarray):
    with pytest.raises(UserError, match=r"labels\.png holds colours or wide numbers .* convert the colours to indices"):
        read_indices(write(tmp_path / "labels.png", pixels))
