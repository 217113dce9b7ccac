import pytest

from runtime.errors import UserError
from training.describe import describe
from training.network.config import check_input_size, nearest_legal_sizes
from training.network.variants import VARIANTS, variant

# From the published implementation: parameters, convolution MACs, theta sizes.
PUBLISHED = {
    "voc-l": (39_680_458, 7.830, [9408, 4488, 6624, 1716, 992, 902]),
    "cityscapes-m": (10_311_214, 7.685, [5248, 3008, 704, 2352, 4216]),
    "cityscapes-s": (10_041_398, 16.324, [4160, 992, 208, 868, 2808]),
    "camvid-s": (9_949_064, 6.039, [5248, 3008, 704, 2352, 1892]),
    "camvid-l": (9_969_104, 12.261, [5248, 3008, 704, 2352, 2068, 1764]),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures(name):
    parameters, gmac, theta_sizes = PUBLISHED[name]
    description = describe(variant(name))
    assert description.parameters == parameters
    assert round(description.multiply_accumulates / 1e9, 3) == gmac
    assert description.theta_sizes == theta_sizes


@pytest.mark.parametrize("name", ["cityscapes-m", "camvid-s", "camvid-l"])
def test_offset_policy_zero_reads_every_part_from_channel_0(name):
    zero, cumulative = (describe(variant(name, policy)) for policy in ("zero", "cumulative"))
    split = cumulative.signal_split
    assert set(zero.signal_offsets) == {0}
    assert zero.signal_split == split
    assert cumulative.signal_offsets == [sum(split[:level]) for level in range(len(split))]


@pytest.mark.parametrize("name", VARIANTS)
def test_published_sizes_are_legal(name):
    check_input_size(VARIANTS[name], *VARIANTS[name].input_size)


@pytest.mark.parametrize(
    ("name", "size", "nearest"),
    [
        ("cityscapes-m", (500, 1000), "448x960 or 448x1024 or 512x960 or 512x1024"),
        ("cityscapes-m", (512, 1000), "512x960 or 512x1024"),
        ("cityscapes-m", (64, 64), "64x128 or 128x64"),
        ("cityscapes-m", (96, 64), "64x128 or 128x64"),
        ("cityscapes-m", (1, 1), "64x128 or 128x64"),
        ("voc-l", (64, 130), "128x128 or 128x256"),
    ],
)
def test_an_illegal_size_names_the_nearest_legal_ones(name, size, nearest):
    with pytest.raises(UserError, match=f"The nearest legal sizes are {nearest}\\."):
        check_input_size(VARIANTS[name], *size)
    assert (128, 128) in nearest_legal_sizes(VARIANTS["voc-l"], 128, 128)


def test_an_unknown_variant_names_the_close_one():
    with pytest.raises(UserError, match="Did you mean cityscapes-m"):
        variant("cityscape-m")
