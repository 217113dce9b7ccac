import pytest
import torch
from torch import nn

from export.dead_paths import drop_dead_paths
from export.fold import fold_batchnorm, fold_static
from training.network.variants import VARIANTS


def relative_difference(a, b):
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize("signal_offsets", ["cumulative", "zero"])
@pytest.mark.parametrize("name", VARIANTS)
def test_folded_equals_unfolded_and_dead_paths_are_dead(random_model, name, signal_offsets):
    model = random_model(name, signal_offsets).double()
    height = VARIANTS[name].size_multiple
    images = torch.randn(2, 3, height, 2 * height, dtype=torch.double)
    with torch.no_grad():
        logits = model(images)
        folded = fold_batchnorm(model)
        assert relative_difference(folded(images), logits) < 1e-9  # float64: round-off is about 1e-15
        live, dropped = drop_dead_paths(folded)
        assert relative_difference(live(images), logits) < 1e-9
        assert torch.equal(model(images), logits), "the given model must stay as it was"
    assert bool(dropped) == (signal_offsets == "zero")
    assert dict(live.named_parameters()).keys() <= dict(folded.named_parameters()).keys()  # int8 recipes name them
    assert not [path for path, module in folded.named_modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize(
    ("name", "parameters"),
    # down and up convolutions, and in_conv's rows that no level reads, with their biases
    [
        ("cityscapes-m", 640 * 640 * 4 + 640 * 1280 + 2 * 640 + (640 - 416) * (1280 + 1)),
        ("camvid-s", 640 * 640 * 4 + 640 * 1280 + 2 * 640 + (640 - 448) * (1280 + 1)),
        ("camvid-l", 640 * 640 * 4 + 640 * 1280 + 2 * 640 + (640 - 384) * (1280 + 1)),
    ],
)
def test_all_that_is_dead_under_policy_zero_goes(random_model, name, parameters):
    folded = fold_batchnorm(random_model(name, "zero"))
    live, dropped = drop_dead_paths(folded)
    assert sum(part.parameters for part in dropped) == parameters
    assert sum(p.numel() for p in folded.parameters()) - sum(p.numel() for p in live.parameters()) == parameters
    assert isinstance(live.context_head, nn.Sequential), "only the local convolution is left"


def test_a_batchnorm_without_its_convolution_is_refused():
    with pytest.raises(ValueError, match="not a convolution"):
        fold_static(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)))
