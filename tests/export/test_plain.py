"""The plain form against the function bodies in ONNX Runtime, and against what TensorRT's parsers read."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from export import operators
from export.downgrade import downgrade
from export.fuse import fuse
from export.half import to_half
from export.plain import plain
from tests.export.fused_models import Level, complete, head_model, level_model, run
from tests.export.parsers import assert_tensorrt_reads

# float32 on both sides: sums of up to a hundred terms, in different orders, through up to three convolutions.
TOLERANCE = 1e-5

LEVELS = {
    "pointwise": Level(3, 2, (4, 8), (2, 4), activation="relu", weight_offset=3),
    "depthwise": Level(3, 1, (6, 4), (3, 2), 4, (3, 3), group=4, positions=0),
    "depthwise 1x5, zeros": Level(1, 1, (4, 8), (2, 4), 4, (1, 5), group=4, pad_mode="constant", activation="none"),
    "inverted residual": Level(3, 4, (4, 8), (2, 2), kernel_shape=(3, 3), hidden_channels=8, weight_offset=2),
    "inverted residual, zeros": Level(2, 3, (4, 6), (2, 3), 4, (3, 3), hidden_channels=6, pad_mode="constant"),
}


def assert_plain(model: onnx.ModelProto) -> None:
    assert not model.functions
    assert {opset.domain for opset in model.opset_import} == {""}
    assert not {"If", "Scan", "Loop", "Constant"} & {node.op_type for node in model.graph.node}
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("case", LEVELS)
def test_a_level_computes_what_its_body_does(case):
    torch.manual_seed(0)
    attached, inputs = level_model([LEVELS[case]]), LEVELS[case].inputs(1)
    bare = plain(attached)
    assert_plain(bare)
    (y,), (expected,) = run(bare, *inputs), run(attached, *inputs)
    np.testing.assert_allclose(y, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_a_label_head_computes_what_its_body_does(scale):
    torch.manual_seed(0)
    attached, logits = head_model(7, (5, 4), scale), torch.randn(1, 7, 5, 4)
    assert_plain(plain(attached))
    assert np.array_equal(run(plain(attached), logits)[0], run(attached, logits)[0])


def test_a_block_adds_its_input():
    torch.manual_seed(0)
    node = """y = hyperseg.DPWInvertedResidual<hidden_channels = 5, out_channels = 3, kernel_shape = [3, 3],
        pad_mode = "reflect", activation = "relu", residual = 1>(x, w, b, b, c)"""
    inputs = "float[n, 3, 4, 6] x, float[n, 75, 2, 3] w, float[5] b, float[3] c"
    attached = complete(onnx.parser.parse_graph(f"block ({inputs}) => (float[n, 3, 4, 6] y) {{ {node} }}"))
    values = [torch.randn(1, 3, 4, 6), torch.randn(1, 75, 2, 3), torch.randn(5), torch.randn(3)]
    (y,), (expected,) = run(plain(attached), *values), run(attached, *values)
    np.testing.assert_allclose(y, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def test_other_convolutions_have_no_plain_form():
    level = Level(3, 1, (4, 4), (2, 2), kernel_shape=(3, 3), group=3)
    with pytest.raises(ValueError, match="3 groups, 6 channels and kernel 3x3"):
        plain(level_model([level]))


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def bare(request, random_bundle):
    """street-tiny as it is written for TensorRT, in a precision, and how far its logits may be off."""
    model = fuse(operators.strip_functions(onnx.load(random_bundle("street-tiny").onnx())))
    # FP16 rounds what passes through memory, here after each convolution, to 2^-11 of its size.
    return (downgrade(to_half(model)), 2**-8) if request.param == "fp16" else (downgrade(model), TOLERANCE)


def test_a_network_computes_what_the_bodies_do(bare, random_bundle):
    model, tolerance = bare
    info = random_bundle("street-tiny").info
    image = np.random.default_rng(0).integers(0, 256, (1, info.height, info.width, 3), np.uint8)
    results = []
    for form in (operators.attach_functions(model), plain(model)):
        session = onnxruntime.InferenceSession(form.SerializeToString(), providers=["CPUExecutionProvider"])
        results.append(session.run(["labels", "logits"], {"image": image}))
    (labels, logits), (plain_labels, plain_logits) = results
    np.testing.assert_allclose(plain_logits, logits, rtol=0, atol=tolerance * np.abs(logits).max())
    near = np.partition(logits, -2, axis=1)[:, -2:]
    certain = near[:, 1] - near[:, 0] > 2 * tolerance * np.abs(logits).max()
    assert certain.mean() > 0.5
    assert (labels == plain_labels)[certain].all()


def test_tensorrt_reads_it(bare):
    read = plain(bare[0])
    assert_plain(read)
    assert_tensorrt_reads(read)
