from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.memory import _LiveBytes, step_memory
from training.network.variants import variant
from training.recipe import read_recipe

MIB = 2**20


def test_live_bytes_are_counted_once_and_forgotten_when_freed():
    with _LiveBytes() as live, torch.device("meta"):
        x = torch.empty(MIB, dtype=torch.uint8)
        view = x[: MIB // 2].reshape(2, -1)
        assert live.now == live.peak == MIB, "a view has no bytes of its own"
        y = view + view
        assert live.now == MIB + MIB // 2
        del y
        assert live.now == MIB
        x += 1
        del x, view
    assert (live.now, live.peak) == (0, MIB + MIB // 2)


def test_what_the_backward_pass_needs_is_kept():
    with _LiveBytes() as live, torch.device("meta"):
        x = torch.empty(MIB, dtype=torch.uint8).view(torch.float32).requires_grad_()
        y = x.sigmoid()  # keeps its result
        z = y.sigmoid()
        loss = z.sum()
        del y, z
        assert live.now == 3 * MIB + 4
        loss.backward()
        del loss
        assert live.now == 2 * MIB  # x and its gradient


def test_memory_grows_with_the_batch_and_recomputing_saves_most_of_it():
    recipe = read_recipe(Path("training/configs/camvid-s.yaml"))
    config = variant("camvid-s")
    one, two = (step_memory(config, replace(recipe, batch_size=batch)) for batch in (2, 4))
    assert 1.8 * one < two < 2 * one, "all but the weights, their gradients and Adam's averages"
    assert step_memory(config, replace(recipe, recompute=True)) < one / 2


@pytest.mark.parametrize("name", ["cityscapes-s", "camvid-l"])
def test_16_images_of_768x768_fit_32_gb_with_recomputing(name):
    recipe = read_recipe(Path(f"training/configs/{name}.yaml"))
    assert (recipe.batch_size, recipe.crop_size) == (16, (768, 768))
    assert step_memory(variant(name), replace(recipe, recompute=True)) < 0.8 * 32e9  # the rest for cuDNN
