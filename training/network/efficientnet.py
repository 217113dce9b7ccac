"""The published trunk: timm's EfficientNet with the paddings the published weights were trained with."""

from __future__ import annotations

from math import ceil
from typing import Any

import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn

from training.network.recompute import call


class EfficientNetTrunk(nn.Module):
    """Image [N, 3, H, W] to five taps at strides 2 to 32 and the head map at stride 32.

    A tap is the last block's output before each stride-2 block, and the last of all: linear, without activation.
    """

    def __init__(self, network: Any, padding_size: int | None) -> None:
        super().__init__()
        self.conv_stem, self.bn1, self.blocks = network.conv_stem, network.bn1, network.blocks
        self.conv_head, self.bn2 = network.conv_head, network.bn2  # timm's BatchNorms carry their activation
        self.tap_stages = [int(tap["module"].removeprefix("blocks.")) for tap in network.feature_info]
        self.tap_channels = [tap["num_chs"] for tap in network.feature_info]
        self.head_channels: int = network.num_features
        self.recompute = False
        if padding_size is not None:
            freeze_same_padding(self, padding_size)

    def forward(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the taps, stride 2 to 32, and the head map."""
        x = self.bn1(self.conv_stem(image))
        taps = []
        for index, stage in enumerate(self.blocks):
            for block in stage:
                x = call(block, x, recompute=self.recompute)
            if index in self.tap_stages:
                taps.append(x)
        return taps, self.bn2(self.conv_head(x))


class FrozenPadConv2d(nn.Conv2d):
    """A convolution with constant zero padding (left, right, top, bottom), sides of its own."""

    def __init__(self, conv: nn.Conv2d, sides: tuple[int, int, int, int]) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            (conv.kernel_size[0], conv.kernel_size[1]),
            stride=(conv.stride[0], conv.stride[1]),
            groups=conv.groups,
            bias=conv.bias is not None,
        )
        self.load_state_dict(conv.state_dict())
        self.sides = sides

    def forward(self, x: Tensor) -> Tensor:
        """Pad, then convolve; x is [N, C, H, W]."""
        return super().forward(F.pad(x, self.sides))


def freeze_same_padding(trunk: nn.Module, size: int) -> None:
    """Replace timm's dynamic "SAME" padding by the one for square images of ``size``, in place.

    The published networks computed it once, for the ImageNet training size, and kept it for every other size; timm's
    own equals it only at that size. Stride-1 convolutions are symmetric and untouched.
    """
    for name, conv in list(trunk.named_modules()):  # registered in the order of the forward pass
        if isinstance(conv, Conv2dSame):
            stride, kernel_size = conv.stride[0], conv.kernel_size[0]
            total = max((ceil(size / stride) - 1) * stride + kernel_size - size, 0)
            before, after = total // 2, total - total // 2
            trunk.set_submodule(name, FrozenPadConv2d(conv, (before, after, before, after)))
            size = ceil(size / stride)
