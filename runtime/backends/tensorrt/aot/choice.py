"""Which kernel runs a node and how it is launched: what the launchers of ``trt_plugins/kernels`` decide, in Python.

A launcher looks at its numbers at every call. Ahead of time all but the batch are known when the engine is built, so
they become literals of the kernel, and the batch alone is a parameter.

Sizes are checked for one image: a batch so large that the launcher would refuse it, 2^31 pixels in all, shows only when
TensorRT launches the kernel.

Two things are decided otherwise, because an engine cannot ask the device: a block gets the 48 KB of shared memory that
every GPU grants, and TensorRT's tensors are taken to be aligned to 16 bytes, as its own kernels take them. Where the
launcher reckons how many patches a block computes, TensorRT may time each number: a tactic is that number.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PAD_MODES = ("reflect", "constant")
ACTIVATIONS = ("none", "relu", "relu6")
TYPES = {"float32": "float", "float16": "__half"}

_SHARED_BYTES = 48 * 1024
_MOST_BLOCKS_Y = 65535
_MOST_PIXELS = 2**31 - 2**16  # leaving room to round up to whole blocks
_WARP = 32
_MOST_CLASSES = 256  # which FP16 holds exactly
_MOST_SCALE = 64

Batch = Any  # an int, or TensorRT's expression of one: both add, multiply and divide


@dataclass(frozen=True)
class Launch:
    """A kernel for one node: ``source`` of ``trt_plugins/aot`` compiled with ``defines``, and its launch.

    ``grid`` is (x, y), of which x may hold the batch; ``block`` is a number of threads.
    """

    source: str
    defines: Mapping[str, str]
    grid: tuple[Any, int]
    block: int
    shared_bytes: int = 0


@dataclass(frozen=True)
class DpwConv:
    """A node DPWConv, or DPWConvLevel where it has previous channels: the numbers of ``hyperseg::DpwConvParams``.

    Raises ValueError, here and in the classes below, for numbers that contradict each other.
    """

    dtype: str  # of TYPES
    positions: int
    skip_channels: int
    previous_channels: int
    out_channels: int
    height: int
    width: int
    weight_channels: int
    grid_height: int
    grid_width: int
    kernel_height: int
    kernel_width: int
    group: int
    weight_offset: int
    pad_mode: str
    activation: str

    def __post_init__(self) -> None:
        _check_sizes(self)
        if self.in_channels % self.group or self.out_channels % self.group:
            raise ValueError(f"group {self.group} divides not both {self.in_channels} and {self.out_channels} channels")
        taps = self.kernel_height * self.kernel_width
        _check_patches(self, self.out_channels * (self.in_channels // self.group) * taps)

    @property
    def in_channels(self) -> int:
        """Of the map that the operator convolves."""
        return 2 * self.positions + self.skip_channels + self.previous_channels

    def launches(self, batch: Batch, compute_capability: int) -> dict[int, Launch]:
        """The launches that serve the node, by tactic."""
        rows, columns = self.height // self.grid_height, self.width // self.grid_width
        patches = self.grid_height * self.grid_width
        pointwise = self.kernel_height == self.kernel_width == self.group == 1
        if not pointwise or self.out_channels > _MOST_BLOCKS_Y:
            grid = (_ceil_div(self.height * self.width, 256), min(self.out_channels, _MOST_BLOCKS_Y))
            return {1: self._launch("direct::dpwconvDirect", _is_level(self), grid, 256)}
        if rows == columns and rows in (1, 2, 4):
            grid = (_ceil_div(batch * patches, _WARP), _ceil_div(self.out_channels, 2))
            kernel, shared_bytes = "lane_per_patch::dpwconvLanePerPatch", 256 * 2 * rows * columns * 4
            return {1: self._launch(kernel, f"{rows}, {columns}, {_is_level(self)}", grid, 256, shared_bytes)}
        grid = (batch * (patches * _ceil_div(rows * columns, 128)), _ceil_div(self.out_channels, 16))
        return {1: self._launch("pixel_tile::dpwconvPixelTile", _is_level(self), grid, 128, shared_bytes=64 * 16 * 4)}

    def _launch(
        self, kernel: str, template: str, grid: tuple[Batch, int], threads: int, shared_bytes: int = 0
    ) -> Launch:
        call = f"{kernel}<{TYPES[self.dtype]}, {template}>(node)"
        return Launch("dpwconv", _defines(self, call, f"{threads}"), grid, threads, shared_bytes)


@dataclass(frozen=True)
class DpwInvertedResidual:
    """A node DPWInvertedResidual or DPWInvertedResidualLevel: ``hyperseg::DpwInvertedResidualParams``."""

    dtype: str
    positions: int
    skip_channels: int
    previous_channels: int
    hidden_channels: int
    out_channels: int
    height: int
    width: int
    weight_channels: int
    grid_height: int
    grid_width: int
    kernel_height: int
    kernel_width: int
    weight_offset: int
    pad_mode: str
    activation: str
    residual: int

    def __post_init__(self) -> None:
        _check_sizes(self)
        if self.residual and (_is_level(self) == "true" or self.in_channels != self.out_channels):
            raise ValueError("a residual block adds a whole map, of as many channels as there are outputs")
        taps = self.kernel_height * self.kernel_width
        _check_patches(self, self.hidden_channels * (self.in_channels + taps + self.out_channels))

    @property
    def in_channels(self) -> int:
        """Of the map that the operator expands."""
        return 2 * self.positions + self.skip_channels + self.previous_channels

    def launches(self, batch: Batch, compute_capability: int) -> dict[int, Launch]:
        """The launches that serve the node, by tactic."""
        is_half_3x3 = self.dtype == "float16" and self.kernel_height == self.kernel_width == 3
        if is_half_3x3 and self.out_channels <= 32 and compute_capability >= 75:
            for size in (16, 8):
                if launches := self._tensor_core(batch, size):
                    return launches
        return {1: self._pixel_tile(batch)}

    def _tensor_core(self, batch: Batch, size: int) -> dict[int, Launch]:
        """A block owns tiles of size x size pixels, of 1, 2 or 4 patches."""
        rows, columns = self.height // self.grid_height, self.width // self.grid_width
        if rows % size or columns % size or max(self.in_channels, self.hidden_channels) > 1024:
            return {}
        threads = {16: 256, 8: 128}[size]
        template = f"{size}, {size}, {size // 8}, {_ceil_div(self.out_channels, 8)}"
        tile = f"hyperseg::tensor_core::Tile<{template}>"
        patches, tiles = self.grid_height * self.grid_width, (rows // size) * (columns // size)
        launches = {}
        for together in (1, 2, 4):
            shared_bytes = self._tensor_core_bytes(size, together)
            if patches % together == 0 and shared_bytes <= _SHARED_BYTES:
                grid = (batch * (patches // together * tiles), 1)
                kernel = f"tensor_core::dpwInvertedResidualTensorCore<{template}, {_is_level(self)}>"
                bounds = f"{tile}::kThreads, {tile}::kBlocks"
                call = f"{kernel}({{node, {together}}})"
                launches[together] = self._launch(call, bounds, grid, threads, shared_bytes)
        return launches

    def _tensor_core_bytes(self, size: int, patches: int) -> int:
        # The previous level's channels and the others fill 8s of their own.
        stride = _row_stride(_round_up(self.previous_channels) + _round_up(2 * self.positions + self.skip_channels))
        window, hidden, outputs = (size + 2) ** 2, _round_up(self.hidden_channels), _round_up(self.out_channels)
        theta = hidden * stride + 9 * hidden + outputs * _row_stride(self.hidden_channels)
        return 2 * (window * stride + 2 * window * 8 + patches * theta) + 4 * 2 * hidden

    def _pixel_tile(self, batch: Batch) -> Launch:
        """A block owns a tile of a patch: the largest whose window fits in shared memory."""
        patch = (self.height // self.grid_height, self.width // self.grid_width)
        rows, columns = min(patch[0], 16), min(patch[1], 16)
        while self._pixel_tile_bytes(rows, columns) > _SHARED_BYTES and rows * columns > 1:
            rows, columns = (rows // 2, columns) if rows >= columns else (rows, columns // 2)
        shared_bytes, output_blocks = self._pixel_tile_bytes(rows, columns), _ceil_div(self.out_channels, 24)
        if shared_bytes > _SHARED_BYTES or output_blocks > _MOST_BLOCKS_Y:
            grid = (_ceil_div(self.height * self.width, 128), min(self.out_channels, _MOST_BLOCKS_Y))
            call = f"direct::dpwInvertedResidualDirect<{TYPES[self.dtype]}, {_is_level(self)}>(node)"
            return self._launch(call, "128, 4", grid, 128)
        window = (rows + self.kernel_height - 1) * (columns + self.kernel_width - 1)
        tiles = _ceil_div(patch[0], rows) * _ceil_div(patch[1], columns)
        grid = (batch * (self.grid_height * self.grid_width * tiles), output_blocks)
        kernel = f"pixel_tile::dpwInvertedResidualPixelTile<{TYPES[self.dtype]}, {_is_level(self)}>"
        return self._launch(
            f"{kernel}({{node, {rows}, {columns}}})",
            "256, 2",
            grid,
            min(256, _ceil_div(window, _WARP) * _WARP),
            shared_bytes,
        )

    def _pixel_tile_bytes(self, rows: int, columns: int) -> int:
        window = (rows + self.kernel_height - 1) * (columns + self.kernel_width - 1)
        return 8 * (self.in_channels + 24 + self.kernel_height * self.kernel_width + window) * 4

    def _launch(self, call: str, bounds: str, grid: tuple[Batch, int], threads: int, shared_bytes: int = 0) -> Launch:
        return Launch("dpw_inverted_residual", _defines(self, call, bounds), grid, threads, shared_bytes)


@dataclass(frozen=True)
class LabelHead:
    """A node LabelHead: the numbers of ``hyperseg::LabelHeadParams``, height and width those of the logits."""

    dtype: str
    classes: int
    height: int
    width: int
    scale: int

    def __post_init__(self) -> None:
        _check_sizes(self)
        if self.classes > _MOST_CLASSES or self.scale > _MOST_SCALE:
            raise ValueError(
                f"{self.classes} classes enlarged {self.scale} times; at most {_MOST_CLASSES} classes and "
                f"{_MOST_SCALE} times are served"
            )
        if self.height * self.width * self.scale**2 > _MOST_PIXELS:
            raise ValueError(f"a map of {self.height}x{self.width}, enlarged {self.scale} times, is too large")

    def launches(self, batch: Batch, compute_capability: int) -> dict[int, Launch]:
        """The one launch that serves the node, as tactic 1."""
        kernel, bounds, threads = "General", "256", self.height * self.scale * self.width * self.scale
        if self.scale == 1:
            kernel = "Scale1"
        if self.scale == 2:
            kernel, bounds, threads = "Scale2", "256, 4", (self.height // 2 + 1) * (self.width + 1)
        call = f"label_head::labelHead{kernel}<{TYPES[self.dtype]}>(node)"
        return {1: Launch("label_head", _defines(self, call, bounds), (_ceil_div(batch * threads, 256), 1), 256)}


Node = DpwConv | DpwInvertedResidual | LabelHead


def _defines(node: Node, call: str, bounds: str) -> dict[str, str]:
    """NODE_CALL, the kernel's call; NODE_BOUNDS, its launch bounds; NODE_HEIGHT and so on, the numbers."""
    numbers = dataclasses.asdict(node)
    numbers["dtype"] = TYPES[node.dtype]
    if not isinstance(node, LabelHead):
        numbers |= {"pad_mode": PAD_MODES.index(node.pad_mode), "activation": ACTIVATIONS.index(node.activation)}
    return {
        "NODE_CALL": f"hyperseg::{call}",
        "NODE_BOUNDS": bounds,
        **{f"NODE_{name.upper()}": str(value) for name, value in numbers.items()},
    }


