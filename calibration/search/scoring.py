"""How far networks in lower precision are from their FP32 file, on scenes with truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import ModelProto

from export.operators import attach_functions
from runtime.backends.onnx_runtime import OnnxRuntimeBackend
from runtime.metrics import confusion_matrix, mean_iou
from runtime.parity.accuracy import measure_accuracy
from runtime.parity.names import NetworkName
from runtime.parity.scenes import Scene, Scenes
from runtime.segmenter import Backend

# Each scene is made, and the reference runs, once for so many networks; more of them at once cost memory.
_TOGETHER = 4

_BOOTSTRAPS = 200

_REFERENCE = NetworkName("onnxruntime", "fp32")


@dataclass(frozen=True)
class Score:
    """A network's mIoU, a share of 1, how many points that is below the FP32 file's, and where its labels differ.

    ``error_points`` is the loss's standard error, by which it would vary with the scenes. The share of changed labels
    is the finer measure: what a single layer costs of mIoU is hardly more than noise.
    """

    miou: float
    loss_points: float
    error_points: float
    changed_labels: float  # share of all pixels


class Scorer:
    """Runs networks in ONNX Runtime, as the parity report does, against the FP32 file ``reference``.

    All run by the function bodies in their files: compiled operators, which only the reference could have, would add
    differences of their own.

    Memory does not grow with the number of networks, and with that of scenes by their confusion matrices alone.
    """

    def __init__(self, reference: Path, scenes: Scenes, *, threads: int | None = None) -> None:
        self._scenes = scenes
        self._threads = threads
        self._reference = OnnxRuntimeBackend(reference, threads=threads, operators=False)

    def scores(self, models: Iterable[tuple[str, ModelProto]]) -> Iterator[tuple[str, Score]]:
        """Score bare models, named by the caller, which are asked for a few at a time."""
        waiting = iter(models)
        while together := list(islice(waiting, _TOGETHER)):
            yield from self._score_together(dict(together)).items()

    def score(self, model: ModelProto) -> Score:
        """Score one bare model."""
        ((_, score),) = self.scores([("", model)])
        return score

    def _score_together(self, models: dict[str, ModelProto]) -> dict[str, Score]:
        networks: dict[NetworkName, Backend] = {_REFERENCE: self._reference}
        with TemporaryDirectory() as folder:
            for number, (name, model) in enumerate(models.items()):
                path = Path(folder) / f"{number}.int8.onnx"
                onnx.save(attach_functions(model), path)
                networks[NetworkName("search", name)] = OnnxRuntimeBackend(path, threads=self._threads, operators=False)
        classes = len(self._reference.info.classes)
        confusions: dict[NetworkName, list[np.ndarray]] = {network: [] for network in networks}  # one each scene

        def observe(scene: Scene, labels: Mapping[NetworkName, np.ndarray]) -> None:
            assert scene.truth is not None
            for network in networks:
                confusions[network].append(confusion_matrix(scene.at_truth(labels[network]), scene.truth, classes))

        accuracies = measure_accuracy(_REFERENCE, networks, self._scenes, classes, observe)
        fp32 = np.array(confusions.pop(_REFERENCE))
        return {
            network.precision: _score(fp32, np.array(own), 1 - accuracies[network].label_agreement)
            for network, own in confusions.items()
        }


def _score(fp32: np.ndarray, own: np.ndarray, changed_labels: float) -> Score:
    """Score from the confusion matrices of each scene, [scenes, classes, classes], the FP32 file's and the network's.

    The standard error is that of the bootstrap: the loss is taken anew on scenes drawn from these.
    """
    rng = np.random.default_rng(0)
    draws = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=_BOOTSTRAPS)
    losses = [mean_iou(np.tensordot(counts, fp32, 1)) - mean_iou(np.tensordot(counts, own, 1)) for counts in draws]
    miou = mean_iou(own.sum(0))
    return Score(
        miou=miou,
        loss_points=100 * (mean_iou(fp32.sum(0)) - miou),
        error_points=100 * float(np.std(losses)),
        changed_labels=changed_labels,
    )


def without_logits(bare: ModelProto) -> ModelProto:
    """Return a copy without the logits output: labels are what counts, and comparing logits takes a second run."""
    model = ModelProto()
    model.CopyFrom(bare)
    kept = [output for output in model.graph.output if output.name != "logits"]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return model
