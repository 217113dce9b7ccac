"""The ablation "without DPWConv": the decoder's levels as regular convolutions, which learn their weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.network.config import HyperSegConfig
from training.network.context_head import conv_bn_relu
from training.network.decoder import hidden_channels, level_input
from training.network.recompute import call
from training.network.theta import DecoderPlan, LevelPlan


class RegularDecoder(nn.Module):
    """Skip maps, coarse to fine, and the signal [N, C, h, w] to logits at the finest skip map's size.

    The signal is not turned into weights; the coarsest level reads it as a map beside its skip map.
    """

    def __init__(self, plan: DecoderPlan, config: HyperSegConfig) -> None:
        super().__init__()
        self.plan = plan
        self.positions = config.positions
        self.recompute = False
        self.levels = nn.ModuleList(
            conv_bn_relu(level.in_channels, level.out_channels)
            if level.hidden_channels is None
            else inverted_residual(level)
            for level in plan.levels
        )

    def forward(self, skips: list[Tensor], signal: Tensor) -> Tensor:
        """Run the levels from coarse to fine."""
        x = None
        for level, skip in zip(self.levels, [torch.cat([skips[0], signal], 1), *skips[1:]], strict=True):
            maps = level_input(skip, x, self.positions)
            x = call(level, maps, recompute=self.recompute)
        assert x is not None
        return x


def inverted_residual(plan: LevelPlan) -> nn.Sequential:
    """Expand 1x1, depthwise, project 1x1 as the dynamic level does, over the whole map; no activation at the end."""
    hidden, kernel_size = hidden_channels(plan), plan.kernel_size
    return nn.Sequential(
        nn.Conv2d(plan.in_channels, hidden, 1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU6(),
        nn.Conv2d(
            hidden, hidden, kernel_size, padding=kernel_size // 2, padding_mode="reflect", groups=hidden, bias=False
        ),
        nn.BatchNorm2d(hidden),
        nn.ReLU6(),
        nn.Conv2d(hidden, plan.out_channels, 1, bias=False),
        nn.BatchNorm2d(plan.out_channels),
    )
