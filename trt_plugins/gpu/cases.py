"""A case to check or to time: operators in a row on one map, the tensors they read, and how they are run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor


class Functions(Protocol):
    """The two operators with the signatures of training.network.dpwconv, which is one such pair."""

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
    batch: int = 1

    @property
    def steps(self) -> tuple[Case, ...]:
        """The same with one operator each."""
        if len(self.operators) == 1:
            return (self,)
        return tuple(
            replace(self, name=f"{self.name}, step {index}", operators=(operator,))
            for index, operator in enumerate(self.operators)
        )


@dataclass(frozen=True)
class Tensors:
    """What a case reads: x [N, in, H, W], weight [N, K, Nh, Nw], and each operator's biases."""

    x: Tensor
    weight: Tensor
    biases: tuple[tuple[Tensor, ...], ...]


def random_tensors(case: Case, dtype: torch.dtype, device: str, seed: int) -> Tensors:
    """Draw inputs whose results are about as large as the inputs."""
    generator = torch.Generator(device).manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    fan_in = max(operator.in_channels // operator.group for operator in case.operators)
    return Tensors(
        normal(case.batch, case.operators[0].in_channels, case.height, case.width).to(dtype),
        (normal(case.batch, case.weight_channels, *case.grid) * fan_in**-0.5).to(dtype),
        tuple(tuple(normal(size).to(dtype) for size in operator.bias_shapes) for operator in case.operators),
    )


def run(case: Case, functions: Functions, tensors: Tensors) -> Tensor:
    """Run the case's operators one after the other: [N, out, H, W]."""
    y = tensors.x
    for operator, biases in zip(case.operators, tensors.biases, strict=True):
        y = operator(functions, y, tensors.weight, biases)
    return y
