"""The context head: a small U-Net at the grid that turns the backbone's head map into the signal."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ContextHead(nn.Module):
    """v1: head map [N, C, h, w] to signal [N, C, h, w]: C/2 local channels, then C/2 that saw the whole image."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        half = channels // 2
        self.in_conv = conv_bn_relu(channels, half)
        self.down = nn.ModuleList(conv_bn_relu(half, half, stride=2) for _ in range(levels - 1))
        self.up = nn.ModuleList(conv_bn_relu(channels, half) for _ in range(levels - 1))
        self.out_channels = channels

    def forward(self, head: Tensor) -> Tensor:
        """Go down by 2x2 convolutions, average the bottom, and come up again beside each level's own map."""
        local = [self.in_conv(head)]
        for down in self.down:
            local.append(down(local[-1]))
        context = local[-1].mean((2, 3), keepdim=True).expand_as(local[-1])
        for up, beside in zip(self.up, reversed(local[1:]), strict=True):
            context = upsample_nearest(up(torch.cat([beside, context], 1)))
        return torch.cat([local[0], context], 1)


class LegacyContextHead(nn.Module):
    """v0_1: full width on every level, the bottom replaced by its average, a last convolution without activation."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(conv_bn_relu(channels, channels, stride=2) for _ in range(levels - 1))
        self.up = nn.ModuleList(conv_bn_relu(2 * channels, channels) for _ in range(levels - 2))
        self.up.append(conv_bn_relu(2 * channels, channels)[:2])
        self.out_channels = channels

    def forward(self, head: Tensor) -> Tensor:
        """Map the head [N, C, h, w] to the signal [N, C, h, w]."""
        maps = [head]
        for down in self.down:
            maps.append(down(maps[-1]))
        bottom = maps.pop()
        context = bottom.mean((2, 3), keepdim=True).expand_as(bottom)
        for up, beside in zip(self.up, reversed(maps), strict=True):
            context = up(torch.cat([beside, upsample_nearest(context)], 1))
        return context


def conv_bn_relu(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """Return a 1x1 convolution, or a 2x2 one of stride 2, with BatchNorm and ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size=stride, stride=stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU())


def upsample_nearest(x: Tensor) -> Tensor:
    """Double height and width."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
