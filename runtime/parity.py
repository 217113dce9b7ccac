"""Is the exported network still the network that was trained? PyTorch against every exported file, side by side.

Both see the same held-out street scenes at the bundle's size, batch 1, with equal thread counts. Writes parity.json
and parity.md; the exit code is 0 only if everything that could run is within its budget, 1 if not.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from runtime import street
from runtime.arguments import positive_int
from runtime.bundle import Bundle, open_bundle
from runtime.errors import run_command
from runtime.metrics import confusion_matrix, iou_per_class, latency_of
from runtime.parity_report import (
    NOT_RUN,
    Comparison,
    LogitsDifference,
    Network,
    ParityReport,
    environment,
    judge,
    markdown,
    write_report,
)
from runtime.segmenter import Backend, open_backend

PRECISIONS = ("fp32", "fp16", "int8")

_WARM_UP_RUNS = 3

Item = TypeVar("Item")
Scene = tuple[np.ndarray, np.ndarray]  # image uint8 [H, W, 3] RGB, truth uint8 [H, W]


def main() -> int:
    """Run the command; returns 1 if a budget is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m runtime.parity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="the folder that scripts/export.sh wrote")
    parser.add_argument("--scenes", type=positive_int, default=50, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--threads", type=positive_int, metavar="N", help="CPU threads of each (default: all)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the report goes (default: out/parity/NAME)")
    arguments = parser.parse_args()

    bundle = open_bundle(arguments.bundle)
    threads = arguments.threads or os.cpu_count() or 1
    report = compare(bundle, scenes=arguments.scenes, threads=threads)
    paths = write_report(report, arguments.out or Path("out/parity") / bundle.info.name)
    print(markdown(report))
    print("Written to", " and ".join(map(str, paths)))
    return 0 if report.passed else 1


def compare(bundle: Bundle, *, scenes: int, threads: int) -> ParityReport:
    """Measure every network of the bundle on held-out street scenes and compare it with PyTorch.

    Raises UserError for a bundle that does not match its manifest, and where PyTorch is not installed.
    """
    bundle.verify()
    info = bundle.info
    pytorch = open_backend(bundle.folder, "torch", threads=threads)
    num_classes = len(info.classes) if info.classes == street.CLASSES else None
    seeds = street.HELD_OUT_SEEDS[:scenes]
    rendered = [street.render(seed, height=info.height, width=info.width) for seed in _bar(seeds, "render")]
    reference, reference_labels = _measure(pytorch, "fp32", rendered, num_classes)

    comparisons = []
    for precision in PRECISIONS:
        if precision not in bundle.precisions:
            comparisons.append(Comparison("onnxruntime", precision, NOT_RUN, "the bundle has no such file"))
            continue
        exported = open_backend(bundle.folder, "onnxruntime", precision=precision, threads=threads)
        network, labels = _measure(exported, precision, rendered, num_classes)
        agreement = float(np.mean(labels == reference_labels))
        logits = _compare_logits(exported, pytorch, rendered) if exported.has_logits else None
        comparisons.append(judge(network, reference, agreement, logits))
    for precision in PRECISIONS:
        comparisons.append(Comparison("tensorrt", precision, NOT_RUN, "TensorRT comes with a later version"))
    return ParityReport(bundle.manifest, environment(threads), seeds[0], len(seeds), reference, comparisons)


def _measure(
    backend: Backend, precision: str, scenes: Sequence[Scene], num_classes: int | None
) -> tuple[Network, np.ndarray]:
    """Time and score one network. Returns its labels too, uint8 [scene, H, W]."""
    first_image = scenes[0][0]
    for _ in range(_WARM_UP_RUNS):
        backend.labels(first_image[None])
    labels, latencies_ms = [], []
    for image, _ in _bar(scenes, f"{backend.name} {precision}"):
        start_s = time.perf_counter()
        scene_labels = backend.labels(image[None])[0]
        latencies_ms.append((time.perf_counter() - start_s) * 1000)
        labels.append(scene_labels.copy())
    iou = None
    if num_classes is not None:
        confusion = np.zeros((num_classes, num_classes), np.int64)
        for scene_labels, (_, truth) in zip(labels, scenes, strict=True):
            confusion += confusion_matrix(scene_labels, truth, num_classes)
        iou = tuple(iou_per_class(confusion).tolist())
    return Network(backend.name, precision, latency_of(latencies_ms), iou), np.stack(labels)


def _compare_logits(exported: Backend, reference: Backend, scenes: Sequence[Scene]) -> LogitsDifference:
    largest, total, scale, count = 0.0, 0.0, 0.0, 0
    for image, _ in _bar(scenes, "logits"):
        expected = reference.logits(image[None])
        difference = np.abs(exported.logits(image[None]) - expected)
        largest = max(largest, float(difference.max()))
        total += float(difference.sum(dtype=np.float64))
        scale = max(scale, float(np.abs(expected).max()))
        count += difference.size
    return LogitsDifference(max_absolute=largest, mean_absolute=total / count, max_relative=largest / scale)


def _bar(scenes: Iterable[Item], name: str) -> Iterable[Item]:
    bar: Iterable[Item] = tqdm(scenes, desc=name, unit="scene", leave=False, disable=None)
    return bar


if __name__ == "__main__":
    sys.exit(run_command(main))
