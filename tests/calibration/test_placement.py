from collections import Counter
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, shape_inference
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from timm.models.resnet import BasicBlock
from torch import nn

from calibration.layers import default_int8_layers
from calibration.placement import place_qdq
from export.bundle import info_from_config
from export.fold import fold_batchnorm
from export.graph import onnx_from_model
from export.operators import strip_functions
from runtime.errors import UserError
from training import HyperSeg
from training.network.variants import VARIANTS

DPWCONV = {
    "domain": "hyperseg",
    "out_channels": 4,
    "kernel_shape": [1, 1],
    "group": 1,
    "pad_mode": "reflect",
    "activation": "none",
}


def conv(name, source, *, channels=4, groups=1, kernel=1, weight=None):
    """A convolution to a tensor of its own name, padded to keep the size, with a bias: the node and its constants."""
    if weight is None:
        weight = np.random.default_rng(len(name)).normal(size=(channels, channels // groups, kernel, kernel))
    parameters = {f"network.{name}.weight": weight, f"network.{name}.bias": np.linspace(-1, 1, len(weight))}
    node = helper.make_node("Conv", [source, *parameters], [name], name, group=groups, pads=[weight.shape[-1] // 2] * 4)
    return [node, *constants(**parameters)]


def op(op_type, sources, target, **attributes):
    return [helper.make_node(op_type, sources.split(" "), [target], target, **attributes)]


def constants(**arrays):
    arrays = {name: np.asarray(values) for name, values in arrays.items()}
    return [
        numpy_helper.from_array(values.astype(np.float32) if values.dtype.kind == "f" else values, name)
        for name, values in arrays.items()
    ]


def network(*parts, channels=4, outputs=("y",)):
    """A bare model that takes x [batch, channels, 8, 8] through the parts."""
    everything = [item for part in parts for item in part]
    nodes = [item for item in everything if isinstance(item, onnx.NodeProto)]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", channels, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [item for item in everything if isinstance(item, TensorProto)],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("hyperseg", 1)]
    return shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets, ir_version=10))


def thresholds_of(model, **given):
    return {tensor: given.get(tensor, 1.0) for node in model.graph.node for tensor in node.input}


def quantised_reads(model):
    """What each node reads by way of Q and DQ, {(node, input): (tensor, threshold)}; nothing else may have them."""
    graph = model.graph
    arrays = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}
    readers = Counter(tensor for node in graph.node for tensor in node.input)
    reads = {}
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert readers[node.output[0]] >= 1
            continue
        for index, tensor in enumerate(node.input):
            dequantise = producers.get(tensor)
            if dequantise is None or dequantise.op_type != "DequantizeLinear":
                continue
            quantise = producers[dequantise.input[0]]
            assert quantise.op_type == "QuantizeLinear"
            assert readers[quantise.output[0]] == 1
            assert quantise.input[1:] == dequantise.input[1:]
            scale, zero_point = (arrays[name] for name in quantise.input[1:])
            assert scale.dtype == np.float32
            assert zero_point.dtype == np.int8
            assert zero_point.shape == scale.shape
            assert not zero_point.any()
            axes = [[attribute.i for attribute in each.attribute] for each in (quantise, dequantise)]
            assert axes == ([[0], [0]] if scale.ndim else [[], []])
            reads[node.name, index] = (quantise.input[0], scale * np.float32(127))
    pairs = sum(node.op_type == "QuantizeLinear" for node in graph.node)
    assert pairs == sum(node.op_type == "DequantizeLinear" for node in graph.node)
    assert pairs == len({tensor for tensor, _ in reads.values()})
    return reads


def activations(model):
    """The reads that are not weights, with their thresholds as plain numbers."""
    return {read: (t, round(float(v), 5)) for read, (t, v) in quantised_reads(model).items() if v.ndim == 0}


@pytest.mark.parametrize(("groups", "kernel"), [(1, 1), (1, 3), (2, 3), (4, 3)])
def test_a_chosen_layer_gets_its_input_and_its_weight_quantised_and_nothing_else(groups, kernel):
    model = network(
        conv("a", "x"), op("Relu", "a", "r"), conv("b", "r", groups=groups, kernel=kernel), op("Relu", "b", "y")
    )
    before = model.SerializeToString(deterministic=True)
    quantised = place_qdq(model, {"x": 5.0, "r": 2.5}, ["b"])
    reads = quantised_reads(quantised)
    assert set(reads) == {("b", 0), ("b", 1)}
    assert reads["b", 0][0] == "r"
    assert reads["b", 0][1] == pytest.approx(2.5)
    name, largest = reads["b", 1]
    assert name == "network.b.weight"
    (weight,) = (numpy_helper.to_array(c) for c in model.graph.initializer if c.name == name)
    np.testing.assert_allclose(largest, [np.abs(channel).max() for channel in weight], rtol=1e-6)
    types = {value.name: value.type.tensor_type for value in quantised.graph.value_info}
    assert types["r_quantised"].elem_type == TensorProto.INT8
    assert types["r_dequantised"].shape == types["r"].shape
    assert before == model.SerializeToString(deterministic=True), "the given model must stay as it was"


@pytest.mark.parametrize("order", ["c a", "a c"])
def test_the_skip_of_a_residual_add_shares_the_pair_of_the_next_layer(order):
    model = network(conv("a", "x"), conv("b", "a"), op("Relu", "b", "r"), conv("c", "r"), op("Add", order, "y"))
    quantised = place_qdq(model, thresholds_of(model, a=3.0, r=4.0), ["b", "c"])
    skip = order.split(" ").index("a")
    assert activations(quantised) == {("b", 0): ("a", 3.0), ("c", 0): ("r", 4.0), ("y", skip): ("a", 3.0)}
    # Without c in INT8 there is no convolution to take the addition in.
    assert set(activations(place_qdq(model, thresholds_of(model), ["a", "b"]))) == {("a", 0), ("b", 0)}


@pytest.mark.parametrize("other_reader", ["a node", "the graph's output"])
def test_an_add_is_left_alone_if_something_else_reads_the_convolutions_output(other_reader):
    parts = [conv("a", "x"), conv("c", "a"), op("Add", "c a", "y")]
    model = network(*parts)
    assert ("y", 1) in quantised_reads(place_qdq(model, thresholds_of(model), ["c"]))
    if other_reader == "a node":
        model = network(*parts, op("Relu", "c", "s"), outputs=("y", "s"))
    else:
        model = network(*parts, outputs=("y", "c"))
    assert set(activations(place_qdq(model, thresholds_of(model), ["c"]))) == {("c", 0)}


def test_an_add_of_a_constant_or_of_a_smaller_map_is_no_residual():
    pooled = op("GlobalAveragePool", "x", "pooled")
    model = network(
        conv("a", "x"), conv("b", "x"), pooled, constants(offset=np.ones((1, 4, 8, 8))),
        op("Add", "a offset", "y"), op("Add", "b pooled", "z"), outputs=("y", "z"),
    )  # fmt: skip
    assert set(activations(place_qdq(model, thresholds_of(model), ["a", "b"]))) == {("a", 0), ("b", 0)}


@pytest.mark.parametrize(
    ("layers", "skip"),
    [(["main", "shortcut"], (1, "shortcut")), (["main"], (1, "shortcut")), (["shortcut"], (0, "main"))],
)
def test_of_two_convolutions_that_meet_in_an_add_the_second_is_the_skip(layers, skip):
    model = network(conv("main", "x"), conv("shortcut", "x"), op("Add", "main shortcut", "y"))
    quantised = activations(place_qdq(model, thresholds_of(model), layers))
    assert quantised == {("y", skip[0]): (skip[1], 1.0)} | {(layer, 0): ("x", 1.0) for layer in layers}


def test_one_pair_serves_all_chosen_readers_and_the_others_keep_the_float_tensor():
    model = network(
        op("Relu", "x", "r"), conv("a", "r"), conv("b", "r"), conv("c", "r"), op("Concat", "r a b c", "y", axis=1)
    )
    quantised = place_qdq(model, thresholds_of(model), ["a", "c"])
    assert activations(quantised) == {("a", 0): ("r", 1.0), ("c", 0): ("r", 1.0)}
    (concat,) = (node for node in quantised.graph.node if node.op_type == "Concat")
    assert list(concat.input) == ["r", "a", "b", "c"]


def test_what_a_concat_ties_together_has_the_largest_scale_of_what_is_quantised():
    model = network(
        op("Relu", "x", "r"), op("Sigmoid", "x", "s"), op("Concat", "r s", "joined", axis=1),
        conv("a", "r"), conv("b", "joined", weight=np.ones((4, 8, 1, 1))), conv("c", "s"),
        op("Sum", "a b c", "y"),
    )  # fmt: skip
    thresholds = thresholds_of(model, r=2.0, s=9.0, joined=3.0)
    quantised = activations(place_qdq(model, thresholds, ["a", "b"]))
    assert quantised == {
        ("a", 0): ("r", 3.0),
        ("b", 0): ("joined", 3.0),
    }  # s is not quantised, so its range says nothing
    quantised = activations(place_qdq(model, thresholds, ["a", "b", "c"]))
    assert quantised == {("a", 0): ("r", 9.0), ("b", 0): ("joined", 9.0), ("c", 0): ("s", 9.0)}


SHAPE = constants(shape=np.array([1, 4, 8, 8]))
PADS = constants(pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]))
SCALES = constants(scales=np.array([1.0, 1.0, 2.0, 2.0]))


