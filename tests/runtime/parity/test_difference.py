import numpy as np
import pytest

from runtime.parity import difference
from runtime.parity.difference import MIN_EXPONENT, DifferenceSum, difference_of


def test_all_four_measures():
    # By hand: the difference is (3, 4), the expected norm 5, and the vectors (3, 0) and (0, -4) are at right angles.
    found = difference_of(np.float32([3, 0]), np.float32([0, -4]))
    assert found.max_absolute == 4
    assert found.mean_absolute == 3.5
    assert found.relative == pytest.approx(5 / 4)
    assert found.cosine == pytest.approx(1)


def test_many_parts_add_up_to_the_whole(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    expected = rng.normal(size=(3, 7, 11)).astype(np.float32)
    actual = (expected + 1e-3 * rng.normal(size=expected.shape)).astype(np.float32)
    monkeypatch.setattr(difference, "_CHUNK", 5)
    parts = DifferenceSum()
    for one, other in zip(actual, expected, strict=True):
        parts.add(one, other)
    found, wide = parts.result(), actual.astype(np.float64).ravel()
    apart = np.abs(wide - expected.ravel())
    norm = np.linalg.norm(expected.ravel().astype(np.float64))
    assert found.max_absolute == apart.max()
    assert found.mean_absolute == pytest.approx(apart.mean(), rel=1e-12)
    assert found.relative == pytest.approx(np.linalg.norm(apart) / norm, rel=1e-12)
    assert parts.exponents.sum() == expected.size


def test_cosine_is_exact_where_the_dot_product_is_lost_in_rounding():
    expected = np.ones(2)
    actual = np.array([1.0, 1.0 + 2e-9])
    # For a small angle t, 1 - cos t = t^2 / 2, and here t = 1e-9: 1e16 times smaller than the dot product.
    assert difference_of(actual, expected).cosine == pytest.approx(0.5e-18, rel=1e-6)


def test_equal_tensors_do_not_differ_even_where_they_are_zero():
    zeros = np.zeros((2, 3), np.float32)
    found = difference_of(zeros, zeros)
    assert (found.max_absolute, found.mean_absolute, found.relative, found.cosine) == (0, 0, 0, 0)
    assert found.finite
    assert not difference_of(zeros + 1, zeros).finite  # relative to nothing


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_no_number_is_never_lost(value: float, place: int):
    actual = np.ones(3, np.float32)
    actual[place] = value
    found = difference_of(actual, np.ones(3, np.float32))
    assert not found.finite
    assert not np.isfinite(found.max_absolute)
    later = DifferenceSum()
    later.add(actual, np.ones(3, np.float32))
    later.add(np.ones(3, np.float32), np.ones(3, np.float32))
    assert not later.result().finite


def test_exponents_count_by_powers_of_two():
    total = DifferenceSum()
    total.add(np.array([0.0, 0.5, 0.75, 1.0, 1e30, 1e-30]), np.zeros(6))
    bins = {index + MIN_EXPONENT: count for index, count in enumerate(total.exponents.tolist()) if count}
    # 0.5 and 0.75 lie in [2^-1, 2^0), 1 in [2^0, 2^1); zero and the tiny go into the first bin, the huge into the last.
    assert bins == {MIN_EXPONENT: 2, 0: 2, 1: 1, difference.MAX_EXPONENT: 1}


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="differ in shape"):
        difference_of(np.zeros(2), np.zeros(3))
