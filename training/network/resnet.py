"""The ablations' trunks: timm's ResNet without dilation, with or without PSPNet's pyramid pooling."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.network.context_head import conv_bn_relu
from training.network.recompute import call


class ResNetTrunk(nn.Module):
    """Image [N, 3, H, W] to five taps at strides 2 to 32 and the head map [N, head_channels, H/32, W/32].

    The head is a layer that is fully connected at each position (with BatchNorm and ReLU), as EfficientNet's is.
    """

    def __init__(self, network: Any, head_channels: int, pyramid_pooling: bool) -> None:
        super().__init__()
        self.conv1, self.bn1, self.act1, self.maxpool = network.conv1, network.bn1, network.act1, network.maxpool
        self.stages = nn.ModuleList([network.layer1, network.layer2, network.layer3, network.layer4])
        self.tap_channels = [tap["num_chs"] for tap in network.feature_info]
        channels: int = network.num_features
        self.pyramid = PyramidPooling(channels) if pyramid_pooling else nn.Identity()
        self.head = conv_bn_relu(2 * channels if pyramid_pooling else channels, head_channels)
        self.head_channels = head_channels
        self.recompute = False

    def forward(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the taps, stride 2 to 32, and the head map."""
        x = self.act1(self.bn1(self.conv1(image)))
        taps = [x]
        x = self.maxpool(x)
        for stage in cast(Iterable[nn.Sequential], self.stages):
            for block in stage:
                x = call(block, x, recompute=self.recompute)
            taps.append(x)
        return taps, self.head(self.pyramid(x))


class PyramidPooling(nn.Module):
    """PSPNet's module: x [N, C, h, w] beside its averages over 1x1, 2x2, 3x3 and 6x6 regions: [N, 2 C, h, w].

    Source: Zhao et al., Pyramid Scene Parsing Network (CVPR 2017), section 3.2.
    """

    REGIONS = (1, 2, 3, 6)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(conv_bn_relu(channels, channels // len(self.REGIONS)) for _ in self.REGIONS)

    def forward(self, x: Tensor) -> Tensor:
        """Average each region, reduce the averages' channels, and lay them beside x."""
        size = x.shape[-2:]
        pooled = [conv(average_regions(x, regions)) for regions, conv in zip(self.REGIONS, self.convs, strict=True)]
        wide = [F.interpolate(y, size=size, mode="bilinear", align_corners=False) for y in pooled]
        return torch.cat([x, *wide], 1)


def average_regions(x: Tensor, regions: int) -> Tensor:
    """Average x [N, C, h, w] over ``regions`` x ``regions`` equal parts, as adaptive average pooling does.

    Two matrix products, because ONNX has no adaptive pooling for sizes that are no multiples.
    """
    rows, columns = (_averaging_matrix(length, regions, x) for length in x.shape[-2:])
    return rows @ x @ columns.T


def _averaging_matrix(length: int, regions: int, like: Tensor) -> Tensor:
    """[regions, length]: row r averages positions floor(r l / R) to ceil((r + 1) l / R)."""
    matrix = torch.zeros(regions, length, dtype=like.dtype, device=like.device)
    for region in range(regions):
        start, stop = region * length // regions, -(-(region + 1) * length // regions)
        matrix[region, start:stop] = 1 / (stop - start)
    return matrix