@pytest.mark.parametrize(
    ("between", "tied"),
    [
        (op("Transpose", "r", "m", perm=[0, 1, 3, 2]), True),
        (op("Identity", "r", "m"), True),
        (SHAPE + op("Reshape", "r shape", "m"), True),
        (SHAPE + op("Expand", "r shape", "m"), True),
        (op("MaxPool", "r", "m", kernel_shape=[2, 2]), True),
        (op("AveragePool", "r", "m", kernel_shape=[2, 2]), False),
        (SCALES + op("Resize", "r  scales", "m", mode="nearest"), True),
        (SCALES + op("Resize", "r  scales", "m", mode="linear"), False),
        (PADS + op("Pad", "r pads", "m"), True),
        (PADS + op("Pad", "r pads", "m", mode="reflect"), True),
        (PADS + constants(fill=0.0) + op("Pad", "r pads fill", "m"), True),
        (PADS + constants(fill=9.0) + op("Pad", "r pads fill", "m"), False),
        (op("Relu", "r", "m"), False),
    ],
    ids=lambda value: "" if isinstance(value, bool) else value[-1].op_type,
)
def test_operators_that_only_move_values_tie_their_tensors(between, tied):
    model = network(op("Tanh", "x", "r"), between, conv("a", "r"), conv("b", "m"), outputs=("a", "b"))
    quantised = activations(place_qdq(model, thresholds_of(model, r=2.0, m=1.0), ["a", "b"]))
    assert quantised == {("a", 0): ("r", 2.0), ("b", 0): ("m", 2.0 if tied else 1.0)}


