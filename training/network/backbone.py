"""The encoder: a trunk from timm whose taps are reduced to skip maps."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

from runtime.errors import UserError
from training.network.config import HyperSegConfig
from training.network.efficientnet import EfficientNetTrunk
from training.network.resnet import ResNetTrunk


class Backbone(nn.Module):
    """Image [N, 3, H, W] to five skip maps at strides 2 to 32 and the head map at stride 32.

    ``skip_channels`` and ``head_channels`` tell their widths. The trunk's taps are reduced by a 1x1 convolution with
    BatchNorm and no activation.
    """

    def __init__(self, config: HyperSegConfig, pretrained: bool = False) -> None:
        super().__init__()
        network = _create_network(config, pretrained)
        self.trunk: EfficientNetTrunk | ResNetTrunk
        if config.head_channels is None:
            self.trunk = EfficientNetTrunk(network, config.padding_size)
        else:
            self.trunk = ResNetTrunk(network, config.head_channels, config.pyramid_pooling)
        taps = self.trunk.tap_channels
        self.skip_channels = [round(channels * share) for channels, share in zip(taps, config.reduction, strict=True)]
        self.head_channels = self.trunk.head_channels
        self.reductions = nn.ModuleList(
            nn.Identity()
            if share == 1
            else nn.Sequential(nn.Conv2d(channels, reduced, 1, bias=False), nn.BatchNorm2d(reduced))
            for channels, reduced, share in zip(taps, self.skip_channels, config.reduction, strict=True)
        )
        self.dropout = nn.Dropout(config.head_dropout)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = config.backbone_bn_eps
                module.momentum = config.backbone_bn_momentum

    def forward(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the skip maps, stride 2 to 32, and the head map."""
        taps, head = self.trunk(image)
        skips = [reduce(tap) for reduce, tap in zip(self.reductions, taps, strict=True)]
        return skips, self.dropout(head)


def _create_network(config: HyperSegConfig, pretrained: bool) -> Any:  # timm has no types
    try:
        return timm.create_model(config.backbone, pretrained=pretrained, drop_path_rate=config.drop_path)
    except OSError as error:  # timm's hub client raises OSErrors of several kinds for a network it cannot reach
        raise UserError(
            f"cannot get the ImageNet weights of {config.backbone}: {str(error).rstrip('.')}. Is this machine online? "
            "Set `pretrained: false` to train from random weights."
        ) from error


def xavier_init(module: nn.Module) -> None:
    """Draw every convolution's weights from Xavier's normal distribution: for networks without a pretrained trunk."""
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d):
            torch.nn.init.xavier_normal_(conv.weight)
