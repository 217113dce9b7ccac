from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training.augment import augmentation_from
from training.loading import Draws, EpochShare, RecipeData
from training.recipe import read_recipe


@pytest.fixture(scope="module")
def recipe():
    return replace(
        read_recipe(Path("training/configs/street-tiny.yaml")),
        train_scenes=3,
        val_scenes=3,
        scene_size=(64, 128),
        augmentation=({"crop": [64, 64]}, {"flip": 0.5}),
        batch_size=4,
        images_per_epoch=10,
    )


class Numbered:
    """Images that show their own index."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        return np.full((4, 4, 3), index, np.uint8), np.full((4, 4), index, np.uint8)


def test_a_draw_depends_on_the_seed_and_its_number_alone():
    def draw(seed, number):
        return Draws(Numbered(), augmentation_from([{"crop": [4, 4]}]), seed)[number][1][0, 0].item()

    drawn = [draw(0, number) for number in range(700)]
    assert drawn == [draw(0, number) for number in range(700)]
    assert drawn != [draw(1, number) for number in range(700)]
    counts = np.bincount(drawn, minlength=7)
    assert len(set(drawn[:7])) < 7, "with replacement: seven draws of seven images hold a pair, but once in 160 seeds"
    # 700 draws, 100 expected of each, standard deviation sqrt(700 / 7 * 6 / 7) = 9.3
    assert (abs(counts - 100) < 4 * 9.3).all()


def test_processes_share_each_batch_and_drop_what_is_left(recipe):
    def share(process, processes):
        return EpochShare(recipe, process, processes, steps_done=lambda: 6)  # three epochs of two steps

    assert list(share(0, 1)) == [30, 31, 32, 33, 34, 35, 36, 37]  # two batches of 4; draws 38 and 39 are left out
    assert list(share(0, 2)) == [30, 31, 34, 35]
    assert list(share(1, 2)) == [32, 33, 36, 37]
    assert (len(share(0, 1)), len(share(1, 2))) == (8, 4)


def test_batches_are_the_same_whatever_process_loads_them(recipe):
    def batches(workers):
        return list(RecipeData(recipe, None, workers).train_dataloader())

    here, elsewhere = batches(0), batches(2)
    assert len(here) == len(elsewhere) == 2
    for (images, labels), (other_images, other_labels) in zip(here, elsewhere, strict=True):
        assert images.shape == (4, 3, 64, 64)
        assert labels.shape == (4, 64, 64)
        assert torch.equal(images, other_images)
        assert torch.equal(labels, other_labels)


def test_validation_shows_each_held_out_image_once(recipe):
    data = RecipeData(recipe, None, 0)
    (batch,) = list(data.val_dataloader())
    assert batch[0].shape == (3, 3, 64, 128)
    for image, labels, (expected_image, expected_labels) in zip(*batch, list(data.val), strict=True):
        assert torch.equal(image, torch.from_numpy(expected_image).permute(2, 0, 1))
        assert torch.equal(labels, torch.from_numpy(expected_labels))