def test_slices_of_one_signal_share_a_scale_and_what_the_mappers_feed_stays_float():
    rows = np.ones((16, 1, 1, 1))
    model = network(
        constants(zero=np.array([0]), two=np.array([2]), four=np.array([4]), axis=np.array([1])),
        op("Relu", "x", "signal"),
        op("Slice", "signal zero two axis", "s0"), conv("mapper0", "s0", weight=rows, groups=2),
        op("Slice", "signal two four axis", "s1"), conv("mapper1", "s1", weight=rows, groups=2),
        constants(**{"network.levels.0.bias": np.zeros(4), "network.levels.1.bias": np.ones(4)}),
        op("DPWConv", "x mapper0 network.levels.0.bias", "level0", **DPWCONV),
        op("DPWConv", "level0 mapper1 network.levels.1.bias", "y", **DPWCONV),
    )  # fmt: skip
    quantised = place_qdq(model, thresholds_of(model, s0=1.5, s1=0.5), ["mapper0", "mapper1"])
    assert activations(quantised) == {("mapper0", 0): ("s0", 1.5), ("mapper1", 0): ("s1", 1.5)}
    with pytest.raises(UserError, match=r"levels\.0 is a DPWConv"):
        place_qdq(model, thresholds_of(model), ["levels.0"])


