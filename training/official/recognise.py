"""Which published network a state dict is, and whether it is that one to the last key and shape."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from runtime.data.data_set import IGNORE, LabelSet
from runtime.data.label_sets import CAMVID, CAMVID_11, CITYSCAPES, VOC
from runtime.errors import UserError
from training.network.config import HyperSegConfig
from training.network.model import HyperSeg
from training.network.variants import VARIANTS
from training.official.keys import COORDINATES, Layout, layout_of, published_keys

PUBLISHED = ("voc-l", "cityscapes-m", "cityscapes-s", "camvid-s", "camvid-l")
_SHOWN = 4


@dataclass(frozen=True)
class Recognised:
    """A state dict's network, or an attempt at it; the offsets in the config are for the forensics to settle."""

    config: HyperSegConfig
    layout: Layout
    adapted: tuple[str, ...]  # where the tensors are not those of the published variant
    keys: dict[str, str]  # ours to the published
    signal_channels: list[int]  # that each weight mapper reads
    differences: list[str]  # between expected and found tensors; none: this is the network


def recognise(state: dict[str, Tensor], name: str | None) -> Recognised:
    """Find the variant from the tensors, or check that they are those of the variant ``name``.

    Raises UserError if they are not, naming the variant they are of where there is one, or the first tensors that
    differ from the nearest one.
    """
    if name is not None and name not in PUBLISHED:
        raise UserError(f"there is no published model {name!r}. The published ones are {', '.join(PUBLISHED)}.")
    layout = layout_of(state)
    if layout is None:
        raise UserError(
            "the state_dict is not that of a published HyperSeg network: it has no convolution from signal to weights "
            f"under any name the published code gave it. Its first keys are {', '.join(list(state)[:_SHOWN])}."
        )
    legacy = layout == "v0_1"
    candidates = [known for known in PUBLISHED if (VARIANTS[known].generation == "v0_1") == legacy]
    attempts: dict[str, Recognised] = {}
    for candidate in sorted(candidates, key=lambda known: known != name):  # the named one first
        attempts[candidate] = _compare(state, candidate, layout)
        if attempts[candidate].differences:
            continue
        if name in (None, candidate):
            return attempts[candidate]
        raise UserError(
            f"the tensors are those of {candidate}, not of {name}. Leave the model's name out, or give {candidate}."
        )
    if name in attempts:
        raise UserError(f"the tensors are not those of {name}: {_summary(attempts[name].differences)}")
    nearest = min(attempts, key=lambda candidate: len(attempts[candidate].differences))
    raise UserError(
        "the tensors are those of no published network. "
        f"The nearest is {nearest}, but: {_summary(attempts[nearest].differences)}"
    )


def _summary(differences: list[str]) -> str:
    more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
    return (
        f"{'; '.join(differences[:_SHOWN])}{more}. The file is damaged, or of a network that this code does not have."
    )


def _compare(state: dict[str, Tensor], name: str, layout: Layout) -> Recognised:
    config, adapted = _adapt(VARIANTS[name], state, layout)
    with torch.device("meta"):
        model = HyperSeg(config)
    keys = published_keys(model, layout)
    expected = {keys[key]: _describe(value) for key, value in model.state_dict().items()}
    differences = []
    for key, tensor in expected.items():
        if key not in state:
            differences.append(f"{key} {tensor} is missing")
        elif (found := _describe(state[key])) != tensor:
            differences.append(f"{key} is {found}, not {tensor}")
    extra = [key for key in state if key not in expected and not COORDINATES.fullmatch(key)]
    differences += [f"{key} {_describe(state[key])} has no place" for key in extra]
    signal_channels = [mapper.signal_channels for mapper in model.decoder.plan.mappers]
    return Recognised(config, layout, adapted, keys, signal_channels, differences)


def _describe(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"


def _adapt(config: HyperSegConfig, state: dict[str, Tensor], layout: Layout) -> tuple[HyperSegConfig, tuple[str, ...]]:
    """Take from the tensors what files of one variant were seen, or may well be, to differ in."""
    adapted = []
    finest = 0.25 if any(key.startswith("backbone._feat_fc_0.") for key in state) else 1.0
    if finest != config.reduction[0]:
        config = replace(config, reduction=(finest, *config.reduction[1:]))
        adapted.append(f"the stride-2 map is {'reduced to a quarter' if finest < 1 else 'not reduced'}")
    mappers = len({key.split(".")[2] for key in state if key.startswith("decoder.weight_blocks.")})
    unify_level = mappers if layout == "v1_0_unify" else None
    if unify_level != config.unify_level and (unify_level is None or unify_level <= len(config.kernel_sizes)):
        config = replace(config, unify_level=unify_level)
        adapted.append(
            f"levels share a weight mapper from level {unify_level} on" if unify_level else "no weight mapper is shared"
        )
    classes = _class_count(state, layout, len(config.kernel_sizes))
    if classes is not None and classes != config.num_classes and 0 < classes < IGNORE:
        config = replace(config, labels=_labels(classes))
        adapted.append(f"{classes} classes, taken for those of {config.labels.name}")
    return config, tuple(adapted)


def _class_count(state: dict[str, Tensor], layout: Layout, levels: int) -> int | None:
    """Channels of the last level's last BatchNorm, whose output are the logits."""
    norm = {"v0_1": "level_{}.0.conv.2.1", "v1_0": "level_{}.0.bn3", "v1_0_unify": "level_blocks.{}.0.bn3"}[layout]
    bias = state.get(f"decoder.{norm.format(levels - 1)}.bias")
    return None if bias is None else bias.numel()


def _labels(count: int) -> LabelSet:
    """Return the data set's labels that are so many, or numbered classes in colours of their own."""
    for labels in (CITYSCAPES, CAMVID, CAMVID_11, VOC):
        if len(labels.classes) == count:
            return labels
    return LabelSet(f"{count} classes", tuple(f"class {i}" for i in range(count)), tuple(map(_colour, range(count))))


def _colour(index: int) -> tuple[int, int, int]:
    """Colour of a class number: bit 3k of it sets red's k-th highest bit, bit 3k + 1 green's, bit 3k + 2 blue's."""
    red, green, blue = (sum((index >> (3 * k + c) & 1) << (7 - k) for k in range(8)) for c in range(3))
    return red, green, blue
