import pytest
import torch
from torch import nn

from training import create_model


@pytest.fixture(scope="session")
def random_model():
    """Make a variant in eval mode whose BatchNorms have random statistics and affine, so that folding them shows."""

    def make(name, signal_offsets="cumulative"):
        torch.manual_seed(0)
        model = create_model(name, signal_offsets=signal_offsets).eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.2)
                nn.init.normal_(module.running_mean, std=0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
        return model

    return make