def fake_quantised(values, threshold):
    scale = np.float32(threshold) / np.float32(127)
    return np.clip(np.rint(values / scale), -128, 127) * scale


def test_onnx_runtime_computes_what_fake_quantisation_in_numpy_does():
    random = np.random.default_rng(0)
    model = network(
        conv("a", "x", weight=random.normal(size=(6, 4, 1, 1))), op("Relu", "a", "r"),
        conv("b", "r", weight=random.normal(size=(4, 3, 1, 1)), groups=2), op("Add", "b x", "y"),
    )  # fmt: skip
    x = random.normal(size=(2, 4, 8, 8)).astype(np.float32)
    quantised = place_qdq(model, {"x": 2.0, "r": 3.0}, ["a", "b"])
    (result,) = onnxruntime.InferenceSession(quantised.SerializeToString()).run(["y"], {"x": x})

    array = {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
    weight = {
        name: np.stack([fake_quantised(channel, np.abs(channel).max()) for channel in array[f"network.{name}.weight"]])
        for name in "ab"
    }
    x = fake_quantised(x, 2.0)
    a = np.einsum("oi,nihw->nohw", weight["a"][:, :, 0, 0], x) + array["network.a.bias"].reshape(-1, 1, 1)
    r = fake_quantised(np.maximum(a, 0), 3.0)
    halves = [
        np.einsum("oi,nihw->nohw", weight["b"][2 * g : 2 * g + 2, :, 0, 0], r[:, 3 * g : 3 * g + 3]) for g in (0, 1)
    ]
    b = np.concatenate(halves, 1) + array["network.b.bias"].reshape(-1, 1, 1)
    # Sums of at most five float32 numbers of size one. A value of r near the border of two steps may fall either way,
    # and a pixel of b reads three of them; borders are as wide as float32's round-off, so they are rarely met.
    assert np.isclose(result, b + x, atol=1e-5).mean() > 0.99
    step = 3.0 / 127
    assert np.abs(result - (b + x)).max() < 3 * step * np.abs(array["network.b.weight"]).max()


def test_what_is_zero_throughout_has_a_scale():
    weight = np.zeros((2, 4, 1, 1))
    weight[0] = 1e-6
    model = network(conv("a", "x", weight=weight), op("Relu", "a", "y"))
    quantised = place_qdq(model, {"x": 0.0}, ["a"])
    arrays = {constant.name: numpy_helper.to_array(constant) for constant in quantised.graph.initializer}
    np.testing.assert_array_equal(arrays["network.a.weight_scale"], np.float32([1e-6 / 127, 1]))
    assert arrays["x_scale"] == 1


def test_no_layer_no_change():
    model = network(conv("a", "x"), op("Relu", "a", "y"))
    assert place_qdq(model, {}, []) == model


def test_mistakes_are_named():
    broken = np.ones((4, 4, 1, 1))
    broken[2, 1] = np.nan
    model = network(
        conv("block.conv1", "x"), conv("block.conv2", "block.conv1", weight=broken), op("Relu", "block.conv2", "y")
    )
    thresholds = thresholds_of(model)
    with pytest.raises(UserError, match=r"no layer block\.conv3; close matches: block\.conv\d, block\.conv\d"):
        place_qdq(model, thresholds, ["block.conv1", "block.conv3"])
    with pytest.raises(UserError, match=r"weights of block\.conv2 hold NaN"):
        place_qdq(model, thresholds, ["block.conv1", "block.conv2"])
    for bad in ({}, {"x": np.nan}, {"x": np.inf}):
        with pytest.raises(UserError, match=r"block\.conv1 reads the tensor x, whose range is not known"):
            place_qdq(model, bad, ["block.conv1"])
    with pytest.raises(UserError, match="already quantised"):
        place_qdq(place_qdq(model, thresholds, ["block.conv1"]), thresholds, ["block.conv1"])


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_quantised_where_its_modules_say(random_model, random_bundle, name):
    model, bundle = random_model(name), random_bundle(name)
    bare = strip_functions(onnx.load(bundle.onnx()))
    quantised = place_qdq(bare, thresholds_of(bare), default_int8_layers(bare))
    nodes = {node.name: node for node in quantised.graph.node}
    reads = quantised_reads(quantised)

    weights = {tensor for (node, index), (tensor, _) in reads.items() if nodes[node].op_type == "Conv" and index == 1}
    expected = ungrouped_convolutions_of_maps(model, bundle.info)
    assert weights == {f"network.{layer}.weight" for layer in expected}
    assert {layer.split(".")[0] for layer in expected} == {"backbone", "context_head"}
    inputs = {node for node, index in reads if nodes[node].op_type == "Conv" and index == 0}
    assert len(inputs) == len(weights)
    blocks = [
        module for module in model.backbone.modules() if isinstance(module, InvertedResidual | DepthwiseSeparableConv)
    ]
    skips = [node for node, _ in reads if nodes[node].op_type == "Add"]
    assert len(skips) == len(set(skips)) == sum(block.has_skip for block in blocks)
    assert {nodes[node].op_type for node, _ in reads} <= {"Conv", "Add"}


def ungrouped_convolutions_of_maps(model, info):
    """Run the network: squeeze-excites and the pooled context make 1x1 maps; mappers and depthwise ones have groups."""
    found = []

    def note(name, output):
        if output.shape[2:].numel() > 1:
            found.append(name)

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and module.groups == 1
    ]
    with torch.inference_mode():
        model(torch.zeros(1, 3, info.height, info.width))
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.slow
def test_a_resnet_is_quantised_block_by_block():
    torch.manual_seed(0)
    config = replace(VARIANTS["street-tiny"], backbone="resnet18.tv_in1k", head_channels=256)
    model = HyperSeg(config).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)  # timm's zeros would make weights equal, and shared in the file
    bare = onnx_from_model(fold_batchnorm(model), info_from_config(config, 64, 128))
    quantised = place_qdq(bare, thresholds_of(bare), default_int8_layers(bare))
    convolutions = {node.output[0]: layer_of(node) for node in bare.graph.node if node.op_type == "Conv"}
    nodes = {node.name: node for node in bare.graph.node}

    reads = quantised_reads(quantised)
    adds = [(nodes[node], index) for node, index in reads if nodes[node].op_type == "Add"]
    blocks = {name: block for name, block in model.named_modules() if isinstance(block, BasicBlock)}
    assert {convolutions[add.input[1 - index]] for add, index in adds} == {f"{name}.conv2" for name in blocks}
    shortcuts = {convolutions[add.input[index]] for add, index in adds if add.input[index] in convolutions}
    assert shortcuts == {f"{name}.downsample.0" for name, block in blocks.items() if block.downsample is not None}
    assert len(adds) == len(blocks) > len(shortcuts) > 0


def layer_of(convolution):
    return convolution.input[1].removeprefix("network.").removesuffix(".weight")
