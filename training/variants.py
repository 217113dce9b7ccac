"""The published networks and the small one for the built-in data, as frozen configs.

Decoder tuples run from the coarsest level (stride 32) to the finest; ``reduction`` runs from stride 2 to stride 32.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import product
from typing import Literal

from runtime.data.data_set import LabelSet
from runtime.data.label_sets import CAMVID, CITYSCAPES, VOC
from runtime.errors import UserError

# v0_1: three dynamic convolutions over the whole map, which exchange hidden values between patches (HyperSeg-L, VOC).
# v1: the inverted residual is evaluated patch by patch; its halo comes from the level's input.
Generation = Literal["v0_1", "v1"]
# Which signal channels a level's weight mapper reads: every level from channel 0 (the published v1 checkpoints), or
# consecutive parts as the paper has it.
SignalOffsets = Literal["zero", "cumulative"]


@dataclass(frozen=True)
class HyperSegConfig:
    """Everything that determines the network's structure and how its input is normalised."""

    name: str
    generation: Generation
    backbone: str  # timm's name
    labels: LabelSet
    input_size: tuple[int, int]  # height, width it is published at
    reduction: tuple[float, float, float, float, float]  # share of a skip map's channels that is kept; 1 = untouched
    kernel_sizes: tuple[int, ...]  # per level; 1 = point-wise, 3 = inverted residual
    level_channels: tuple[int, ...]  # per level but the last, whose outputs are the classes
    weight_groups: tuple[int, ...]  # per level, groups of the signal-to-weights convolution
    context_levels: int
    unify_level: int | None = None  # from this level on (1-based) all levels share one signal-to-weights convolution
    signal_offsets: SignalOffsets = "cumulative"
    expand_ratio: int = 2
    padding_size: int | None = None  # image size for which the stride-2 "SAME" paddings were computed; None = timm's
    backbone_bn_eps: float = 1e-3
    backbone_bn_momentum: float = 0.01
    head_dropout: float = 0.2
    drop_path: float = 0.2
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of RGB in [0, 1]
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @property
    def num_classes(self) -> int:
        """Channels of the logits."""
        return len(self.labels.classes)

    @property
    def size_multiple(self) -> int:
        """Height and width must be multiples of this: the grid (stride 32) is halved on the way to the context."""
        return 32 * 2 ** (self.context_levels - 1)


VARIANTS: dict[str, HyperSegConfig] = {
    config.name: config
    for config in (
        HyperSegConfig(
            name="voc-l",
            generation="v0_1",
            backbone="tf_efficientnet_b3",
            labels=VOC,
            input_size=(512, 512),
            reduction=(0.25, 0.25, 0.25, 0.25, 0.25),
            kernel_sizes=(1, 1, 3, 3, 3, 3),
            level_channels=(96, 34, 12, 8, 6),
            weight_groups=(16, 16, 16, 16, 16, 16),
            context_levels=3,
            padding_size=300,
            head_dropout=0.3,
        ),
        HyperSegConfig(
            name="cityscapes-m",
            generation="v1",
            backbone="tf_efficientnet_b1",
            labels=CITYSCAPES,
            input_size=(512, 1024),
            reduction=(1, 0.25, 0.25, 0.25, 0.25),
            kernel_sizes=(1, 1, 1, 3, 3),
            level_channels=(64, 32, 16, 16),
            weight_groups=(32, 16, 8, 16, 4),
            context_levels=2,
            padding_size=240,
        ),
        HyperSegConfig(
            name="cityscapes-s",
            generation="v1",
            backbone="tf_efficientnet_b1",
            labels=CITYSCAPES,
            input_size=(768, 1536),
            reduction=(1, 0.166, 0.2, 0.25, 0.4),
            kernel_sizes=(1, 1, 1, 3, 3),
            level_channels=(32, 16, 8, 8),
            weight_groups=(32, 16, 8, 16, 4),
            context_levels=2,
            unify_level=4,
            padding_size=240,
        ),
        HyperSegConfig(
            name="camvid-s",
            generation="v1",
            backbone="tf_efficientnet_b1",
            labels=CAMVID,
            input_size=(576, 768),
            reduction=(0.25, 0.25, 0.25, 0.25, 0.25),
            kernel_sizes=(1, 1, 1, 3, 3),
            level_channels=(64, 32, 16, 16),
            weight_groups=(64, 32, 32, 16, 8),
            context_levels=2,
            padding_size=240,
        ),
        HyperSegConfig(
            name="camvid-l",
            generation="v1",
            backbone="tf_efficientnet_b1",
            labels=CAMVID,
            input_size=(768, 1024),
            reduction=(0.25, 0.25, 0.25, 0.25, 0.25),
            kernel_sizes=(1, 1, 1, 3, 3, 3),
            level_channels=(64, 32, 16, 16, 16),
            weight_groups=(64, 32, 32, 16, 8, 8),
            context_levels=2,
            padding_size=240,
        ),
        HyperSegConfig(
            name="street-tiny",
            generation="v1",
            backbone="test_efficientnet",
            labels=CITYSCAPES,
            input_size=(128, 256),
            reduction=(1, 0.5, 0.5, 0.5, 0.5),
            kernel_sizes=(1, 1, 1, 3, 3),
            level_channels=(32, 24, 16, 16),
            weight_groups=(8, 8, 4, 8, 4),
            context_levels=2,
            backbone_bn_eps=1e-5,
            backbone_bn_momentum=0.1,
            head_dropout=0.0,
            drop_path=0.0,
        ),
    )
}


def variant(name: str, signal_offsets: SignalOffsets = "cumulative") -> HyperSegConfig:
    """Return the named config with the given signal-offset policy; UserError for an unknown name."""
    if name not in VARIANTS:
        close = get_close_matches(name, VARIANTS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise UserError(f"there is no variant {name!r}.{hint} The variants are {', '.join(VARIANTS)}.")
    return replace(VARIANTS[name], signal_offsets=signal_offsets)


def check_input_size(config: HyperSegConfig, height: int, width: int) -> None:
    """Raise UserError, naming the nearest legal sizes, unless the network can run on ``height`` x ``width`` pixels."""
    legal = nearest_legal_sizes(config, height, width)
    if (height, width) not in legal:
        sizes = " or ".join(f"{h}x{w}" for h, w in legal)
        raise UserError(
            f"{config.name} cannot run on {height}x{width} (height x width): {legal_sizes(config)}. "
            f"The nearest legal sizes are {sizes}."
        )


def legal_sizes(config: HyperSegConfig) -> str:
    """Describe the legal input sizes in words."""
    multiple = config.size_multiple
    # v1 concatenates the bottom map with its own average, which the published code cannot do on a single position.
    exception = f", and not {multiple}x{multiple}" if config.generation == "v1" else ""
    return f"height and width must be multiples of {multiple}{exception}"


def nearest_legal_sizes(config: HyperSegConfig, height: int, width: int) -> list[tuple[int, int]]:
    """Return the given size alone if it is legal, else the nearest legal ones that are no larger and no smaller."""
    multiple = config.size_multiple

    def around(length: int) -> tuple[int, int]:
        smaller = max(length // multiple, 1) * multiple
        return smaller, max(-(-length // multiple), 1) * multiple

    sizes = dict.fromkeys(product(around(height), around(width)))
    if config.generation == "v1" and (multiple, multiple) in sizes:
        del sizes[multiple, multiple]
        sizes |= dict.fromkeys([(multiple, 2 * multiple), (2 * multiple, multiple)])
    return sorted(sizes)
