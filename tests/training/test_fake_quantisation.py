import random
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from calibration.layers import weighted_layers
from calibration.placement import place_qdq
from export.bundle import info_from_config
from export.fold import fold_batchnorm
from export.graph import onnx_from_model, quieten_exporter
from runtime.errors import UserError
from training import create_model
from training.fake_quantisation import MOMENTUM, FakeQuantisation, fake_quantise
from training.int8_recipe import Int8Recipe

ONE_PROCESS = SimpleNamespace(strategy=SimpleNamespace(reduce=lambda largest, reduce_op: largest))


def recipe(model, *layers):
    return Int8Recipe(model.config.name, "minmax", layers)


def convolutions(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}


def randomised(name):
    """A model whose BatchNorms do something, with channels that they turn round."""
    torch.manual_seed(0)
    model = create_model(name)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.1, 4)
    return model.eval()


def rounded(x, threshold):
    """By NumPy, in float64."""
    scale = np.asarray(threshold, np.float64) / 127
    return scale * np.clip(np.rint(x / np.where(scale > 0, scale, 1)), -128, 127)


def test_rounding_is_that_of_quantise_and_dequantise():
    x = np.random.default_rng(0).normal(size=(8, 4, 3, 3)).astype(np.float32)
    x[2] = 0
    ours = fake_quantise(torch.from_numpy(x), torch.tensor(1.5)).numpy()
    assert np.abs(x).max() > 1.6, "some values are beyond the threshold"
    np.testing.assert_allclose(ours, rounded(x, 1.5), rtol=1e-6)  # float32
    per_channel = np.abs(x).max((1, 2, 3))
    ours = fake_quantise(torch.from_numpy(x), torch.from_numpy(per_channel)).numpy()
    np.testing.assert_allclose(ours, rounded(x, per_channel.reshape(-1, 1, 1, 1)), rtol=1e-6)


def test_gradients_pass_straight_through_within_the_threshold():
    x = torch.tensor([-3.0, -0.99, 0.004, 0.3, 0.99, 3.0], requires_grad=True)
    fake_quantise(x, torch.tensor(1.0)).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("name", ["street-tiny", "cityscapes-m-resnet18", "cityscapes-m-regular"])
def test_rounding_weights_before_or_after_folding_batchnorm_is_the_same(name):
    def integers(weight):
        scale = weight.abs().amax((1, 2, 3), keepdim=True) / 127
        return weight / scale, fake_quantise(weight, 127 * scale.flatten()) / scale

    model = randomised(name)
    folded = convolutions(fold_batchnorm(model))
    scaled = 0
    for layer, conv in convolutions(model).items():
        exact, ours = integers(conv.weight.detach())
        exact_folded, ours_folded = integers(folded[layer].weight.detach())
        scaled += not torch.equal(conv.weight, folded[layer].weight)
        turned = (exact * exact_folded).sum((1, 2, 3), keepdim=True).sign()
        # A float32 error in w / s, of 127 / 2^23, decides between two integers only this near to the middle.
        clear = ((exact.abs() % 1) - 0.5).abs() > 1e-4
        assert clear.float().mean() > 0.99
        assert torch.equal((ours * turned).round()[clear], ours_folded.round()[clear]), layer
    assert scaled > len(folded) / 2, "folding must have changed the weights"


