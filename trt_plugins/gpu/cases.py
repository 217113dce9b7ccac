"""A case to check or to time: operators in a row on one map, the tensors they read, and how they are run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from training.network import dpwconv as patch_convolutions


class Functions(Protocol):
    """The patch-wise operators with the signatures of training.network.dpwconv, which is one such pair.

    For a fused case they also take the previous level's output, ``previous``, and ``positions``.
    """

    @property
    def dpwconv(self) -> Any:
        """One DPWConv."""

    @property
    def dpw_inverted_residual(self) -> Any:
        """One DPWInvertedResidual."""


@dataclass(frozen=True)
class Operator:
    """One node: a DPWConv, or a DPWInvertedResidual where there are hidden channels."""

    in_channels: int
    out_channels: int
    hidden_channels: int | None = None
    kernel_shape: tuple[int, int] = (1, 1)
    group: int = 1
    pad_mode: str = "reflect"
    activation: str = "relu"
    residual: bool = False
    weight_offset: int = 0

    @property
    def theta_size(self) -> int:
        """Weights that a patch has of its own."""
        taps = prod(self.kernel_shape)
        if self.hidden_channels is None:
            return self.out_channels * (self.in_channels // self.group) * taps
        return self.hidden_channels * (self.in_channels + taps + self.out_channels)

    @property
    def bias_shapes(self) -> tuple[int, ...]:
        """Channels of each bias."""
        if self.hidden_channels is None:
            return (self.out_channels,)
        return self.hidden_channels, self.hidden_channels, self.out_channels

    def __call__(self, functions: Functions, x: Tensor, weight: Tensor, biases: tuple[Tensor, ...], **more: Any) -> Any:
        """Run the operator on x [N, in, H, W] and weight [N, K, Nh, Nw]: [N, out, H, W]."""
        shared = {
            "out_channels": self.out_channels,
            "kernel_shape": self.kernel_shape,
            "pad_mode": self.pad_mode,
            "activation": self.activation,
            "weight_offset": self.weight_offset,
        } | more
        if self.hidden_channels is None:
            return functions.dpwconv(x, weight, *biases, group=self.group, **shared)
        return functions.dpw_inverted_residual(
            x, weight, *biases, hidden_channels=self.hidden_channels, residual=self.residual, **shared
        )


@dataclass(frozen=True)
class Case:
    """Operators in a row on one map, all with their weights in one theta tensor [N, K, Nh, Nw]."""

    name: str
    operators: tuple[Operator, ...]
    height: int
    width: int
    grid: tuple[int, int]  # Nh, Nw
    weight_channels: int  # K
    previous_channels: int = 0  # of a decoder level: those of its input that the level before wrote at half the size
    positions: int = 1  # of a decoder level: 1 where its input begins with two channels of coordinates
    fused: bool = False  # the first operator reads skip map and previous level instead of the map stacked from them
    batch: int = 1

    @property
    def steps(self) -> tuple[Case, ...]:
        """The same with one operator each, of which only the first may be fused."""
        if len(self.operators) == 1:
            return (self,)
        return tuple(
            replace(self, name=f"{self.name}, step {index}", operators=(operator,), fused=self.fused and index == 0)
            for index, operator in enumerate(self.operators)
        )

    @property
    def skip_channels(self) -> int:
        """Channels of a decoder level's skip map."""
        return self.operators[0].in_channels - 2 * self.positions - self.previous_channels


@dataclass(frozen=True)
class Head:
    """Logits [N, classes, height, width] whose enlargement ``scale`` times gives the labels."""

    name: str
    classes: int
    height: int
    width: int
    scale: int
    batch: int = 1


@dataclass(frozen=True)
class Tensors:
    """What a case reads: x [N, in, H, W], weight [N, K, Nh, Nw], and each operator's biases.

    Of a fused case x is the skip map, and ``previous`` the level before, [N, previous, H / 2, W / 2].
    """

    x: Tensor
    weight: Tensor
    biases: tuple[tuple[Tensor, ...], ...]
    previous: Tensor | None = None


class Specification:
    """The patch-wise operators as training.network.dpwconv defines them; a fused one on the map from ``stacked``."""

    @staticmethod
    def dpwconv(x: Tensor, *tensors: Tensor, previous: Tensor | None = None, positions: int = 0, **more: Any) -> Tensor:
        """One DPWConv, or DPWConvLevel with ``previous``."""
        return patch_convolutions.dpwconv(_whole(x, previous, positions), *tensors, **more)

    @staticmethod
    def dpw_inverted_residual(
        x: Tensor, *tensors: Tensor, previous: Tensor | None = None, positions: int = 0, **more: Any
    ) -> Tensor:
        """One DPWInvertedResidual, or DPWInvertedResidualLevel with ``previous``."""
        return patch_convolutions.dpw_inverted_residual(_whole(x, previous, positions), *tensors, **more)


def _whole(x: Tensor, previous: Tensor | None, positions: int) -> Tensor:
    return x if previous is None else stacked(x, previous, coordinates(x) if positions else None)


def stacked(skip: Tensor, previous: Tensor, positions: Tensor | None) -> Tensor:
    """Stack coordinates [N, 2, H, W], if there are any, skip map and enlarged previous level: [N, 2 + C + C', H, W].

    This is training.network.decoder.level_input, which cannot be imported where there is nothing but torch.
    """
    enlarged = F.interpolate(previous, scale_factor=2.0, mode="bilinear", align_corners=False)
    return torch.cat([skip, enlarged] if positions is None else [positions, skip, enlarged], 1)


def coordinates(skip: Tensor) -> Tensor:
    """The x and y position of each pixel of [N, C, H, W], from -1 to 1: [N, 2, H, W]."""
    n, _, height, width = skip.shape
    x, y = (torch.linspace(-1, 1, size, dtype=skip.dtype, device=skip.device) for size in (width, height))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"))[None].expand(n, -1, -1, -1)


def random_tensors(case: Case, dtype: torch.dtype, device: str, seed: int) -> Tensors:
    """Draw inputs whose results are about as large as the inputs."""
    generator = torch.Generator(device).manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    fan_in = max(operator.in_channels // operator.group for operator in case.operators)
    in_channels = case.skip_channels if case.fused else case.operators[0].in_channels
    x = normal(case.batch, in_channels, case.height, case.width).to(dtype)
    weight = (normal(case.batch, case.weight_channels, *case.grid) * fan_in**-0.5).to(dtype)
    biases = tuple(tuple(normal(size).to(dtype) for size in operator.bias_shapes) for operator in case.operators)
    if not case.fused:
        return Tensors(x, weight, biases)
    previous = normal(case.batch, case.previous_channels, case.height // 2, case.width // 2).to(dtype)
    return Tensors(x, weight, biases, previous)


def random_logits(head: Head, dtype: torch.dtype, device: str, seed: int) -> Tensor:
    """Draw logits [N, classes, height, width]."""
    generator = torch.Generator(device).manual_seed(seed)
    shape = head.batch, head.classes, head.height, head.width
    return torch.randn(shape, generator=generator, device=device).to(dtype)


def run(case: Case, functions: Functions, tensors: Tensors, **more: Any) -> Tensor:
    """Run the case's operators one after the other: [N, out, H, W]. ``more`` goes to a case's only operator."""
    y = tensors.x
    level = {} if tensors.previous is None else {"previous": tensors.previous, "positions": case.positions}
    for operator, biases in zip(case.operators, tensors.biases, strict=True):
        y = operator(functions, y, tensors.weight, biases, **level, **more)
        level = {}
    return y
