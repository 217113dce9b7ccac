from pathlib import Path

import pytest
import yaml

from runtime.errors import UserError
from training.recipe import read_recipe
from training.variants import check_input_size, variant

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
    assert recipe.variant == path.stem
    check_input_size(variant(recipe.variant), *recipe.crop_size)


def test_steps_count_whole_batches(tmp_path, settings):
    recipe = read_recipe(write(tmp_path, settings | {"images_per_epoch": 19, "batch_size": 8, "epochs": 3}))
    assert recipe.steps == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rte": 1}, "unknown settings \\['learning_rte'\\]"),
        ({"variant": "street-tny"}, "Did you mean street-tiny"),
        ({"variant": 3}, "variant must be str"),
        ({"data": "imagenet"}, "data must be street"),
        ({"loss": "mse"}, "loss must be cross_entropy or bootstrapped_cross_entropy"),
        ({"crop_size": 64}, "crop_size must be a list of two numbers"),
        ({"crop_size": [64.5, 2]}, "crop_size must be a list of two numbers"),
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