@pytest.mark.parametrize(
    ("name", "path", "channels", "layer", "norm", "place"),
    [
        ("cityscapes-m", "backbone.trunk.blocks.0.1", 16, "conv_pw", "bn2", "{} (shortcut)"),
        ("cityscapes-m", "backbone.trunk.blocks.2.1", 40, "conv_pwl", "bn3", "{} (shortcut)"),
        ("cityscapes-m-resnet18", "backbone.trunk.stages.0.0", 64, "conv2", "bn2", "{} (shortcut)"),
        ("cityscapes-m-resnet18", "backbone.trunk.stages.1.0", 64, "conv2", "bn2", "{}.downsample (output)"),
        ("cityscapes-m-resnet18", "backbone.trunk.stages.1.0", 64, "downsample.0", "bn2", "{}.bn2 (output)"),
        ("cityscapes-m-pspnet50", "backbone.trunk.stages.0.1", 256, "conv3", "bn3", "{} (shortcut)"),
        ("cityscapes-m-pspnet50", "backbone.trunk.stages.0.0", 64, "conv3", "bn3", "{}.downsample (output)"),
    ],
)
def test_a_block_computes_what_its_int8_kernels_do(name, path, channels, layer, norm, place):
    """One convolution is named: it is rounded with its input, and so is what its kernel adds; all else is float."""
    model = randomised(name)
    plain = deepcopy(model.get_submodule(path))
    quantisation = FakeQuantisation(model, recipe(model, f"{path}.{layer}"))
    place = place.format(path)
    assert quantisation.places == [f"{path}.{layer}", place]

    def rounded_by_largest(x, axes=(0, 1, 2, 3)):
        values = x.detach().double().numpy()
        return torch.from_numpy(rounded(values, np.abs(values).max(axes, keepdims=True))).float()

    x, seen = torch.randn(2, channels, 16, 16), {}
    conv = plain.get_submodule(layer)
    conv.weight.data = rounded_by_largest(conv.weight, (1, 2, 3))
    conv.register_forward_pre_hook(lambda _, inputs: rounded_by_largest(inputs[0]))
    plain.get_submodule(norm).register_forward_hook(lambda _, __, y: seen.update(main=y.clone()))
    with torch.no_grad():
        plain(x)
        shortcut = x if getattr(plain, "downsample", None) is None else plain.downsample(x)
        if place.endswith(f"{norm} (output)"):
            expected = rounded_by_largest(seen["main"]) + shortcut
        else:
            expected = seen["main"] + rounded_by_largest(shortcut)
        expected = expected.relu() if "resnet" in name or "pspnet" in name else expected
        ours = model.get_submodule(path)(x)
    # Float32 sums in another order, and here and there a value in the middle between two integers, which is a step off.
    assert (ours - expected).abs().median() < 1e-5 * expected.abs().max()
    assert (ours - expected).abs().mean() < 1e-4 * expected.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["street-tiny", "cityscapes-m", "cityscapes-m-resnet18"])