def _is_level(node: DpwConv | DpwInvertedResidual) -> str:
    """C++'s word for whether some of the map's channels are computed."""
    return "true" if node.positions or node.previous_channels else "false"


def _check_sizes(node: Node) -> None:
    least = {"positions": 0, "previous_channels": 0, "weight_offset": 0, "residual": 0}
    for name, value in dataclasses.asdict(node).items():
        most = 1 if name in ("positions", "residual") else 2**31 - 1
        if isinstance(value, int) and not least.get(name, 1) <= value <= most:
            raise ValueError(f"{name} is {value}; it must be {least.get(name, 1)} to {most}")
    if node.dtype not in TYPES:
        raise ValueError(f"tensors are {node.dtype}; FP32 and FP16 are served")


def _check_patches(node: DpwConv | DpwInvertedResidual, theta: int) -> None:
    """The map is cut into equal patches and can be mirrored, and W holds the ``theta`` values of a patch."""
    size, grid = (node.height, node.width), (node.grid_height, node.grid_width)
    kernel = (node.kernel_height, node.kernel_width)
    if node.skip_channels < 1 or node.positions > 1:
        raise ValueError(
            f"the map has {node.skip_channels} channels of its own and {node.positions} pairs of positions"
        )
    if node.previous_channels and (node.height % 2 or node.width % 2):
        raise ValueError(f"a map of {size[0]}x{size[1]} is not twice as large as any previous level's")
    if any(pixels % patches for pixels, patches in zip(size, grid, strict=True)):
        raise ValueError(f"a map of {size[0]}x{size[1]} is not cut into equal patches by a grid of {grid[0]}x{grid[1]}")
    if any(taps % 2 == 0 for taps in kernel):
        raise ValueError(f"the kernel is {kernel[0]}x{kernel[1]}; both must be odd")
    if node.pad_mode not in PAD_MODES or node.activation not in ACTIVATIONS:
        raise ValueError(f"pad_mode is {node.pad_mode!r} and activation {node.activation!r}")
    if node.pad_mode == "reflect" and any(taps // 2 >= pixels for pixels, taps in zip(size, kernel, strict=True)):
        raise ValueError(f"a map of {size[0]}x{size[1]} is too small to be mirrored for {kernel[0]}x{kernel[1]} taps")
    if theta > node.weight_channels - node.weight_offset:
        raise ValueError(
            f"W holds {node.weight_channels} values a patch, fewer than weight_offset {node.weight_offset} + {theta}"
        )
    if math.prod(size) > _MOST_PIXELS:
        raise ValueError(f"a map of {size[0]}x{size[1]} is too large")


def _ceil_div(a: Any, b: int) -> Any:
    return (a + (b - 1)) // b


def _round_up(values: int) -> int:
    """To whole 8s."""
    return (values + 7) // 8 * 8


def _row_stride(values: int) -> int:
    """Rounded up to an odd number of 8s."""
    eights = _round_up(values) // 8
    return (eights + (eights + 1) % 2) * 8
