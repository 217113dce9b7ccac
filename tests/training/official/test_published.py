"""The oracle itself: its tables against what is known of the published files."""

import math

import pytest

from tests.training.official.published import NETWORKS, trunk_blocks
from tests.training.official.published_files import published_shapes, random_state

# Entries of the state dict, coordinate buffers among them, and parameters, counted on the published implementation.
COUNTS = {
    "voc-l": (702, 0, 39_680_458),
    "cityscapes-m": (608, 10, 10_311_214),
    "cityscapes-s": (607, 10, 10_041_398),
    "camvid-s": (614, 10, 9_949_064),
    "camvid-l": (632, 12, 9_969_104),
}
# Shapes of the signal-to-theta convolutions, likewise.
CONVOLUTIONS = {
    "voc-l": [(9408, 37), (4496, 17), (6624, 26), (1728, 6), (992, 3), (912, 7)],
    "cityscapes-m": [(5248, 13), (3008, 14), (704, 16), (2352, 12), (4216, 80)],
    "cityscapes-s": [(4160, 18), (992, 8), (208, 8), (3680, 32)],
    "camvid-s": [(5248, 7), (3008, 8), (704, 8), (2352, 12), (1896, 16)],
    "camvid-l": [(5248, 6), (3008, 6), (704, 8), (2352, 12), (2072, 16), (1768, 16)],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_entries_and_parameters(name):
    shapes = published_shapes(NETWORKS[name])
    counted = {key: shape for key, shape in shapes.items() if key.endswith(("weight", "bias"))}
    buffers = [key for key in shapes if key.startswith("decoder.coord")]
    assert (len(shapes), len(buffers), sum(map(math.prod, counted.values()))) == COUNTS[name]
    convolutions = [shape for key, shape in shapes.items() if "signal2weights" in key or "out_conv" in key]
    assert convolutions == [(*shape, 1, 1) for shape in CONVOLUTIONS[name]]


def test_the_random_state_has_every_key_in_its_shape():
    state = random_state(NETWORKS["camvid-s"])
    assert {key: tuple(value.shape) for key, value in state.items()} == published_shapes(NETWORKS["camvid-s"])


@pytest.mark.parametrize(("trunk", "nominal"), [("b1", [120, 60, 30, 15]), ("b3", [150, 75, 38, 19])], ids=["b1", "b3"])
def test_sizes_for_which_paddings_were_computed(trunk, nominal):
    assert [block.nominal for block in trunk_blocks(trunk) if block.stride == 2] == nominal
