import json

import pytest

from runtime.errors import UserError
from training.int8_recipe import Int8Recipe, read_int8_recipe

RECIPE = Int8Recipe("street-tiny", "entropy", ("backbone.trunk.conv_stem", "decoder.mappers.0"), "mIoU loss 0.2 points")


def test_a_recipe_comes_back_as_it_was_written(tmp_path):
    RECIPE.write(tmp_path / "recipe.json")
    assert read_int8_recipe(tmp_path / "recipe.json") == RECIPE


def test_the_file_is_for_people_too(tmp_path):
    RECIPE.write(tmp_path / "recipe.json")
    lines = [line.strip() for line in (tmp_path / "recipe.json").read_text().splitlines()]
    assert '"format": "hyperseg-int8-recipe",' in lines
    assert '"version": 1,' in lines
    assert '"decoder.mappers.0"' in lines


def test_the_note_can_be_left_out(tmp_path):
    write(tmp_path, {"note": None})
    assert read_int8_recipe(tmp_path / "recipe.json").note == ""


def write(tmp_path, changes):
    fields = {"format": "hyperseg-int8-recipe", "version": 1, "model": "street-tiny", "method": "mse", "layers": ["a"]}
    (tmp_path / "recipe.json").write_text(
        json.dumps({name: value for name, value in (fields | changes).items() if value is not None})
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "hyperseg-bundle"}, 'does not say "format": "hyperseg-int8-recipe"'),
        ({"version": 2}, "its version is 2, this program reads version 1"),
        ({"model": None}, "model and method must be names"),
        ({"method": ""}, "model and method must be names"),
        ({"note": 3}, "note a text"),
        ({"layers": None}, "layers must be a list"),
        ({"layers": "a"}, "layers must be a list"),
        ({"layers": ["a", 1]}, "layers must be a list"),
        ({"layers": ["a", "b", "a"]}, "names a twice"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, changes, message):
    write(tmp_path, changes)
    with pytest.raises(UserError, match=message):
        read_int8_recipe(tmp_path / "recipe.json")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path, content):
    (tmp_path / "recipe.json").write_bytes(content)
    with pytest.raises(UserError, match="is no int8 recipe"):
        read_int8_recipe(tmp_path / "recipe.json")


def test_a_missing_recipe_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot read the int8 recipe"):
        read_int8_recipe(tmp_path / "none.json")
