import numpy as np
import pytest

from runtime.backends.tensorrt.profiles import Profile, check_images, choose_profile, split_batch
from runtime.errors import UserError
from tests.runtime.tiny_models import COLOUR_INFO

ONE, FOUR = Profile(0, 1, 1, 1), Profile(1, 4, 4, 4)
ONE_TO_EIGHT = Profile(2, 1, 8, 8)


@pytest.mark.parametrize(
    ("profiles", "batch", "taken", "index"),
    [
        ([ONE, FOUR], 4, (), 1),
        ([ONE_TO_EIGHT, ONE], 1, (), 0),  # tuned for 1, though the other takes it too
        ([ONE_TO_EIGHT, FOUR], 4, (), 1),
        ([ONE_TO_EIGHT, FOUR], 3, (), 2),
        ([Profile(0, 1, 8, 8), Profile(1, 1, 8, 16)], 3, (), 0),  # the narrower
        ([ONE, Profile(1, 1, 1, 1)], 1, (0,), 1),  # TensorRT 8: a profile for each context
        ([ONE, ONE_TO_EIGHT], 1, (0,), 0),  # sharing the right kernels beats having the wrong ones alone
    ],
)
def test_choosing(profiles: list[Profile], batch: int, taken: tuple[int, ...], index: int):
    assert choose_profile(profiles, batch, taken).index == index


def test_a_batch_nobody_takes():
    with pytest.raises(UserError, match=r"batches of 4, not 1\. .*--batch 1,4$"):
        choose_profile([FOUR], 1)
    with pytest.raises(UserError, match=r"batches of 1, 4, not 2\. .*--batch 1,2,4$"):
        choose_profile([ONE, FOUR], 2)
    with pytest.raises(UserError, match="batches of 2 to 8, not 1"):
        choose_profile([Profile(0, 2, 4, 8)], 1)


@pytest.mark.parametrize(
    ("profiles", "images", "batches"),
    [
        ([ONE], 3, [1, 1, 1]),
        ([ONE, FOUR], 9, [4, 4, 1]),
        ([ONE, FOUR], 3, [1, 1, 1]),
        ([ONE_TO_EIGHT], 5, [5]),
        ([ONE_TO_EIGHT], 19, [8, 8, 3]),
    ],
)
def test_splitting(profiles: list[Profile], images: int, batches: list[int]):
    assert split_batch(profiles, images) == batches


def test_images_that_cannot_be_split():
    with pytest.raises(UserError, match=r"6 images cannot be split into batches of 4.*--batch 1,4$"):
        split_batch([FOUR], 6)


def test_images_are_checked():
    check_images(np.zeros((2, 32, 48, 3), np.uint8), COLOUR_INFO)
    for wrong in (
        np.zeros((2, 32, 48, 3), np.float32),
        np.zeros((2, 48, 32, 3), np.uint8),
        np.zeros((32, 48, 3), np.uint8),
    ):
        with pytest.raises(ValueError, match=r"expected images uint8 \[N, 32, 48, 3\], got "):
            check_images(wrong, COLOUR_INFO)
    with pytest.raises(ValueError, match="at least one image"):
        check_images(np.zeros((0, 32, 48, 3), np.uint8), COLOUR_INFO)
