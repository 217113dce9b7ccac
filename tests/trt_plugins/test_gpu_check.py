"""The GPU check without a GPU: its floors, cases, ratios, report and builds; the kernels' values on the CPU."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from itertools import product
from math import inf, prod
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch

from tests.trt_plugins.kernel_library import build
from training import create_model
from training.network import dpwconv as specification
from training.network.decoder import coordinates as training_coordinates
from training.network.decoder import level_input
from training.network.label_head import label_head
from trt_plugins.gpu import fusion
from trt_plugins.gpu.cases import Case, Head, Specification, coordinates, random_logits, random_tensors, run, stacked
from trt_plugins.gpu.correctness import (
    check_labels,
    check_values,
    clean,
    head_line,
    label_error,
    runner_line,
    sanitize,
    sanitizer_cases,
    sanitizer_grids,
    sanitizer_heads,
)
from trt_plugins.gpu.floors import Ceilings, head_work, level_floor_us, level_work, operator_work, operators_floor_us
from trt_plugins.gpu.library import BuildError, DpwConvParams, KernelLibrary, build_library, build_runner, find_nvcc
from trt_plugins.gpu.report import Check, Failed, NotRun, Report, attempt, read, report_path, summary, write
from trt_plugins.gpu.shapes import (
    fused,
    heads_to_check,
    operators_to_check,
    published_heads,
    published_levels,
    small_heads,
    small_levels,
    small_shapes,
)
from trt_plugins.gpu.speed import Times, level_row, total_row

ROOT = Path(__file__).parents[2]
CEILINGS = Ceilings(bytes_per_s=1e12, operations_per_s=1e14, source="made up")
LEVEL_4 = published_levels()["cityscapes-m"][4]


def test_bytes_and_operations_of_a_fused_level_by_hand():
    pixels, patches = 256 * 512, 16 * 32
    theta = 68 * 34 + 68 * 9 + 19 * 68
    assert theta == 4216
    (block,) = LEVEL_4.operators
    work = operator_work(LEVEL_4, block, 2)
    assert work.bytes == 2 * (34 * pixels + theta * patches + 19 * pixels)
    assert work.operations == 2 * theta * pixels
    # In MB and 10^6 multiplications: skip map and previous level at half the size 5.24, theta 4.32, output 4.98.
    level = level_work(LEVEL_4, 2)
    assert level.bytes / 1e6 == pytest.approx(5.243 + 4.317 + 4.981, abs=0.002)
    assert level.operations / 2e6 == pytest.approx(552.6, abs=0.05)
    assert operators_floor_us(LEVEL_4, CEILINGS, 2) == pytest.approx(18.2, abs=0.05)  # bound by its 18.2 MB
    assert level_floor_us(LEVEL_4, replace(CEILINGS, operations_per_s=1e13), 2) == pytest.approx(110.5, abs=0.05)
    assert level_work(replace(LEVEL_4, batch=3), 4).bytes == 6 * level.bytes


def test_a_level_of_three_operators_also_moves_its_hidden_maps():
    level = published_levels()["voc-l"][5]
    pixels, patches, theta = 512 * 512, 256, 22 * 11 + 22 * 9 + 21 * 22
    moved = sum(operator_work(level, operator, 2).bytes for operator in level.operators)
    assert moved == 2 * ((11 + 4 * 22 + 21) * pixels + theta * patches)
    assert level_work(level, 2).bytes == 2 * (3 * pixels + 6 * pixels // 4 + theta * patches + 21 * pixels)


def test_bytes_and_operations_of_a_label_head_by_hand():
    work = head_work(published_heads()["cityscapes-m"], 2)
    assert work.bytes == 2 * (19 * 256 * 512 + 512 * 1024)
    assert work.operations == 2 * 4 * 19 * 512 * 1024
    assert head_work(Head("alone", 21, 512, 512, 1, batch=3), 4).bytes == 3 * 4 * 22 * 512 * 512
    assert head_work(Head("alone", 21, 512, 512, 1), 4).operations == 0


@pytest.mark.parametrize("positions", [0, 1])
def test_a_fused_case_is_the_level_on_the_input_of_the_model(positions):
    (case,) = (level for level in small_levels() if level.name == "small level 7")
    case = replace(case, positions=positions, previous_channels=5 - 2 * positions)
    tensors = random_tensors(case, torch.float64, "cpu", seed=0)
    whole = level_input(tensors.x, tensors.previous, bool(positions))
    assert torch.equal(
        run(case, Specification(), tensors),
        run(replace(case, fused=False), specification, replace(tensors, x=whole, previous=None)),
    )
    assert torch.equal(coordinates(tensors.x), training_coordinates(tensors.x))
    assert stacked(tensors.x, tensors.previous, coordinates(tensors.x)).shape[1] == 9 + 2 * (1 - positions)


@pytest.mark.parametrize("name", published_levels())
def test_levels_are_those_of_the_model(name):
    model = create_model(name)
    plan, (height, width) = model.decoder.plan, model.config.input_size
    head, last = published_heads()[name], published_levels()[name][-1]
    assert head.classes == len(model.config.labels.classes)
    assert (head.height * head.scale, head.width * head.scale) == (height, width)
    assert (head.height, head.width) == (last.height, last.width)
    levels = published_levels()[name]
    assert len(levels) == len(plan.levels)
    for index, (case, level) in enumerate(zip(levels, plan.levels, strict=True)):
        assert (case.height, case.width, case.batch) == (height >> (5 - index), width >> (5 - index), 1)
        assert case.grid == (height // 32, width // 32)
        assert case.weight_channels == plan.mappers[level.mapper].out_channels
        assert case.previous_channels == (plan.levels[index - 1].out_channels if index else 0)
        first, last = case.operators[0], case.operators[-1]
        assert (first.in_channels, last.out_channels) == (level.in_channels, level.out_channels)
        assert first.weight_offset == level.weight_offset
        assert sum(operator.theta_size for operator in case.operators) == level.theta_size


@pytest.mark.parametrize("name", ["voc-l", "cityscapes-s"])
def test_a_level_computes_what_the_folded_level_of_the_model_does(name):
    from export.fold import fold_batchnorm

    levels = fold_batchnorm(create_model(name)).decoder.levels
    for case, level in zip(published_levels()[name], levels, strict=True):
        patch = case.height // case.grid[0], case.width // case.grid[1]
        small = replace(case, grid=(2, 3), height=2 * patch[0], width=3 * patch[1])
        tensors = random_tensors(small, torch.float32, "cpu", seed=0)
        biases = [bias.detach() for bias in level.parameters()]
        per_operator = [biases] if len(small.operators) == 1 else [[bias] for bias in biases]
        tensors = replace(tensors, biases=tuple(map(tuple, per_operator)))
        with torch.inference_mode():
            torch.testing.assert_close(run(small, specification, tensors), level(tensors.x, tensors.weight))


def test_cases_cover_both_batches_and_every_small_shape():
    cases = operators_to_check()
    assert len({case.name for case in cases}) == len(cases)
    # voc-l has 2 point-wise levels and 4 of three operators, the others one operator a level. All levels but the first
    # are fused, too, of voc-l's three operators the first.
    plain, with_previous = 2 + 4 * 3 + 5 + 5 + 5 + 6, 5 + 4 + 4 + 4 + 5
    assert len(cases) == 2 * (plain + with_previous) + len(small_shapes()) + len(small_levels())
    assert sum(case.fused for case in cases) == 2 * with_previous + len(small_levels())
    assert {case.batch for case in cases} == {1, 2, 3}
    assert all(len(case.operators) == 1 for case in cases)
    for small in (*small_shapes(), *small_levels()):  # each is legal: the specification takes it
        tensors = random_tensors(small, torch.float64, "cpu", seed=0)
        assert run(small, Specification(), tensors).isfinite().all()
    for level in small_levels():
        assert (level.height % 2, level.width % 2) == (0, 0)
        assert level.skip_channels >= 1
    heads = heads_to_check()
    assert len({head.name for head in heads}) == len(heads) == 2 * 5 + len(small_heads())


def test_only_the_first_operator_of_a_fused_level_is_fused():
    level = fused(published_levels()["voc-l"][3])
    assert [step.fused for step in level.steps] == [True, False, False]
    small = replace(level, grid=(2, 3), height=16, width=24)
    tensors = random_tensors(small, torch.float64, "cpu", seed=0)
    assert (tensors.x.shape, tensors.previous.shape) == ((1, 8, 16, 24), (1, 12, 8, 12))
    whole = replace(tensors, x=level_input(tensors.x, tensors.previous), previous=None)
    expected = run(replace(small, fused=False), specification, whole)
    assert torch.equal(run(small, Specification(), tensors), expected)


def test_ratios_of_levels_and_decoders():
    first = level_row(LEVEL_4, Times(kernels=20.0, eager=400.0, compiled=100.0), CEILINGS)
    assert first["eager/kernels"] == 20
    assert first["compiled/kernels"] == 5
    assert first["kernels/operators_floor"] == pytest.approx(20 / 18.206, rel=1e-3)
    assert first["kernels/level_floor"] == pytest.approx(20 / 14.541, rel=1e-3)
    second = level_row(published_levels()["cityscapes-m"][0], Times(5.0, 30.0, None), CEILINGS)
    assert second["compiled/kernels"] is None
    total = total_row("decoder", [first, second])
    assert (total["kernels_us"], total["eager_us"], total["compiled_us"]) == (25, 430, None)
    assert total["eager/kernels"] == 430 / 25
    assert total["compiled/kernels"] is None
    floor_us = first["operators_floor_us"] + second["operators_floor_us"]
    assert total["kernels/operators_floor"] == pytest.approx(25 / floor_us)


def test_report_survives_the_file_and_names_day_and_device(tmp_path):
    row = level_row(LEVEL_4, Times(20.0, 400.0, None), CEILINGS)
    checks = (
        Check("build", "passed", figures={"arch": "sm_90"}),
        Check("FP32", "failed", "1 of 2 cases", {"largest_error": 0.5, "errors": {"a": 0.5, "b": 0.0}}),
        Check("racecheck", "not run", "there is no compute-sanitizer"),
        Check("speed", "passed", figures={"levels": [row], "decoders": [total_row("decoder", [row])]}),
    )
    report = Report("2026-01-31", {"device": "NVIDIA H200", "commit": "unknown"}, checks)
    path = report_path(tmp_path / "reports", report)
    assert path.name == "2026-01-31-nvidia-h200.json"
    write(report, path)
    assert read(path) == report
    assert list(path.parent.iterdir()) == [path]
    assert report.failed
    assert not replace(report, checks=checks[2:]).failed
    text = summary(report)
    assert "failed  FP32 (largest error 5.0e-01): 1 of 2 cases" in text
    assert "not run  racecheck: there is no compute-sanitizer" in text
    assert "cityscapes-m level 4" in text


def test_what_a_check_raises_becomes_its_status():
    def raising(error):
        return attempt("name", Mock(side_effect=error))

    assert attempt("name", lambda: {"figure": 1}) == Check("name", "passed", figures={"figure": 1})
    assert raising(NotRun("no GPU")) == Check("name", "not run", "no GPU")
    assert raising(Failed("too far", {"largest_error": 2.0})).figures == {"largest_error": 2.0}
    assert raising(RuntimeError("illegal access")) == Check("name", "failed", "RuntimeError: illegal access")


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells what a machine without a GPU says")
@pytest.mark.parametrize("with_out", [False, True])
def test_without_a_gpu_nothing_passes_and_nothing_fails(tmp_path, with_out):
    out = tmp_path / "report.json"
    reports = sorted(ROOT.glob("docs/reports/*"))
    result = subprocess.run(
        [ROOT / "scripts/gpu_check.sh", *(["--out", out] if with_out else [])],
        env=os.environ | {"HYPERSEG_PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert (result.returncode, result.stdout.count("not run  "), result.stdout.count("passed")) == (0, 20, 0)
    assert out.exists() == with_out
    assert sorted(ROOT.glob("docs/reports/*")) == reports
    if with_out:
        assert {check["status"] for check in json.loads(out.read_text())["checks"]} == {"not run"}
        assert read(out).machine["device"] == "none"


def test_the_check_needs_nothing_but_torch():
    blocked = ["timm", "lightning", "torchvision", "cv2", "numpy", "onnx", "onnxruntime", "PIL", "tqdm", "yaml"]
    script = f"import sys; sys.modules |= dict.fromkeys({blocked}); import trt_plugins.gpu.__main__"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


@pytest.mark.parametrize("last", [float("nan"), 100.0])
def test_a_wrong_or_unwritten_value_fails_a_case(last):
    def wrong(*arguments, out, **attributes):
        out.copy_(specification.dpwconv(*arguments, **attributes))
        out[..., -1, -1] = last

    with pytest.raises(Failed, match="1 of 1 cases beyond 1e-05: small shape 1") as failure:
        check_values(SimpleNamespace(dpwconv=wrong), torch.float32, [small_shapes()[1]], "cpu")
    json.dumps(failure.value.figures, allow_nan=False)


def labels_but_for_one(wrong):
    """A label head whose last label is wrong, or, given the last right one, as wrong as ``wrong`` makes it."""

    def head(logits, scale, out):
        out.copy_(label_head(logits, scale))
        out[..., -1, -1] = wrong(out[..., -1, -1])

    return SimpleNamespace(label_head=head)


@pytest.mark.parametrize("wrong", [lambda right: float("nan"), lambda right: 256, lambda right: right + 0.5])
def test_what_is_no_class_fails_a_head(wrong):
    with pytest.raises(Failed, match="1 of 1 cases beyond 1e-05: small head 6") as failure:
        check_labels(labels_but_for_one(wrong), torch.float32, [small_heads()[6]], "cpu")
    json.dumps(failure.value.figures, allow_nan=False)


def test_the_wrong_one_of_equal_logits_fails_a_head_where_enlarging_is_exact():
    head = Head("ties", 9, 12, 12, 2)

    def last_of_equals(logits, scale, out):
        wide = torch.nn.functional.interpolate(logits, scale_factor=float(scale), mode="bilinear")
        out.copy_(head.classes - 1 - wide.flip(1).argmax(1))

    check_labels(
        SimpleNamespace(label_head=lambda x, s, out: out.copy_(label_head(x, s))), torch.float32, [head], "cpu"
    )
    with pytest.raises(Failed, match="ties"):
        check_labels(SimpleNamespace(label_head=last_of_equals), torch.float32, [head], "cpu")


def test_how_wrong_a_label_is():
    logits, head = torch.tensor([1.0, -4.0, 3.0]).view(1, 3, 1, 1), Head("one", 3, 1, 1, 1)
    for label, error in ((2, 0.0), (0, 0.5), (1, 1.75), (3, inf), (-1, inf)):
        assert label_error(logits, torch.full((1, 1, 1), label).double(), head) == error


class OnCpu(KernelLibrary):
    """The binding with the kernels' own source compiled for the CPU behind it."""

    def __init__(self, path):
        self._library = ctypes.CDLL(str(path))

    def _launch(self, name, params, x):
        assert getattr(self._library, name)(ctypes.byref(params)) == 0


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    return OnCpu(build(tmp_path_factory.mktemp("kernels")))


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_binding_hands_every_value_to_the_kernels(on_cpu, dtype):
    check_values(on_cpu, dtype, (*small_shapes(), *small_levels()), "cpu")
    check_labels(on_cpu, dtype, small_heads(), "cpu")


