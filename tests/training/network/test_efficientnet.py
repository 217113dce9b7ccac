import pytest
import timm
import torch
from torch import nn

from training.network.efficientnet import FrozenPadConv2d, freeze_same_padding

# (left, right, top, bottom) of the stride-2 convolutions, in order.
FROZEN = {
    "tf_efficientnet_b1": (240, [(0, 1, 0, 1), (0, 1, 0, 1), (1, 2, 1, 2), (0, 1, 0, 1), (2, 2, 2, 2)]),
    "tf_efficientnet_b3": (300, [(0, 1, 0, 1), (0, 1, 0, 1), (2, 2, 2, 2), (0, 1, 0, 1), (2, 2, 2, 2)]),
}


@pytest.mark.parametrize("name", FROZEN)
def test_padding_is_frozen_at_the_training_size(name):
    size, sides = FROZEN[name]
    with torch.device("meta"):
        trunk = timm.create_model(name)
        freeze_same_padding(trunk, size)
    frozen = [module for module in trunk.modules() if isinstance(module, FrozenPadConv2d)]
    assert [conv.sides for conv in frozen] == sides
    assert all(conv.stride == (2, 2) for conv in frozen)


def test_frozen_padding_equals_timm_at_the_training_size_and_only_there():
    torch.manual_seed(0)
    trunk, frozen = timm.create_model("tf_efficientnet_b1").eval(), timm.create_model("tf_efficientnet_b1").eval()
    for module in trunk.modules():  # random statistics, so that values stay of order 1
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.running_mean.normal_(0, 0.1)
    frozen.load_state_dict(trunk.state_dict())
    freeze_same_padding(frozen, 240)
    with torch.no_grad():
        native, other = torch.randn(1, 3, 240, 240), torch.randn(1, 3, 128, 128)
        native_map, other_map = trunk.forward_features(native), trunk.forward_features(other)
        assert torch.equal(frozen.forward_features(native), native_map)
        difference = (frozen.forward_features(other) - other_map).abs().max() / other_map.abs().max()
        assert difference > 0.01
