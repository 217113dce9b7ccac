"""Was the context path trained? The weights themselves tell, and with it which signal channels the levels read.

The published v1_0 code reads every level's part of the signal from channel 0 on. No part reaches beyond the local half
then, so the context path, and the local channels that no part reads, never get a gradient; trained by Adam without
weight decay they are to the last bit what they were drawn as. PyTorch draws a convolution uniformly within
1/sqrt(fan_in) and sets BatchNorm to scale 1, shift 0; a network without a pretrained trunk gets Xavier's normal
distribution instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import torch
from torch import Tensor

from training.network.config import SignalOffsets
from training.official.keys import Layout

Verdict = Literal["untrained", "trained", "unclear"]

# How far statistics of so many random numbers stray: a run of 6 standard errors happens once in a billion draws.
_STANDARD_ERRORS = 6


@dataclass(frozen=True)
class PartEvidence:
    """One convolution with its BatchNorm, or those of its rows that nothing reads under offsets "zero"."""

    name: str
    count: int  # weights of the convolution
    bound: float  # 1/sqrt(fan_in), which an untrained uniform weight never exceeds
    largest: float  # of the weights, in absolute value
    deviation: float  # their standard deviation; untrained: bound/sqrt(3)
    drawn_as: Literal["uniform", "normal"] | None  # the initial distribution the weights still have
    norm_untouched: bool  # scale exactly 1 and shift exactly 0

    @property
    def verdict(self) -> Verdict:
        """Weights and BatchNorm must tell the same."""
        if self.drawn_as is not None and self.norm_untouched:
            return "untrained"
        return "trained" if self.drawn_as is None and not self.norm_untouched else "unclear"

    def __str__(self) -> str:
        """Give the figures with what they are compared to."""
        return (
            f"{self.name}: {self.verdict} (largest weight {self.largest:.6f}, initial bound {self.bound:.6f}; standard "
            f"deviation {self.deviation:.6f}, of uniform weights {self.bound / sqrt(3):.6f}; "
            f"BatchNorm {'untouched' if self.norm_untouched else 'changed'})"
        )


@dataclass(frozen=True)
class Forensics:
    """The evidence, and the offset policy that follows from it."""

    parts: tuple[PartEvidence, ...]
    verdict: Verdict
    signal_offsets: SignalOffsets
    conclusion: str


def examine(state: dict[str, Tensor], layout: Layout, signal_channels: list[int]) -> Forensics:
    """Examine a complete published state dict; ``signal_channels`` are the channels each weight mapper reads."""
    if layout == "v0_1":
        parts = [_examine_part(state, name) for name in ("down_0", "down_1", "flat_1", "flat_0")]
    else:
        parts = [_examine_part(state, name) for name in ("down_blocks.0", "up_blocks.0")]
        unread = max(signal_channels)  # under offsets "zero", from this channel on
        if unread < len(state["weight_mapper.in_conv.0.weight"]):
            parts.append(_examine_part(state, "in_conv", unread))
    verdicts = {part.verdict for part in parts}
    verdict: Verdict = parts[0].verdict if len(verdicts) == 1 else "unclear"
    return Forensics(tuple(parts), verdict, *_conclude(layout, verdict))


def _conclude(layout: Layout, verdict: Verdict) -> tuple[SignalOffsets, str]:
    if layout != "v1_0":
        doubt = "" if verdict == "trained" else f"; the context path looks {verdict} though, which is odd"
        return "cumulative", f"hyperseg_{layout} gives every level its own part of the signal{doubt}"
    if verdict == "untrained":
        return "zero", "the context path was never trained: hyperseg_v1_0 reads every part from channel 0 on"
    if verdict == "trained":
        return "cumulative", (
            "WARNING: the context path WAS trained. The published hyperseg_v1_0 code as known cannot do that, since it "
            "reads every part of the signal from channel 0 on; the file must come from changed code, and is taken to "
            "read consecutive parts. Evaluate the model before you rely on it"
        )
    return "zero", (
        "it is unclear whether the context path was trained; offsets zero, since hyperseg_v1_0 as known cannot read "
        "anything else. Evaluate the model before you rely on it"
    )


def _examine_part(state: dict[str, Tensor], name: str, first_row: int = 0) -> PartEvidence:
    key = f"weight_mapper.{name}"
    weight = state[f"{key}.0.weight"]
    scale, shift = (state[f"{key}.1.{norm}"][first_row:] for norm in ("weight", "bias"))
    fan_out, fan_in = weight[:, 0].numel(), weight[0].numel()
    rows = weight[first_row:].double()
    return PartEvidence(
        name=f"{name} rows {first_row} to {len(weight) - 1}" if first_row else name,
        count=rows.numel(),
        bound=1 / sqrt(fan_in),
        largest=rows.abs().max().item(),
        deviation=rows.std().item(),
        drawn_as=_initial_distribution(rows, fan_in, fan_out),
        norm_untouched=bool(torch.all(scale == 1) and torch.all(shift == 0)),
    )


def _initial_distribution(rows: Tensor, fan_in: int, fan_out: int) -> Literal["uniform", "normal"] | None:
    count, mean, deviation = rows.numel(), rows.mean().item(), rows.std().item()
    largest, bound = rows.abs().max().item(), 1 / sqrt(fan_in)
    normal = sqrt(2 / (fan_in + fan_out))
    kurtosis = ((rows - mean) ** 4).mean().item() / deviation**4 if deviation else 0.0
    for name, expected, peak in (("uniform", bound / sqrt(3), 1.8), ("normal", normal, 3.0)):
        margin = _STANDARD_ERRORS / sqrt(count)
        # Relative standard error of a standard deviation: sqrt((kurtosis - 1) / 4n); of a mean: deviation / sqrt(n).
        # The kurtosis' own is below 5 / sqrt(n) for both distributions.
        fits = abs(deviation / expected - 1) < margin * sqrt((peak - 1) / 4) and abs(mean) < margin * expected
        fits = fits and abs(kurtosis - peak) < 5 * margin
        if name == "uniform":  # the largest of n lies within 40/n of the bound but for one draw in e^40
            fits = fits and bound * (1 - 40 / count) < largest < bound * (1 + 1e-6)
        if fits:
            return "uniform" if name == "uniform" else "normal"
    return None
