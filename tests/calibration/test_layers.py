from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from calibration.layers import default_int8_layers, weighted_layers
from export.fold import fold_batchnorm
from training.describe import describe
from training.network.variants import VARIANTS


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_layers_are_the_networks_own_and_cost_what_describe_counts(random_model, random_bundle, name):
    info = random_bundle(name).info
    layers = weighted_layers(onnx.load(random_bundle(name).onnx()))

    modules = dict(fold_batchnorm(random_model(name)).named_modules())
    convolutions = [layer.name for layer in layers if layer.op_type == "Conv"]
    assert sorted(convolutions) == sorted(path for path in modules if isinstance(modules[path], nn.Conv2d))
    assert len({layer.name for layer in layers}) == len(layers)

    model = random_model(name)
    patches = (info.height // 32) * (info.width // 32)
    halo = 0  # v1's levels expand the pixels around each patch once more, and PyTorch's counter sees it
    for index, level in enumerate(model.decoder.plan.levels):
        if level.kernel_size > 1 and model.config.generation == "v1":
            (layer,) = (layer for layer in layers if layer.name == f"decoder.levels.{index}")
            pixels = layer.macs // level.theta_size  # every pixel uses each of its patch's weights once
            height = round((pixels / patches) ** 0.5)
            assert height**2 * patches == pixels
            halo += ((height + 2) ** 2 - height**2) * patches * level.hidden_channels * level.in_channels
    counted = describe(replace(model.config, input_size=(info.height, info.width))).multiply_accumulates
    assert sum(layer.macs for layer in layers) == counted - halo


def graph_of(nodes, values, constants):
    """A model without checks: ``values`` and ``constants`` are shapes by tensor, of which the first is the batch."""
    infos = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values.items()}
    weights = [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in constants.items()]
    first, *inner, last = infos.values()
    return helper.make_model(helper.make_graph(nodes, "test", [first], [last], weights, value_info=inner))


def test_multiply_accumulates_by_hand():
    model = graph_of(
        [
            helper.make_node("Conv", ["x", "network.a.b.weight"], ["y"], "node_0", group=2),
            helper.make_node("Relu", ["y"], ["z"], "node_1"),
            helper.make_node(
                "DPWConv",
                ["z", "theta", "network.levels.0.bias2"],
                ["u"],
                "node_2",
                "doc",
                "hyperseg",
                group=3,
                kernel_shape=[3, 3],
                out_channels=12,
            ),
            helper.make_node(
                "DPWInvertedResidual",
                ["u", "theta", "network.levels.1.bias1", "network.levels.1.bias2", "network.levels.1.bias3"],
                ["v"],
                "node_3",
                "doc",
                "hyperseg",
                hidden_channels=10,
                kernel_shape=[3, 3],
                out_channels=5,
            ),
            helper.make_node(
                "DPWConvLevel",
                ["y", "v", "theta", "network.levels.2.bias1"],
                ["l"],
                "node_5",
                "doc",
                "hyperseg",
                group=1,
                kernel_shape=[1, 1],
                out_channels=3,
                positions=1,
            ),
            helper.make_node(
                "DPWInvertedResidualLevel",
                ["x", "l", "theta", "network.levels.3.bias1", "network.levels.3.bias2", "network.levels.3.bias3"],
                ["m"],
                "node_6",
                "doc",
                "hyperseg",
                hidden_channels=10,
                kernel_shape=[3, 5],
                out_channels=2,
                positions=0,
            ),
            helper.make_node("LabelHead", ["m"], ["labels"], "node_7", "doc", "hyperseg", scale=2),
            helper.make_node("Conv", ["v", "plain"], ["w"], "node_4"),
        ],
        {
            "x": ["batch", 4, 8, 16],
            "y": ["batch", 6, 4, 8],
            "z": ["batch", 6, 4, 8],
            "u": ["batch", 12, 4, 8],
            "v": ["batch", 5, 4, 8],
            "l": ["batch", 3, 4, 8],
            "m": ["batch", 2, 8, 16],
            "labels": ["batch", 16, 32],
            "w": ["batch", 7, 1, 1],
        },
        {"network.a.b.weight": (6, 2, 5, 3), "plain": (7, 5, 4, 8)},
    )
    layers = weighted_layers(model)
    assert [(layer.name, layer.node, layer.op_type, layer.input, layer.output) for layer in layers] == [
        ("a.b", "node_0", "Conv", "x", "y"),
        ("levels.0.depthwise", "node_2", "DPWConv", "z", "u"),
        ("levels.1", "node_3", "DPWInvertedResidual", "u", "v"),
        ("levels.2.expand", "node_5", "DPWConvLevel", "y", "l"),
        ("levels.3", "node_6", "DPWInvertedResidualLevel", "x", "m"),
        ("plain", "node_4", "Conv", "v", "w"),
    ]
    assert [layer.macs for layer in layers] == [
        6 * 4 * 8 * 2 * 5 * 3,
        12 * 4 * 8 * (6 // 3) * 9,
        4 * 8 * (10 * 12 + 10 * 9 + 5 * 10),
        3 * 4 * 8 * (2 + 6 + 5),
        8 * 16 * (10 * (4 + 3) + 10 * 15 + 2 * 10),
        7 * 5 * 4 * 8,
    ]
    assert default_int8_layers(model) == []  # a.b has groups, w is a 1x1 map


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "group", "taken"),
    [(6, 6, 1, True), (6, 6, 6, False), (32, 64, 8, False), (48, 64, 16, False)],
)
def test_by_default_groups_are_left_out(in_channels, out_channels, group, taken):
    model = graph_of(
        [helper.make_node("Conv", ["x", "network.a.weight"], ["y"], "node_0", group=group)],
        {"x": [1, in_channels, 8, 8], "y": [1, out_channels, 8, 8]},
        {"network.a.weight": (out_channels, in_channels // group, 1, 1)},
    )
    assert default_int8_layers(model) == ["a"] * taken


def test_layers_that_share_their_weights_are_called_by_their_nodes():
    model = graph_of(
        [
            helper.make_node("Conv", ["x", "network.a.weight"], ["y"], "node_0"),
            helper.make_node("Conv", ["y", "network.a.weight"], ["z"], "node_1"),
        ],
        {"x": [1, 4, 8, 8], "y": [1, 4, 8, 8], "z": [1, 4, 8, 8]},
        {"network.a.weight": (4, 4, 1, 1)},
    )
    assert [layer.name for layer in weighted_layers(model)] == ["node_0", "node_1"]


def test_a_weight_behind_casts_and_qdq_names_its_layer():
    model = graph_of(
        [
            helper.make_node("Cast", ["network.a.weight"], ["half"], to=TensorProto.FLOAT16),
            helper.make_node("QuantizeLinear", ["half", "scale", "zero"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]),
            helper.make_node("Conv", ["x", "dq"], ["y"], "node_0"),
        ],
        {"x": [1, 4, 8, 8], "dq": [4, 4, 1, 1], "y": [1, 4, 8, 8]},
        {"network.a.weight": (4, 4, 1, 1)},
    )
    assert [(layer.name, layer.macs) for layer in weighted_layers(model)] == [("a", 8 * 8 * 4 * 4)]
