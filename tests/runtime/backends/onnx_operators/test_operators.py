"""Each operator of the library, in ONNX Runtime, against PyTorch's specification in double precision."""

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper

from training.network.decoder import level_input
from training.network.dpwconv import dpw_inverted_residual, dpwconv
from training.network.label_head import label_head

FLOAT = TensorProto.FLOAT
# Sums of up to a few hundred float32 products of size 1, through up to three convolutions; 2^-24 each.
TOLERANCE = {"rtol": 1e-5, "atol": 2e-5}


def session(library, op_type, inputs, attributes, threads=1):
    """Make a model of one node, without a body: only the library can run it."""
    names = [f"input{index}" for index in range(len(inputs))]
    node = helper.make_node(op_type, names, ["y"], domain="hyperseg", **attributes)
    infos = [helper.make_tensor_value_info(name, FLOAT, None) for name in names]
    graph = helper.make_graph([node], "one", infos, [helper.make_tensor_value_info("y", FLOAT, None)])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("hyperseg", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_cpu_mem_arena = False  # so that a write beyond the output shows where memory is watched
    options.register_custom_ops_library(str(library))
    opened = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: opened.run(None, dict(zip(names, [value.numpy() for value in inputs], strict=True)))[0]


def run(library, op_type, inputs, attributes, threads=1):
    return session(library, op_type, inputs, attributes, threads)()


# name: x channels, out, (height, width), grid, kernel, group, pad_mode, activation, weight_offset
DPWCONV = {
    "pointwise": (5, 4, (6, 8), (3, 2), (1, 1), 1, "reflect", "relu", 0),
    "pointwise, patches of a pixel": (5, 4, (3, 4), (3, 4), (1, 1), 1, "reflect", "relu6", 7),
    "pointwise, wide": (94, 33, (6, 70), (3, 35), (1, 1), 1, "reflect", "none", 3),
    "pointwise, large patch": (9, 12, (120, 90), (1, 1), (1, 1), 1, "reflect", "none", 0),
    "pointwise groups": (4, 6, (4, 6), (2, 3), (1, 1), 2, "reflect", "none", 1),
    "3x3": (3, 4, (4, 6), (2, 3), (3, 3), 1, "reflect", "none", 0),
    "3x3, zeros": (3, 4, (6, 4), (3, 1), (3, 3), 1, "constant", "relu", 0),
    "3x3, patches of a pixel": (2, 3, (2, 3), (2, 3), (3, 3), 1, "reflect", "none", 0),
    "5x5, halo wider than patches": (2, 2, (4, 6), (4, 6), (5, 5), 1, "reflect", "none", 0),
    "5x5, halo wider than the map": (2, 2, (2, 1), (2, 1), (5, 5), 1, "constant", "none", 0),
    "1x3": (3, 2, (2, 6), (2, 2), (1, 3), 1, "reflect", "none", 0),
    "3x1, zeros": (3, 2, (6, 2), (2, 2), (3, 1), 1, "constant", "none", 0),
    "groups": (4, 6, (4, 4), (2, 2), (3, 3), 2, "reflect", "relu6", 0),
    "depthwise": (22, 22, (36, 102), (2, 6), (3, 3), 22, "reflect", "relu6", 4),
    "depthwise, one patch": (5, 5, (150, 170), (1, 1), (3, 3), 5, "constant", "none", 0),
    "odd patches": (7, 9, (15, 63), (5, 3), (3, 3), 1, "reflect", "none", 2),
}


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("case", DPWCONV)
def test_dpwconv(library, case, n):
    channels, out, size, grid, kernel, group, pad_mode, activation, offset = DPWCONV[case]
    torch.manual_seed(0)
    weights = offset + out * channels // group * kernel[0] * kernel[1] + 3
    x, weight, bias = torch.randn(n, channels, *size), torch.randn(n, weights, *grid), torch.randn(out)
    attributes = {
        "out_channels": out,
        "kernel_shape": kernel,
        "group": group,
        "pad_mode": pad_mode,
        "activation": activation,
        "weight_offset": offset,
    }
    expected = dpwconv(x.double(), weight.double(), bias.double(), **attributes)
    np.testing.assert_allclose(run(library, "DPWConv", [x, weight, bias], attributes), expected, **TOLERANCE)


# name: x channels, hidden, out, (height, width), grid, kernel, pad_mode, activation, residual, weight_offset
INVERTED_RESIDUAL = {
    "small": (4, 8, 3, (4, 6), (2, 3), (3, 3), "reflect", "relu6", 0, 5),
    "zeros": (4, 6, 3, (6, 4), (3, 1), (3, 3), "constant", "relu6", 0, 0),
    "residual": (4, 8, 4, (4, 6), (2, 1), (3, 3), "reflect", "relu", 1, 0),
    "patches of a pixel": (3, 5, 2, (2, 3), (2, 3), (3, 3), "reflect", "none", 0, 0),
    "5x5": (3, 7, 6, (10, 18), (2, 6), (5, 5), "reflect", "relu6", 0, 0),
    "1x1": (3, 7, 6, (10, 18), (2, 6), (1, 1), "constant", "relu6", 0, 0),
    "3x5": (3, 7, 6, (10, 18), (2, 6), (3, 5), "constant", "relu6", 0, 0),
    "patches of several steps": (21, 42, 12, (96, 70), (2, 2), (3, 3), "reflect", "relu6", 0, 9),
    "one large patch, residual": (6, 40, 6, (131, 67), (1, 1), (3, 3), "constant", "relu6", 1, 0),
    "more patches than a run": (6, 9, 5, (8, 160), (2, 40), (3, 3), "reflect", "relu6", 0, 1),
}


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("case", INVERTED_RESIDUAL)
def test_dpw_inverted_residual(library, case, n):
    channels, hidden, out, size, grid, kernel, pad_mode, activation, residual, offset = INVERTED_RESIDUAL[case]
    torch.manual_seed(0)
    weights = offset + hidden * (channels + kernel[0] * kernel[1] + out) + 3
    x, weight = torch.randn(n, channels, *size), 0.3 * torch.randn(n, weights, *grid)
    biases = [torch.randn(hidden), torch.randn(hidden), torch.randn(out)]
    attributes = {
        "hidden_channels": hidden,
        "out_channels": out,
        "kernel_shape": kernel,
        "pad_mode": pad_mode,
        "activation": activation,
        "residual": residual,
        "weight_offset": offset,
    }
    inputs = [x, weight, *biases]
    expected = dpw_inverted_residual(*(value.double() for value in inputs), **attributes)
    np.testing.assert_allclose(run(library, "DPWInvertedResidual", inputs, attributes), expected, **TOLERANCE)


# name: skip channels, previous channels, positions, (height, width), grid, kernel, pad_mode
LEVELS = {
    "positions": (3, 4, 1, (8, 12), (2, 3), (3, 3), "reflect"),
    "no positions": (3, 4, 0, (8, 12), (2, 3), (3, 3), "reflect"),
    "zeros": (3, 4, 1, (8, 12), (2, 3), (3, 3), "constant"),
    "pointwise": (5, 2, 1, (6, 4), (3, 2), (1, 1), "reflect"),
    "patches of a pixel, 5x5": (2, 2, 1, (4, 6), (4, 6), (5, 5), "reflect"),
    "patches of odd size": (2, 2, 1, (6, 10), (2, 2), (3, 3), "reflect"),
    "patches of odd size, zeros": (2, 3, 0, (6, 10), (2, 2), (5, 3), "constant"),
    "previous of a pixel": (2, 3, 1, (2, 2), (1, 1), (3, 3), "reflect"),
    "many patches": (4, 6, 1, (16, 272), (1, 34), (3, 3), "reflect"),
    "large patches": (7, 12, 1, (64, 128), (2, 2), (3, 3), "reflect"),
}


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("op_type", ["DPWConvLevel", "DPWInvertedResidualLevel"])
@pytest.mark.parametrize("case", LEVELS)
def test_levels(library, case, op_type, n):
    skips, previous_channels, positions, (height, width), grid, kernel, pad_mode = LEVELS[case]
    torch.manual_seed(0)
    channels, out, offset = 2 * positions + skips + previous_channels, 5, 2
    skip, previous = torch.randn(n, skips, height, width), torch.randn(n, previous_channels, height // 2, width // 2)
    taps = kernel[0] * kernel[1]
    if op_type == "DPWConvLevel":
        specified, weights, biases = dpwconv, out * channels * taps, [torch.randn(out)]
        attributes = {"group": 1, "activation": "none"}
    else:
        specified, hidden = dpw_inverted_residual, 7
        weights, biases = hidden * (channels + taps + out), [torch.randn(size) for size in (hidden, hidden, out)]
        attributes = {"hidden_channels": hidden, "activation": "relu6", "residual": 0}
    attributes |= {"out_channels": out, "kernel_shape": kernel, "pad_mode": pad_mode, "weight_offset": offset}
    weight = 0.3 * torch.randn(n, offset + weights, *grid)
    x = level_input(skip.double(), previous.double(), bool(positions))
    expected = specified(x, weight.double(), *(bias.double() for bias in biases), **attributes)
    y = run(library, op_type, [skip, previous, weight, *biases], attributes | {"positions": positions})
    np.testing.assert_allclose(y, expected, **TOLERANCE)


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("shape", [(2, 19, 5, 7), (1, 3, 1, 1), (3, 1, 2, 9), (1, 256, 3, 33)])
def test_labels_of_whole_logits_are_exact(library, shape, scale):
    """Interpolation by powers of two is exact there, and ties are frequent."""
    torch.manual_seed(0)
    logits = torch.randint(-8, 9, shape).float()
    y = run(library, "LabelHead", [logits], {"scale": scale})
    np.testing.assert_array_equal(y, label_head(logits.double(), scale))


@pytest.mark.parametrize("scale", [1, 2, 3, 5])
def test_labels_of_any_logits(library, scale):
    torch.manual_seed(0)
    logits = torch.randn(2, 19, 33, 70)
    y = run(library, "LabelHead", [logits], {"scale": scale})
    enlarged = F.interpolate(logits.double(), scale_factor=scale, mode="bilinear")
    chosen = enlarged.gather(1, torch.from_numpy(y).long().unsqueeze(1))[:, 0]
    # The label of a logit that is at most a few roundings of float32 less than the largest.
    assert (enlarged.amax(1) - chosen).max() < 1e-6
    assert (torch.from_numpy(y) == label_head(logits.double(), scale)).double().mean() > 0.999


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_labels_where_logits_are_not_numbers(library, value, scale):
    torch.manual_seed(0)
    logits = torch.randn(1, 7, 9, 11)
    logits[torch.rand_like(logits) < 0.1] = value
    y = run(library, "LabelHead", [logits], {"scale": scale})
    np.testing.assert_array_equal(y, label_head(logits, scale))


def test_an_empty_batch_has_no_output(library):
    attributes = {"out_channels": 5, "kernel_shape": [3, 3], "group": 1, "pad_mode": "reflect", "activation": "none"}
    inputs = [torch.zeros(0, 6, 4, 8), torch.zeros(0, 6 * 5 * 9, 2, 2), torch.zeros(5)]
    assert run(library, "DPWConv", inputs, attributes).shape == (0, 5, 4, 8)
    assert run(library, "LabelHead", [torch.zeros(0, 19, 3, 4)], {"scale": 2}).shape == (0, 6, 8)


def test_threads_share_the_work(library):
    torch.manual_seed(0)
    inputs = [torch.randn(2, 6, 32, 80), torch.randn(2, 6 * 5, 8, 20), torch.randn(5)]
    attributes = {"out_channels": 5, "kernel_shape": [1, 1], "group": 1, "pad_mode": "reflect", "activation": "none"}
    once, twice = (run(library, "DPWConv", inputs, attributes, threads) for threads in (1, 4))
    np.testing.assert_array_equal(once, twice)
