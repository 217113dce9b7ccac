"""One operator, five ways to run it: specification, PyTorch op, ONNX Runtime, ONNX's reference; and the bare node."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from export import operators
from training.network import dpwconv as specification

# float32 on all sides: sums of up to a hundred terms of size 1, in different orders, each rounded to 6e-8, pass through
# up to three convolutions.
TOLERANCE = {"rtol": 1e-5, "atol": 2e-5}
LEVELS = onnxruntime.GraphOptimizationLevel
OPTIMISATIONS = [
    LEVELS.ORT_DISABLE_ALL,
    LEVELS.ORT_ENABLE_BASIC,
    LEVELS.ORT_ENABLE_EXTENDED,
    LEVELS.ORT_ENABLE_ALL,
]
DPWCONV_ATTRIBUTES = {
    "out_channels": onnx.AttributeProto.INT,
    "kernel_shape": onnx.AttributeProto.INTS,
    "group": onnx.AttributeProto.INT,
    "pad_mode": onnx.AttributeProto.STRING,
    "activation": onnx.AttributeProto.STRING,
    "weight_offset": onnx.AttributeProto.INT,
}
INVERTED_RESIDUAL_ATTRIBUTES = {
    "hidden_channels": onnx.AttributeProto.INT,
    "out_channels": onnx.AttributeProto.INT,
    "kernel_shape": onnx.AttributeProto.INTS,
    "pad_mode": onnx.AttributeProto.STRING,
    "activation": onnx.AttributeProto.STRING,
    "residual": onnx.AttributeProto.INT,
    "weight_offset": onnx.AttributeProto.INT,
}


def conv(channels, out_channels, size, grid, kernel=(1, 1), group=1, pad_mode="reflect", activation="none", offset=0):
    attributes = {
        "out_channels": out_channels,
        "kernel_shape": list(kernel),
        "group": group,
        "pad_mode": pad_mode,
        "activation": activation,
        "weight_offset": offset,
    }
    read = out_channels * channels // group * kernel[0] * kernel[1]
    return Operator("dpwconv", channels, size, grid, offset + read + 3, [out_channels], attributes)


def inverted_residual(
    channels, hidden, out_channels, size, grid, pad_mode="reflect", activation="relu6", residual=False, offset=0
):
    attributes = {
        "hidden_channels": hidden,
        "out_channels": out_channels,
        "kernel_shape": [3, 3],
        "pad_mode": pad_mode,
        "activation": activation,
        "residual": residual,
        "weight_offset": offset,
    }
    read = hidden * (channels + 9 + out_channels)
    biases = [hidden, hidden, out_channels]
    return Operator("dpw_inverted_residual", channels, size, grid, offset + read + 3, biases, attributes)


class Operator(torch.nn.Module):
    """A model of one operator, with static biases, as the exporter sees it."""

    def __init__(self, name, channels, size, grid, weight_channels, biases, attributes):
        super().__init__()
        self.name, self.attributes = name, attributes
        self.x_shape, self.weight_shape = (channels, *size), (weight_channels, *grid)
        self.biases = torch.nn.ParameterList([torch.nn.Parameter(torch.randn(bias)) for bias in biases])

    def forward(self, x, weight):
        return getattr(operators, self.name)(x, weight, *self.biases, **self.attributes)

    def specified(self, x, weight):
        attributes = {**self.attributes, "kernel_shape": tuple(self.attributes["kernel_shape"])}
        return getattr(specification, self.name)(x, weight, *self.biases, **attributes)

    def inputs(self, n):
        return torch.randn(n, *self.x_shape), torch.randn(n, *self.weight_shape)


class Chain(torch.nn.Module):
    """Several operators on the same inputs, so that they share one function body."""

    def __init__(self, *operators_in_turn):
        super().__init__()
        self.operators = torch.nn.ModuleList(operators_in_turn)

    def forward(self, x, weight):
        return torch.cat([operator(x, weight) for operator in self.operators], 1)


def export(model, inputs):
    n = torch.export.Dim("n")
    program = torch.onnx.export(
        model.eval(),
        inputs,
        dynamo=True,
        opset_version=20,
        input_names=["x", "weight"],
        output_names=["y"],
        dynamic_shapes=({0: n}, {0: n}),
        custom_translation_table=operators.translation_table(),
        verbose=False,
    )
    return program.model_proto


def run(model, inputs, optimisation=LEVELS.ORT_ENABLE_ALL):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = optimisation
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds(inputs))[0]


def feeds(inputs):
    return {"x": inputs[0].numpy(), "weight": inputs[1].numpy()}


@pytest.fixture(autouse=True)
def _seed_and_one_thread():
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small maps: threads would only wait for each other
    yield
    torch.set_num_threads(threads)


CASES = {
    "pointwise": lambda: conv(5, 4, (6, 8), (3, 2), activation="relu"),
    "pointwise, patches of a pixel": lambda: conv(5, 4, (3, 4), (3, 4), activation="relu6", offset=7),
    "pointwise groups": lambda: conv(4, 6, (4, 6), (2, 3), group=2, offset=1),
    "3x3": lambda: conv(3, 4, (4, 6), (2, 3), kernel=(3, 3)),
    "3x3, zeros": lambda: conv(3, 4, (6, 4), (3, 1), kernel=(3, 3), pad_mode="constant", activation="relu"),
    "3x3, patches of a pixel": lambda: conv(2, 3, (2, 3), (2, 3), kernel=(3, 3)),
    "5x5, halo wider than patches": lambda: conv(2, 2, (4, 6), (4, 6), kernel=(5, 5)),
    "1x3": lambda: conv(3, 2, (2, 6), (2, 2), kernel=(1, 3)),
    "3x1, zeros": lambda: conv(3, 2, (6, 2), (2, 2), kernel=(3, 1), pad_mode="constant"),
    "groups": lambda: conv(4, 6, (4, 4), (2, 2), kernel=(3, 3), group=2, activation="relu6"),
    "depthwise": lambda: conv(6, 6, (4, 8), (2, 2), kernel=(3, 3), group=6, activation="relu6", offset=4),
    "one patch": lambda: conv(3, 2, (4, 4), (1, 1), kernel=(3, 3)),
    "inverted residual": lambda: inverted_residual(4, 8, 3, (4, 6), (2, 3), offset=5),
    "inverted residual, zeros": lambda: inverted_residual(4, 6, 3, (6, 4), (3, 1), pad_mode="constant"),
    "inverted residual, residual": lambda: inverted_residual(4, 8, 4, (4, 6), (2, 1), activation="relu", residual=True),
    "inverted residual, patches of a pixel": lambda: inverted_residual(3, 5, 2, (2, 3), (2, 3), activation="none"),
}


@pytest.mark.parametrize("case", CASES)
def test_every_way_to_run_it_agrees(case):
    operator = CASES[case]()
    bare = export(operator, operator.inputs(2))
    attached = operators.attach_functions(bare)
    for n in (1, 3):
        inputs = operator.inputs(n)
        with torch.no_grad():
            expected = operator.specified(*inputs).numpy()
            assert np.array_equal(operator(*inputs), expected)
        for optimisation in OPTIMISATIONS:
            np.testing.assert_allclose(run(attached, inputs, optimisation), expected, **TOLERANCE)
        np.testing.assert_allclose(ReferenceEvaluator(attached).run(None, feeds(inputs))[0], expected, **TOLERANCE)


def shared_body():
    """Nodes that differ in groups, kernel, offset, activation, padding and residual."""
    size, grid = (4, 6), (2, 3)
    return Chain(
        conv(4, 2, size, grid, activation="relu"),
        conv(4, 4, size, grid, kernel=(3, 3), group=4, activation="relu6", offset=2),
        conv(4, 4, size, grid, kernel=(3, 3), group=2, pad_mode="constant", offset=2),
        inverted_residual(4, 8, 3, size, grid),
        inverted_residual(4, 5, 4, size, grid, pad_mode="constant", residual=True, offset=1),
    )


@pytest.mark.parametrize("optimisation", OPTIMISATIONS, ids=lambda level: level.name)
def test_nodes_of_one_model_share_a_body(optimisation):
    chain = shared_body()
    inputs = torch.randn(2, 4, 4, 6), torch.randn(2, 160, 2, 3)
    attached = operators.attach_functions(export(chain, inputs))
    assert [(f.domain, f.name, f.overload) for f in attached.functions] == [
        ("hyperseg", "DPWConv", ""),
        ("hyperseg", "DPWInvertedResidual", ""),
    ]
    onnx.checker.check_model(attached, full_check=True)
    with torch.no_grad():
        expected = chain(*inputs).numpy()
    np.testing.assert_allclose(run(attached, inputs, optimisation), expected, **TOLERANCE)
    np.testing.assert_allclose(ReferenceEvaluator(attached).run(None, feeds(inputs))[0], expected, **TOLERANCE)


def test_the_bare_model_is_what_tensorrt_takes():
    chain = shared_body()
    bare = export(chain, (torch.randn(2, 4, 4, 6), torch.randn(2, 160, 2, 3)))
    attached = operators.attach_functions(bare)
    assert operators.strip_functions(attached) == bare
    assert not bare.functions
    onnx.checker.check_model(bare, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(bare, check_type=True, strict_mode=True)
    expected = {"DPWConv": DPWCONV_ATTRIBUTES, "DPWInvertedResidual": INVERTED_RESIDUAL_ATTRIBUTES}
    shapes = {value.name: value.type.tensor_type.shape.dim for value in (*inferred.graph.value_info,)}
    nodes = [node for node in bare.graph.node if node.domain == "hyperseg"]
    assert [node.op_type for node in nodes] == ["DPWConv"] * 3 + ["DPWInvertedResidual"] * 2
    for node in nodes:
        assert {attribute.name: attribute.type for attribute in node.attribute} == expected[node.op_type]
        n, *sizes = shapes[node.output[0]]
        assert n.dim_param == "n"
        out_channels = onnx.helper.get_node_attr_value(node, "out_channels")
        assert [dim.dim_value for dim in sizes] == [out_channels, 4, 6]


def test_shape_inference_alone_finds_the_shapes():
    operator = CASES["inverted residual"]()
    bare = export(operator, operator.inputs(2))
    bare.graph.output[0].type.tensor_type.ClearField("shape")
    dims = onnx.shape_inference.infer_shapes(bare, strict_mode=True).graph.output[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["n", 3, 4, 6]


def test_registering_twice_is_registering_once():
    operators.register_schemas()
    operators.register_schemas()
    assert onnx.defs.has("DPWConv", 1, "hyperseg")
    assert onnx.defs.has("DPWInvertedResidual", 1, "hyperseg")


def test_the_op_in_pytorch_is_well_formed():
    for operator in (CASES["3x3"](), CASES["inverted residual"]()):
        op = getattr(torch.ops.hyperseg, operator.name).default
        arguments = (*operator.inputs(2), *(bias.detach() for bias in operator.biases))
        torch.library.opcheck(op, arguments, operator.attributes)


@pytest.mark.parametrize("case", ["depthwise", "inverted residual"])
def test_a_float16_model_gets_float16_bodies(case):
    operator = CASES[case]()
    bare = export(operator.half(), tuple(value.half() for value in operator.inputs(2)))
    attached = operators.attach_functions(bare)
    inputs = [value.half() for value in operator.inputs(2)]
    y = run(attached, inputs)
    assert y.dtype == np.float16
    with torch.no_grad():
        expected = operator.float().specified(*(value.float() for value in inputs)).numpy()
    # Sums of a few dozen terms, rounded to 2^-11 of their size once for each of up to three convolutions.
    np.testing.assert_allclose(y, expected, rtol=0, atol=4 * 2**-11 * np.abs(expected).max())


def test_a_model_without_a_known_grid_gets_no_body():
    operator = CASES["pointwise"]()
    bare = export(operator, operator.inputs(2))
    bare.graph.input[1].type.tensor_type.shape.dim[3].dim_param = "columns"
    with pytest.raises(ValueError, match="size of W of DPWConv"):
        operators.attach_functions(bare)
