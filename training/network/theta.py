"""How the signal is divided over the decoder's levels and what dynamic weights (theta) each level gets from it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from math import ceil, floor

from training.network.config import Generation, HyperSegConfig

COORDINATES = 2  # each level sees the x and y position of every pixel beside its skip map


@dataclass(frozen=True)
class LevelPlan:
    """One decoder level: its channels, and where its theta stands in its mapper's output."""

    in_channels: int  # coordinates + skip + previous level
    hidden_channels: int | None  # None for a point-wise level
    out_channels: int
    kernel_size: int
    mapper: int
    weight_offset: int

    @property
    def theta_size(self) -> int:
        """Dynamic weights per patch: [pw1 (hidden, in) | dw (hidden, k, k) | pw2 (out, hidden)], or (out, in)."""
        if self.hidden_channels is None:
            return self.out_channels * self.in_channels
        return self.hidden_channels * (self.in_channels + self.kernel_size**2 + self.out_channels)


@dataclass(frozen=True)
class MapperPlan:
    """One weight mapper: the grouped 1x1 convolution from a part of the signal to theta."""

    signal_offset: int
    signal_channels: int
    theta_size: int
    groups: int

    @property
    def out_channels(self) -> int:
        """Theta's size rounded up to whole groups; the tail is not used."""
        return ceil(self.theta_size / self.groups) * self.groups


@dataclass(frozen=True)
class DecoderPlan:
    """All levels, coarse to fine, and the weight mappers that serve them."""

    levels: tuple[LevelPlan, ...]
    mappers: tuple[MapperPlan, ...]

    @property
    def signal_channels_read(self) -> int:
        """Signal channels from here on influence nothing."""
        return max(mapper.signal_offset + mapper.signal_channels for mapper in self.mappers)


def plan_decoder(config: HyperSegConfig, skip_channels: list[int], signal_channels: int) -> DecoderPlan:
    """Lay out the decoder over skip maps (coarse to fine, the image last where a level reads it).

    A decoder of regular convolutions has no mappers.
    """
    num_levels = len(config.kernel_sizes)
    out_channels = (*config.level_channels, config.num_classes)
    unified = range((config.unify_level or num_levels) - 1, num_levels)
    levels: list[LevelPlan] = []
    for index in range(num_levels):
        previous = out_channels[index - 1] if index else 0
        in_channels = (COORDINATES if config.positions else 0) + skip_channels[index] + previous
        kernel_size = config.kernel_sizes[index]
        levels.append(
            LevelPlan(
                in_channels=in_channels,
                hidden_channels=None if kernel_size == 1 else config.expand_ratio * in_channels,
                out_channels=out_channels[index],
                kernel_size=kernel_size,
                mapper=min(index, unified.start),
                weight_offset=sum(levels[shared].theta_size for shared in unified if shared < index),
            )
        )
    if not config.dynamic:
        return DecoderPlan(tuple(levels), mappers=())
    theta_sizes = [0] * (unified.start + 1)
    for level in levels:
        theta_sizes[level.mapper] += level.theta_size
    groups = config.weight_groups
    if config.generation == "v1":
        parts = divide_signal(signal_channels, max(groups), theta_sizes, "v1")
    else:
        padded = [ceil(size / group) * group for size, group in zip(theta_sizes, groups, strict=True)]
        parts = divide_signal(signal_channels, max(8, *groups), padded, "v0_1")
    offsets = [0, *accumulate(parts)] if config.signal_offsets == "cumulative" else [0] * len(parts)
    # A unified mapper has the first of its levels' group counts; the others only count for the unit.
    mappers = tuple(MapperPlan(*mapper) for mapper in zip(offsets, parts, theta_sizes, groups, strict=False))
    return DecoderPlan(tuple(levels), mappers)


def divide_signal(channels: int, unit: int, theta_sizes: list[int], generation: Generation) -> list[int]:
    """Divide the signal's channels over the mappers in proportion to theta, in whole units (Algorithm 1, as trained).

    Mappers of equal theta size form a group and get equal parts. v1 grants every mapper one unit first; v0_1 does not.
    Raises ValueError if the channels are no multiple of the unit.
    """
    if channels % unit:
        raise ValueError(f"{channels} signal channels are no multiple of the unit {unit}")
    units = channels // unit
    per_weight = units / sum(theta_sizes)
    members = {size: theta_sizes.count(size) for size in sorted(theta_sizes)}
    by_share = sorted(members, key=lambda size: size * members[size], reverse=True)
    granted = dict(members) if generation == "v1" else dict.fromkeys(members, 0)
    remainder = units - sum(granted.values())
    for size in by_share[:-1]:
        count = members[size]
        whole = floor(max(size * count * per_weight, count if generation == "v1" else 1) / count) * count
        more = min(whole - count, remainder) if generation == "v1" else whole
        granted[size] += more
        remainder -= more
    granted[by_share[-1]] += remainder
    return [granted[size] // members[size] * unit for size in theta_sizes]
