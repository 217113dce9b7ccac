"""From the last level's logits to the label of each pixel: the specification of the operator LabelHead."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def label_head(logits: Tensor, scale: int) -> Tensor:
    """Enlarge logits [N, C, h, w] bilinearly (align_corners=False) and take the arg max: [N, h * scale, w * scale].

    Of equal logits the first class wins. Enlarged float16 is not rounded before it is compared. The labels have the
    logits' dtype, because TensorRT lets no plugin give integers of 8 bits.
    """
    if scale > 1:
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return F.interpolate(wide, scale_factor=scale, mode="bilinear").argmax(1).to(logits.dtype)
    return logits.argmax(1).to(logits.dtype)
