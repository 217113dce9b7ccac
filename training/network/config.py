"""The config that determines a network, and the input sizes a network can run at.

Decoder tuples run from the coarsest level (stride 32) to the finest; ``reduction`` runs from stride 2 to stride 32.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import lcm
from typing import Literal

from runtime.data.data_set import LabelSet
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
    backbone: str  # timm's name, with the ImageNet weights a pretrained one begins with
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
    pyramid_pooling: bool = False  # PSPNet's module between a ResNet and its head
    head_channels: int | None = None  # of the head that is put on a ResNet, which has none of its own
    dynamic: bool = True  # False: regular convolutions, which read the signal beside the coarsest skip map
    grid: int | None = None  # patches a side, whatever the image's size; None = a patch per position of the signal
    positions: bool = True  # every level sees the x and y position of each pixel
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of RGB in [0, 1]
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @property
    def num_classes(self) -> int:
        """Channels of the logits."""
        return len(self.labels.classes)

    @property
    def size_multiple(self) -> int:
        """Height and width must be multiples of this: the head map (stride 32) is halved on the way to the context.

        A grid of its own must divide the head map as well.
        """
        return 32 * lcm(2 ** (self.context_levels - 1), self.grid or 1)


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
