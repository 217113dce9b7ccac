import pytest
import torch
import torch.nn.functional as F

from training.network.resnet import PyramidPooling, average_regions


@pytest.mark.parametrize("size", [(2, 4), (6, 6), (16, 32), (24, 48), (7, 9)])
@pytest.mark.parametrize("regions", PyramidPooling.REGIONS)
def test_regions_are_those_of_adaptive_pooling(size, regions):
    x = torch.randn(2, 3, *size, dtype=torch.double)
    expected = F.adaptive_avg_pool2d(x, regions)
    assert torch.allclose(average_regions(x, regions), expected, rtol=1e-12, atol=1e-14)  # float64 round-off


def test_the_pyramid_lays_a_quarter_of_the_channels_per_region_beside_the_map():
    torch.manual_seed(0)
    pyramid = PyramidPooling(8).eval()
    x = torch.randn(1, 8, 6, 12)
    y = pyramid(x)
    assert y.shape == (1, 16, 6, 12)
    assert torch.equal(y[:, :8], x)
    spread = (y[:, 8:] - y[:, 8:, :1, :1]).abs().amax((0, 2, 3))
    assert spread[:2].max() < 1e-6, "the 1x1 region is one average everywhere, but for round-off"
    assert spread[2:].max() > 1e-3
