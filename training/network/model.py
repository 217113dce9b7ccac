"""HyperSeg: encoder, context head, and a decoder whose weights the context head writes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.network.backbone import Backbone, xavier_init
from training.network.config import HyperSegConfig, SignalOffsets, check_input_size
from training.network.context_head import ContextHead, LegacyContextHead
from training.network.decoder import Decoder, upsample_to
from training.network.regular_decoder import RegularDecoder
from training.network.theta import plan_decoder
from training.network.variants import variant


class HyperSeg(nn.Module):
    """Normalised RGB image [N, 3, H, W] to logits [N, classes, H, W].

    Source: HyperSeg (Nirkin, Wolf, Hassner, CVPR 2021), section 3. Raises UserError for an illegal H x W.
    """

    def __init__(self, config: HyperSegConfig, pretrained: bool = False) -> None:
        super().__init__()
        self.config = config
        self.training_data = "none: random weights"
        self.backbone = Backbone(config, pretrained)
        head = ContextHead if config.generation == "v1" else LegacyContextHead
        context_head = head(self.backbone.head_channels, config.context_levels)
        self.context_head: nn.Module = context_head
        # A decoder with a level more than the backbone has skip maps reads the image itself last.
        skip_channels = [*reversed(self.backbone.skip_channels), 3][: len(config.kernel_sizes)]
        self.decoder: Decoder | RegularDecoder
        if config.dynamic:
            self.decoder = Decoder(plan_decoder(config, skip_channels, context_head.out_channels), config)
        else:
            skip_channels[0] += context_head.out_channels
            self.decoder = RegularDecoder(plan_decoder(config, skip_channels, 0), config)
        if not pretrained:
            xavier_init(self)

    def recompute_in_backward(self) -> None:
        """Train in less memory and more time: keep only the inputs of the backbone's blocks and decoder's levels."""
        self.backbone.trunk.recompute = self.decoder.recompute = True

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits at the image's size."""
        check_input_size(self.config, image.shape[-2], image.shape[-1])
        skips, head = self.backbone(image)
        signal = self.context_head(head)
        maps = [*reversed(skips), image][: len(self.decoder.levels)]
        return upsample_to(self.decoder(maps, signal), image)


def normalise(image: Tensor, config: HyperSegConfig) -> Tensor:
    """RGB image [N, 3, H, W] with values 0 to 255, of any type, to the network's input in float32."""
    scale = torch.tensor([1 / (255 * std) for std in config.std], device=image.device).view(3, 1, 1)
    shift = torch.tensor([mean / std for mean, std in zip(config.mean, config.std, strict=True)], device=image.device)
    return image.float() * scale - shift.view(3, 1, 1)


def create_model(name: str, *, signal_offsets: SignalOffsets = "cumulative", pretrained: bool = False) -> HyperSeg:
    """Build a named variant with fresh weights; ``pretrained`` takes the trunk's ImageNet weights from timm's hub."""
    return HyperSeg(variant(name, signal_offsets), pretrained)
