"""How much an exported network may differ, and the verdict."""

from __future__ import annotations

from runtime.parity.accuracy import Accuracy

MIN_LABEL_AGREEMENT = 0.999
"""Of fp32: round-off moves the arg max only where two classes are within it of each other, 1 pixel in 100,000."""

MAX_MIOU_LOSS_POINTS = {"fp32": 0.05, "fp16": 0.05, "int8": 0.5}

PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"


def judge(precision: str, accuracy: Accuracy, reference: Accuracy) -> tuple[str, str]:
    """Hold a network that ran against its budgets: returns PASSED, FAILED or NOT_RUN, and the reason if not passed.

    fp32 must give the reference's labels, and lose no mIoU where there is truth. The lower precisions may move labels
    as long as mIoU holds, so without truth there is nothing to hold them to: that is NOT_RUN, not passed.
    """
    missed = []
    if accuracy.logits is not None and not accuracy.logits.finite:
        missed.append("logits are not finite: values overflow in this precision")
    if precision == "fp32" and accuracy.label_agreement < MIN_LABEL_AGREEMENT:
        missed.append(f"label agreement {accuracy.label_agreement:.5f} is below {MIN_LABEL_AGREEMENT}")
    loss_points = miou_loss_points(accuracy, reference)
    if loss_points is not None and loss_points > MAX_MIOU_LOSS_POINTS[precision]:
        missed.append(f"mIoU is {loss_points:.3f} points lower, more than {MAX_MIOU_LOSS_POINTS[precision]}")
    if missed:
        return FAILED, "; ".join(missed)
    if precision != "fp32" and loss_points is None:
        return NOT_RUN, f"the budget of {precision} is in mIoU, and these images have no truth for it"
    return PASSED, ""


def miou_loss_points(accuracy: Accuracy, reference: Accuracy) -> float | None:
    """How many percentage points of mIoU the network loses (negative: gains), or None without truth."""
    if accuracy.mean_iou is None or reference.mean_iou is None:
        return None
    return 100 * (reference.mean_iou - accuracy.mean_iou)
