import pytest
import torch
import torch.nn.functional as F
from torch import nn

from runtime.errors import UserError
from training.network.context_head import ContextHead, LegacyContextHead
from training.network.decoder import InvertedResidualLevel, level_input
from training.network.model import HyperSeg, create_model, normalise
from training.network.theta import LevelPlan
from training.network.variants import VARIANTS, variant


@pytest.mark.parametrize("name", VARIANTS)
def test_logits_have_the_size_of_the_image(name):
    multiple = VARIANTS[name].size_multiple
    with torch.device("meta"):
        logits = create_model(name).eval()(torch.empty(2, 3, 2 * multiple, 3 * multiple))
    assert logits.shape == (2, VARIANTS[name].num_classes, 2 * multiple, 3 * multiple)


def test_an_illegal_size_is_refused():
    with torch.device("meta"), pytest.raises(UserError, match="nearest legal sizes"):
        create_model("street-tiny")(torch.empty(1, 3, 100, 128))


def test_samples_of_a_batch_do_not_mix():
    model = create_model("street-tiny").double().eval()
    images = torch.randn(2, 3, 64, 128, dtype=torch.double)
    with torch.no_grad():
        assert torch.allclose(model(images)[1:], model(images[1:]), rtol=1e-9, atol=0)


def test_offset_policy_zero_leaves_the_context_path_without_effect_and_cumulative_does_not():
    image = torch.randn(1, 3, 64, 128)
    for policy, has_effect in (("zero", False), ("cumulative", True)):
        torch.manual_seed(0)
        model = HyperSeg(variant("camvid-s", policy)).train()  # batch statistics keep the values of order 1
        model.backbone.eval()
        with torch.no_grad():
            before = model(image)
            for conv in model.context_head.up.modules():
                if isinstance(conv, nn.Conv2d):
                    conv.weight.normal_()
            assert torch.equal(model(image), before) != has_effect


def test_level_input_is_x_then_y_then_skip_then_the_upsampled_previous_level():
    skip, previous = torch.randn(2, 5, 4, 6), torch.randn(2, 3, 2, 3)
    stacked = level_input(skip, previous)
    assert stacked.shape == (2, 10, 4, 6)
    x, y = stacked[1, 0], stacked[1, 1]
    assert torch.equal(x, torch.linspace(-1, 1, 6).expand(4, 6))
    assert torch.equal(y, torch.linspace(-1, 1, 4)[:, None].expand(4, 6))
    assert torch.equal(stacked[:, 2:7], skip)
    resized = F.interpolate(previous, size=(4, 6), mode="bilinear", align_corners=False)
    assert torch.equal(stacked[:, 7:], resized)


def test_context_head_keeps_the_bottom_beside_its_average():
    head = ContextHead(8, levels=2).eval()
    x = torch.randn(1, 8, 4, 6)
    with torch.no_grad():
        local = head.in_conv(x)
        bottom = head.down[0](local)
        average = bottom.mean((2, 3), keepdim=True).expand_as(bottom)
        context = head.up[0](torch.cat([bottom, average], 1)).repeat_interleave(2, 2).repeat_interleave(2, 3)
        assert torch.equal(head(x), torch.cat([local, context], 1))


def test_legacy_context_head_replaces_the_bottom_and_ends_without_activation():
    head = LegacyContextHead(8, levels=3).eval()
    x = torch.randn(1, 8, 4, 8)
    with torch.no_grad():
        d1 = head.down[0](x)
        d2 = head.down[1](d1).mean((2, 3), keepdim=True).expand(1, 8, 1, 2)
        u1 = head.up[0](torch.cat([d1, d2.repeat_interleave(2, 2).repeat_interleave(2, 3)], 1))
        signal = head.up[1](torch.cat([x, u1.repeat_interleave(2, 2).repeat_interleave(2, 3)], 1))
        assert torch.equal(head(x), signal)
    assert signal.min() < 0
    assert sum(isinstance(module, nn.ReLU) for module in head.modules()) == 3


def test_first_batchnorm_of_a_v1_level_counts_the_halo():
    """Its statistics run over the windows: pixels at patch borders count two to four times."""
    level = InvertedResidualLevel(LevelPlan(3, 6, 4, 3, mapper=0, weight_offset=0)).train()
    x, theta = torch.randn(2, 3, 8, 8), torch.zeros(2, level.plan.theta_size, 2, 2)
    theta[:, : 6 * 3] = torch.eye(6, 3).reshape(1, -1, 1, 1)  # hidden channel c is input channel c
    level.bn1.momentum = 1.0
    level(x, theta)
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    windows = torch.stack([padded[..., i : i + 6, j : j + 6] for i in (0, 4) for j in (0, 4)])
    assert torch.allclose(level.bn1.running_mean[:3], windows.mean((0, 1, 3, 4)), atol=1e-6)
    assert not torch.allclose(level.bn1.running_mean[:3], x.mean((0, 2, 3)), atol=1e-3)


def test_normalise_is_imagenets():
    image = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    expected = [(1 - mean) / std for mean, std in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))]
    assert normalise(image, variant("cityscapes-m")).flatten().tolist() == pytest.approx(expected)
