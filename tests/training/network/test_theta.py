"""The signal split against the table of the published networks and the cases where the algorithms differ."""

import pytest

from training.network.theta import divide_signal

PUBLISHED = {
    "cityscapes-m": (32, [5248, 3008, 704, 2352, 4216], "v1", [416, 224, 128, 192, 320]),
    "cityscapes-s": (32, [4160, 992, 208, 3676], "v1", [576, 128, 64, 512]),
    "camvid-s": (64, [5248, 3008, 704, 2352, 1892], "v1", [448, 256, 256, 192, 128]),
    "camvid-l": (64, [5248, 3008, 704, 2352, 2068, 1764], "v1", [384, 192, 256, 192, 128, 128]),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_v1_splits(name):
    unit, theta_sizes, generation, expected = PUBLISHED[name]
    assert divide_signal(1280, unit, theta_sizes, generation) == expected


def test_published_v0_1_split_counts_the_padded_sizes():
    assert divide_signal(1536, 16, [9408, 4496, 6624, 1728, 992, 912], "v0_1") == [592, 272, 416, 96, 48, 112]


def test_equal_sizes_get_equal_parts_and_may_leave_units_unused():
    assert divide_signal(8, 1, [5, 5, 5], "v1") == [2, 2, 2]


def test_every_mapper_gets_a_unit_however_small_its_theta():
    assert min(divide_signal(64, 8, [10_000, 10_000, 10_000, 1], "v1")) >= 8


def test_channels_must_be_whole_units():
    with pytest.raises(ValueError, match="no multiple of the unit"):
        divide_signal(100, 32, [10, 20], "v1")
