"""Backends whose labels, logits and times a test decides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from runtime.backends.backend import Backend, Slot
from runtime.bundle import ModelInfo
from runtime.parity.scenes import Scene, Scenes
from tests.runtime.tiny_models import COLOUR_INFO


class FakeBackend(Backend):
    """``logits`` computes [N, K, H, W] from images; labels are their arg max. ``log`` gets a word for each call."""

    precision = "fp32"
    slots: tuple[Slot, ...] = ()

    def __init__(
        self,
        logits: Callable[[np.ndarray], np.ndarray],
        *,
        name: str = "fake",
        has_logits: bool = True,
        device_ms: float | None = None,
        log: list[str] | None = None,
    ) -> None:
        self.name = name
        self.info: ModelInfo = COLOUR_INFO
        self.has_logits = has_logits
        self._logits = logits
        self._device_ms = device_ms
        self._log = [] if log is None else log
        self._labels = np.zeros(0, np.uint8)

    def labels(self, image_nhwc: np.ndarray) -> np.ndarray:
        self._log.append(self.name)
        found = self._logits(image_nhwc).argmax(1).astype(np.uint8)
        if self._labels.shape != found.shape:
            self._labels = np.empty_like(found)
        self._labels[...] = found  # the next call overwrites what this one returned, as real backends do
        return self._labels

    def logits(self, image_nhwc: np.ndarray) -> np.ndarray:
        self._labels[...] = 255
        return self._logits(image_nhwc)

    def network_ms(self, image_nhwc: np.ndarray) -> float | None:
        self._log.append(f"{self.name} alone")
        return self._device_ms


def channels(image_nhwc: np.ndarray) -> np.ndarray:
    """A pixel's scores are its colours."""
    return image_nhwc.transpose(0, 3, 1, 2).astype(np.float32)


def scenes_of(*scenes: Scene) -> Scenes:
    no_truth = "" if scenes[0].truth is not None else "none is at hand"
    return Scenes("scenes of a test", "as they are", len(scenes), scenes.__getitem__, no_truth)


def write_image(path: Path, image_rgb: np.ndarray) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image_rgb).save(path)
