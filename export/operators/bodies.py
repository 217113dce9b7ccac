"""The two operators written in standard ONNX operators, for any batch, grid and attributes.

A body walks over the rows of patches with one Scan, so that a row's windows stay in the cache while they are convolved,
and one Conv convolves all patches of a row, each as a group of its own. Conv takes its number of groups as a literal:
a body is written for the numbers that a model's nodes need, with one branch for each, and an If chooses by the node's
shapes and attributes. ONNX Runtime resolves that, and the arithmetic on sizes, when it loads the model.

Sizes are int64 vectors of one element; comments give the shape of the value made on their line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from onnx import TensorProto, helper

from export.operators.builder import INT, INTS, STRING, AttributeOf, Builder


class Literals(NamedTuple):
    """What a branch is written for: patches in a row, groups within a patch, taps of the kernel."""

    columns: int
    group: int
    taps: int


class Sizes(NamedTuple):
    """Names of the sizes of X [N, C, H, W], the grid Nh x Nw, the patches ph x pw, the kernel and its halo hh x hw."""

    n: str
    channels: str
    height: str
    width: str
    rows: str
    columns: str
    ph: str
    pw: str
    kernel: str
    taps: str
    hh: str
    hw: str


def write_dpwconv(op: Builder, literals: list[Literals]) -> str:
    """Write DPWConv(X, W, B); return the name of Y."""
    sizes = read_sizes(op)
    group, out_channels = int_attribute(op, "group"), int_attribute(op, "out_channels")
    group_channels = op.Div(sizes.channels, group)
    offset = int_attribute(op, "weight_offset")
    weights = row_weights(op, sizes, offset, out_channels, op.Concat(group_channels, sizes.kernel, axis=0))
    bias = op.Tile("B", sizes.columns)
    low, high = activation_bounds(op)

    def branch(op: Builder, literal: Literals) -> str:
        def convolve(op: Builder, windows: str, weight: str) -> str:
            y = op.Conv(windows, weight, bias, group=literal.columns * literal.group)
            return op.Clip(y, low, high)

        return scan_rows(op, sizes, out_channels, literal.taps > 1, [weights], convolve)

    return choose(op, (sizes.columns, group, sizes.taps), literals, branch)


def write_dpw_inverted_residual(op: Builder, literals: list[Literals]) -> str:
    """Write DPWInvertedResidual(X, W, B1, B2, B3); return the name of Y."""
    sizes = read_sizes(op)
    hidden, out_channels = int_attribute(op, "hidden_channels"), int_attribute(op, "out_channels")
    offset = int_attribute(op, "weight_offset")
    one_by_one = [1, 1]
    expand = row_weights(op, sizes, offset, hidden, op.Concat(sizes.channels, one_by_one, axis=0))
    depthwise = row_weights(op, sizes, expand.end, hidden, op.Concat([1], sizes.kernel, axis=0))
    project = row_weights(op, sizes, depthwise.end, out_channels, op.Concat(hidden, one_by_one, axis=0))
    bias1, bias2, bias3 = (op.Tile(bias, sizes.columns) for bias in ("B1", "B2", "B3"))
    low, high = activation_bounds(op)

    def branch(op: Builder, literal: Literals) -> str:
        def convolve(op: Builder, windows: str, expand: str, depthwise: str, project: str) -> str:
            y = op.Clip(op.Conv(windows, expand, bias1, group=literal.columns), low, high)
            y = op.Clip(op.Conv(y, depthwise, bias2, group=literal.columns * literal.group), low, high)
            return op.Conv(y, project, bias3, group=literal.columns)

        return scan_rows(op, sizes, out_channels, literal.taps > 1, [expand, depthwise, project], convolve)

    y = choose(op, (sizes.columns, hidden, sizes.taps), literals, branch)
    with_x, without_x = op.subgraph(), op.subgraph()
    # The shape of X is that of Y wherever this branch runs; elsewhere the Reshape keeps shape inference content.
    sum_with_x = with_x.Add(y, with_x.Reshape("X", with_x.Shape(y)))
    return op.If(
        op.Cast(int_attribute(op, "residual"), to=TensorProto.BOOL),
        then_branch=with_x.graph([], sum_with_x),
        else_branch=without_x.graph([], without_x.Identity(y)),
    )


def read_sizes(op: Builder) -> Sizes:
    """Read all sizes from X, W and kernel_shape."""
    height, width = op.Shape("X", start=2, end=3), op.Shape("X", start=3)
    rows, columns = op.Shape("W", start=2, end=3), op.Shape("W", start=3)
    kernel = op.Constant(value_ints=AttributeOf("kernel_shape", INTS))
    halo = op.Div(kernel, 2)
    return Sizes(
        n=op.Shape("X", start=0, end=1),
        channels=op.Shape("X", start=1, end=2),
        height=height,
        width=width,
        rows=rows,
        columns=columns,
        ph=op.Div(height, rows),
        pw=op.Div(width, columns),
        kernel=kernel,
        taps=op.ReduceProd(kernel, [0]),
        hh=op.Slice(halo, [0], [1]),
        hw=op.Slice(halo, [1], [2]),
    )


def int_attribute(op: Builder, name: str) -> str:
    """Return the function's integer attribute as a vector of one element."""
    return op.Unsqueeze(op.Constant(value_int=AttributeOf(name, INT)), [0])


