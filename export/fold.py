"""Fold every BatchNorm into the convolution before it, static or dynamic (the paper's Appendix E)."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from export import operators
from training import HyperSeg
from training.network.decoder import (
    HiddenHaloLevel,
    InvertedResidualLevel,
    PointwiseLevel,
    hidden_channels,
    weight_offsets,
)
from training.network.regular_decoder import RegularDecoder
from training.network.theta import LevelPlan

TrainedLevel = PointwiseLevel | InvertedResidualLevel


def fold_batchnorm(model: HyperSeg) -> HyperSeg:
    """Return a new model in eval mode that computes the same and has no BatchNorm; the given one stays as it is.

    Its decoder levels are DPWConv and DPWInvertedResidual operators with a static bias per channel.
    """
    folded = deepcopy(model).eval()
    fold_static(folded.backbone)
    fold_static(folded.context_head)
    if isinstance(folded.decoder, RegularDecoder):
        fold_static(folded.decoder)
        return folded
    levels, mappers = folded.decoder.levels, cast(Sequence[nn.Conv2d], folded.decoder.mappers)
    for index, level in enumerate(cast(Sequence[TrainedLevel], levels)):
        plan, mapper = level.plan, mappers[level.plan.mapper]
        if isinstance(level, PointwiseLevel):
            levels[index] = FoldedPointwiseLevel(
                plan, fold_dynamic(level.bn, mapper, plan.weight_offset, plan.theta_size)
            )
        else:
            parts = pairwise([*weight_offsets(plan), plan.weight_offset + plan.theta_size])
            biases = [
                fold_dynamic(bn, mapper, start, stop - start)
                for bn, (start, stop) in zip((level.bn1, level.bn2, level.bn3), parts, strict=True)
            ]
            hidden_halo = isinstance(level, HiddenHaloLevel)
            levels[index] = (FoldedHiddenHaloLevel if hidden_halo else FoldedInvertedResidualLevel)(plan, *biases)
    return folded


def fold_static(module: nn.Module) -> None:
    """Fold each BatchNorm in the module into the convolution registered just before it, in place."""
    for parent in module.modules():
        children = list(parent.named_children())
        for (conv_name, conv), (bn_name, bn) in pairwise(children):
            if not isinstance(bn, nn.BatchNorm2d):
                continue
            if not isinstance(conv, nn.Conv2d) or conv.out_channels != bn.num_features:
                raise ValueError(f"{bn_name} follows {conv_name}, which is not a convolution of as many channels")
            assert bn.running_mean is not None
            assert bn.running_var is not None
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
            )
            # timm's BatchNorm carries the activation that follows it.
            parent.set_submodule(bn_name, getattr(bn, "act", nn.Identity()))


def fold_dynamic(bn: nn.BatchNorm2d, mapper: nn.Conv2d, start: int, count: int) -> nn.Parameter:
    """Fold a BatchNorm behind a dynamic convolution into its weight mapper, in place; return the bias that is left.

    BN(W * x) = (g W) * x + (beta - g mean) with g = gamma / sqrt(var + eps). W is what the mapper's output channels
    [start, start + count) say, row-major with the convolution's output channel slowest: g scales those rows. The
    second term depends on neither patch nor signal, so it is an ordinary bias per channel.
    """
    assert bn.running_mean is not None
    assert bn.running_var is not None
    scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
    with torch.no_grad():
        rows = scale.repeat_interleave(count // len(scale))
        mapper.weight[start : start + count] *= rows.view(-1, 1, 1, 1)
    return nn.Parameter((bn.bias - bn.running_mean * scale).detach())


class FoldedPointwiseLevel(nn.Module):
    """One DPWConv: 1x1, bias, ReLU."""

    def __init__(self, plan: LevelPlan, bias: nn.Parameter) -> None:
        super().__init__()
        self.plan = plan
        self.bias = bias

    def forward(self, x: Tensor, theta: Tensor) -> Tensor:
        """x is [N, in, H, W], theta [N, K, Nh, Nw]; the result is [N, out, H, W]."""
        return dpwconv(x, theta, self.bias, activation="relu", weight_offset=self.plan.weight_offset)


class FoldedInvertedResidualLevel(nn.Module):
    """v1: one DPWInvertedResidual."""

    def __init__(self, plan: LevelPlan, bias1: nn.Parameter, bias2: nn.Parameter, bias3: nn.Parameter) -> None:
        super().__init__()
        self.plan = plan
        self.bias1, self.bias2, self.bias3 = bias1, bias2, bias3

    def forward(self, x: Tensor, theta: Tensor) -> Tensor:
        """x is [N, in, H, W], theta [N, K, Nh, Nw]; the result is [N, out, H, W]."""
        plan = self.plan
        y: Tensor = operators.dpw_inverted_residual(
            x,
            theta,
            self.bias1,
            self.bias2,
            self.bias3,
            hidden_channels=hidden_channels(plan),
            out_channels=plan.out_channels,
            kernel_shape=[plan.kernel_size, plan.kernel_size],
            pad_mode="reflect",
            activation="relu6",
            residual=plan.in_channels == plan.out_channels,
            weight_offset=plan.weight_offset,
        )
        return y


class FoldedHiddenHaloLevel(FoldedInvertedResidualLevel):
    """v0_1: three DPWConv, expand, depthwise, project, that exchange hidden values between patches."""

    def forward(self, x: Tensor, theta: Tensor) -> Tensor:
        """x is [N, in, H, W], theta [N, K, Nh, Nw]; the result is [N, out, H, W]."""
        plan, hidden, k = self.plan, hidden_channels(self.plan), self.plan.kernel_size
        expand, depthwise, project = weight_offsets(plan)
        y = dpwconv(x, theta, self.bias1, activation="relu6", weight_offset=expand)
        y = dpwconv(y, theta, self.bias2, kernel_size=k, group=hidden, activation="relu6", weight_offset=depthwise)
        y = dpwconv(y, theta, self.bias3, activation="none", weight_offset=project)
        return x + y if plan.in_channels == plan.out_channels else y


def dpwconv(
    x: Tensor, theta: Tensor, bias: Tensor, *, kernel_size: int = 1, group: int = 1, activation: str, weight_offset: int
) -> Tensor:
    """One DPWConv node as HyperSeg uses it: a square kernel, reflect padding, as many outputs as biases."""
    kernel_shape = [kernel_size, kernel_size]
    y: Tensor = operators.dpwconv(
        x, theta, bias, bias.shape[0], kernel_shape, group, "reflect", activation, weight_offset
    )
    return y
