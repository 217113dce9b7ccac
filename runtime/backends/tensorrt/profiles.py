"""Which of an engine's optimisation profiles serves a batch. Plain arithmetic, no TensorRT."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from runtime.bundle import ModelInfo
from runtime.errors import UserError


@dataclass(frozen=True)
class Profile:
    """One optimisation profile: the batches it takes, and the one its kernels were chosen for."""

    index: int
    least: int
    best: int
    most: int

    def takes(self, batch: int) -> bool:
        """Whether a batch lies in the profile's range."""
        return self.least <= batch <= self.most


def choose_profile(profiles: Sequence[Profile], batch: int, taken: Collection[int] = ()) -> Profile:
    """The profile for one more execution context that runs ``batch``.

    Kernels tuned for this batch come first, then profiles that no other context has ``taken`` (TensorRT 8 shares them
    only in engines built so), then the narrowest. Raises UserError where no profile takes the batch.
    """
    fitting = [profile for profile in profiles if profile.takes(batch)]
    if not fitting:
        raise UserError(
            f"the engine runs batches of {_batches(profiles)}, not {batch}. "
            f"Build it for this batch too: {_build(profiles, batch)}"
        )
    return min(fitting, key=lambda p: (p.best != batch, p.index in taken, p.most - p.least, p.index))


def split_batch(profiles: Sequence[Profile], images: int) -> list[int]:
    """Batches, largest first, that add up to ``images``; [4, 4, 1] for nine images on an engine for 1 and 4.

    Raises UserError where they do not.
    """
    batches: list[int] = []
    while (left := images - sum(batches)) > 0:
        runnable = [min(profile.most, left) for profile in profiles if profile.least <= left]
        if not runnable:
            raise UserError(
                f"{images} images cannot be split into batches of {_batches(profiles)}, which the engine runs. "
                f"Build it for batch 1 too: {_build(profiles, 1)}"
            )
        batches.append(max(runnable))
    return batches


def check_images(image_nhwc: np.ndarray, info: ModelInfo) -> None:
    """Raise ValueError unless these are images of the network's size, uint8 [N, H, W, 3]."""
    if image_nhwc.dtype != np.uint8 or image_nhwc.ndim != 4 or image_nhwc.shape[1:] != (info.height, info.width, 3):
        raise ValueError(
            f"expected images uint8 [N, {info.height}, {info.width}, 3], "
            f"got {image_nhwc.dtype} {list(image_nhwc.shape)}"
        )
    if len(image_nhwc) == 0:
        raise ValueError("expected at least one image")


def _build(profiles: Sequence[Profile], batch: int) -> str:
    batches = sorted({1, batch, *(profile.best for profile in profiles)})
    return f"python -m runtime build BUNDLE --batch {','.join(map(str, batches))}"


def _batches(profiles: Sequence[Profile]) -> str:
    ranges = sorted({(profile.least, profile.most) for profile in profiles})
    return ", ".join(str(least) if least == most else f"{least} to {most}" for least, most in ranges)