def activation_bounds(op: Builder) -> tuple[str, str]:
    """Every activation is a Clip: none to (-inf, inf), relu to (0, inf), relu6 to (0, 6)."""
    activation = op.Constant(value_string=AttributeOf("activation", STRING))
    is_none = op.RegexFullMatch(activation, pattern="none")
    is_relu6 = op.RegexFullMatch(activation, pattern="relu6")
    low = op.Where(is_none, op.Constant(value_float=float("-inf")), op.Constant(value_float=0.0))
    high = op.Where(is_relu6, op.Constant(value_float=6.0), op.Constant(value_float=float("inf")))
    return op.CastLike(low, "X"), op.CastLike(high, "X")


class RowWeights(NamedTuple):
    """Theta of each row of patches, [N * Nh, filters * taps, Nw]; its shape for Conv, and where it ends in W."""

    theta: str
    conv_shape: str
    end: str


def row_weights(op: Builder, sizes: Sizes, offset: str, filters: str, filter_shape: str) -> RowWeights:
    """Read theta from W[n, offset, i, j] on."""
    end = op.Add(offset, op.Mul(filters, op.ReduceProd(filter_shape, [0])))
    theta = op.Slice("W", offset, end, [1])  # [N, size, Nh, Nw]
    theta = op.Transpose(theta, perm=[0, 2, 1, 3])  # [N, Nh, size, Nw]
    theta = op.Reshape(theta, op.Concat([-1], op.Sub(end, offset), sizes.columns, axis=0))
    return RowWeights(theta, op.Concat(op.Mul(sizes.columns, filters), filter_shape, axis=0), end)


