import pickle

import numpy as np
import pytest

from runtime import street
from runtime.data.data_set import DataSet
from runtime.data.label_sets import CITYSCAPES
from runtime.data.street_scenes import StreetScenes


def test_scenes_are_what_the_renderer_makes():
    data: DataSet = StreetScenes([3, 5], 32, 64)
    assert (len(data), data.labels) == (2, CITYSCAPES)
    assert [data.stem(index) for index in range(2)] == ["street_3", "street_5"]
    image, labels = data[1]
    expected_image, expected_labels = street.render(5, height=32, width=64)
    assert np.array_equal(image, expected_image)
    assert np.array_equal(labels, expected_labels)
    image[...], labels[...] = 0, 0  # the caller's own
    assert np.array_equal(data[1][0], expected_image)
    assert np.array_equal(data[1][1], expected_labels)
    with pytest.raises(IndexError):
        data[2]


@pytest.mark.parametrize(
    ("seeds", "name"),
    [
        (range(2), "street, 2 scenes"),
        (street.HELD_OUT_SEEDS[:2], "street, 2 held-out scenes"),
        (street.HELD_OUT_SEEDS[:1], "street, 1 held-out scene"),
        ([0, street.HELD_OUT_SEEDS[0]], "street, 2 scenes"),
    ],
)
def test_the_name_says_how_many_and_whether_held_out(seeds, name):
    assert StreetScenes(seeds, 32, 32).name == name


def test_a_worker_process_gets_the_scenes_as_they_are():
    data = StreetScenes(range(1), 32, 64)
    again = pickle.loads(pickle.dumps(data))
    assert np.array_equal(again[0][0], data[0][0])
    assert (again.name, again.stem(0)) == (data.name, "street_0")
