"""Labels, logits and IoU of each network against the reference, one scene at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from runtime.metrics import confusion_matrix, iou_per_class
from runtime.parity.difference import Difference, DifferenceSum
from runtime.parity.names import NetworkName
from runtime.parity.scenes import Scene, Scenes
from runtime.segmenter import Backend

Observer = Callable[[Scene, Mapping[NetworkName, np.ndarray]], None]


@dataclass(frozen=True)
class Accuracy:
    """How one network did over all scenes."""

    label_agreement: float  # with the reference, share of the network's pixels
    iou: tuple[float, ...] | None  # per class, share of 1; None: no truth
    logits: Difference | None  # from the reference's; None: the file has no logits output
    logits_exponents: tuple[int, ...] | None = None  # DifferenceSum.exponents

    @property
    def mean_iou(self) -> float | None:
        """The plain mean over all classes, those that never occur included, or None without truth."""
        return None if self.iou is None else sum(self.iou) / len(self.iou)


def measure_accuracy(
    reference: NetworkName, networks: Mapping[NetworkName, Backend], scenes: Scenes, num_classes: int, observe: Observer
) -> dict[NetworkName, Accuracy]:
    """Score all networks, the reference among them. ``observe`` is shown each scene with every network's labels.

    Only sums are kept, so the number of scenes costs no memory.
    """
    tallies = {name: _Tally(num_classes) for name in networks}
    with_logits = [name for name, backend in networks.items() if name != reference and backend.has_logits]
    compare_logits = bool(with_logits) and networks[reference].has_logits
    for index in tqdm(range(scenes.count), desc="accuracy", unit="scene", leave=False, disable=None):
        scene = scenes.load(index)
        image_nhwc = np.ascontiguousarray(scene.image_rgb[None])
        labels = {name: backend.labels(image_nhwc)[0].copy() for name, backend in networks.items()}
        for name, tally in tallies.items():
            tally.add_labels(labels[name], labels[reference], scene)
        if compare_logits:
            expected = networks[reference].logits(image_nhwc)
            for name in with_logits:
                tallies[name].logits.add(networks[name].logits(image_nhwc), expected)
        observe(scene, labels)
    return {
        name: tally.result(has_truth=not scenes.no_truth, has_logits=compare_logits and name in with_logits)
        for name, tally in tallies.items()
    }


class _Tally:
    """What is added up of one network."""

    def __init__(self, num_classes: int) -> None:
        self.logits = DifferenceSum()
        self._confusion = np.zeros((num_classes, num_classes), np.int64)
        self._equal = self._pixels = 0

    def add_labels(self, labels: np.ndarray, expected: np.ndarray, scene: Scene) -> None:
        self._equal += int(np.count_nonzero(labels == expected))
        self._pixels += labels.size
        if scene.truth is not None:
            self._confusion += confusion_matrix(scene.at_truth(labels), scene.truth, len(self._confusion))

    def result(self, *, has_truth: bool, has_logits: bool) -> Accuracy:
        return Accuracy(
            label_agreement=self._equal / self._pixels,
            iou=tuple(iou_per_class(self._confusion).tolist()) if has_truth else None,
            logits=self.logits.result() if has_logits else None,
            logits_exponents=tuple(self.logits.exponents.tolist()) if has_logits else None,
        )
