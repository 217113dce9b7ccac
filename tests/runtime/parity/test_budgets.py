import math

import pytest

from runtime.parity.accuracy import Accuracy
from runtime.parity.budgets import FAILED, NOT_RUN, PASSED, judge
from runtime.parity.difference import Difference


def accuracy(agreement: float, *iou: float, logits: Difference | None = None) -> Accuracy:
    return Accuracy(agreement, iou or None, logits)


@pytest.mark.parametrize(
    ("precision", "agreement", "iou", "status", "reason"),
    [
        ("fp32", 0.999, 0.6, PASSED, ""),
        ("fp32", 0.9989, 0.6, FAILED, "label agreement 0.99890 is below 0.999"),
        ("fp32", 1.0, 0.5996, PASSED, ""),
        ("fp32", 1.0, 0.5994, FAILED, "mIoU is 0.060 points lower, more than 0.05"),
        ("fp32", 1.0, 0.7, PASSED, ""),
        ("fp16", 0.99, 0.5996, PASSED, ""),
        ("fp16", 1.0, 0.5994, FAILED, "mIoU is 0.060 points lower, more than 0.05"),
        ("int8", 0.9, 0.5951, PASSED, ""),
        ("int8", 1.0, 0.5949, FAILED, "mIoU is 0.510 points lower, more than 0.5"),
    ],
)
def test_budgets(precision: str, agreement: float, iou: float, status: str, reason: str):
    assert judge(precision, accuracy(agreement, iou), accuracy(1.0, 0.6)) == (status, reason)


def test_without_truth_fp32_is_judged_by_its_labels():
    assert judge("fp32", accuracy(1.0), accuracy(1.0)) == (PASSED, "")
    assert judge("fp32", accuracy(0.99), accuracy(1.0))[0] == FAILED


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_without_truth_lower_precisions_are_not_judged(precision: str):
    status, reason = judge(precision, accuracy(1.0), accuracy(1.0))
    assert status == NOT_RUN
    assert "no truth" in reason


def test_logits_that_are_no_numbers_fail_whatever_the_labels_are():
    broken = Difference(math.nan, math.nan, math.nan, math.nan)
    status, reason = judge("fp16", accuracy(1.0, 0.6, logits=broken), accuracy(1.0, 0.6))
    assert status == FAILED
    assert "not finite" in reason
