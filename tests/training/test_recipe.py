from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml

from runtime.errors import UserError
from training.augment import augmentation_from
from training.network.config import check_input_size
from training.network.variants import variant
from training.recipe import read_recipe

CONFIGS = Path("training/configs")


@pytest.fixture
def settings():
    return yaml.safe_load((CONFIGS / "street-tiny.yaml").read_text())


def write(tmp_path, settings):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.mark.parametrize("path", CONFIGS.glob("*.yaml"), ids=lambda path: path.stem)
def test_every_config_is_a_legal_recipe_of_its_name(path):
    recipe = read_recipe(path)
    assert recipe.variant == path.stem.removesuffix("-int8")
    check_input_size(variant(recipe.variant), *recipe.crop_size)
    if recipe.validation:
        assert augmentation_from(recipe.validation).size == variant(recipe.variant).input_size


# What the published code trains with: steps in all, batch, learning rate, power, resize, crop.
PUBLISHED = {
    "voc-l": (100_000, 32, 1e-4, 3.0, [0.25, 0.9], (512, 512)),
    "cityscapes-m": (90_000, 16, 1e-3, 0.9, [0.25, 2.0], (512, 1024)),
    "cityscapes-s": (90_000, 16, 1e-3, 0.9, [0.375, 1.5], (768, 768)),
    "camvid-s": (120_000, 2, 1e-3, 2.0, [0.5, 2.0], (576, 576)),
    "camvid-l": (15_000, 16, 1e-3, 2.0, [0.75, 2.0], (768, 768)),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_recipes(name):
    recipe = read_recipe(CONFIGS / f"{name}.yaml")
    (resize,) = [step["resize"] for step in recipe.augmentation if "resize" in step]
    steps = recipe.epochs * recipe.steps_per_epoch
    figures = (steps, recipe.batch_size, recipe.learning_rate, recipe.power, resize, recipe.crop_size)
    assert figures == PUBLISHED[name]
    is_voc = name == "voc-l"
    assert recipe.schedule == ("epoch" if is_voc else "step")
    assert recipe.loss == ("cross_entropy" if is_voc else "bootstrapped_cross_entropy")
    assert recipe.pretrained
    assert not any((recipe.ema_decay, recipe.sync_batchnorm, recipe.compile, recipe.channels_last))


def test_an_epoch_has_whole_batches(tmp_path, settings):
    recipe = read_recipe(write(tmp_path, settings | {"images_per_epoch": 19, "batch_size": 8}))
    assert recipe.steps_per_epoch == 2


def test_a_recipe_consists_of_plain_values(settings, tmp_path):
    """A checkpoint carries it, and is read without unpickling code."""
    recipe = read_recipe(write(tmp_path, settings))
    torch.save(asdict(recipe), tmp_path / "recipe.pt")
    assert torch.load(tmp_path / "recipe.pt", weights_only=True) == asdict(recipe)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rte": 1}, "unknown settings \\['learning_rte'\\]"),
        ({"variant": "street-tny"}, "Did you mean street-tiny"),
        ({"variant": 3}, "variant must be str"),
        ({"data": "imagenet"}, "data must be street or cityscapes"),
        ({"loss": "mse"}, "loss must be cross_entropy or bootstrapped_cross_entropy"),
        ({"scene_size": 64}, "scene_size must be a list of two whole numbers"),
        ({"scene_size": [64.5, 2]}, "scene_size must be a list of two whole numbers"),
        ({"augmentation": "flip"}, "augmentation must be a list of steps"),
        ({"augmentation": ["flip"]}, "augmentation must be a list of steps"),
        ({"augmentation": [{"spin": 3}]}, "spin"),
        ({"augmentation": [{"flip": 0.5}]}, "must end in one size"),
        ({"data": "cityscapes", "validation": [{"resize_to": [64, 128]}]}, "the data set street, and only it"),
        ({"data": "camvid"}, "validation images must be of one size"),
        ({"ema_decay": "yes"}, "ema_decay must be a number above 0"),
        ({"compile": 1}, "compile must be bool"),
        ({"epochs": 2.5}, "epochs must be a number above 0"),
        ({"epochs": True}, "epochs must be a number above 0"),
        ({"batch_size": 0}, "batch_size must be a number above 0"),
        ({"learning_rate": "3e-3"}, "learning_rate must be a number above 0"),
        ({"images_per_epoch": 2}, "gives no batch"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, settings, change, message):
    with pytest.raises(UserError, match=message):
        read_recipe(write(tmp_path, settings | change))


def test_a_missing_setting_is_named(tmp_path, settings):
    del settings["epochs"]
    with pytest.raises(UserError, match="lacks the settings \\['epochs'\\]"):
        read_recipe(write(tmp_path, settings))


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [1", "\x00"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UserError):
        read_recipe(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        read_recipe(tmp_path / "none.yaml")
