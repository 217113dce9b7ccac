"""Nodes of the published networks, one for every kernel that goes into an engine."""

from __future__ import annotations

from runtime.backends.tensorrt.aot.choice import DpwConv, DpwInvertedResidual, LabelHead, Node


def conv(dtype, maps, out, size, grid, kernel=(1, 1), group=1, pad="reflect", offset=0, extra=0) -> DpwConv:
    """``maps`` are positions, skip channels and previous channels."""
    theta = out * ((2 * maps[0] + maps[1] + maps[2]) // group) * kernel[0] * kernel[1]
    return DpwConv(dtype, *maps, out, *size, offset + theta + extra, *grid, *kernel, group, offset, pad, "relu6")


def block(dtype, maps, hidden, out, size, grid, kernel=(3, 3), pad="reflect", residual=0) -> DpwInvertedResidual:
    theta = hidden * (2 * maps[0] + maps[1] + maps[2] + kernel[0] * kernel[1] + out)
    return DpwInvertedResidual(
        dtype, *maps, hidden, out, *size, theta + 3, *grid, *kernel, 3, pad, "relu6", residual
    )  # fmt: skip


LEVEL_4 = block("float16", (1, 16, 16), 68, 19, (384, 768), (24, 48))  # cityscapes-m

KERNELS: dict[str, Node] = {
    "lane_per_patch 1x1": conv("float16", (0, 82, 0), 64, (24, 48), (24, 48)),
    "lane_per_patch 2x2": conv("float32", (1, 28, 64), 32, (48, 96), (24, 48)),
    "lane_per_patch 4x4": conv("float16", (1, 10, 32), 16, (96, 192), (24, 48)),
    "conv pixel_tile": conv("float16", (0, 48, 0), 96, (120, 90), (15, 15)),
    "conv direct": conv("float16", (0, 96, 0), 96, (96, 192), (24, 48), (3, 3), group=96),
    "tensor_core 8x8": block("float16", (1, 6, 16), 48, 16, (192, 384), (24, 48)),
    "tensor_core 16x16": LEVEL_4,
    "pixel_tile": block("float32", (1, 16, 16), 68, 19, (384, 768), (24, 48)),
    "direct": block("float32", (0, 2, 0), 3, 2, (64, 64), (2, 1), (45, 45), pad="constant"),
    "label head 1": LabelHead("float16", 21, 512, 512, 1),
    "label head 2": LabelHead("float16", 19, 384, 768, 2),
    "label head 3": LabelHead("float32", 19, 384, 768, 3),
}