def scan_rows(
    op: Builder,
    sizes: Sizes,
    out_channels: str,
    has_halo: bool,
    weights: list[RowWeights],
    convolve: Callable[..., str],
) -> str:
    """Apply ``convolve(op, windows, *weights of the row)`` to every row of patches; return Y [N, Cout, H, W].

    windows is [1, Nw * C, th, tw], the patches of a row with their halo, th = ph + 2 hh, tw = pw + 2 hw; the result
    must be [1, Nw * Cout, ph, pw].
    """
    th, tail = op.Add(sizes.ph, op.Mul(sizes.hh, 2)), op.Mul(sizes.hw, 2)
    padded_height, padded_width = op.Add(sizes.height, op.Mul(sizes.hh, 2)), op.Add(sizes.width, tail)
    padded = "X"
    if has_halo:
        margin = op.Concat([0, 0], sizes.hh, sizes.hw, axis=0)
        padded = op.Pad("X", op.Concat(margin, margin, axis=0), mode=AttributeOf("pad_mode", STRING))
    pixel_rows = op.Reshape(padded, op.Concat([-1], padded_width, axis=0))  # [N * C * padded height, padded width]

    # Window row t of patch row i, channel c, sample n is pixel row (n C + c) * padded height + i ph + t.
    channel_top = op.Mul(indices(op, op.Mul(sizes.n, sizes.channels)), padded_height)
    channel_top = op.Reshape(channel_top, op.Concat(sizes.n, [1], sizes.channels, [1], axis=0))  # [N, 1, C, 1]
    window_top = op.Mul(indices(op, sizes.rows), sizes.ph)
    window_row = op.Add(op.Unsqueeze(window_top, [1, 2]), indices(op, th))  # [Nh, 1, th]
    row_size = op.Mul(sizes.channels, th)
    row_index = op.Reshape(op.Add(channel_top, window_row), op.Concat([-1], row_size, axis=0))  # [N * Nh, C * th]
    # The columns of a window beyond its first pw: [Nw, 2 hw].
    tail_start = op.Mul(op.Add(indices(op, sizes.columns), 1), sizes.pw)
    tail_index = op.Add(op.Unsqueeze(tail_start, [1]), indices(op, tail))

    tw = op.Add(sizes.pw, tail)
    main_shape = op.Concat([-1], sizes.columns, sizes.pw, axis=0)
    split_shape = op.Concat(sizes.channels, th, sizes.columns, tw, axis=0)
    windows_shape = op.Concat([1], op.Mul(sizes.columns, sizes.channels), th, tw, axis=0)
    patches_shape = op.Concat(sizes.columns, out_channels, sizes.ph, sizes.pw, axis=0)

    row_op = op.subgraph()
    row_inputs = [row_op.new_name("row_index"), *(row_op.new_name("weight") for _ in weights)]
    row = row_op.Gather(pixel_rows, row_inputs[0])  # [C * th, padded width]
    if has_halo:
        main = row_op.Reshape(row_op.Slice(row, [0], sizes.width, [1]), main_shape)  # [C * th, Nw, pw]
        row = row_op.Concat(main, row_op.Gather(row, tail_index, axis=1), axis=2)  # [C * th, Nw, tw]
    windows = row_op.Transpose(row_op.Reshape(row, split_shape), perm=[2, 0, 1, 3])  # [Nw, C, th, tw]
    windows = row_op.Reshape(windows, windows_shape)
    filters = [
        row_op.Reshape(row_op.Transpose(theta, perm=[1, 0]), weight.conv_shape)
        for theta, weight in zip(row_inputs[1:], weights, strict=True)
    ]
    patches = row_op.Reshape(convolve(row_op, windows, *filters), patches_shape)
    merged = row_op.Transpose(patches, perm=[1, 2, 0, 3])  # [Cout, ph, Nw, pw]
    types = [TensorProto.INT64, *(op.element_type for _ in weights)]
    infos = [helper.make_tensor_value_info(name, kind, None) for name, kind in zip(row_inputs, types, strict=True)]
    y = op.Scan(
        row_index,
        *(weight.theta for weight in weights),
        body=row_op.graph(infos, merged),
        num_scan_inputs=len(row_inputs),
    )

    y = op.Reshape(y, op.Concat(sizes.n, sizes.rows, out_channels, [-1], axis=0))  # [N, Nh, Cout, ph * W]
    y = op.Transpose(y, perm=[0, 2, 1, 3])  # [N, Cout, Nh, ph * W]
    return op.Reshape(y, op.Concat(sizes.n, out_channels, sizes.height, sizes.width, axis=0))


def indices(op: Builder, size: str) -> str:
    """Return 0, 1, ... size - 1."""
    return op.Range(0, op.Squeeze(size, [0]), 1)


def choose(
    op: Builder, key: tuple[str, str, str], literals: list[Literals], branch: Callable[[Builder, Literals], str]
) -> str:
    """Write a branch for each of the literals; the one that equals the key runs."""
    first, *others = literals
    if not others:
        return branch(op, first)
    matches = [op.Equal(name, [value]) for name, value in zip(key, first, strict=True)]
    here, elsewhere = op.subgraph(), op.subgraph()
    return op.If(
        op.And(op.And(matches[0], matches[1]), matches[2]),
        then_branch=here.graph([], branch(here, first)),
        else_branch=elsewhere.graph([], choose(elsewhere, key, others, branch)),
    )
