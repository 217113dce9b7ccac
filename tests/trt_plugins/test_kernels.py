"""The CUDA kernels, run on the CPU from their own source, against the operators' specification in PyTorch."""

from __future__ import annotations

import ctypes
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trt_plugins.kernel_library import (
    INVALID,
    ORDERS,
    PLUGINS,
    SOURCES,
    KernelError,
    Kernels,
    build,
    run_sanitized,
)
from training.network import dpwconv as specification
from training.network.decoder import level_input
from trt_plugins.gpu.library import find_nvcc
from trt_plugins.kernels.ptxas_table import ptxas_rows

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")

# Of the largest value of the float64 result. Sums of at most a few hundred terms in float32 err by about 1e-6 of it;
# FP16 rounds the result (5e-4 of a value) and, in the block on tensor cores, the hidden values before it, those under
# the depthwise after each product: 1.1e-3 at most in the cases below.
TOLERANCE = {"float32": 1e-5, "float16": 5e-3}


@dataclass(frozen=True)
class Case:
    """One call: channels are (in, out) of DPWConv and (in, hidden, out) of DPWInvertedResidual."""

    name: str
    channels: tuple[int, ...]
    patch: tuple[int, int]
    grid: tuple[int, int] = (1, 3)
    batch: int = 1
    kernel: tuple[int, int] = (1, 1)
    pad: str = "reflect"
    activation: str = "relu6"
    offset: int = 0
    extra: int = 0  # channels of weight after those that are read
    bias: bool = True
    previous: int = 0  # of the input channels, those of the previous level
    positions: int = 0  # 1: two of the input channels are coordinates
    more: dict = field(default_factory=dict)

    @property
    def operator(self) -> str:
        return "dpwconv" if len(self.channels) == 2 else "dpw_inverted_residual"

    def call(self, dtype: str) -> tuple[str, list, dict]:
        """The operator, its arrays and its attributes."""
        random = np.random.default_rng(len(self.name) + sum(self.channels))
        taps, attributes = self.kernel[0] * self.kernel[1], {"out_channels": self.channels[-1], **self.more}
        if self.operator == "dpwconv":
            biases, fan_in = self.channels[1:], self.channels[0] // attributes["group"] * taps
            theta = self.channels[1] * fan_in
        else:
            channels, hidden, out = self.channels
            biases, fan_in = (hidden, hidden, out), channels
            theta = hidden * (channels + taps + out)
            attributes["hidden_channels"] = hidden
        attributes |= {"kernel_shape": self.kernel, "pad_mode": self.pad, "activation": self.activation}
        attributes["weight_offset"] = self.offset
        size = [g * p for g, p in zip(self.grid, self.patch, strict=True)]
        skip = random.standard_normal((self.batch, self.channels[0] - self.previous - 2 * self.positions, *size))
        weight = random.standard_normal((self.batch, self.offset + theta + self.extra, *self.grid)) * 2 / fan_in**0.5
        # What is not to be read would not go unnoticed.
        weight[:, : self.offset] = weight[:, self.offset + theta :] = np.nan
        arrays = [skip, weight, *(random.standard_normal(b) if self.bias else None for b in biases)]
        if self.positions:
            attributes["positions"] = 1
        if self.previous:
            half = [pixels // 2 for pixels in size]
            attributes["previous"] = random.standard_normal((self.batch, self.previous, *half)).astype(dtype)
        return self.operator, [None if a is None else a.astype(dtype) for a in arrays], attributes


def case_id(case: Case) -> str:
    return f"{case.operator}{'_level' if case.previous or case.positions else ''}-{case.name}"


def conv(name: str, channels: tuple[int, int], patch: int | tuple[int, int], group: int = 1, **others) -> Case:
    return Case(name, channels, (patch, patch) if isinstance(patch, int) else patch, more={"group": group}, **others)


def block(name: str, channels: tuple[int, int, int], patch: int | tuple[int, int], residual=False, **others) -> Case:
    size = (patch, patch) if isinstance(patch, int) else patch
    return Case(name, channels, size, more={"residual": residual}, **({"kernel": (3, 3)} | others))


CONV = [
    # Decoder levels of the five variants on small maps.
    conv("m-0", (82, 64), 1, grid=(4, 9), activation="relu"),
    conv("m-1", (94, 32), 2, grid=(3, 5), batch=2, activation="relu"),
    conv("m-2", (44, 16), 4, grid=(5, 7), activation="relu"),
    conv("s-0", (130, 32), 1, grid=(3, 2), batch=2, activation="relu", extra=3),
    conv("l-2-expand", (48, 96), 4, grid=(2, 2)),
    conv("l-2-depthwise", (96, 96), 4, group=96, kernel=(3, 3), grid=(2, 2), offset=48 * 96),
    conv("l-2-project", (96, 12), 4, grid=(2, 2), activation="none", offset=48 * 96 + 9 * 96),
    conv("l-3-expand", (22, 44), 8),
    conv("l-4-depthwise", (32, 32), 16, group=32, kernel=(3, 3), offset=512),
    conv("l-5-project", (22, 21), 32, grid=(1, 1), activation="none"),
    # Everything else that is legal.
    conv("odd channels", (7, 5), 2, grid=(2, 3), batch=2),
    conv("one channel", (1, 1), 4, bias=False, activation="none"),
    conv("oblong patches", (11, 19), (3, 5), grid=(2, 2), batch=2, offset=7, extra=4),
    conv("patches of a row", (9, 17), (1, 40), grid=(3, 1)),
    conv("many channels", (150, 33), (2, 3), grid=(2, 1)),
    conv("groups", (12, 18), 4, group=3, grid=(2, 3)),
    conv("1x1 depthwise", (6, 12), 2, group=6, activation="relu"),
    conv("3x3", (5, 7), 4, kernel=(3, 3), grid=(3, 2), batch=2, offset=5, extra=2),
    conv("3x3 constant", (5, 7), 4, kernel=(3, 3), grid=(3, 2), pad="constant", bias=False, activation="relu"),
    conv("3x3 groups", (8, 4), (2, 6), group=2, kernel=(3, 3), grid=(2, 2)),
    conv("5x5 on 1x1 patches", (3, 4), 1, kernel=(5, 5), grid=(4, 3)),
    conv("5x1 constant depthwise", (6, 6), 8, group=6, kernel=(5, 1), pad="constant", grid=(1, 1)),
    conv("kernel beyond the map", (2, 3), 2, kernel=(7, 5), pad="constant", grid=(1, 1)),
]
BLOCKS = [
    block("m-3", (24, 48, 16), 8, grid=(2, 3)),
    block("m-3, four patches a block", (24, 48, 16), 8, grid=(2, 4), batch=2, pad="constant"),
    block("m-4", (34, 68, 19), 16, grid=(2, 1)),
    block("m-4, two patches a block", (34, 68, 19), 16, grid=(2, 2)),
    block("s-3", (14, 28, 8), 8, grid=(1, 2), batch=2, offset=9, extra=5),
    block("s-4", (26, 52, 19), 16, grid=(1, 2)),
    block("camvid-s-4", (22, 44, 12), 16, grid=(1, 1), batch=2, pad="constant"),
    block("camvid-l-5", (21, 42, 12), 32, grid=(1, 2)),
    block("l-5", (11, 22, 21), 16, grid=(1, 2)),
    block("four tiles of outputs", (10, 33, 32), 8, grid=(2, 1), activation="relu"),
    block("residual", (13, 20, 13), 8, residual=True, pad="constant", activation="none"),
    block("residual 16", (16, 16, 16), 16, grid=(1, 1), residual=True, activation="relu"),
    block("one channel", (1, 1, 1), 8, activation="none"),
    block("oblong patches", (6, 10, 5), (16, 8), grid=(1, 2), offset=3),
    block("1x1 patches", (5, 7, 4), 1, grid=(3, 4), batch=2),
    block("4x4 patches", (9, 12, 30), 4, grid=(2, 2), pad="constant", residual=False),
    block("ragged tiles", (5, 9, 3), (18, 20), grid=(1, 2)),
    block("ragged tiles, 9x9", (2, 3, 2), 17, kernel=(9, 9), grid=(1, 1)),
    block("5x5", (6, 11, 25), 8, kernel=(5, 5), grid=(2, 2), activation="relu"),
    block("1x1", (6, 11, 6), 8, kernel=(1, 1), residual=True),
    block("3x5 constant", (4, 6, 7), (6, 4), kernel=(3, 5), pad="constant", activation="none"),
    block("smaller tiles for a large kernel", (3, 9, 4), 16, kernel=(25, 21), grid=(1, 1), pad="constant"),
    block("beyond shared memory", (2, 3, 2), 2, kernel=(45, 45), grid=(2, 1), pad="constant"),
    block("more channels than stay in registers", (61, 24, 9), 8, grid=(1, 2)),
    block("many hidden channels", (40, 150, 9), 8, grid=(1, 1)),
    block("very many channels", (1600, 3, 2), (1, 2), grid=(1, 1), kernel=(1, 1)),
]
# Published levels first: skip map and previous level as they meet there; then what else is legal, on every kernel.
CONV_LEVELS = [
    conv("m-1", (94, 32), 2, grid=(3, 5), batch=2, activation="relu", previous=64, positions=1),
    conv("m-2", (44, 16), 4, grid=(5, 7), activation="relu", previous=32, positions=1),
    conv("l-2-expand", (48, 96), 4, grid=(2, 2), previous=34, positions=1),
    conv("l-3-expand", (22, 44), 8, previous=8, positions=1),
    conv("1x1 patches", (9, 7), 1, grid=(4, 6), batch=2, previous=5, positions=1),
    conv("no positions", (11, 5), 2, grid=(1, 2), batch=2, previous=8),
    conv("positions alone", (7, 5), 4, grid=(2, 1), positions=1),
    conv("a map of two pixels each way", (6, 3), 2, grid=(1, 1), batch=2, previous=3, positions=1),
    conv("oblong patches", (90, 19), (3, 5), grid=(2, 2), batch=2, offset=7, extra=4, previous=70, positions=1),
    conv("3x3", (9, 7), 4, kernel=(3, 3), grid=(3, 2), batch=2, previous=4, positions=1),
    conv("5x3 constant", (8, 4), (3, 4), kernel=(5, 3), grid=(2, 2), pad="constant", previous=3, positions=1),
    conv("depthwise over all kinds", (8, 16), 4, kernel=(3, 3), group=8, previous=3, positions=1, batch=2),
    conv("groups across kinds", (12, 6), 2, group=3, grid=(2, 3), previous=5, positions=1),
]
BLOCK_LEVELS = [
    block("m-3", (24, 48, 16), 8, grid=(2, 3), previous=16, positions=1),
    block("m-3, four patches a block", (24, 48, 16), 8, grid=(2, 4), batch=2, pad="constant", previous=16, positions=1),
    block("m-4", (34, 68, 19), 16, grid=(2, 2), previous=16, positions=1),
    block("camvid-s-4", (22, 44, 12), 16, grid=(1, 1), batch=2, pad="constant", previous=16, positions=1),
    block("camvid-l-5", (21, 42, 12), 32, grid=(1, 2), previous=16, positions=1),
    block("a channel of each", (2, 9, 3), 8, grid=(1, 3), previous=1),
    block("positions alone", (3, 8, 5), 8, grid=(2, 1), batch=2, positions=1),
    block("four tiles of outputs", (13, 20, 30), 8, grid=(2, 1), activation="relu", previous=4, positions=1),
    block("4x4 patches", (9, 12, 30), 4, grid=(2, 2), pad="constant", previous=3, positions=1),
    block("ragged tiles", (7, 9, 3), (18, 20), grid=(1, 2), batch=2, previous=3, positions=1),
    block("5x5", (6, 11, 25), (3, 8), kernel=(5, 5), grid=(4, 2), activation="relu", previous=3),
    block("beyond shared memory", (5, 2, 2), 2, kernel=(45, 45), grid=(2, 1), pad="constant", previous=2, positions=1),
]
CASES = CONV + BLOCKS
LEVELS = CONV_LEVELS + BLOCK_LEVELS


@pytest.fixture(scope="module")
def kernels(tmp_path_factory) -> Kernels:
    return Kernels(build(tmp_path_factory.mktemp("kernels")))


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def expected(operator: str, arrays: list, attributes: dict) -> np.ndarray:
    """The specification's float64 result of the same (rounded) inputs."""
    dtype, attributes = arrays[0].dtype, dict(attributes)
    previous, positions = attributes.pop("previous", None), attributes.pop("positions", 0)
    skip, *others = (None if a is None else torch.from_numpy(a.astype(np.float64)) for a in arrays)
    x = level_input(skip, None if previous is None else torch.from_numpy(previous.astype(np.float64)), bool(positions))
    x = torch.from_numpy(x.numpy().astype(dtype).astype(np.float64))  # a computed map has the stored one's type
    return getattr(specification, operator)(x, *others, **attributes).numpy()


def assert_close(y: np.ndarray, call: tuple[str, list, dict]) -> None:
    assert relative_error(y, call) < TOLERANCE[y.dtype.name]  # also fails where y is NaN


def relative_error(y: np.ndarray, call: tuple[str, list, dict]) -> float:
    """The largest error as a share of the largest expected value; NaN where y is."""
    oracle = expected(*call)
    assert y.shape == oracle.shape
    return np.abs(y.astype(np.float64) - oracle).max() / np.abs(oracle).max()


@pytest.mark.parametrize("order", ["forward", "reverse", "shuffled"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("case", CASES + LEVELS, ids=case_id)
def test_kernels_equal_the_specification(kernels, case, dtype, order):
    operator, arrays, attributes = call = case.call(dtype)
    assert_close(kernels(operator, *arrays, order=order, **attributes), call)


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("sanitized"), sanitize=True)


HEAVY = {"beyond shared memory", "smaller tiles for a large kernel"}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_no_access_is_out_of_bounds_and_no_behaviour_undefined(sanitized, tmp_path, dtype):
    calls = [case.call(dtype) for case in CASES + LEVELS if case.name not in HEAVY]
    results = run_sanitized(tmp_path, sanitized, [(*c[:2], c[2] | {"order": "shuffled"}) for c in calls])
    for y, call in zip(results, calls, strict=True):
        assert_close(y, call)


EDGES = [
    *CONV_LEVELS[:2],
    CONV_LEVELS[3],
    BLOCK_LEVELS[0],
    # The tensor cores' zeros that fill hidden channels up to whole eights would make NaN of infinity.
    block("16x16 patches, whole eights", (34, 64, 19), 16, grid=(1, 1), previous=16, positions=1),
]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("case", EDGES, ids=case_id)
def test_infinity_beside_the_edge_of_the_previous_map_leaves_the_edge_a_number(kernels, case, dtype):
    # Infinity beside the first and last cells, with weights that the activation turns into zeros: only where a kernel
    # multiplied infinity by zero would there be a NaN. The largest FP16 value in its place gives the same result.
    operator, arrays, attributes = case.call(dtype)
    channels = case.channels[0]
    theta = arrays[1][:, : case.channels[1] * channels].reshape(case.batch, case.channels[1], channels, *case.grid)
    theta[:, :, -case.previous :] = -np.abs(theta[:, :, -case.previous :]) - 0.1
    previous = attributes["previous"]
    previous[:, 0, [1, -2]] = previous[:, 0, :, [1, -2]] = 65504
    y_expected = expected(operator, arrays, attributes)
    previous[previous == 65504] = np.inf
    y = kernels(operator, *arrays, **attributes)
    assert np.abs(y - y_expected).max() < TOLERANCE[dtype] * np.abs(y_expected).max()  # also fails where y is NaN


@pytest.mark.parametrize("architecture", [750, 870])
def test_bounds_hold_for_every_fp16_value_and_keep_nan(tmp_path, architecture):
    source = tmp_path / "bounded.cpp"
    source.write_text(
        f"#define __CUDA_ARCH__ {architecture}\n#include <cpu.h>\n#include <{PLUGINS}/kernels/mma.cuh>\n"
        'extern "C" uint32_t bounded(uint32_t x, uint32_t low, uint32_t high) '
        "{ return hyperseg::bounded(x, low, high); }\n"
    )
    bounded = ctypes.CDLL(str(build(tmp_path, sources=[str(source), "cpu/cpu.cpp"]))).bounded
    bounded.restype = ctypes.c_uint32
    every = np.arange(2**16, dtype=np.uint16)
    pairs = np.stack([every, every[::-1]], 1)
    for low, high in [(-np.inf, np.inf), (0, np.inf), (0, 6)]:  # of the activations
        ends = [int(np.full(2, end, np.float16).view(np.uint32)[0]) for end in (low, high)]
        values = np.array([bounded(int(x), *ends) for x in pairs.view(np.uint32)[:, 0]], np.uint32).view(np.float16)
        np.testing.assert_array_equal(values, pairs.view(np.float16).ravel().clip(low, high))


@pytest.mark.parametrize("case", [CONV[1], BLOCKS[0]], ids=["dpwconv", "dpw_inverted_residual"])
def test_tensors_need_not_be_aligned(kernels, case):
    operator, arrays, attributes = call = case.call("float16")
    shifted = [np.empty(array.size + 1, array.dtype)[1:].reshape(array.shape) for array in arrays]
    for to, array in zip(shifted, arrays, strict=True):
        to[:] = array
    assert all(array.ctypes.data % 4 == 2 for array in shifted)
    assert_close(kernels(operator, *shifted, **attributes), call)


@pytest.mark.parametrize(
    ("case", "wrong"),
    [
        (conv("group", (6, 6), 2), {"group": 4}),
        (conv("group", (6, 6), 2), {"group": 0}),
        (conv("weights", (6, 6), 2), {"weight_offset": 1}),
        (conv("weights", (6, 6), 2), {"weight_offset": -1}),
        (conv("weights", (6, 6), 2), {"weight_offset": 2**31 - 1}),
        (conv("even kernel", (6, 6), 2), {"kernel_shape": (1, 2)}),
        (conv("even kernel", (6, 6), 2), {"kernel_shape": (-1, -1)}),
        (conv("mirror", (2, 2), 1, grid=(1, 3), kernel=(3, 1), pad="constant"), {"pad_mode": "reflect"}),
        (conv("grid", (2, 2), 3), {"grid_width": 2}),
        (conv("grid", (2, 2), 3), {"grid_height": 0}),
        (conv("pixels", (2, 2), 3, grid=(1, 1)), {"height": 2**16, "width": 2**15}),
        (conv("batch", (2, 2), 3), {"batch": 0}),
        (block("hidden", (3, 4, 5), 8), {"hidden_channels": 0}),
        (block("hidden", (3, 4, 5), 8), {"hidden_channels": 5}),
        (block("hidden", (3, 4, 5), 8), {"hidden_channels": 2**30}),
        (block("residual", (3, 4, 5), 8), {"residual": True}),
        (block("kernel", (3, 4, 5), 8), {"kernel_shape": (5, 5)}),
        (block("bias", (3, 4, 5), 8, bias=False), {}),
        (conv("odd map", (6, 6), 3, grid=(2, 1), previous=2), {}),
        (conv("odd map", (6, 6), 3, grid=(1, 2), previous=2), {}),
        (conv("previous", (6, 6), 2, previous=2), {"x_previous": None}),
        (conv("previous", (6, 6), 2, previous=2), {"x_previous_channels": 0}),
        (conv("channels", (6, 6), 2, previous=2), {"x_previous_channels": 3}),
        (conv("channels", (6, 6), 2, previous=2), {"x_skip_channels": 3}),
        (conv("channels", (6, 6), 2, previous=2), {"x_skip_channels": -(2**31) + 4, "x_previous_channels": 2**31 - 1}),
        (conv("channels", (6, 6), 2, previous=2), {"x_previous_channels": 6, "x_skip_channels": 0}),
        (conv("positions", (8, 6), 2, previous=2), {"x_positions": 2, "x_skip_channels": 2}),
        (conv("skip", (6, 6), 2, previous=2), {"x_skip": None}),
        (block("residual level", (6, 4, 6), 8, residual=True, previous=2), {}),
        (block("residual positions", (6, 4, 6), 8, residual=True, positions=1), {}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else value.name,
)
def test_contradicting_parameters_launch_nothing(kernels, case, wrong):
    operator, arrays, attributes = case.call("float16")
    with pytest.raises(KernelError) as error:
        kernels(operator, *arrays, **attributes | wrong)
    assert error.value.code == INVALID


BARRIERS = [
    (path, i, case)
    for path, case in {
        "dpwconv/lane_per_patch.cuh": CONV[1],
        "dpwconv/pixel_tile.cuh": conv("two stages", (70, 5), 16),
        "dpw_inverted_residual/pixel_tile.cuh": block("two stages", (5, 12, 4), 6),
        "dpw_inverted_residual/tensor_core.cuh": BLOCKS[0],
    }.items()
    for i in range((PLUGINS / "kernels" / path).read_text().count("__syncthreads();"))
]


def assert_wrong_without_barrier(folder: Path, path: Path | str, index: int, call: tuple, sources=SOURCES) -> None:
    """Leave one barrier of a source in trt_plugins out: some order of the threads must show it."""
    shutil.copytree(PLUGINS, folder / "trt_plugins")
    source = folder / "trt_plugins" / path
    parts = source.read_text().split("__syncthreads();")
    parts[index : index + 2] = [parts[index] + parts[index + 1]]
    source.write_text("__syncthreads();".join(parts))
    broken = Kernels(build(folder, plugins=folder / "trt_plugins", sources=sources))
    operator, arrays, attributes = call
    results = [broken(operator, *arrays, order=order, **attributes) for order in ORDERS]
    assert not np.max([relative_error(y, call) for y in results]) < TOLERANCE[arrays[0].dtype.name]  # NaN included


@pytest.mark.slow
@pytest.mark.parametrize(("path", "index", "case"), BARRIERS, ids=[f"{b[0]}-{b[1]}" for b in BARRIERS])
def test_without_any_of_its_barriers_a_kernel_fails_the_test_above(tmp_path, path, index, case):
    assert_wrong_without_barrier(tmp_path, f"kernels/{path}", index, case.call("float16"))


@pytest.mark.slow
@pytest.mark.skipif(find_nvcc() is None, reason="needs nvcc")
@pytest.mark.parametrize("architecture", [87, 90])
def test_nvcc_compiles_without_warnings_and_spills(architecture):
    rows = ptxas_rows(find_nvcc(), architecture)
    assert {row.kernel.split("<")[0] for row in rows} >= {"dpwInvertedResidualTensorCore", "dpwconvLanePerPatch"}
    assert all(row.spill_bytes == 0 for row in rows), rows
