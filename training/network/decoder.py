"""The decoder: every level convolves each patch with weights that the signal gave to that patch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.network.config import HyperSegConfig
from training.network.dpwconv import dpwconv, merge_patches, patch_conv, patch_weights, patch_windows
from training.network.recompute import call
from training.network.theta import DecoderPlan, LevelPlan


class Decoder(nn.Module):
    """Skip maps, coarse to fine, and the signal [N, C, Nh, Nw] to logits at the finest skip map's size.

    The signal's grid is the patch grid of every level, unless the config has a coarser one.
    """

    def __init__(self, plan: DecoderPlan, config: HyperSegConfig) -> None:
        super().__init__()
        self.plan = plan
        self.grid = config.grid
        self.positions = config.positions
        self.recompute = False
        self.mappers = nn.ModuleList(
            nn.Conv2d(mapper.signal_channels, mapper.out_channels, 1, groups=mapper.groups, bias=False)
            for mapper in plan.mappers
        )
        inverted_residual = InvertedResidualLevel if config.generation == "v1" else HiddenHaloLevel
        self.levels = nn.ModuleList(
            PointwiseLevel(level) if level.hidden_channels is None else inverted_residual(level)
            for level in plan.levels
        )

    def forward(self, skips: list[Tensor], signal: Tensor) -> Tensor:
        """Map the signal to theta, then run the levels from coarse to fine."""
        if self.grid is not None:
            signal = F.avg_pool2d(signal, (signal.shape[-2] // self.grid, signal.shape[-1] // self.grid))
        thetas = [
            mapper(signal[:, plan.signal_offset : plan.signal_offset + plan.signal_channels])
            for mapper, plan in zip(self.mappers, self.plan.mappers, strict=True)
        ]
        x = None
        for level, plan, skip in zip(self.levels, self.plan.levels, skips, strict=True):
            maps = level_input(skip, x, self.positions)
            x = call(level, maps, thetas[plan.mapper], recompute=self.recompute)
        assert x is not None
        return x


def level_input(skip: Tensor, previous: Tensor | None, positions: bool = True) -> Tensor:
    """Stack [x, y, skip map, upsampled previous level]: [N, 2 + C + C', H, W]; x and y only with ``positions``.

    x runs from -1 to 1 along the width, y along the height, end points included.
    """
    maps = [skip] if previous is None else [skip, upsample_to(previous, skip)]
    return torch.cat([coordinates(skip), *maps] if positions else maps, 1)


def coordinates(skip: Tensor) -> Tensor:
    """The x and y position of each pixel of [N, C, H, W]: [N, 2, H, W]."""
    n, _, height, width = skip.shape
    x = torch.linspace(-1, 1, width, dtype=skip.dtype, device=skip.device).expand(1, 1, height, width)
    y = torch.linspace(-1, 1, height, dtype=skip.dtype, device=skip.device).view(-1, 1).expand(1, 1, height, width)
    return torch.cat([x, y], 1).expand(n, -1, -1, -1)


def upsample_to(x: Tensor, target: Tensor) -> Tensor:
    """Resize x bilinearly (align_corners=False) to the target's height and width, unless it has them."""
    if x.shape[-2:] == target.shape[-2:]:
        return x
    scale = (target.shape[-2] / x.shape[-2], target.shape[-1] / x.shape[-1])
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


class PointwiseLevel(nn.Module):
    """Dynamic 1x1 convolution, BatchNorm, ReLU."""

    def __init__(self, plan: LevelPlan) -> None:
        super().__init__()
        self.plan = plan
        self.bn = nn.BatchNorm2d(plan.out_channels)

    def forward(self, x: Tensor, theta: Tensor) -> Tensor:
        """x is [N, in, H, W], theta [N, K, Nh, Nw]; the result is [N, out, H, W]."""
        plan = self.plan
        y = dpwconv(x, theta, out_channels=plan.out_channels, kernel_shape=(1, 1), weight_offset=plan.weight_offset)
        return F.relu(self.bn(y))


class InvertedResidualLevel(nn.Module):
    """v1: expand 1x1, BatchNorm, ReLU6, depthwise, BatchNorm, ReLU6, project 1x1, BatchNorm, each patch on its own.

    A patch's window reaches one pixel into its neighbours; the owner's weights expand that halo too. In training the
    first BatchNorm therefore sees the halo pixels as well, as it did when the published weights were made.
    """

    def __init__(self, plan: LevelPlan) -> None:
        super().__init__()
        self.plan = plan
        hidden = hidden_channels(plan)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.bn3 = nn.BatchNorm2d(plan.out_channels)

    def forward(self, x: Tensor, theta: Tensor) -> Tensor:
        """x is [N, in, H, W], theta [N, K, Nh, Nw]; the result is [N, out, H, W]."""
        plan, hidden, k = self.plan, hidden_channels(self.plan), self.plan.kernel_size
        expand_offset, depthwise_offset, project_offset = weight_offsets(plan)
        expand = patch_weights(theta, expand_offset, (hidden, plan.in_channels, 1, 1))
        depthwise = patch_weights(theta, depthwise_offset, (hidden, 1, k, k))
        project = patch_weights(theta, project_offset, (plan.out_channels, hidden, 1, 1))
        grid = (theta.shape[-2], theta.shape[-1])
        y = patch_windows(x, grid, halo=(k // 2, k // 2))
        y = F.relu6(norm_patches(self.bn1, patch_conv(y, expand)))
        y = F.relu6(norm_patches(self.bn2, patch_conv(y, depthwise, group=hidden)))
        y = merge_patches(norm_patches(self.bn3, patch_conv(y, project)))
        return x + y if plan.in_channels == plan.out_channels else y


class HiddenHaloLevel(InvertedResidualLevel):
    """v0_1: the same three convolutions, each over the whole map: the depthwise halo holds the neighbours' values."""

    def forward(self, x: Tensor, theta: Tensor) -> Tensor:
        """x is [N, in, H, W], theta [N, K, Nh, Nw]; the result is [N, out, H, W]."""
        plan, hidden, k = self.plan, hidden_channels(self.plan), self.plan.kernel_size
        expand_offset, depthwise_offset, project_offset = weight_offsets(plan)
        y = dpwconv(x, theta, out_channels=hidden, kernel_shape=(1, 1), weight_offset=expand_offset)
        y = F.relu6(self.bn1(y))
        y = dpwconv(y, theta, out_channels=hidden, kernel_shape=(k, k), group=hidden, weight_offset=depthwise_offset)
        y = F.relu6(self.bn2(y))
        y = dpwconv(y, theta, out_channels=plan.out_channels, kernel_shape=(1, 1), weight_offset=project_offset)
        y = self.bn3(y)
        return x + y if plan.in_channels == plan.out_channels else y


def hidden_channels(plan: LevelPlan) -> int:
    """Return the hidden width of a level that has one."""
    assert plan.hidden_channels is not None, "a point-wise level has no hidden map"
    return plan.hidden_channels


def weight_offsets(plan: LevelPlan) -> tuple[int, int, int]:
    """Where expand, depthwise and project weights begin in the level's theta."""
    hidden = hidden_channels(plan)
    depthwise = plan.weight_offset + hidden * plan.in_channels
    return plan.weight_offset, depthwise, depthwise + hidden * plan.kernel_size**2


def norm_patches(bn: nn.BatchNorm2d, patches: Tensor) -> Tensor:
    """Apply a BatchNorm that all patches share to [N, Nh, Nw, C, h, w]."""
    return bn(patches.flatten(0, 2)).view_as(patches)
