from dataclasses import replace
from pathlib import Path

import torch

from training.bench import bench, format_bench
from training.recipe import read_recipe


def test_the_report_says_what_was_measured_and_what_was_not():
    recipe = replace(
        read_recipe(Path("training/configs/street-tiny.yaml")),
        train_scenes=2,
        val_scenes=1,
        scene_size=(64, 128),
        augmentation=({"crop": [64, 128]},),
    )
    result = bench(recipe, None, workers=0, steps=1, batch_size=2)
    assert result.recipe.batch_size == 2
    assert result.loader_images_per_second > 0
    assert result.step_images_per_second > 0
    assert result.computed_memory_gib > result.computed_recompute_gib > 0
    text = format_bench(result)
    assert "street-tiny on street, 2 images of 64x128" in text
    assert ("not run, no GPU" in text) == (not torch.cuda.is_available())
    waiting = replace(result, loader_images_per_second=1.0, step_images_per_second=2.0)
    assert "0.50: the step waits for the loader" in format_bench(waiting)
