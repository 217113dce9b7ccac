"""A training recipe: what ``python -m training fit --config FILE.yaml`` reads."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from runtime.errors import UserError
from training.augment import augmentation_from
from training.network.config import SignalOffsets
from training.network.variants import variant

Steps = tuple[dict[str, Any], ...]  # of an augmentation, as the YAML file lists them


@dataclass(frozen=True)
class Recipe:
    """How one variant is trained. Sizes are height, width in pixels; batches and steps are those of all GPUs together.

    The values are plain ones, so that a checkpoint can carry the recipe it was trained with.
    """

    variant: str
    data: Literal["street", "cityscapes", "camvid", "camvid-11", "voc"]
    train_split: str
    val_split: str  # the checkpoint with its highest mIoU is kept as the best
    augmentation: Steps  # of training images, in this order
    batch_size: int
    images_per_epoch: int  # drawn with replacement
    epochs: int
    learning_rate: float
    power: float  # of the polynomial schedule
    loss: Literal["cross_entropy", "bootstrapped_cross_entropy"]
    validation: Steps = ()  # what makes the validation images one size
    schedule: Literal["step", "epoch"] = "step"  # what the polynomial schedule counts
    signal_offsets: SignalOffsets = "cumulative"
    pretrained: bool = False  # the trunk's ImageNet weights, from timm's hub
    seed: int = 0
    recompute: bool = False  # less memory, more time: activations are computed again in the backward pass
    ema_decay: float | None = None  # keep an exponential moving average of the weights, and make it the checkpoint
    sync_batchnorm: bool = False  # share BatchNorm's statistics among the GPUs
    compile: bool = False  # by torch.compile
    channels_last: bool = False  # the memory layout of the maps
    train_scenes: int | None = None  # of the data set `street`, which is rendered, and
    val_scenes: int | None = None
    scene_size: tuple[int, int] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch; an incomplete last batch is dropped."""
        return self.images_per_epoch // self.batch_size

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width of the images that are trained on."""
        size = augmentation_from(self.augmentation).size
        assert size is not None, "read_recipe checks it"
        return size


def read_recipe(path: Path) -> Recipe:
    """Read and check a YAML recipe; raises UserError naming the setting that is missing, unknown or wrong."""
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
    if recipe.steps_per_epoch < 1:
        raise UserError(f"{path}: images_per_epoch {recipe.images_per_epoch} gives no batch of {recipe.batch_size}.")
    if augmentation_from(recipe.augmentation).size is None:
        raise UserError(f"{path}: the augmentation must end in one size; add a `crop` or a `pad` to it.")
    if augmentation_from(recipe.validation).size is None and recipe.data != "street":
        raise UserError(
            f"{path}: the validation images must be of one size; add a `resize_to` or a `pad` to validation."
        )
    street_settings = (recipe.train_scenes, recipe.val_scenes, recipe.scene_size)
    if any((setting is None) == (recipe.data == "street") for setting in street_settings):
        raise UserError(f"{path}: the data set street, and only it, needs train_scenes, val_scenes and scene_size.")
    return recipe


def _checked(path: Path, name: str, value: Any, expected: Any) -> Any:
    """Return the value in its field's type; YAML has lists where the recipe has pairs, and 3e-3 is a string to it."""
    if get_origin(expected) is UnionType:
        (expected,) = set(get_args(expected)) - {NoneType}
    if expected == Steps:
        valid = isinstance(value, list) and all(isinstance(step, dict) for step in value)
        converted = tuple(value) if valid else value
        wanted = "a list of steps such as `- flip: 0.5`"
    elif get_origin(expected) is Literal:
        valid, converted = value in get_args(expected), value
        wanted = " or ".join(get_args(expected))
    elif get_origin(expected) is tuple:
        valid = isinstance(value, list) and len(value) == 2 and all(_is_number(item, int) for item in value)
        converted = tuple(value) if valid else value
        wanted = "a list of two whole numbers"
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