def test_the_binding_refuses_what_the_kernels_cannot_see():
    library = OnCpu.__new__(OnCpu)
    x, weight, bias = torch.zeros(2, 3, 4, 4), torch.zeros(2, 15, 2, 2), torch.zeros(5)
    for arguments, message in (
        ((x, weight[:1], bias), "weights for 1 maps"),
        ((x, weight, bias[:4]), "a bias"),
        ((x, weight.half(), bias), "all float32 or all float16"),
        ((x.transpose(2, 3), weight, bias), "contiguous"),
    ):
        with pytest.raises(ValueError, match=message):
            library.dpwconv(*arguments, out_channels=5)
    with pytest.raises(ValueError, match="not half of"):
        library.dpwconv(x, weight, bias, out_channels=5, previous=torch.zeros(2, 1, 4, 2))
    with pytest.raises(ValueError, match=r"out .* is not \(2, 8, 8\)"):
        library.label_head(x, 2, out=torch.zeros(2, 4, 4))
    with pytest.raises(ValueError, match="on a CUDA device"):
        KernelLibrary._launch(library, "dpwconv", None, x)


def test_runner_reads_as_many_numbers_as_are_written():
    source = (ROOT / "trt_plugins/gpu/runner.cu").read_text()
    fields = source.partition("struct Case {")[2].partition("}")[0].replace("int32_t", "").strip(" \n;").split(",")
    lines = {runner_line(case, dtype) for case in sanitizer_cases() for dtype in (torch.float32, torch.float16)}
    lines |= {runner_line(case, torch.float16) for case in sanitizer_grids()}
    lines |= {head_line(head, torch.float16) for head in sanitizer_heads()}
    assert {len(line.split()) for line in lines} == {len(fields)} == {21}


