"""Dynamic patch-wise convolution: every patch of a map is convolved with its own weights (the paper's Eq. 8).

These functions are the specification of the operators DPWConv and DPWInvertedResidual. A map [N, C, H, W] is cut into
a grid of Nh x Nw patches; patch (i, j) reads its weights, theta, from ``weight[n, :, i, j]``. In between stand windows
[N, Nh, Nw, C, h, w]: the patches, each with a halo of pixels around it. All functions run in any floating dtype and
can be differentiated; shapes or names that do not fit raise ValueError.
"""

from __future__ import annotations

from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor


def dpwconv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    out_channels: int,
    kernel_shape: tuple[int, int] = (1, 1),
    group: int = 1,
    pad_mode: str = "reflect",
    activation: str = "none",
    weight_offset: int = 0,
) -> Tensor:
    """Convolve each patch of x [N, Cin, H, W] with its own weights; the result is [N, out_channels, H, W].

    weight is [N, K, Nh, Nw]; patch (i, j) of sample n uses ``weight[n, weight_offset : weight_offset + size, i, j]``,
    row-major [out_channels, Cin / group, kh, kw]; the rest of K is not read. A patch's halo holds its neighbours'
    pixels, the map's border is padded: ``reflect`` mirrors without repeating the edge, ``constant`` puts zeros.
    bias [out_channels] is the same for all patches.
    """
    channels = x.shape[1]
    if group < 1 or channels % group or out_channels % group:
        raise ValueError(f"group {group} does not divide {channels} input and {out_channels} output channels")
    theta = patch_weights(weight, weight_offset, (out_channels, channels // group, *kernel_shape))
    windows = patch_windows(x, _grid(weight), _halo(kernel_shape), pad_mode)
    return merge_patches(_finish(patch_conv(windows, theta, group), bias, activation))


def dpw_inverted_residual(
    x: Tensor,
    weight: Tensor,
    bias1: Tensor,
    bias2: Tensor,
    bias3: Tensor,
    *,
    hidden_channels: int,
    out_channels: int,
    kernel_shape: tuple[int, int] = (3, 3),
    pad_mode: str = "reflect",
    activation: str = "relu6",
    residual: bool = False,
    weight_offset: int = 0,
) -> Tensor:
    """Expand 1x1, activation, depthwise, activation, project 1x1 (plus x if residual), each patch on its own.

    x is [N, Cin, H, W], weight [N, K, Nh, Nw], the biases are [hidden_channels], [hidden_channels] and [out_channels];
    the result is [N, out_channels, H, W]. Theta of a patch, from weight_offset on, is
    [expand (hidden, Cin) | depthwise (hidden, 1, kh, kw) | project (out, hidden)], each row-major.

    The halo is taken from x, and the expand runs on it with the owning patch's weights: patches exchange no hidden
    values. Padded pixels are input pixels like any other: with ``constant`` they are 0 in every channel, so their
    hidden values are ``activation(bias1)``, not 0.
    """
    channels = x.shape[1]
    if residual and channels != out_channels:
        raise ValueError(f"a residual block needs as many input channels ({channels}) as output ({out_channels})")
    depthwise_offset = weight_offset + hidden_channels * channels
    project_offset = depthwise_offset + hidden_channels * prod(kernel_shape)
    expand = patch_weights(weight, weight_offset, (hidden_channels, channels, 1, 1))
    depthwise = patch_weights(weight, depthwise_offset, (hidden_channels, 1, *kernel_shape))
    project = patch_weights(weight, project_offset, (out_channels, hidden_channels, 1, 1))

    windows = patch_windows(x, _grid(weight), _halo(kernel_shape), pad_mode)
    hidden = _finish(patch_conv(windows, expand), bias1, activation)
    hidden = _finish(patch_conv(hidden, depthwise, group=hidden_channels), bias2, activation)
    y = merge_patches(_finish(patch_conv(hidden, project), bias3, "none"))
    return x + y if residual else y


def patch_windows(
    x: Tensor, grid: tuple[int, int], halo: tuple[int, int] = (0, 0), pad_mode: str = "reflect"
) -> Tensor:
    """Cut x [N, C, H, W] into windows [N, Nh, Nw, C, ph + 2 * halo_h, pw + 2 * halo_w]; ph = H / Nh, pw = W / Nw.

    A window is a patch and its halo: the neighbours' pixels, or the padding beyond the map. The result is a view where
    there is no halo, else a view of the padded map.
    """
    (height, width), (rows, columns), (halo_h, halo_w) = x.shape[2:], grid, halo
    if height % rows or width % columns:
        raise ValueError(f"a map of {height}x{width} pixels cannot be cut into {rows}x{columns} equal patches")
    if pad_mode not in ("reflect", "constant"):
        raise ValueError(f"pad_mode {pad_mode!r} is neither 'reflect' nor 'constant'")
    if pad_mode == "reflect" and (halo_h >= height or halo_w >= width):
        raise ValueError(
            f"a map of {height}x{width} pixels cannot be mirrored by {halo_h}x{halo_w}: "
            f"it needs at least {halo_h + 1}x{halo_w + 1} pixels"
        )
    if halo_h or halo_w:
        x = F.pad(x, (halo_w, halo_w, halo_h, halo_h), mode=pad_mode)
    return _Windows.apply(x, (height // rows, width // columns), halo)


def patch_weights(weight: Tensor, offset: int, shape: tuple[int, ...]) -> Tensor:
    """View ``weight[:, offset : offset + prod(shape)]`` of [N, K, Nh, Nw] as [N, Nh, Nw, *shape]."""
    end = offset + prod(shape)
    if offset < 0 or end > weight.shape[1]:
        raise ValueError(f"weights {offset} to {end} of shape {shape} are not within K = {weight.shape[1]}")
    return weight[:, offset:end].permute(0, 2, 3, 1).unflatten(-1, shape)


def patch_conv(windows: Tensor, weight: Tensor, group: int = 1) -> Tensor:
    """Convolve windows [N, Nh, Nw, C, h, w] with weight [N, Nh, Nw, Cout, C / group, kh, kw], without padding.

    The result is [N, Nh, Nw, Cout, h - kh + 1, w - kw + 1].
    """
    patches = windows.shape[:3]
    if weight.shape[:3] != patches:
        raise ValueError(f"{tuple(patches)} patches (N, Nh, Nw) do not match weights for {tuple(weight.shape[:3])}")
    channels, height, width = windows.shape[3:]
    out_channels, group_channels, kh, kw = weight.shape[3:]
    if group_channels * group != channels:
        raise ValueError(f"weights for {group} groups of {group_channels} channels do not fit {channels} channels")
    if kh == kw == group == 1:  # a batched matrix product beats a convolution with very many groups
        return (weight.flatten(4) @ windows.flatten(4)).unflatten(-1, (height, width))
    y = F.conv2d(
        windows.reshape(1, -1, height, width),
        weight.reshape(-1, group_channels, kh, kw),
        groups=prod(patches) * group,
    )
    return y.reshape(*patches, out_channels, height - kh + 1, width - kw + 1)


def merge_patches(windows: Tensor) -> Tensor:
    """Put patches [N, Nh, Nw, C, ph, pw] side by side: [N, C, Nh * ph, Nw * pw], contiguous."""
    n, rows, columns, channels, height, width = windows.shape
    return windows.permute(0, 3, 1, 4, 2, 5).contiguous().view(n, channels, rows * height, columns * width)


class _Windows(torch.autograd.Function):
    """Overlapping windows of a padded map; written out because unfold's own backward takes three times as long."""

    @staticmethod
    def forward(ctx, padded: Tensor, patch: tuple[int, int], halo: tuple[int, int]) -> Tensor:
        (ph, pw), (halo_h, halo_w) = patch, halo
        ctx.patch = patch
        ctx.padded_size = padded.shape[2:]
        return padded.unfold(2, ph + 2 * halo_h, ph).unfold(3, pw + 2 * halo_w, pw).permute(0, 2, 3, 1, 4, 5)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        # A window starts at its patch's cell and may reach over the next cells; tile (a, b) of all windows lies in
        # cells (i + a, j + b), each in its own, so the tiles are added one at a time.
        n, rows, columns, channels, height, width = grad.shape
        (ph, pw), (padded_h, padded_w) = ctx.patch, ctx.padded_size
        reach_h, reach_w = -(-height // ph), -(-width // pw)
        cells = grad.new_zeros(n, channels, rows + reach_h - 1, ph, columns + reach_w - 1, pw)
        for a in range(reach_h):
            for b in range(reach_w):
                tile = grad[..., a * ph : (a + 1) * ph, b * pw : (b + 1) * pw]
                h, w = tile.shape[4:]
                cells[:, :, a : a + rows, :h, b : b + columns, :w] += tile.permute(0, 3, 1, 4, 2, 5)
        return cells.flatten(4).flatten(2, 3)[:, :, :padded_h, :padded_w], None, None


def _grid(weight: Tensor) -> tuple[int, int]:
    return weight.shape[2], weight.shape[3]


def _halo(kernel_shape: tuple[int, int]) -> tuple[int, int]:
    kh, kw = kernel_shape
    if kh < 1 or kw < 1 or kh % 2 == 0 or kw % 2 == 0:
        raise ValueError(f"kernel_shape {tuple(kernel_shape)} must be odd: a patch has as much halo on either side")
    return kh // 2, kw // 2


def _finish(windows: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """Add the bias and apply the activation, in place: on a large map new memory costs more than the arithmetic."""
    if bias is not None:
        windows += bias.view(-1, 1, 1)
    match activation:
        case "none":
            return windows
        case "relu":
            return F.relu(windows, inplace=True)
        case "relu6":
            return F.relu6(windows, inplace=True)
    raise ValueError(f"activation {activation!r} is not one of 'none', 'relu', 'relu6'")
