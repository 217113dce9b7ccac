"""MBConv of the library, in ONNX Runtime, against PyTorch in double precision."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.runtime.backends.onnx_operators.test_operators import TOLERANCE, run, session

# name: in, hidden, squeezed, out, kernel, stride, pads (top, left, bottom, right), (height, width), expand, residual
CASES = {
    "residual": (24, 144, 6, 24, 3, 1, (1, 1, 1, 1), (18, 24), True, True),
    "stride 2": (16, 96, 4, 24, 3, 2, (0, 0, 1, 1), (14, 32), True, False),
    "5x5": (40, 48, 10, 40, 5, 1, (2, 2, 2, 2), (9, 16), True, True),
    "5x5, stride 2": (24, 144, 6, 40, 5, 2, (1, 1, 2, 2), (18, 20), True, False),
    "no expand": (32, 32, 8, 16, 3, 1, (1, 1, 1, 1), (20, 37), False, False),
    "no expand, residual": (16, 16, 4, 16, 3, 1, (1, 1, 1, 1), (5, 50), False, True),
    "odd channels": (7, 53, 3, 13, 3, 1, (1, 1, 1, 1), (9, 11), True, False),
    "odd channels, no expand": (5, 5, 2, 5, 5, 1, (2, 2, 2, 2), (9, 11), False, True),
    "many channels": (50, 300, 12, 110, 5, 2, (2, 2, 2, 2), (7, 6), True, False),
    "one pixel": (3, 18, 1, 3, 3, 1, (1, 1, 1, 1), (1, 1), True, True),
    "one column": (3, 18, 1, 4, 3, 2, (1, 1, 1, 1), (40, 1), True, False),
    "no padding": (4, 20, 2, 6, 3, 1, (0, 0, 0, 0), (6, 21), True, False),
    "7x7, stride 3": (4, 20, 2, 6, 7, 3, (3, 3, 3, 3), (15, 17), True, False),
    "wide padding": (4, 20, 2, 6, 3, 1, (3, 1, 4, 5), (5, 7), True, False),
}


def make(case, n, scale=1.0):
    """Return the node's inputs and attributes."""
    inner, hidden, squeezed, out, kernel, stride, pads, size, expand, residual = CASES[case]
    torch.manual_seed(0)
    shapes = [(hidden, 1, kernel, kernel), (squeezed, hidden, 1, 1), (hidden, squeezed, 1, 1), (out, hidden, 1, 1)]
    shapes += [(hidden, inner, 1, 1)] * expand
    weights = [torch.randn(shape) / np.sqrt(np.prod(shape[1:])) for shape in shapes]
    biases = [torch.randn(len(weight)) for weight in weights]
    x = scale * torch.randn(n, inner, *size)
    inputs = [x, *(tensor for pair in zip(weights, biases, strict=True) for tensor in pair)]
    return inputs, {"strides": [stride, stride], "pads": pads, "residual": int(residual)}


def mbconv(x, depthwise, b1, squeeze, b2, excite, b3, project, b4, expand=None, b5=None, *, strides, pads, residual):
    inside = x if expand is None else F.silu(F.conv2d(x, expand, b5))
    top, left, bottom, right = pads
    padded = F.pad(inside, (left, right, top, bottom))
    inside = F.silu(F.conv2d(padded, depthwise, b1, stride=strides, groups=len(depthwise)))
    gate = F.conv2d(F.silu(F.conv2d(inside.mean((2, 3), keepdim=True), squeeze, b2)), excite, b3).sigmoid()
    y = F.conv2d(inside * gate, project, b4)
    return y + x if residual else y


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_mbconv(library, case, n):
    inputs, attributes = make(case, n)
    expected = mbconv(*(value.double() for value in inputs), **attributes)
    np.testing.assert_allclose(run(library, "MBConv", inputs, attributes), expected, **TOLERANCE)


def test_large_values_saturate(library):
    inputs, attributes = make("residual", 1, scale=1e3)
    expected = mbconv(*(value.double() for value in inputs), **attributes)
    tolerance = 1e-5 * float(expected.abs().max())
    np.testing.assert_allclose(run(library, "MBConv", inputs, attributes), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_stays_so(library, value):
    inputs, attributes = make("residual", 1)
    inputs[0][0, 3, 4, 5] = value
    assert np.isnan(run(library, "MBConv", inputs, attributes)).all()  # by way of the mean
    assert mbconv(*inputs, **attributes).isnan().all()


@pytest.mark.parametrize("case", ["residual", "no expand", "many channels"])
def test_threads_change_nothing(library, case):
    inputs, attributes = make(case, 2)
    once, again = (run(library, "MBConv", inputs, attributes, threads) for threads in (1, 4))
    np.testing.assert_array_equal(once, again)


def test_a_call_leaves_nothing_for_the_next(library):
    """Blocks share the memory that they work in: a large one between must not show."""
    small, large = (session(library, "MBConv", *make(case, 1)) for case in ("residual", "many channels"))
    before = small()
    large()
    np.testing.assert_array_equal(small(), before)


@pytest.mark.parametrize(
    ("index", "shape", "message"),
    [
        (1, (144, 2, 3, 3), "do not fit together"),
        (3, (6, 143, 1, 1), "do not fit together"),
        (8, (23,), "do not fit together"),
        (10, (143,), "of the expansion's"),
        (0, (1, 25, 18, 24), "of the expansion's"),
        (0, (24, 18, 24), "four dimensions"),
        (0, (0, 24, 18, 24), "is empty"),
        (1, (0, 1, 3, 3), "is empty"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(library, index, shape, message):
    inputs, attributes = make("residual", 1)
    inputs[index] = torch.zeros(shape)
    with pytest.raises(Exception, match=message):
        run(library, "MBConv", inputs, attributes)


def test_a_sum_of_two_shapes_is_refused(library):
    inputs, attributes = make("stride 2", 1)
    with pytest.raises(Exception, match="the shape of Y"):
        run(library, "MBConv", inputs, attributes | {"residual": 1})


@pytest.mark.parametrize("size", [(2, 9), (9, 2)])
def test_a_map_smaller_than_the_kernel_is_refused(library, size):
    """By one pixel, less than a stride: rounded towards zero, there would be an output."""
    inputs, attributes = make("stride 2", 1)
    inputs[0] = torch.zeros(1, 16, *size)
    with pytest.raises(Exception, match="smaller than the kernel"):
        run(library, "MBConv", inputs, attributes | {"pads": [0, 0, 0, 0]})
