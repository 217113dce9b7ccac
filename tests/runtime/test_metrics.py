import numpy as np
import pytest

from runtime.metrics import confusion_matrix, iou_per_class, latency_of, mean_iou


def test_confusion_counts_truth_by_row():
    truth = np.array([[0, 0, 1], [1, 1, 2]], np.uint8)
    labels = np.array([[0, 1, 1], [1, 2, 2]], np.uint8)
    expected = [[1, 1, 0], [0, 2, 1], [0, 0, 1]]
    confusion = confusion_matrix(labels, truth, 3)
    assert confusion.dtype == np.int64
    assert confusion.tolist() == expected


def test_confusion_skips_labels_outside_the_classes():
    truth, labels = np.array([0, 255, 1, 0]), np.array([0, 0, 9, -1])
    assert confusion_matrix(labels, truth, 2).tolist() == [[1, 0], [0, 0]]


def test_confusion_of_one_byte_labels_does_not_overflow():
    labels = np.full((4, 4), 250, np.uint8)
    assert confusion_matrix(labels, labels, 256)[250, 250] == 16


def test_confusion_refuses_other_shapes():
    with pytest.raises(ValueError, match="differ in shape"):
        confusion_matrix(np.zeros((2, 2)), np.zeros((2, 3)), 2)


def test_iou_follows_the_definition_and_counts_absent_classes():
    confusion = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    assert iou_per_class(confusion) == pytest.approx([6 / 9, 3 / 6, 0], abs=1e-6)
    assert mean_iou(confusion) == pytest.approx((6 / 9 + 3 / 6) / 3, abs=1e-6)


def test_latency_percentiles():
    latency = latency_of(list(range(1, 102)))
    assert (latency.p50_ms, latency.p95_ms, latency.p99_ms) == pytest.approx((51, 96, 100))
    assert latency.fps == pytest.approx(1000 / 51)
