import pytest
import torch
from torch import nn

from training.network.model import create_model
from training.network.variants import VARIANTS


@pytest.mark.parametrize("name", [*VARIANTS, "cityscapes-m-pspnet18"])
def test_batchnorm_constants(name):
    with torch.device("meta"):
        model = create_model(name)
    config = model.config
    for path, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            in_backbone = path.startswith("backbone.")
            assert module.eps == (config.backbone_bn_eps if in_backbone else 1e-5)
            assert module.momentum == (config.backbone_bn_momentum if in_backbone else 0.1)


def test_skip_maps_of_cityscapes_m():
    with torch.device("meta"):
        backbone = create_model("cityscapes-m").backbone
        skips, head = backbone(torch.empty(2, 3, 128, 256))
    assert [tuple(skip.shape) for skip in skips] == [
        (2, 16, 64, 128), (2, 6, 32, 64), (2, 10, 16, 32), (2, 28, 8, 16), (2, 80, 4, 8)
    ]  # fmt: skip
    assert head.shape == (2, 1280, 4, 8)


@pytest.mark.parametrize(
    ("name", "head_channels"),
    [("cityscapes-m-resnet18", 1280), ("cityscapes-m-pspnet18", 1280), ("cityscapes-m-pspnet50", 2048)],
)
def test_skip_maps_of_the_resnets(name, head_channels):
    with torch.device("meta"):
        backbone = create_model(name).backbone
        skips, head = backbone(torch.empty(2, 3, 128, 256))
    widths = [64, 256, 512, 1024, 2048] if "50" in name else [64, 64, 128, 256, 512]
    assert [tuple(skip.shape[1:]) for skip in skips] == [
        (width // 4, 64 // 2**level, 128 // 2**level) for level, width in enumerate(widths)
    ]
    assert head.shape == (2, head_channels, 4, 8), "no dilation: the head is at stride 32"
