"""How the published state dict names what ours holds: three decoders, two context heads, one trunk."""

from __future__ import annotations

import re
from typing import Literal

from torch import Tensor

from training.network.efficientnet import EfficientNetTrunk
from training.network.model import HyperSeg

# The three generations of the published code, by the names of its modules.
Layout = Literal["v0_1", "v1_0", "v1_0_unify"]

TRUNK = "backbone.trunk"
COORDINATES = re.compile(r"decoder\.coord\d+_\d+")  # buffers that we compute instead
_FIRST_STAGE = {
    "conv_dw": "_depthwise_conv",
    "bn1": "_bn1",
    "se.conv_reduce": "_se_reduce",
    "se.conv_expand": "_se_expand",
    "conv_pw": "_project_conv",
    "bn2": "_bn2",
}
_OTHER_STAGES = {
    "conv_pw": "_expand_conv",
    "bn1": "_bn0",
    "conv_dw": "_depthwise_conv",
    "bn2": "_bn1",
    "se.conv_reduce": "_se_reduce",
    "se.conv_expand": "_se_expand",
    "conv_pwl": "_project_conv",
    "bn3": "_bn2",
}


def layout_of(state: dict[str, Tensor]) -> Layout | None:
    """Tell which published code wrote the state dict; None if none did."""
    if any(key.startswith("weight_mapper.out_conv.") for key in state):
        return "v0_1"
    if any(key.startswith("decoder.weight_blocks.") for key in state):
        return "v1_0_unify"
    if any(key.startswith("decoder.level_") and ".signal2weights." in key for key in state):
        return "v1_0"
    return None


def published_keys(model: HyperSeg, layout: Layout) -> dict[str, str]:
    """Our state dict's keys, in order, each with its published name."""
    modules = _trunk_names(model) | _context_names(model, layout) | _decoder_names(model, layout)
    modules |= {f"backbone.reductions.{i}": f"backbone._feat_fc_{i}" for i in range(len(model.backbone.reductions))}
    keys = {}
    for key in model.state_dict():
        (module,) = (module for module in modules if key.startswith(module + "."))
        keys[key] = modules[module] + key.removeprefix(module)
    return keys


def _trunk_names(model: HyperSeg) -> dict[str, str]:
    assert isinstance(model.backbone.trunk, EfficientNetTrunk), "the published networks have no other trunk"
    names = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
    number = 0  # the published code counts the blocks of all stages together
    for s, stage in enumerate(model.backbone.trunk.blocks):
        for i in range(len(stage)):
            layers = _OTHER_STAGES if s else _FIRST_STAGE
            names |= {f"blocks.{s}.{i}.{ours}": f"_blocks.{number}.{theirs}" for ours, theirs in layers.items()}
            number += 1
    return {f"{TRUNK}.{ours}": f"backbone.{theirs}" for ours, theirs in names.items()}


def _context_names(model: HyperSeg, layout: Layout) -> dict[str, str]:
    steps = range(model.config.context_levels - 1)
    if layout == "v0_1":  # counts the way up from the finest map too; ours begins where the way up begins
        names = {f"down.{i}": f"down_{i}" for i in steps} | {f"up.{len(steps) - 1 - i}": f"flat_{i}" for i in steps}
    else:
        names = {"in_conv": "in_conv"}
        names |= {f"down.{i}": f"down_blocks.{i}" for i in steps} | {f"up.{i}": f"up_blocks.{i}" for i in steps}
    return {f"context_head.{ours}": f"weight_mapper.{theirs}" for ours, theirs in names.items()}


def _decoder_names(model: HyperSeg, layout: Layout) -> dict[str, str]:
    names = {}
    for number, level in enumerate(model.decoder.plan.levels):
        ours = f"decoder.levels.{number}"
        theirs = f"decoder.level_blocks.{number}.0" if layout == "v1_0_unify" else f"decoder.level_{number}.0"
        if level.hidden_channels is None:
            names[f"{ours}.bn"] = f"{theirs}.1"
        else:
            for i in (1, 2, 3):
                names[f"{ours}.bn{i}"] = f"{theirs}.conv.{i - 1}.1" if layout == "v0_1" else f"{theirs}.bn{i}"
        mapper = f"decoder.mappers.{level.mapper}"
        if layout == "v0_1":
            names[mapper] = f"weight_mapper.out_conv.conv_{level.mapper}"
        elif layout == "v1_0_unify":
            names[mapper] = f"decoder.weight_blocks.{level.mapper}.signal2weights"
        else:
            names[mapper] = f"{theirs}{'.0' if level.hidden_channels is None else ''}.signal2weights"
    return names
