from dataclasses import replace
from functools import cache

import pytest
import torch

from runtime.errors import UserError
from tests.training.official.published import NETWORKS
from tests.training.official.published_files import published_shapes
from training.official.recognise import recognise


@cache
def zeros(network):
    """A state dict of the right keys and shapes, which is all that recognition looks at."""
    return {
        key: torch.tensor(0) if key.endswith("_tracked") else torch.zeros(1).expand(shape)
        for key, shape in published_shapes(network).items()
    }


M, S, CAMVID_S = NETWORKS["cityscapes-m"], NETWORKS["cityscapes-s"], NETWORKS["camvid-s"]


@pytest.mark.parametrize("name", NETWORKS)
def test_each_published_network_is_recognised_without_a_name(name):
    recognised = recognise(zeros(NETWORKS[name]), None)
    assert recognised.config.name == name
    assert recognised.adapted == ()
    assert recognised.signal_channels == [channels for _, channels, _ in NETWORKS[name].convolutions]


def test_cityscapes_m_with_a_reduced_stride_2_map():
    recognised = recognise(zeros(replace(M, skip_scales=(0.25,) * 5)), None)
    assert recognised.config.name == "cityscapes-m"
    assert recognised.config.reduction == (0.25,) * 5
    assert recognised.adapted == ("the stride-2 map is reduced to a quarter",)


def test_cityscapes_s_with_a_mapper_for_every_level():
    recognised = recognise(zeros(replace(S, generation="v1_0")), "cityscapes-s")
    assert (recognised.config.name, recognised.config.unify_level) == ("cityscapes-s", None)
    assert recognised.layout == "v1_0"
    assert recognised.adapted == ("no weight mapper is shared",)


@pytest.mark.parametrize(("count", "labels"), [(11, "camvid-11"), (19, "cityscapes"), (7, "7 classes")])
def test_other_class_counts(count, labels):
    config = recognise(zeros(replace(CAMVID_S, classes=count)), None).config
    assert (config.name, config.labels.name, config.num_classes) == ("camvid-s", labels, count)
    assert len(set(config.labels.classes)) == len(set(config.labels.palette)) == count


def test_colours_of_unknown_classes_are_distinct_up_to_the_largest_count():
    labels = recognise(zeros(replace(CAMVID_S, classes=254)), None).config.labels
    assert len(set(labels.palette)) == 254
    assert {value for colour in labels.palette for value in colour} <= set(range(256))


@pytest.mark.parametrize(
    ("network", "wrong"),
    [("camvid-s", "camvid-l"), ("cityscapes-m", "camvid-s"), ("cityscapes-s", "cityscapes-m"), ("camvid-l", "voc-l")],
)
def test_a_wrong_name_is_answered_with_the_right_one(network, wrong):
    with pytest.raises(UserError, match=f"those of {network}, not of {wrong}"):
        recognise(zeros(NETWORKS[network]), wrong)


@pytest.mark.parametrize("name", ["street-tiny", "cityscapes", ""])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(UserError, match="The published ones are voc-l, cityscapes-m"):
        recognise(zeros(CAMVID_S), name)


def without_a_key(state):
    del state["backbone._blocks.7._bn1.running_var"]


def with_a_key_more(state):
    state["decoder.level_9.extra"] = torch.zeros(3, 4)


def with_another_shape(state):
    state["weight_mapper.up_blocks.0.0.weight"] = torch.zeros(640, 1279, 1, 1)


def in_half_precision(state):
    state["weight_mapper.up_blocks.0.0.weight"] = torch.zeros(640, 1280, 1, 1, dtype=torch.float16)


def without_a_reduction_weight(state):
    del state["backbone._feat_fc_0.0.weight"]


@pytest.mark.parametrize("name", ["camvid-s", None])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_a_key, r"backbone\._blocks\.7\._bn1\.running_var float32\[240\] is missing\. The file is damaged"),
        (with_a_key_more, r"decoder\.level_9\.extra float32\[3, 4\] has no place\. The file is damaged"),
        (
            with_another_shape,
            r"up_blocks\.0\.0\.weight is float32\[640, 1279, 1, 1\], not float32\[640, 1280, 1, 1\]\.",
        ),
        (in_half_precision, r"up_blocks\.0\.0\.weight is float16\[640, 1280, 1, 1\], not float32"),
        (without_a_reduction_weight, r"backbone\._feat_fc_0\.0\.weight float32\[4, 16, 1, 1\] is missing\."),
    ],
    ids=["missing", "extra", "shape", "type", "reduction"],
)
def test_one_entry_that_differs_is_named(name, damage, message):
    state = dict(zeros(CAMVID_S))
    damage(state)
    with pytest.raises(UserError, match=message) as caught:
        recognise(state, name)
    assert "camvid-s" in str(caught.value)


def test_many_differences_are_counted():
    state = {key: value for key, value in zeros(CAMVID_S).items() if not key.startswith("weight_mapper.")}
    with pytest.raises(
        UserError, match="is missing; and 14 more"
    ):  # 3 convolutions with 5 BatchNorm entries each, less 4
        recognise(state, None)


def test_other_networks_are_no_published_network():
    with pytest.raises(UserError, match=r"not that of a published HyperSeg network.*first keys are layer\.weight"):
        recognise({"layer.weight": torch.zeros(3)}, None)
