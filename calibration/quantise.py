"""The graph in lower precision: FP16 where the measured ranges allow it, and INT8 in the layers of a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto

from calibration.cache import Calibration
from calibration.placement import place_qdq
from calibration.thresholds import METHODS
from export.half import FP16_MAX_SAFE, to_half
from runtime.errors import UserError
from training.int8_recipe import Int8Recipe


@dataclass(frozen=True)
class Wide:
    """A tensor that FP16 may not hold; ``largest`` is the largest magnitude it had on the calibration images."""

    tensor: str
    largest: float


def wide_tensors(calibration: Calibration) -> list[Wide]:
    """Return the tensors that must stay FP32, the widest first."""
    measured = (Wide(name, tensor.largest) for name, tensor in calibration.tensors.items())
    return sorted((wide for wide in measured if wide.largest > FP16_MAX_SAFE), key=lambda wide: -wide.largest)


def fp16_model(bare: ModelProto, calibration: Calibration) -> ModelProto:
    """Return a copy of a bare FP32 model in FP16 but for its wide tensors."""
    return to_half(bare, [wide.tensor for wide in wide_tensors(calibration)])


def int8_model(bare: ModelProto, calibration: Calibration, recipe: Int8Recipe) -> ModelProto:
    """Return a copy of a bare FP32 model with the recipe's layers in INT8 and all else as ``fp16_model`` has it."""
    return fp16_model(place_qdq(bare, calibration.thresholds(recipe.method), recipe.layers), calibration)


def check_recipe(recipe: Int8Recipe, model: str) -> None:
    """Raise UserError for a recipe of another model than ``model``, by an unknown method, or without a layer."""
    again = "Search one: python -m calibration search BUNDLE"
    if recipe.model != model:
        raise UserError(f"the int8 recipe is one of {recipe.model}, but the network is {model}. {again}")
    if recipe.method not in METHODS:
        raise UserError(f"the int8 recipe's method {recipe.method!r} is none of {', '.join(METHODS)}. {again}")
    if not recipe.layers:
        raise UserError(f"the int8 recipe names no layer, so nothing would be INT8. {again}, or export fp16 instead.")
