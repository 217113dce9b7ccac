"""The bench's steps, run on the CPU from their own source, against the operators' specification; what they cost."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import replace

import pytest

from tests.trt_plugins.kernel_library import FLAGS, PLUGINS, SOURCES, Kernels, build, run_sanitized
from tests.trt_plugins.test_kernels import assert_close, assert_wrong_without_barrier, block, conv
from trt_plugins.gpu.costs import H200, Cost, fewer_instructions, pixel_tile
from trt_plugins.gpu.floors import Ceilings, operator_work
from trt_plugins.gpu.ladder import ARCHITECTURES, Step, counted_table, ladders, step_rows
from trt_plugins.gpu.ladder import main as ladder_main
from trt_plugins.gpu.library import find_nvcc
from trt_plugins.gpu.shapes import published_levels
from trt_plugins.kernels.ptxas_table import ptxas_rows

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")

BLOCK_LADDER, CONV_LADDER, HEAD_LADDER = LADDERS = ladders()
STEPS = [*BLOCK_LADDER.steps, *CONV_LADDER.steps]  # those of the label head are tried in test_label_head.py
OF_THE_LIBRARY = [step for step in STEPS if step.source.read_text().count(f'{step.operator}/{step.operator}.cu"')]
WITH_OWN_KERNELS = [step for step in STEPS if "__global__" in step.source.read_text()]
CASES = {
    "dpw_inverted_residual": [
        block("16x16 patches", (6, 10, 19), 16, grid=(1, 2)),
        block("16x16 patches, two samples", (9, 17, 9), 16, grid=(1, 2), batch=2, residual=True, pad="constant"),
        block("8x8 patches", (9, 17, 9), 8, grid=(2, 2), batch=2, residual=True),
        block("two groups of outputs", (5, 7, 26), (3, 5), grid=(2, 3), batch=2, pad="constant", offset=3, extra=2),
        block("ragged tiles", (4, 6, 4), (18, 20), grid=(1, 2), kernel=(5, 3), activation="relu", residual=True),
        block("1x1 patches", (5, 9, 4), 1, grid=(3, 4), batch=2, activation="none"),
        block("large kernel", (3, 4, 2), 6, kernel=(9, 7), grid=(1, 2), pad="constant"),
    ],
    "dpwconv": [
        conv("m-0", (82, 64), 1, grid=(4, 9), activation="relu"),
        conv("m-1", (94, 32), 2, grid=(3, 5), batch=2, activation="relu"),
        conv("m-2", (44, 16), 4, grid=(5, 7), activation="relu", extra=3),
        conv("3x3 constant groups", (8, 6), (3, 4), group=2, kernel=(3, 3), grid=(2, 2), pad="constant", offset=5),
    ],
}


def step_id(step: Step) -> str:
    return f"{step.operator}-{step.source.stem}"


def sources_with(step: Step) -> list[str]:
    own = f"kernels/{step.operator}/{step.operator}.cu"
    return [str(step.source.relative_to(PLUGINS)) if source == own else source for source in SOURCES]


@pytest.fixture(scope="module", params=[step for step in STEPS if step not in OF_THE_LIBRARY], ids=step_id)
def step(request) -> Step:
    return request.param


@pytest.fixture(scope="module")
def kernels(tmp_path_factory, step) -> Kernels:
    return Kernels(build(tmp_path_factory.mktemp("step"), sources=sources_with(step)))


def test_the_last_steps_are_the_library():
    for ladder in (BLOCK_LADDER, CONV_LADDER):
        assert ladder.steps[-1] in OF_THE_LIBRARY
    # Their kernels are tried in test_kernels.py.
    assert not [step for step in OF_THE_LIBRARY if step in WITH_OWN_KERNELS]


@needs_compiler
@pytest.mark.parametrize("order", ["forward", "reverse", "shuffled"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_steps_equal_the_specification(step, kernels, dtype, order):
    for case in CASES[step.operator]:
        operator, arrays, attributes = call = case.call(dtype)
        assert_close(kernels(operator, *arrays, order=order, **attributes), call)


@needs_compiler
@pytest.mark.parametrize("step", WITH_OWN_KERNELS, ids=step_id)
def test_no_access_of_a_step_is_out_of_bounds_and_no_behaviour_undefined(tmp_path, step):
    library = build(tmp_path, sanitize=True, sources=sources_with(step))
    calls = [case.call(dtype) for case in CASES[step.operator] for dtype in ("float32", "float16")]
    results = run_sanitized(tmp_path, library, [(*c[:2], c[2] | {"order": "shuffled"}) for c in calls])
    for y, call in zip(results, calls, strict=True):
        assert_close(y, call)


# The other barriers stand in the library's kernels, or did, and are tried there.
@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("barrier", [0, 1])
def test_without_either_of_its_barriers_the_step_in_shared_memory_fails(tmp_path, barrier):
    (step,) = (step for step in STEPS if step.source.stem == "4_shared_memory")
    assert step.source.read_text().count("__syncthreads();") == 2
    call = CASES[step.operator][0].call("float32")
    assert_wrong_without_barrier(tmp_path, step.source.relative_to(PLUGINS), barrier, call, sources_with(step))


@pytest.mark.slow
@pytest.mark.skipif(find_nvcc() is None, reason="needs nvcc")
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("step", [step for ladder in LADDERS for step in ladder.steps], ids=step_id)
def test_nvcc_compiles_steps_without_warnings_and_spills(step, arch):
    rows = ptxas_rows(find_nvcc(), int(arch), [step.source])
    assert all(0 < row.registers <= 255 and row.spill_bytes == 0 for row in rows), rows
    assert rows


def test_costs_of_the_block_by_hand():
    costs = {step.source.stem: step.cost(BLOCK_LADDER.case) for step in BLOCK_LADDER.steps}
    pixels, patches, window = 256 * 512, 512, 18 * 18
    # 68 hidden channels: under 9 taps 34 inputs and the tap itself, then the projection.
    assert costs["1_value_a_thread"].multiply_adds == 19 * pixels * 68 * (9 * 35 + 1)
    assert costs["2_pixel_a_thread"].multiply_adds == pixels * 68 * (9 * 35 + 24)
    # The published count with the 1x1 expand on the halo: 633.1 M.
    assert costs["3_three_kernels"].multiply_adds == 68 * (34 * window * patches + (9 + 19) * pixels) == 633_094_144
    # Written once and read once, in FP16: windows and filtered pixels.
    between = 2 * 2 * 68 * (window * patches + pixels)
    assert costs["3_three_kernels"].memory_bytes - costs["1_value_a_thread"].memory_bytes == between
    (operator,) = BLOCK_LADDER.case.operators
    for name, cost in costs.items():
        if name not in ("3_three_kernels", "8_fused_level"):
            assert cost.memory_bytes == operator_work(BLOCK_LADDER.case, operator, 2).bytes == 18_210_816
    # Of 34 channels it reads 16, and 16 of a quarter of the size.
    assert costs["8_fused_level"].memory_bytes == 18_210_816 - 2 * pixels * (34 - 16 - 16 // 4)
    # Each step starts from fewer accesses than the one before.
    accesses = [cost.accesses for cost in costs.values()]
    assert accesses == sorted(accesses, reverse=True)


def test_costs_of_patches_of_a_pixel_by_hand():
    first, second = (step.cost(CONV_LADDER.case) for step in CONV_LADDER.steps)
    assert first.multiply_adds == second.multiply_adds == 82 * 64 * 512
    assert first.memory_bytes == second.memory_bytes == 2 * 512 * (82 + 64 + 82 * 64)
    assert first.accesses == 64 * 512 // 32 * (2 * 82 + 1)
    assert second.accesses == 64 * 512 // 32 * (82 * 3 // 2 + 2 * 8 + 1)


@pytest.mark.parametrize("step", BLOCK_LADDER.steps, ids=step_id)
def test_costs_are_counted_for_whole_tiles_of_16_only(step):
    with pytest.raises(ValueError, match="not 16x16"):
        step.cost(published_levels()["cityscapes-m"][3])
    with pytest.raises(ValueError, match="not a 3x3 DPWInvertedResidual"):
        step.cost(CONV_LADDER.case)


def test_least_time_is_that_of_the_busiest_unit():
    one_each = Cost(4 * 32 * 132, 2048 * 132, 0, 132, 0)  # a clock of every unit of an H200
    clock_us = 1e6 / 1.98e9
    assert one_each.least_us(H200) == pytest.approx(clock_us)
    for more in ({"multiply_adds": 8 * 32 * 132}, {"matrix_multiply_adds": 4096 * 132}, {"accesses": 264}):
        assert replace(one_each, **more).least_us(H200) == pytest.approx(2 * clock_us)
    assert replace(one_each, memory_bytes=4_300_000).least_us(H200) == pytest.approx(1)


COUNTED_PRODUCTS = """
#pragma once
#define mma16x8x8 uncounted
#include "{plugins}/cpu/cpu_mma.h"
#undef mma16x8x8
namespace hyperseg {{
inline long long lanes = 0;
inline void mma16x8x8(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t b) {{
    ++lanes;
    uncounted(d, a0, a1, b);
}}
}}
extern "C" __attribute__((used)) inline long long products() {{ return hyperseg::lanes / 32; }}
"""


@needs_compiler
def test_products_on_tensor_cores_are_as_many_as_the_kernel_computes(tmp_path):
    (tmp_path / "cpu_mma.h").write_text(COUNTED_PRODUCTS.format(plugins=PLUGINS))
    library = tmp_path / "counted.so"
    sources = [str(PLUGINS / source) for source in SOURCES]
    include = ["-I", str(tmp_path), "-I", str(PLUGINS / "cpu"), "-x", "c++"]
    subprocess.run(["g++", *FLAGS, *include, *sources, "-o", str(library)], check=True)
    operator, arrays, attributes = block("m-4", (34, 68, 19), 16, grid=(1, 2)).call("float16")
    Kernels(library)(operator, *arrays, **attributes)
    products = ctypes.CDLL(str(library)).products
    products.restype = ctypes.c_longlong
    cost = fewer_instructions(replace(BLOCK_LADDER.case, height=16, width=32, grid=(1, 2)))
    assert products() * 16 * 8 * 8 == cost.matrix_multiply_adds


SHARED_BYTES = """
#include "kernels/dpw_inverted_residual/pixel_tile.cuh"
#include "kernels/dpw_inverted_residual/tensor_core.cuh"
#include <cstdio>
int main() {
    hyperseg::DpwInvertedResidualParams p{};
    p.x.skipChannels = p.inChannels = 34, p.hiddenChannels = 68, p.outChannels = 19, p.kernelHeight = p.kernelWidth = 3;
    using Tile = hyperseg::tensor_core::Tile<16, 16, 2, 3>;
    std::printf("%ld %ld", hyperseg::pixel_tile::sharedBytes({p, 16, 16}), Tile::sharedBytes(p, 1));
}
"""


@needs_compiler
def test_shared_memory_is_what_the_kernels_ask_for(tmp_path):
    (tmp_path / "shared.cpp").write_text(SHARED_BYTES)
    include = ["-I", str(PLUGINS), "-I", str(PLUGINS / "cpu")]
    sources = [tmp_path / "shared.cpp", PLUGINS / "cpu/cpu.cpp"]
    subprocess.run(["g++", "-std=c++17", *include, *sources, "-o", tmp_path / "shared"], check=True)
    asked = subprocess.run([tmp_path / "shared"], capture_output=True, text=True, check=True).stdout
    counted = [cost(BLOCK_LADDER.case).shared_bytes for cost in (pixel_tile, fewer_instructions)]
    assert list(map(int, asked.split())) == counted


def test_rows_beside_the_first_step_and_the_floor():
    times = dict(zip(CONV_LADDER.steps, (40.0, 10.0), strict=True))
    ceilings = Ceilings(bytes_per_s=1e12, operations_per_s=1e14, source="made up")
    first, second = step_rows(CONV_LADDER, times, ceilings)
    assert (first["step_us"], first["first/step"], second["first/step"]) == (40, 1, 4)
    assert second["step/floor"] == pytest.approx(10 / 5.523456)  # 5.5 MB at 1 MB a microsecond
    assert [first["name"], second["name"]] == ["dpwconv 1 value a thread", "dpwconv 2 lane per patch"]


def test_what_a_machine_cannot_run_is_said_to_be_not_run(monkeypatch, capsys):
    monkeypatch.setattr("trt_plugins.gpu.ladder.find_nvcc", lambda: None)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert ladder_main() == 0
    said = capsys.readouterr().out
    assert said.count("Compiled: not run, there is no nvcc") == len(LADDERS)
    assert said.endswith("Values and times: not run, PyTorch finds no CUDA GPU on this machine\n")
    assert all(f"| {step.name} |" in said for ladder in LADDERS for step in ladder.steps)


def test_the_readme_has_the_counts():
    readme = (PLUGINS / "bench/README.md").read_text()
    for ladder in LADDERS:
        assert "\n".join(counted_table(ladder)) in readme
    library, strips = fewer_instructions(BLOCK_LADDER.case), fewer_instructions(BLOCK_LADDER.case, strip_rows=8)
    assert f"from {library.accesses / 1e6:.2f} to {strips.accesses / 1e6:.2f} million" in readme