def patches_a_block(case: Case) -> tuple[int, int]:
    """The launcher's rule on an H200, of 132 multiprocessors and 227 KB: patches and bytes of shared memory a block."""

    def eights(values: int) -> int:
        return -(-values // 8) * 8

    def row(values: int) -> int:
        return eights(values) + 8 * (eights(values) // 8 % 2 == 0)

    (operator,), previous = case.operators, case.previous_channels if case.fused else 0
    tile, patches = case.height // case.grid[0], prod(case.grid)
    stride = row(eights(previous) + eights(operator.in_channels - previous))
    hidden, window = eights(operator.hidden_channels), (tile + 2) ** 2
    theta = hidden * stride + 9 * hidden + eights(operator.out_channels) * row(operator.hidden_channels)
    for together in (4, 2, 1):
        shared_bytes = 2 * (window * stride + 2 * window * 8 + together * theta) + 8 * hidden
        if patches % together == 0 and 2 * (patches // together) >= 3 * 132 and shared_bytes <= 227 * 1024:
            break
    return together, shared_bytes


def test_sanitizer_meets_blocks_of_two_and_of_four_patches_and_more_shared_memory_than_is_granted_unasked():
    met = [(case.height // case.grid[0], case.fused, *patches_a_block(case)) for case in sanitizer_grids()]
    assert {row[:3] for row in met} == set(product((8, 16), (False, True), (2, 4)))
    assert all(shared_bytes > 48 * 1024 for tile, _, together, shared_bytes in met if tile == 16 or together == 4)


def test_lines_for_the_runner_by_hand():
    level = next(level for level in small_levels() if level.name == "small level 7")
    assert runner_line(level, torch.float16) == "1 1 3 9 11 5 12 12 254 3 2 3 3 1 0 0 1 0 3 1 0"
    assert runner_line(small_shapes()[1], torch.float32) == "0 0 3 7 0 5 3 11 39 3 11 1 1 1 3 0 1 0 0 0 0"
    assert head_line(Head("", 19, 10, 14, 2), torch.float16) == "2 1 1 19 0 0 10 14" + " 0" * 12 + " 2"


def test_rows_of_fusing_beside_separate_steps_and_the_floor():
    row = fusion.level_row(LEVEL_4, 20.0, 50.0, CEILINGS)
    assert row["separate/fused"] == 2.5
    assert row["fused/floor"] == pytest.approx(20 / 14.541, rel=1e-3)
    head = fusion.head_row(published_heads()["cityscapes-m"], 12.0, 60.0, CEILINGS)
    assert head["fused/floor"] == pytest.approx(12 / 6.029, rel=1e-3)  # 6.03 MB at 1 MB a microsecond


def test_separate_steps_compute_what_the_fused_operators_do(monkeypatch):
    calls = []
    monkeypatch.setattr(fusion, "time_us", lambda call, sets: calls.append(call(sets[0])) or 1.0)
    for count in ("input_sets", "head_sets"):
        monkeypatch.setattr(fusion, count, lambda case: 1)
    for draw in (random_tensors, random_logits):
        on_cpu = partial(lambda draw, case, dtype, device, seed: draw(case, torch.float32, "cpu", seed), draw)
        monkeypatch.setattr(fusion, draw.__name__, on_cpu)
    level = replace(published_levels()["cityscapes-m"][4], grid=(1, 2), height=16, width=32)
    functions = SimpleNamespace(
        dpw_inverted_residual=Specification().dpw_inverted_residual,
        label_head=lambda logits, scale: label_head(logits, scale),
    )
    fusion.time_level(level, functions)
    torch.testing.assert_close(calls[0], calls[1])
    fusion.time_head(Head("head", 5, 6, 7, 2), functions)
    assert (calls[2] == calls[3]).float().mean() > 0.95  # in separate steps enlarged FP16 is rounded


def test_only_a_closing_line_without_errors_is_clean():
    assert clean("========= ERROR SUMMARY: 0 errors")
    assert clean("========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)")
    assert not clean("========= ERROR SUMMARY: 10 errors")
    assert not clean("========= RACECHECK SUMMARY: 1 hazard displayed (0 errors, 1 warning)")
    assert not clean("Segmentation fault")


def test_sanitizer_is_not_run_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("trt_plugins.gpu.correctness.find_nvcc", lambda: None)
    with pytest.raises(NotRun, match="no compute-sanitizer"):
        sanitize(tmp_path / "runner", "memcheck")


@pytest.mark.slow
@pytest.mark.skipif(find_nvcc() is None, reason="needs nvcc")
def test_nvcc_compiles_library_and_runner_for_sm_90(tmp_path):
    path = build_library(tmp_path, "90")
    library = KernelLibrary(path)  # which compares the sizes of the structs
    with pytest.raises(RuntimeError, match=r"dpwconv: invalid argument"):
        library.raise_for("dpwconv", library._library.dpwconv(ctypes.byref(DpwConvParams()), None))
    runner = build_runner(path, "90")
    assert subprocess.run([runner], capture_output=True).returncode == 2
    with pytest.raises(BuildError, match="nvcc did not build"):
        build_library(tmp_path, "1")
