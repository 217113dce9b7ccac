"""The level operators and LabelHead: what the specification, ONNX Runtime and ONNX's reference make of their nodes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from export import operators
from tests.export.fused_models import LEVELS, Level, evaluate, head_model, level_model, run, session_of
from training.network.label_head import label_head

# float32 on all sides: sums of up to a hundred terms of size 1, in different orders, each rounded to 6e-8, pass through
# up to three convolutions.
TOLERANCE = {"rtol": 1e-5, "atol": 2e-5}
# An FP16 level rounds its coordinates and its enlarged map, then as often as the other operators do.
HALF_STEPS = 6 * 2**-11
OPTIMISATIONS = [LEVELS.ORT_DISABLE_ALL, LEVELS.ORT_ENABLE_ALL]


@pytest.fixture(autouse=True)
def _seed_and_one_thread():
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small maps: threads would only wait for each other
    yield
    torch.set_num_threads(threads)


CASES = {
    "pointwise": Level(3, 2, (4, 8), (2, 4), activation="relu"),
    "pointwise, patches of a pixel": Level(3, 2, (4, 6), (4, 6), weight_offset=5),
    "pointwise, no positions": Level(2, 4, (4, 6), (2, 3), positions=0, activation="none"),
    "groups": Level(3, 1, (4, 4), (2, 2), kernel_shape=(3, 3), group=3),
    "3x3, one patch": Level(1, 1, (4, 6), (1, 1), kernel_shape=(3, 3)),
    "1x3, zeros": Level(2, 1, (2, 6), (2, 2), kernel_shape=(1, 3), pad_mode="constant"),
    "5x5, halo wider than patches": Level(1, 2, (4, 6), (4, 6), kernel_shape=(5, 5)),
    "inverted residual": Level(3, 4, (4, 8), (2, 2), hidden_channels=8, kernel_shape=(3, 3), weight_offset=2),
    "inverted residual, zeros": Level(2, 3, (4, 6), (2, 3), 4, (3, 3), hidden_channels=6, pad_mode="constant"),
    "inverted residual, no positions": Level(2, 3, (6, 4), (3, 1), 2, (3, 3), hidden_channels=5, positions=0),
    "inverted residual, previous of a pixel": Level(1, 2, (2, 2), (1, 1), 2, (3, 3), hidden_channels=4),
}


@pytest.mark.parametrize("case", CASES)
def test_every_way_to_run_a_level_agrees(case):
    level = CASES[case]
    model = level_model([level])
    for n in (1, 3):
        inputs = level.inputs(n)
        expected = level.specified(*inputs)
        for optimisation in OPTIMISATIONS:
            np.testing.assert_allclose(run(model, *inputs, optimisation=optimisation)[0], expected, **TOLERANCE)
        np.testing.assert_allclose(evaluate(model, *inputs)[0], expected, **TOLERANCE)


@pytest.mark.parametrize("case", CASES)
def test_a_level_in_float16(case):
    level = CASES[case]
    inputs = [value.half() for value in level.inputs(2)]
    (y,) = run(level_model([level], "float16"), *inputs)
    assert y.dtype == np.float16
    expected = level.specified(*(value.float() for value in inputs))
    np.testing.assert_allclose(y, expected, rtol=0, atol=HALF_STEPS * np.abs(expected).max())


@pytest.mark.parametrize("size", [(2, 514), (258, 6), (130, 1026)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_coordinates_are_pytorchs_bit_for_bit(size, dtype):
    level = Level(1, 1, size, (1, 1), out_channels=3, activation="none")
    model = level_model([level], dtype)
    x, y = (torch.linspace(-1, 1, pixels).numpy().astype(dtype) for pixels in reversed(size))
    for channel, expected in ((0, x), (1, y[:, np.newaxis])):
        skip, previous, weight = (value.to(getattr(torch, dtype)) for value in level.inputs(1))
        weight[0, level.channels : 2 * level.channels, 0, 0] = torch.eye(level.channels)[channel]
        (picked,) = run(model, skip, previous, weight)  # the second of three channels, whose bias is 0
        assert np.array_equal(picked[0, 1], np.broadcast_to(expected, size))


SHARED = [
    Level(3, 2, (4, 8), (2, 4), activation="relu", weight_offset=2),
    Level(2, 1, (6, 6), (3, 3), kernel_shape=(3, 3), pad_mode="constant"),
    Level(2, 1, (6, 6), (3, 3), kernel_shape=(3, 3), positions=0),
    Level(4, 1, (6, 6), (3, 3), kernel_shape=(3, 3), positions=0),
    Level(3, 4, (4, 8), (2, 2), hidden_channels=8, kernel_shape=(3, 3)),
    Level(2, 4, (6, 6), (3, 3), hidden_channels=5, kernel_shape=(3, 3), positions=0),
]


@pytest.mark.parametrize(("dtype", "batch"), [("float32", "n"), ("float32", 2), ("float16", "n")])
@pytest.mark.parametrize("optimisation", OPTIMISATIONS, ids=lambda level: level.name)
def test_levels_of_all_sizes_share_a_body(dtype, batch, optimisation):
    """Two of them differ in their sizes alone. Of a batch that is no symbol shape inference knows more."""
    model = level_model(SHARED, dtype, batch)
    assert [function.name for function in model.functions] == ["DPWConvLevel", "DPWInvertedResidualLevel"]
    inputs = [[value.to(getattr(torch, dtype)) for value in level.inputs(2)] for level in SHARED]
    results = run(model, *(value for values in inputs for value in values), optimisation=optimisation)
    for y, level, own in zip(results, SHARED, inputs, strict=True):
        expected = level.specified(*(value.float() for value in own))
        tolerance = TOLERANCE if dtype == "float32" else {"rtol": 0, "atol": HALF_STEPS * np.abs(expected).max()}
        np.testing.assert_allclose(y, expected, **tolerance)


def test_onnx_runtime_keeps_the_branch_that_a_node_needs(tmp_path):
    levels = SHARED[:1] + SHARED[3:]  # whose attributes differ
    session_of(level_model(levels), optimised=str(tmp_path / "optimised.onnx"))
    ran = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert ran.count("Scan") == len(levels)
    assert not {"If", "Equal", "RegexFullMatch"} & set(ran)
    # Of the sizes only the batch is computed: for the coordinates, and for where a sample's rows begin.
    assert ran.count("Shape") == sum(1 + level.positions for level in levels)


HEADS = {
    "scale 2": (5, (4, 6), 2),
    "one class": (1, (3, 2), 2),
    "one pixel": (4, (1, 1), 2),
    "as large as the logits": (7, (5, 3), 1),
    "scale 4, one row": (3, (1, 7), 4),
    "scale 64": (2, (2, 1), 64),
    "256 classes": (256, (3, 4), 2),
}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("case", HEADS)
def test_every_way_to_run_a_label_head_agrees(case, dtype):
    """On whole numbers, which powers of two enlarge exactly: ties are ties, and many."""
    classes, size, scale = HEADS[case]
    model = head_model(classes, size, scale, dtype)
    for n in (1, 3):
        logits = torch.randint(-3, 4, (n, classes, *size)).to(getattr(torch, dtype))
        expected = label_head(logits, scale).numpy()
        assert expected.dtype == dtype
        for optimisation in OPTIMISATIONS:
            (labels,) = run(model, logits, optimisation=optimisation)
            assert labels.dtype == dtype
            assert np.array_equal(labels, expected)
    assert np.array_equal(evaluate(model, logits)[0], expected)


def test_a_label_head_enlarges_by_any_factor():
    logits = torch.randn(2, 6, 5, 7)  # of which no two come within round-off of each other
    for scale in (3, 5, 7):
        (labels,) = run(head_model(6, (5, 7), scale), logits)
        assert np.array_equal(labels, label_head(logits, scale).numpy())


def test_a_label_head_compares_before_it_rounds():
    """2048.5 would be 2048 in FP16, and class 0 the first of two equal ones."""
    logits = torch.tensor([[2048.0, 2048.0], [2048.0, 2050.0]]).half().view(1, 2, 1, 2)
    expected = [[0, 1, 1, 1]] * 2
    assert label_head(logits, 2)[0].tolist() == expected
    model = head_model(2, (1, 2), 2, "float16")
    for labels in (*run(model, logits), *evaluate(model, logits)):  # ONNX Runtime has no FP16 Resize that could round
        assert labels[0].tolist() == expected


def test_schemas_say_what_does_not_fit():
    level = Level(2, 3, (4, 6), (2, 3))
    model = operators.strip_functions(level_model([level]))
    model.graph.input[1].type.tensor_type.shape.dim[3].dim_value = 2
    with pytest.raises(onnx.shape_inference.InferenceError, match="6 where P is 2"):
        onnx.checker.check_model(model, full_check=True)
    for classes, scale, message in ((257, 2, "257 classes"), (4, 0, "scale 0"), (4, 65, "scale 65")):
        with pytest.raises(onnx.shape_inference.InferenceError, match=message):
            head_model(classes, (2, 2), scale)


def test_shape_inference_alone_finds_the_shapes():
    for model, expected in (
        (level_model([CASES["inverted residual"]]), ["n", 3, 4, 8]),
        (head_model(5, (4, 6), 2), ["n", 8, 12]),
    ):
        bare = operators.strip_functions(model)
        bare.graph.output[0].type.tensor_type.ClearField("shape")
        dims = onnx.shape_inference.infer_shapes(bare, strict_mode=True).graph.output[0].type.tensor_type.shape.dim
        assert [dim.dim_param or dim.dim_value for dim in dims] == expected
