"""The kernels of LabelHead, run on the CPU from their own source, against PyTorch's interpolation and arg max."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.trt_plugins.kernel_library import INVALID, PLUGINS, KernelError, Kernels, build, run_sanitized
from training.network.label_head import label_head

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")

SHAPES = [  # classes, height, width
    (1, 3, 4),
    (2, 1, 1),
    (3, 1, 9),
    (12, 7, 1),
    (5, 2, 2),
    (19, 3, 5),
    (21, 6, 33),
    (19, 9, 70),
    (256, 4, 3),
]
# The weights of these are sums of powers of two: with whole numbers all is exact, and equal values really are equal.
EXACT_SCALES = [1, 2, 4, 64]
OTHER_SCALES = [3, 5, 63]
DTYPES = ["float32", "float16"]

# As in trt_plugins/cpu/library.cpp, without the other operators, which take fifteen times as long to compile.
LIBRARY = """
#include "kernels/label_head/label_head.h"
extern "C" {
int label_head(hyperseg::LabelHeadParams const* params) { return hyperseg::launchLabelHead(*params, nullptr); }
void set_thread_order(int order) { hyperseg::cpu::setOrder(static_cast<hyperseg::cpu::Order>(order), 1); }
}
"""


def build_head(folder: Path, source: str = "kernels/label_head/label_head.cu", sanitize: bool = False) -> Path:
    library = folder / "library.cpp"
    library.write_text(LIBRARY.replace("kernels/", f"{PLUGINS}/kernels/"))
    return build(folder, sanitize, sources=[source, "cpu/cpu.cpp", str(library)])


@pytest.fixture(scope="module")
def kernels(tmp_path_factory) -> Kernels:
    return Kernels(build_head(tmp_path_factory.mktemp("kernels")))


def whole(shape: tuple[int, ...], dtype: str, largest: int = 8) -> np.ndarray:
    """Logits of which many are equal."""
    random = np.random.default_rng(sum(shape))
    return random.integers(-largest, largest, (2, *shape), endpoint=True).astype(dtype)


def expected(logits: np.ndarray, scale: int) -> np.ndarray:
    return label_head(torch.from_numpy(logits), scale).numpy()


@pytest.mark.parametrize("order", ["forward", "reverse", "shuffled"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", EXACT_SCALES)
def test_labels_of_whole_numbers_are_exact(kernels, scale, dtype, order):
    for shape in SHAPES if scale < 64 else SHAPES[:6]:
        for largest in (1, 8):
            logits = whole(shape, dtype, largest)
            labels = kernels("label_head", logits, scale=scale, order=order)
            assert labels.dtype == logits.dtype
            np.testing.assert_array_equal(labels, expected(logits, scale))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", EXACT_SCALES[:3] + OTHER_SCALES)
def test_no_class_is_larger_than_the_label(kernels, scale, dtype):
    for shape in SHAPES if scale < 63 else SHAPES[:6]:
        random = np.random.default_rng(sum(shape) + scale)
        logits = (10 * random.standard_normal((2, *shape))).astype(dtype)
        logits[:, -1] = logits[:, 0]  # a tie in every pixel
        labels = kernels("label_head", logits, scale=scale)
        values = torch.from_numpy(logits.astype(np.float64))
        values = F.interpolate(values, scale_factor=scale, mode="bilinear").numpy() if scale > 1 else values.numpy()
        chosen = np.take_along_axis(values, labels[:, None].astype(int), 1)
        # Seven roundings to float32 on the way to a value, two of them of the weights.
        assert np.all(values.max(1, keepdims=True) - chosen <= 2 * 7 * 2.0**-24 * np.abs(logits).max())
        assert shape[0] == 1 or not np.any(labels == shape[0] - 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", EXACT_SCALES[:3])
def test_nan_and_infinity_count_as_in_pytorch(kernels, scale, dtype):
    for shape in SHAPES[1:]:
        random = np.random.default_rng(sum(shape))
        logits = whole(shape, dtype)
        for value in (np.inf, -np.inf, np.nan):
            logits[random.random(logits.shape) < 0.05] = value
        np.testing.assert_array_equal(kernels("label_head", logits, scale=scale), expected(logits, scale))


def test_classes_of_nothing_but_the_least_number_have_the_first_label(kernels):
    for scale in (1, 2, 3):
        assert not kernels("label_head", np.full((1, 4, 3, 3), -np.inf, "float32"), scale=scale).any()


def test_no_access_is_out_of_bounds_and_no_behaviour_undefined(tmp_path: Path):
    library = build_head(tmp_path, sanitize=True)
    cases = [(whole(shape, dtype), s) for shape in SHAPES for dtype in DTYPES for s in (1, 2, 3)]
    calls = [("label_head", [logits], {"scale": scale, "order": "shuffled"}) for logits, scale in cases]
    for labels, (logits, scale) in zip(run_sanitized(tmp_path, library, calls), cases, strict=True):
        assert labels.shape == expected(logits, scale).shape
        assert not np.isnan(labels).any()


# The bench's other step is the library's kernel itself.
def test_the_benchs_first_step_has_the_same_labels(tmp_path: Path):
    step = Kernels(build_head(tmp_path, "bench/label_head/1_enlarge_then_arg_max.cu"))
    for shape in SHAPES:
        for dtype in DTYPES:
            logits = whole(shape, dtype)  # which FP16 holds exactly once they are enlarged
            for scale in (2, 4):
                labels = step("label_head", logits, scale=scale, order="shuffled")
                np.testing.assert_array_equal(labels, expected(logits, scale))


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": 0},
        {"classes": 0},
        {"classes": 257},
        {"height": 0},
        {"width": -1},
        {"scale": 0},
        {"scale": 65},
        {"type": 2},
        {"height": 2**15, "width": 2**15},  # more labels than 31 bits count
        {"batch": 1, "height": 1, "width": 2**29 - 2**14 + 1},  # four labels more than there may be
        {"labels": None},
    ],
    ids=str,
)
def test_contradicting_parameters_launch_nothing(kernels, wrong):
    with pytest.raises(KernelError) as error:
        kernels("label_head", whole((3, 4, 5), "float32"), **{"scale": 2} | wrong)
    assert error.value.code == INVALID
