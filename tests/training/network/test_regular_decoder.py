import torch

from training.network.model import create_model


def test_no_weight_is_dynamic_and_the_signal_still_counts():
    torch.manual_seed(0)
    model = create_model("cityscapes-m-regular").train()
    assert not [name for name, _ in model.named_parameters() if "mappers" in name]
    logits = model(torch.randn(2, 3, 64, 128))
    assert logits.shape == (2, 19, 64, 128)
    logits.square().mean().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in model.context_head.parameters())


def test_its_levels_have_the_channels_of_the_dynamic_ones():
    regular, dynamic = (create_model(name).decoder.plan.levels for name in ("cityscapes-m-regular", "cityscapes-m"))
    assert regular[0].in_channels == dynamic[0].in_channels + 1280
    assert [(level.in_channels, level.hidden_channels, level.out_channels) for level in regular[1:]] == [
        (level.in_channels, level.hidden_channels, level.out_channels) for level in dynamic[1:]
    ]
