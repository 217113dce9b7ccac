"""The operators' specification against loops written straight from the paper's Eq. 8."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from training.network.dpwconv import (
    dpw_inverted_residual,
    dpwconv,
    merge_patches,
    patch_conv,
    patch_weights,
    patch_windows,
)

# float64 on both sides; the sums have at most a few hundred terms of size 1, each with a rounding error of 1e-16.
TOLERANCE = {"rtol": 0, "atol": 1e-12}
ACTIVATIONS = {"none": lambda x: x, "relu": lambda x: np.maximum(x, 0), "relu6": lambda x: np.clip(x, 0, 6)}


@pytest.fixture(autouse=True)
def _seed_and_one_thread():
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # maps of a few pixels: threads would only wait for each other
    yield
    torch.set_num_threads(threads)


def randn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def pixel(x: np.ndarray, y: int, column: int, pad_mode: str) -> np.ndarray:
    """All channels of x [C, H, W] at a position that may lie outside the map."""
    height, width = x.shape[1:]
    if pad_mode == "constant" and not (0 <= y < height and 0 <= column < width):
        return np.zeros(len(x))
    y, column = (size - 1 - abs(size - 1 - abs(i)) for i, size in ((y, height), (column, width)))
    return x[:, y, column]


def loop_dpwconv(x, weight, bias, out_channels, kernel_shape, group, pad_mode, activation, weight_offset):
    """Every output pixel and channel from the definition."""
    (n, channels, height, width), (rows, columns), (kh, kw) = x.shape, weight.shape[2:], kernel_shape
    group_in, group_out = channels // group, out_channels // group
    y = np.zeros((n, out_channels, height, width))
    for s, o, i, j in np.ndindex(y.shape):
        patch_theta = weight[s, weight_offset:, i * rows // height, j * columns // width]
        total = bias[o]
        for c, u, v in np.ndindex(group_in, kh, kw):
            theta = patch_theta[((o * group_in + c) * kh + u) * kw + v]
            channel = o // group_out * group_in + c
            total += theta * pixel(x[s], i + u - kh // 2, j + v - kw // 2, pad_mode)[channel]
        y[s, o, i, j] = total
    return ACTIVATIONS[activation](y)


def loop_inverted_residual(x, weight, biases, hidden, out_channels, kernel, pad_mode, activation, residual, offset):
    """Every output pixel from the definition: the expand of a halo pixel is computed with the weights of the owner."""
    (n, channels, height, width), (rows, columns), (kh, kw) = x.shape, weight.shape[2:], kernel
    act = ACTIVATIONS[activation]
    ends = np.cumsum([offset, hidden * channels, hidden * kh * kw, out_channels * hidden])
    y = np.zeros((n, out_channels, height, width))
    for s, i, j in np.ndindex(n, height, width):
        theta = weight[s, :, i * rows // height, j * columns // width]
        expand = theta[ends[0] : ends[1]].reshape(hidden, channels)
        depthwise = theta[ends[1] : ends[2]].reshape(hidden, kh, kw)
        project = theta[ends[2] : ends[3]].reshape(out_channels, hidden)
        total = biases[1].copy()
        for u, v in np.ndindex(kh, kw):
            inside = pixel(x[s], i + u - kh // 2, j + v - kw // 2, pad_mode)
            total += depthwise[:, u, v] * act(expand @ inside + biases[0])
        y[s, :, i, j] = project @ act(total) + biases[2]
    return y + x if residual else y


# n, Cin, Cout, group, kernel, H, W, grid
CONVOLUTIONS = {
    "pointwise": (2, 3, 4, 1, (1, 1), 4, 6, (2, 2)),
    "pointwise, patches of a pixel": (2, 3, 4, 1, (1, 1), 2, 3, (2, 3)),
    "3x3, patches of a pixel": (1, 2, 3, 1, (3, 3), 3, 4, (3, 4)),
    "3x3, map of 2 pixels": (1, 2, 3, 1, (3, 3), 2, 2, (1, 2)),
    "5x5, halo wider than patches": (1, 2, 2, 1, (5, 5), 4, 6, (4, 3)),
    "1x3": (2, 2, 3, 1, (1, 3), 2, 6, (1, 3)),
    "groups": (1, 4, 6, 2, (3, 3), 4, 4, (2, 1)),
    "depthwise": (2, 4, 4, 4, (3, 3), 4, 6, (2, 3)),
    "pointwise groups": (1, 4, 2, 2, (1, 1), 2, 4, (1, 2)),
}


@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_dpwconv_is_the_definition(case, pad_mode):
    n, channels, out_channels, group, kernel, height, width, grid = CONVOLUTIONS[case]
    offset, size = 5, out_channels * channels // group * kernel[0] * kernel[1]
    x, weight, bias = randn(n, channels, height, width), randn(n, offset + size + 3, *grid), randn(out_channels)
    for activation in ACTIVATIONS:
        y = dpwconv(
            x,
            weight,
            bias,
            out_channels=out_channels,
            kernel_shape=kernel,
            group=group,
            pad_mode=pad_mode,
            activation=activation,
            weight_offset=offset,
        )
        expected = loop_dpwconv(
            x.numpy(), weight.numpy(), bias.numpy(), out_channels, kernel, group, pad_mode, activation, offset
        )
        np.testing.assert_allclose(y, expected, **TOLERANCE)


@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
@pytest.mark.parametrize(
    ("n", "channels", "out_channels", "kernel", "size", "grid"),
    [(2, 3, 2, (3, 3), (4, 6), (2, 2)), (1, 2, 2, (3, 3), (2, 3), (2, 3)), (1, 2, 3, (5, 1), (4, 4), (2, 1))],
)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_inverted_residual_is_the_definition(n, channels, out_channels, kernel, size, grid, pad_mode, activation):
    hidden, offset, residual = 4, 3, channels == out_channels
    theta_size = hidden * (channels + kernel[0] * kernel[1] + out_channels)
    x, weight = randn(n, channels, *size), randn(n, offset + theta_size + 2, *grid)
    biases = randn(hidden), randn(hidden), randn(out_channels)
    y = dpw_inverted_residual(
        x,
        weight,
        *biases,
        hidden_channels=hidden,
        out_channels=out_channels,
        kernel_shape=kernel,
        pad_mode=pad_mode,
        activation=activation,
        residual=residual,
        weight_offset=offset,
    )
    arrays = [bias.numpy() for bias in biases]
    expected = loop_inverted_residual(
        x.numpy(), weight.numpy(), arrays, hidden, out_channels, kernel, pad_mode, activation, residual, offset
    )
    np.testing.assert_allclose(y, expected, **TOLERANCE)


def test_no_bias_is_a_bias_of_zero():
    x, weight = randn(1, 2, 4, 4), randn(1, 6, 2, 2)
    assert torch.equal(dpwconv(x, weight, out_channels=3), dpwconv(x, weight, torch.zeros(3).double(), out_channels=3))


@pytest.mark.parametrize("pad_mode", ["reflect", "constant"])
@pytest.mark.parametrize(("kernel", "group", "grid"), [((1, 1), 1, (2, 2)), ((3, 3), 2, (4, 1)), ((5, 3), 1, (4, 2))])
def test_gradients_of_dpwconv(kernel, group, grid, pad_mode):
    size = 2 * 2 // group * kernel[0] * kernel[1]
    inputs = randn(2, 2, 4, 4).requires_grad_(), randn(2, size + 1, *grid).requires_grad_(), randn(2).requires_grad_()

    def run(x, weight, bias):
        return dpwconv(x, weight, bias, out_channels=2, kernel_shape=kernel, group=group, pad_mode=pad_mode)

    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


def test_gradients_of_inverted_residual():
    x, weight = randn(2, 2, 4, 3), randn(2, 3 * (2 + 9 + 2) + 1, 2, 3)
    inputs = [value.requires_grad_() for value in (x, weight, randn(3), randn(3), randn(2))]

    def run(*inputs):
        return dpw_inverted_residual(*inputs, hidden_channels=3, out_channels=2, residual=True)

    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


def test_halo_semantics_differ_at_patch_borders_only():
    """v1 expands a halo pixel with the owner's weights, v0_1 takes the value that its neighbour computed."""
    hidden, channels, out_channels = 4, 3, 2
    x, weight = randn(2, channels, 8, 12), randn(2, hidden * (channels + 9 + out_channels), 2, 3)
    biases = randn(hidden), randn(hidden), randn(out_channels)
    v1 = dpw_inverted_residual(x, weight, *biases, hidden_channels=hidden, out_channels=out_channels)

    depthwise, project = hidden * channels, hidden * (channels + 9)
    y = dpwconv(x, weight, biases[0], out_channels=hidden, activation="relu6")
    y = dpwconv(
        y,
        weight,
        biases[1],
        out_channels=hidden,
        kernel_shape=(3, 3),
        group=hidden,
        activation="relu6",
        weight_offset=depthwise,
    )
    v0_1 = dpwconv(y, weight, biases[2], out_channels=out_channels, weight_offset=project)

    rows, columns = torch.arange(8), torch.arange(12)
    beside_seam_y, beside_seam_x = (rows == 3) | (rows == 4), torch.isin(columns, torch.tensor([3, 4, 7, 8]))
    beside_seam = beside_seam_y[:, None] | beside_seam_x
    same = torch.isclose(v1, v0_1, **TOLERANCE).all(dim=(0, 1))
    assert torch.equal(same, ~beside_seam)


