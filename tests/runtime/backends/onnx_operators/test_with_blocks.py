"""What with_blocks finds in exported files and in graphs that differ from a block by one thing."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.half import to_half
from export.operators import strip_functions
from runtime.backends.onnx_operators.mbconv import with_blocks
from training.network.variants import VARIANTS

BLOCKS = {"B1": 23, "B3": 26, "street-tiny": 2}
CHANNELS, HIDDEN, SQUEEZED = 4, 6, 2


def types(model):
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_block_of_an_exported_file_is_found(name, random_bundle):
    model = onnx.load(random_bundle(name).onnx())
    found = types(with_blocks(model))
    assert found["MBConv"] == BLOCKS[{"voc-l": "B3", "street-tiny": "street-tiny"}.get(name, "B1")]
    left = {"Conv", "Sigmoid", "Mul", "ReduceMean", "Add"}
    assert {op: count for op, count in found.items() if op not in left | {"MBConv"}} == {
        op: count for op, count in types(model).items() if op not in left
    }


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name", ["street-tiny", "cityscapes-m"])
def test_the_network_computes_the_same(name, n, random_bundle, library):
    bundle = random_bundle(name)
    model = onnx.load(bundle.onnx())
    image = np.random.default_rng(0).integers(0, 256, (n, bundle.info.height, bundle.info.width, 3), np.uint8)
    options = onnxruntime.SessionOptions()
    plain = run(model, options, {"image": image})
    options.register_custom_ops_library(str(library))
    grouped = run(with_blocks(model), options, {"image": image})
    # Through some hundred layers in float32, whose sums come in another order.
    np.testing.assert_allclose(grouped["logits"], plain["logits"], atol=1e-4 * np.abs(plain["logits"]).max())


def run(model, options, inputs):
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def test_an_fp16_file_has_none(random_bundle):
    half = to_half(strip_functions(onnx.load(random_bundle("street-tiny").onnx())))
    assert with_blocks(half) == half


def block(*, residual=True, **changed):
    """Make a model of one block; ``changed`` are attributes of its nodes by name, or a node's inputs."""
    weights = {
        "we": (HIDDEN, CHANNELS, 1, 1),
        "wd": (HIDDEN, 1, 3, 3),
        "ws": (SQUEEZED, HIDDEN, 1, 1),
        "wx": (HIDDEN, SQUEEZED, 1, 1),
        "wp": (CHANNELS, HIDDEN, 1, 1),
    }
    rng = np.random.default_rng(0)
    constants = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in weights.items()}
    constants |= {name.replace("w", "b"): rng.standard_normal(len(value)).astype(np.float32)
                  for name, value in constants.items() if name != "ws"}  # the exporter leaves zeros away  # fmt: skip
    constants["axes"] = np.array([2, 3])
    nodes = [
        ("Conv", ["x", "we", "be"], "expanded", {}),
        ("Sigmoid", ["expanded"], "expanded_gate", {}),
        ("Mul", ["expanded", "expanded_gate"], "expanded_swish", {}),
        ("Conv", ["expanded_swish", "wd", "bd"], "convolved", {"group": HIDDEN, "pads": [1, 1, 1, 1]}),
        ("Sigmoid", ["convolved"], "convolved_gate", {}),
        ("Mul", ["convolved", "convolved_gate"], "convolved_swish", {}),
        ("ReduceMean", ["convolved_swish", "axes"], "mean", {}),
        ("Conv", ["mean", "ws"], "squeezed", {}),
        ("Sigmoid", ["squeezed"], "squeezed_gate", {}),
        ("Mul", ["squeezed", "squeezed_gate"], "squeezed_swish", {}),
        ("Conv", ["squeezed_swish", "wx", "bx"], "excited", {}),
        ("Sigmoid", ["excited"], "gate", {}),
        ("Mul", ["convolved_swish", "gate"], "scaled", {}),
        ("Conv", ["scaled", "wp", "bp"], "projected", {}),
        ("Add", ["projected", "x"], "sum", {}),
        ("Relu", ["sum" if residual else "projected"], "y", {}),
    ]
    graph = helper.make_graph(
        [
            helper.make_node(op, changed.get(f"{y}_inputs", inputs), [y], **attributes | changed.get(y, {}))
            for op, inputs, y, attributes in nodes
            if residual or op != "Add"
        ],
        "block",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", CHANNELS, 7, 5])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4)
            for name in ("y", *changed.get("outputs", ()))
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def assert_computes_the_same(model, library, expected):
    """The grouped model has those node types, and gives what the model gives."""
    grouped = with_blocks(model)
    assert types(grouped) == expected
    x = {"x": np.random.default_rng(1).standard_normal((2, CHANNELS, 7, 5)).astype(np.float32)}
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(library))
    plain, fast = (run(each, options, x) for each in (model, grouped))
    assert plain.keys() == fast.keys()
    for name, value in plain.items():
        np.testing.assert_allclose(fast[name], value, rtol=1e-5, atol=1e-5)


def test_a_block_is_one_node(library):
    model = block()
    before = model.SerializeToString()
    assert_computes_the_same(model, library, {"MBConv": 1, "Relu": 1})
    assert model.SerializeToString() == before
    grouped = with_blocks(model)
    assert with_blocks(grouped) == grouped


def test_a_block_without_sum_is_one_node(library):
    assert_computes_the_same(block(residual=False), library, {"MBConv": 1, "Relu": 1})


def test_a_sum_with_something_else_is_no_part_of_it(library):
    model = block(sum_inputs=["projected", "projected"])
    assert_computes_the_same(model, library, {"MBConv": 1, "Add": 1, "Relu": 1})


def test_a_projection_that_is_read_elsewhere_ends_the_block(library):
    assert_computes_the_same(block(outputs=["projected"]), library, {"MBConv": 1, "Add": 1, "Relu": 1})


@pytest.mark.parametrize(
    "changed",
    [{"outputs": ["expanded_swish"]}, {"outputs": ["expanded"]}, {"expanded": {"pads": [1, 1, 1, 1]}}],
    ids=str,
)
def test_an_expansion_that_cannot_be_part_stays(library, changed):
    expected = {"Conv": 1, "Sigmoid": 1, "Mul": 1, "MBConv": 1, "Relu": 1}
    assert_computes_the_same(block(residual=False, **changed), library, expected)


@pytest.mark.parametrize(
    "changed",
    [
        {"outputs": ["convolved"]},
        {"outputs": ["convolved_swish"]},
        {"outputs": ["gate"]},
        {"outputs": ["scaled"]},
        {"outputs": ["squeezed"]},
        {"convolved": {"dilations": [2, 2]}},
        {"convolved": {"auto_pad": "SAME_UPPER", "pads": None}},
        {"projected": {"strides": [2, 2]}},
        {"mean_inputs": ["convolved_gate", "axes"]},
        {"scaled_inputs": ["convolved_swish", "excited"]},
    ],
    ids=str,
)
def test_what_is_no_block_stays_as_it_is(changed):
    model = block(residual=False, **changed)
    assert with_blocks(model) == model
