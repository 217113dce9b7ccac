"""What every backend provides, and the slot of those that compute on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import numpy as np

from runtime.bundle import ModelInfo

AnyBackend = TypeVar("AnyBackend", bound="Backend")


class Slot(Protocol):
    """Room for one frame in flight. Several slots of a backend may be in flight at once.

    The caller fills ``image_nhwc``, uint8 RGB [1, H, W, 3] of the network's size, and calls ``start``, then ``finish``,
    from any thread. From ``start`` to the end of ``finish`` the image must be left alone.
    """

    @property
    def image_nhwc(self) -> np.ndarray:
        """The image to be filled, uint8 [1, H, W, 3]; on a GPU it is page-locked memory, from which copies are fast."""

    def start(self) -> None:
        """Begin; returns at once where another device does the work."""

    def finish(self) -> np.ndarray:
        """Wait for the labels, uint8 [1, H, W]; valid until this slot's next start or the backend's next labels()."""


class Backend(Protocol):
    """An open network. Images are uint8 RGB [N, H, W, 3] of the network's size and C-contiguous.

    ``slots`` are as many as frames can usefully be in flight. While one is, only the other slots may be used.
    """

    name: str
    precision: str
    info: ModelInfo
    has_logits: bool
    slots: tuple[Slot, ...]
    uses_operators: bool = False  # compiled for this CPU, beside what the file holds

    @property
    def description(self) -> str:
        """The name, and what runs the network beside the file itself."""
        return self.name

    def labels(self, image_nhwc: np.ndarray) -> np.ndarray:
        """Labels uint8 [N, H, W]; the next call may overwrite them."""

    def logits(self, image_nhwc: np.ndarray) -> np.ndarray:
        """Scores float32 [N, K, H, W]. Raises UserError where the model was exported without them."""

    def network_ms(self, image_nhwc: np.ndarray) -> float | None:
        """One run of the network alone, on data that is already on the device, by the device's own clock.

        None where there is no separate device.
        """
        return None

    def close(self) -> None:
        """Free what the backend holds on a device, after waiting for what is in flight. May be called twice."""
        return  # nothing, where there is no device

    def __enter__(self: AnyBackend) -> AnyBackend:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class CpuSlot:
    """The one slot of a backend that computes where it is called: the work is done in ``finish``."""

    def __init__(self, info: ModelInfo, labels: Callable[[np.ndarray], np.ndarray]) -> None:
        self.image_nhwc = np.zeros((1, info.height, info.width, 3), np.uint8)
        self._labels = labels

    def start(self) -> None:
        """Nothing can begin before somebody waits for it."""

    def finish(self) -> np.ndarray:
        """Compute the labels, uint8 [1, H, W]."""
        return self._labels(self.image_nhwc)