def test_the_places_are_those_of_the_exported_file(name):
    quieten_exporter()
    model = randomised(name)
    bare = onnx_from_model(fold_batchnorm(model), info_from_config(model.config, 128, 256))
    layers = {layer.node: layer.name for layer in weighted_layers(bare) if layer.op_type == "Conv"}
    ranges = dict.fromkeys((tensor for node in bare.graph.node for tensor in node.input), 1.0)
    for seed in range(3):  # any half of the layers
        chosen = random.Random(seed).sample(sorted(layers.values()), len(layers) // 2)
        graph = place_qdq(bare, ranges, chosen).graph
        makers = {node.output[0]: node for node in graph.node}
        ours = FakeQuantisation(deepcopy(model), recipe(model, *chosen)).places
        assert set(ours) == {place for node in graph.node for place in places_of(node, makers, layers)}


def places_of(node, makers, layers):
    """What fake quantisation calls the quantised inputs of a node: of a Conv itself, and of an Add by its block."""
    for index, tensor in enumerate(node.input):
        if tensor not in makers or makers[tensor].op_type != "DequantizeLinear":
            continue
        if node.op_type == "Conv" and index == 0:
            yield layers[node.name]
        elif node.op_type == "Add":
            origin = makers[makers[tensor].input[0]].input[0]
            skip = layers.get(makers[origin].name, "")
            block = layers[makers[node.input[1 - index]].name].removesuffix(".0").rpartition(".")[0]
            if skip == f"{block}.downsample.0":
                yield f"{block}.downsample (output)"
            elif skip == f"{block}.conv2":
                yield f"{block}.bn2 (output)"
            else:
                yield f"{block} (shortcut)"


def test_thresholds_are_moving_averages_of_training_steps():
    model = create_model("street-tiny").train()
    quantisation = FakeQuantisation(model, recipe(model, "backbone.trunk.conv_stem", "decoder.mappers.0"))

    def step(largest):
        image = torch.randn(2, 3, 64, 128).clamp(-1, 1)
        image[0, 0, 0, 0] = -largest
        model(image)

    step(3.0)
    assert quantisation.state_dict()["thresholds"]["backbone.trunk.conv_stem"] == 0, "they change when the step is over"
    quantisation.on_train_batch_end(ONE_PROCESS)
    assert quantisation.state_dict()["thresholds"]["backbone.trunk.conv_stem"] == 3.0
    model.eval()
    step(9.0)
    model.train()
    step(4.0)
    quantisation.on_train_batch_end(ONE_PROCESS)
    averaged = quantisation.state_dict()
    thresholds = averaged["thresholds"]
    assert thresholds["backbone.trunk.conv_stem"] == pytest.approx(3.0 + MOMENTUM, rel=1e-6)  # float32
    assert thresholds["decoder.mappers.0"] > 0

    other = create_model("street-tiny")
    other.load_state_dict(model.state_dict())
    resumed = FakeQuantisation(other, recipe(other, "backbone.trunk.conv_stem", "decoder.mappers.0"))
    resumed.load_state_dict(averaged)
    assert torch.equal(resumed.thresholds, quantisation.thresholds)
    image = torch.randn(1, 3, 64, 128)
    with torch.no_grad():
        assert torch.equal(other.eval()(image), model.eval()(image))


def test_processes_share_the_largest_magnitude():
    model = create_model("street-tiny").train()
    quantisation = FakeQuantisation(model, recipe(model, "backbone.trunk.conv_stem"))
    other_process = {"max": lambda largest: largest.clamp(min=7.0)}
    model(torch.randn(2, 3, 64, 128).clamp(-1, 1))
    quantisation.on_train_batch_end(
        SimpleNamespace(strategy=SimpleNamespace(reduce=lambda largest, reduce_op: other_process[reduce_op](largest)))
    )
    assert quantisation.state_dict()["thresholds"] == {"backbone.trunk.conv_stem": 7.0}


def test_parameters_and_their_names_stay_as_they_were():
    model = create_model("cityscapes-m-resnet18")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    FakeQuantisation(model, recipe(model, *convolutions(model)))
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("name", ["street-tiny", "cityscapes-m-resnet18"])
def test_recomputing_rounds_as_the_first_pass_did(name):
    def train_once(recompute):
        torch.manual_seed(0)
        model = create_model(name).train()
        quantisation = FakeQuantisation(model, recipe(model, *convolutions(model)))
        if recompute:
            model.recompute_in_backward()
        for _ in range(2):
            model(torch.randn(2, 3, 64, 128)).square().mean().backward()
            quantisation.on_train_batch_end(ONE_PROCESS)
        return model, quantisation

    (plain, ours), (again, theirs) = train_once(False), train_once(True)
    assert torch.equal(ours.thresholds, theirs.thresholds)
    for one, other in zip(plain.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


@pytest.mark.slow
def test_a_compiled_block_computes_the_same():
    def block_and_thresholds(compiled):
        model = randomised("cityscapes-m")
        quantisation = FakeQuantisation(model, recipe(model, *convolutions(model)))
        block = model.get_submodule("backbone.trunk.blocks.2.1").train()
        if compiled:
            block.compile(backend="aot_eager")
        torch.manual_seed(1)
        x = torch.randn(2, 40, 16, 16, requires_grad=True)
        y = block(x)
        y.square().mean().backward()
        return y, x.grad, quantisation.largest

    for ours, theirs in zip(block_and_thresholds(True), block_and_thresholds(False), strict=True):
        torch.testing.assert_close(ours, theirs)  # the usual float32 tolerance: torch.compile may reorder sums


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "voc-l"}, "the int8 recipe is one of voc-l, the network is street-tiny"),
        ({"layers": ()}, "names no layer"),
        ({"layers": ("backbone.trunk.conv_stm",)}, "does not have. Did you mean backbone.trunk.conv_stem"),
        ({"layers": ("qqq",)}, "names a layer 'qqq', which street-tiny does not have.$"),
        ({"layers": ("decoder.levels.0",)}, "decoder.levels.0 in the int8 recipe is no static convolution"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(change, message):
    model = create_model("street-tiny")
    with pytest.raises(UserError, match=message):
        FakeQuantisation(model, replace(recipe(model, "backbone.trunk.conv_stem"), **change))
