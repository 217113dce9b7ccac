"""``python -m export.bench``: PyTorch eager against the exported file in ONNX Runtime, side by side in one run.

Both start from the same uint8 image and end with labels, batch 1, equal thread counts. The networks have random
weights: speed does not depend on them. PyTorch runs the unfolded model as it was trained.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from export.bundle import info_from_config
from export.dead_paths import drop_dead_paths
from export.fold import fold_batchnorm
from export.graph import onnx_from_model, quieten_exporter
from export.operators import attach_functions
from runtime.arguments import positive_int
from runtime.errors import run_command
from runtime.segmenter import Segmenter
from training import HyperSeg
from training.network.config import HyperSegConfig
from training.network.model import normalise
from training.network.variants import VARIANTS, variant

UNTIMED_CALLS, TIMED_CALLS = 3, 5


def main() -> None:
    """Parse the command line and print a table."""
    parser = argparse.ArgumentParser(prog="python -m export.bench", description=__doc__)
    parser.add_argument("variants", nargs="*", metavar="VARIANT", help="all by default")
    parser.add_argument("--signal-offsets", choices=["zero", "cumulative"], default="cumulative")
    parser.add_argument("--threads", type=positive_int, default=2, help="CPU threads of either (default: 2)")
    parser.add_argument("--rounds", type=positive_int, default=3, help=f"of {TIMED_CALLS} timed runs each (default: 3)")
    arguments = parser.parse_args()

    quieten_exporter()
    configs = [variant(name, arguments.signal_offsets) for name in arguments.variants or VARIANTS]
    runs = arguments.rounds * TIMED_CALLS
    print(f"median of {runs} runs each, in turns; batch 1, {arguments.threads} threads, uint8 image to labels")
    print(f"{'variant':<14}{'height x width':<16}{'PyTorch eager':>14}{'ONNX Runtime':>15}{'ratio':>8}")
    for config in configs:
        eager_ms, exported_ms = time_variant(config, arguments.threads, arguments.rounds)
        height, width = config.input_size
        print(
            f"{config.name:<14}{f'{height} x {width}':<16}"
            f"{eager_ms:>11.1f} ms{exported_ms:>12.1f} ms{eager_ms / exported_ms:>8.2f}",
            flush=True,
        )


def time_variant(config: HyperSegConfig, threads: int, rounds: int) -> list[float]:
    """Return the median latency in ms of PyTorch eager and of the exported file."""
    height, width = config.input_size
    torch.manual_seed(0)
    model = HyperSeg(config).eval()
    image = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        folded, _ = drop_dead_paths(fold_batchnorm(model))
        onnx.save(attach_functions(onnx_from_model(folded, info_from_config(config, height, width))), path)
        exported = Segmenter(path, "onnxruntime", threads=threads)
    torch.set_num_threads(threads)

    @torch.inference_mode()
    def eager(image_nhwc: NDArray[np.uint8]) -> NDArray[np.uint8]:
        image_nchw = torch.from_numpy(image_nhwc).permute(0, 3, 1, 2)
        logits = model(normalise(image_nchw, config))
        labels: NDArray[np.uint8] = logits.max(1).indices.to(torch.uint8).numpy()  # twice as fast as argmax
        return labels

    return median_ms_in_turn([lambda: eager(image), lambda: exported(image[0])], rounds)


def median_ms_in_turn(calls: list[Callable[[], object]], rounds: int) -> list[float]:
    """Time the calls in turn, round by round, so that a machine whose speed drifts is fair to all.

    Each turn begins with calls that are not timed: the threads of the one before spin for a while after their work.
    """
    latencies_ms: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, measured_ms in zip(calls, latencies_ms, strict=True):
            for index in range(UNTIMED_CALLS + TIMED_CALLS):
                start = time.perf_counter()
                call()
                if index >= UNTIMED_CALLS:
                    measured_ms.append((time.perf_counter() - start) * 1e3)
    return [float(np.median(measured_ms)) for measured_ms in latencies_ms]


if __name__ == "__main__":
    sys.exit(run_command(main))