def test_primitives_make_the_operator():
    x, weight = randn(2, 4, 6, 8), randn(2, 40, 2, 4)
    windows = patch_windows(x, (2, 4), halo=(1, 1))
    assert windows.shape == (2, 2, 4, 4, 5, 4)
    theta = patch_weights(weight, 2, (4, 1, 3, 3))
    for s, i, j in product(range(2), range(2), range(4)):
        assert torch.equal(theta[s, i, j].flatten(), weight[s, 2:38, i, j])
    y = merge_patches(patch_conv(windows, theta, group=4))
    assert torch.equal(y, dpwconv(x, weight, out_channels=4, kernel_shape=(3, 3), group=4, weight_offset=2))
    assert torch.equal(merge_patches(patch_windows(x, (2, 4))), x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_dtype_is_kept(dtype):
    x, weight, bias = (value.to(dtype) for value in (randn(1, 2, 4, 4), randn(1, 18 * 2, 2, 2), randn(2)))
    assert dpwconv(x, weight, bias, out_channels=2, kernel_shape=(3, 3)).dtype == dtype


@pytest.mark.parametrize(
    ("size", "grid", "changes", "message"),
    [
        ((5, 4), (2, 2), {}, "5x4 pixels cannot be cut into 2x2"),
        ((4, 5), (2, 2), {}, "4x5 pixels cannot be cut into 2x2"),
        ((4, 4), (2, 2), {"weight_offset": 33}, "not within K = 36"),
        ((4, 4), (2, 2), {"weight_offset": -1}, "not within K = 36"),
        ((4, 4), (2, 2), {"group": 3}, "group 3 does not divide 2 input and 2 output channels"),
        ((4, 4), (2, 2), {"kernel_shape": (2, 3)}, "must be odd"),
        ((4, 4), (2, 2), {"kernel_shape": (3, 3), "pad_mode": "edge"}, "pad_mode 'edge'"),
        ((4, 4), (2, 2), {"activation": "silu"}, "activation 'silu'"),
        ((1, 4), (1, 2), {"kernel_shape": (3, 3)}, "1x4 pixels cannot be mirrored by 1x1"),
    ],
)
def test_what_does_not_fit_is_refused(size, grid, changes, message):
    with pytest.raises(ValueError, match=message):
        dpwconv(randn(1, 2, *size), randn(1, 36, *grid), **{"out_channels": 2, **changes})


def test_weights_of_another_batch_are_refused():
    with pytest.raises(ValueError, match="do not match weights"):
        dpwconv(randn(2, 2, 4, 4), randn(1, 4, 2, 2), out_channels=2)


def test_residual_needs_equal_channels():
    biases = randn(3), randn(3), randn(1)
    with pytest.raises(ValueError, match="residual"):
        dpw_inverted_residual(
            randn(1, 2, 4, 4), randn(1, 99, 2, 2), *biases, hidden_channels=3, out_channels=1, residual=True
        )
