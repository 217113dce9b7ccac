"""The least time a decoder level can take: its bytes over the memory's bandwidth, its operations over the peak rate.

A level with theta_size dynamic weights per patch multiplies and adds theta_size times per pixel (no halo is computed
twice), reads its input and theta once and writes its output once; biases are too small to count. Two floors:

- the operators': what DPWConv and DPWInvertedResidual read and write, the input being the stacked map of coordinates,
  skip map and enlarged previous level, and a hidden map between operators being written and read;
- the level's: what a kernel moves that makes the coordinates, enlarges the previous level and keeps hidden values by
  itself, as DPWConvLevel and DPWInvertedResidualLevel do.

LabelHead reads the logits and writes the labels; a multiply-add for each of four neighbours makes an enlarged logit.
"""

from __future__ import annotations

from dataclasses import dataclass

from trt_plugins.gpu.cases import Case, Head, Operator


@dataclass(frozen=True)
class Ceilings:
    """What a device reaches at best, and how that is known."""

    bytes_per_s: float  # device memory, reading plus writing
    operations_per_s: float  # in the type's fastest unit; a multiplication with its addition is two
    source: str


@dataclass(frozen=True)
class Work:
    """What must be moved and computed."""

    bytes: int
    operations: int

    def floor_us(self, ceilings: Ceilings) -> float:
        """Microseconds that this takes at least."""
        return 1e6 * max(self.bytes / ceilings.bytes_per_s, self.operations / ceilings.operations_per_s)


def operator_work(case: Case, operator: Operator, value_bytes: int) -> Work:
    """Count one operator of the case with values of ``value_bytes`` each."""
    pixels, patches = case.height * case.width, case.grid[0] * case.grid[1]
    values = (operator.in_channels + operator.out_channels) * pixels + operator.theta_size * patches
    return Work(case.batch * values * value_bytes, 2 * case.batch * operator.theta_size * pixels)


def level_work(case: Case, value_bytes: int) -> Work:
    """Count a decoder level whose skip map, previous level and theta are read and whose output is written, only."""
    pixels, patches = case.height * case.width, case.grid[0] * case.grid[1]
    theta = sum(operator.theta_size for operator in case.operators)
    inputs = case.skip_channels * pixels + case.previous_channels * pixels // 4
    values = inputs + theta * patches + case.operators[-1].out_channels * pixels
    return Work(case.batch * values * value_bytes, 2 * case.batch * theta * pixels)


def head_work(head: Head, value_bytes: int) -> Work:
    """Count a LabelHead."""
    logits, labels = head.classes * head.height * head.width, head.height * head.width * head.scale**2
    operations = 2 * 4 * head.classes * labels if head.scale > 1 else 0
    return Work(head.batch * (logits + labels) * value_bytes, head.batch * operations)


def operators_floor_us(case: Case, ceilings: Ceilings, value_bytes: int) -> float:
    """Microseconds of the case's operators, one after the other."""
    return sum(operator_work(case, operator, value_bytes).floor_us(ceilings) for operator in case.operators)


def level_floor_us(case: Case, ceilings: Ceilings, value_bytes: int) -> float:
    """Microseconds of the decoder level in one."""
    return level_work(case, value_bytes).floor_us(ceilings)


def head_floor_us(head: Head, ceilings: Ceilings, value_bytes: int) -> float:
    """Microseconds of a LabelHead by its bytes: no matrix unit does its operations."""
    return 1e6 * head_work(head, value_bytes).bytes / ceilings.bytes_per_s
