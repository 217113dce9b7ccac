import numpy as np
import pytest
from onnxruntime.quantization.calibrate import HistogramCollector

from calibration.thresholds import BINS, DEFAULT_METHOD, METHODS, _divergence, find_thresholds

RNG = np.random.default_rng(0)
SAMPLES = {
    "normal": RNG.normal(size=200_000),
    "laplace": RNG.laplace(size=200_000),
    "uniform": RNG.uniform(-3, 3, size=200_000),
    "relu": np.maximum(RNG.normal(size=200_000), 0),
    "outlier": np.append(RNG.normal(size=200_000), 40.0),
    "two clusters": np.concatenate([RNG.normal(size=100_000), RNG.normal(20, 0.1, size=1_000)]),
}


def thresholds_of(values: np.ndarray, bins: int = BINS) -> dict[str, float]:
    largest = float(np.abs(values).max())
    return find_thresholds(np.histogram(np.abs(values), bins, (0, largest))[0], largest)


def squared_error(values: np.ndarray, threshold: float) -> float:
    scale = threshold / 127
    return float(np.mean((np.clip(np.rint(values / scale), -127, 127) * scale - values) ** 2))


@pytest.mark.parametrize("name", SAMPLES)
def test_every_method_clips_at_most_to_the_largest(name):
    thresholds = thresholds_of(SAMPLES[name])
    assert tuple(thresholds) == METHODS
    assert DEFAULT_METHOD in METHODS
    assert thresholds["minmax"] == np.abs(SAMPLES[name]).max()
    assert all(0 < threshold <= thresholds["minmax"] for threshold in thresholds.values())


@pytest.mark.parametrize("name", SAMPLES)
def test_the_percentile_is_that_of_the_samples(name):
    values = np.abs(SAMPLES[name])
    clipped = np.quantile(values, 0.9999, method="inverted_cdf")
    width = values.max() / BINS
    assert clipped <= thresholds_of(values)["percentile"] <= clipped + width * (1 + 1e-9)  # it is a bin's upper edge


def test_the_percentile_of_a_histogram_by_hand():
    counts = np.zeros(BINS, np.int64)
    counts[[3, 10, 2047]] = 9_000, 999, 1
    assert find_thresholds(counts, 2048.0)["percentile"] == 11  # 9,999 of 10,000 are below 11
    counts[2047] = 2
    assert find_thresholds(counts, 2048.0)["percentile"] == 2048


@pytest.mark.parametrize("name", SAMPLES)
def test_no_threshold_has_a_smaller_squared_error(name):
    values = SAMPLES[name]
    largest = np.abs(values).max()
    best = min(squared_error(values, threshold) for threshold in np.linspace(largest / 100, largest, 200))
    # The candidates are 1/128 of the largest apart, which near the flat minimum costs little: up to 0.9 % here.
    assert squared_error(values, thresholds_of(values)["mse"]) < 1.02 * best


def test_an_outlier_is_clipped_where_that_pays():
    thresholds = thresholds_of(SAMPLES["outlier"])
    assert thresholds["minmax"] == 40
    assert all(3 < thresholds[method] < 10 for method in ("percentile", "entropy"))
    assert thresholds["mse"] < 30, "its square weighs much, so it is clipped less"
    assert thresholds_of(SAMPLES["two clusters"])["mse"] > 19, "a hundredth of the values is no outlier"


def divergence_by_the_talk(counts: np.ndarray, bins: int) -> float:
    """S7310's pseudo code, step by step: clip to ``bins`` bins, merge into 128 levels, expand again, compare."""
    p = [float(count) for count in counts[:bins]]
    p[-1] += counts[bins:].sum()
    members: list[list[int]] = [[] for _ in range(128)]
    for i in range(bins):
        members[i * 128 // bins].append(i)
    q = [0.0] * bins
    for level in members:
        filled = [i for i in level if counts[i]]
        for i in filled:
            q[i] = sum(float(counts[j]) for j in filled) / len(filled)
    return sum(p[i] / sum(p) * np.log(p[i] / sum(p) / (q[i] / sum(q))) for i in range(bins) if p[i])


@pytest.mark.parametrize("decay", [15, 40, 150])
def test_entropy_is_the_talks(decay):
    counts = (1e5 * np.exp(-np.arange(512) / decay) + 3).astype(np.int64)  # none is empty
    counts[0] = counts[1]
    candidates = range(128, 513, 4)
    divergences = [divergence_by_the_talk(counts, bins) for bins in candidates]
    ours = [_divergence(counts[:bins].astype(float), counts[bins:].sum()) for bins in candidates]
    np.testing.assert_allclose(ours, divergences, rtol=1e-6, atol=1e-12)  # differences of sums of 1e6 counts
    assert find_thresholds(counts, 512.0)["entropy"] == candidates[int(np.argmin(divergences))]


def test_entropy_is_near_onnx_runtimes():
    """Its levels lie on both sides of 0, so 256; that it smooths and rounds moves the flat minimum a little."""
    values = SAMPLES["laplace"]
    largest = np.abs(values).max()
    counts, edges = np.histogram(values, 1024, (-largest, largest))
    collector = HistogramCollector("entropy", True, 1024, 256, 99.99, "same")
    theirs = float(collector.get_entropy_threshold((counts, edges, -largest, largest), 256)[1])
    assert thresholds_of(values, 512)["entropy"] == pytest.approx(theirs, rel=0.1)


@pytest.mark.parametrize("method", ["entropy", "mse"])
def test_zeros_of_a_relu_change_nothing(method):
    positive = np.abs(SAMPLES["normal"])
    with_zeros = np.concatenate([positive, np.zeros(1_000_000)])
    assert thresholds_of(with_zeros)[method] == pytest.approx(thresholds_of(positive)[method], rel=0.02)
