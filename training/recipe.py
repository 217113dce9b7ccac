"""A training recipe: what ``python -m training fit --config FILE.yaml`` reads."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from runtime.errors import UserError
from training.variants import SignalOffsets, variant


@dataclass(frozen=True)
class Recipe:
    """How one variant is trained. Sizes are height, width in pixels."""

    variant: str
    data: Literal["street"]
    train_scenes: int
    scene_size: tuple[int, int]
    resize_scale: tuple[float, float]  # of the image, drawn with probability 0.5
    crop_size: tuple[int, int]
    batch_size: int
    images_per_epoch: int  # drawn with replacement
    epochs: int
    learning_rate: float
    power: float  # of the polynomial schedule, counted in optimizer steps
    loss: Literal["cross_entropy", "bootstrapped_cross_entropy"]
    val_scenes: int = 50
    signal_offsets: SignalOffsets = "cumulative"
    pretrained: bool = False  # the trunk's ImageNet weights, from timm's hub
    seed: int = 0

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training on one device; an incomplete last batch is dropped."""
        return self.epochs * (self.images_per_epoch // self.batch_size)


def read_recipe(path: Path) -> Recipe:
    """Read and check a YAML recipe; raises UserError naming the field that is missing, unknown or of a wrong type."""
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}. The recipes are in training/configs/.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no settings; take training/configs/street-tiny.yaml as an example.")
    known = {field.name: field for field in fields(Recipe)}
    if unknown := values.keys() - known.keys():
        raise UserError(f"{path} has unknown settings {sorted(unknown)}. The settings are {', '.join(known)}.")
    if missing := {name for name, field in known.items() if field.default is MISSING} - values.keys():
        raise UserError(f"{path} lacks the settings {sorted(missing)}.")
    types = get_type_hints(Recipe)
    recipe = Recipe(**{name: _checked(path, name, value, types[name]) for name, value in values.items()})
    variant(recipe.variant)  # raises for an unknown name
    if recipe.steps < 1:
        raise UserError(f"{path}: images_per_epoch {recipe.images_per_epoch} gives no batch of {recipe.batch_size}.")
    return recipe


def _checked(path: Path, name: str, value: Any, expected: Any) -> Any:
    """Return the value in its field's type; YAML has lists where the recipe has pairs, and 3e-3 is a string to it."""
    if get_origin(expected) is Literal:
        valid, converted = value in get_args(expected), value
        wanted = " or ".join(get_args(expected))
    elif get_origin(expected) is tuple:
        kind = get_args(expected)[0]
        valid = isinstance(value, list) and len(value) == 2 and all(_is_number(item, kind) for item in value)
        converted = tuple(value) if valid else value
        wanted = f"a list of two numbers ({kind.__name__})"
    elif expected in (int, float):
        valid, converted, wanted = _is_number(value, expected), value, f"a number above 0 ({expected.__name__})"
        valid = valid and (value > 0 or name == "seed")
    else:
        valid, converted, wanted = isinstance(value, expected), value, expected.__name__
    if not valid:
        raise UserError(f"{path}: {name} must be {wanted}, not {value!r}.")
    return converted


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
