"""The encoder: a timm EfficientNet whose taps are reduced to skip maps, with the paddings the checkpoints need."""

from __future__ import annotations

from math import ceil
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn

from runtime.errors import UserError
from training.variants import HyperSegConfig


class Backbone(nn.Module):
    """Image [N, 3, H, W] to five skip maps at strides 2 to 32 and the head map at stride 32.

    ``skip_channels`` and ``head_channels`` tell their widths. The taps are the last block before each stride-2 block,
    and the last of all; they are reduced by a 1x1 convolution with BatchNorm and no activation.
    """

    def __init__(self, config: HyperSegConfig, pretrained: bool = False) -> None:
        super().__init__()
        self.trunk = _create_trunk(config, pretrained)
        # HyperSeg reads the head as a map; it has neither pooling nor a classifier.
        del self.trunk.global_pool, self.trunk.classifier
        self.trunk.feature_info, taps = None, self.trunk.feature_info
        self.tap_stages = [int(tap["module"].removeprefix("blocks.")) for tap in taps]
        if config.padding_size is not None:
            freeze_same_padding(self.trunk, config.padding_size)

        self.skip_channels = [round(tap["num_chs"] * share) for tap, share in zip(taps, config.reduction, strict=True)]
        self.head_channels: int = self.trunk.num_features
        self.reductions = nn.ModuleList(
            nn.Identity()
            if share == 1
            else nn.Sequential(nn.Conv2d(tap["num_chs"], channels, 1, bias=False), nn.BatchNorm2d(channels))
            for tap, channels, share in zip(taps, self.skip_channels, config.reduction, strict=True)
        )
        self.dropout = nn.Dropout(config.head_dropout)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = config.backbone_bn_eps
                module.momentum = config.backbone_bn_momentum

    def forward(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the skip maps, stride 2 to 32, and the head map."""
        x = self.trunk.bn1(self.trunk.conv_stem(image))
        taps = []
        for index, stage in enumerate(self.trunk.blocks):
            x = stage(x)
            if index in self.tap_stages:
                taps.append(x)
        skips = [reduce(tap) for reduce, tap in zip(self.reductions, taps, strict=True)]
        return skips, self.dropout(self.trunk.bn2(self.trunk.conv_head(x)))


def _create_trunk(config: HyperSegConfig, pretrained: bool) -> Any:  # timm has no types
    try:
        return timm.create_model(config.backbone, pretrained=pretrained, drop_path_rate=config.drop_path)
    except OSError as error:  # timm's hub client raises OSErrors of several kinds for a network it cannot reach
        raise UserError(
            f"cannot get the ImageNet weights of {config.backbone}: {error}. Is this machine online? "
            "Set `pretrained: false` to train from random weights."
        ) from error


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


def xavier_init(module: nn.Module) -> None:
    """Draw every convolution's weights from Xavier's normal distribution: for networks without a pretrained trunk."""
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d):
            torch.nn.init.xavier_normal_(conv.weight)
