"""``python -m export.bench``: PyTorch eager against the exported file in ONNX Runtime, side by side in one run.

ONNX Runtime runs the file twice: by the function bodies in it, as everywhere, and with the library of our operators if
scripts/build_cpu_operators.sh has built it. All start from the same uint8 image and end with labels, batch 1, equal
thread counts. The networks have random weights: speed does not depend on them. PyTorch runs the unfolded model as it
was trained.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from export.bundle import info_from_config
from export.dead_paths import drop_dead_paths
from export.fold import fold_batchnorm
from export.fuse import fuse
from export.graph import onnx_from_model, quieten_exporter
from export.operators import attach_functions
from runtime.arguments import positive_int
from runtime.backends.onnx_operators.library import BUILT_LIBRARY
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
    parser.add_argument("--threads", type=positive_int, default=2, help="CPU threads of each (default: 2)")
    parser.add_argument("--rounds", type=positive_int, default=7, help=f"of {TIMED_CALLS} timed runs each (default: 7)")
    arguments = parser.parse_args()

    quieten_exporter()
    configs = [variant(name, arguments.signal_offsets) for name in arguments.variants or VARIANTS]
    print(
        f"batch 1, {arguments.threads} threads, uint8 image to labels; medians of {arguments.rounds} rounds of "
        f"{TIMED_CALLS} runs, in turns; ratios within a round"
    )
    print(
        f"{'variant':<14}{'height x width':<16}{'PyTorch eager':>14}{'ONNX Runtime':>15}{'ratio':>8}"
        f"{'with our operators':>21}{'ratio':>8}"
    )
    for config in configs:
        print(table_row(config, time_variant(config, arguments.threads, arguments.rounds)), flush=True)


def table_row(config: HyperSegConfig, latencies_ms: NDArray[np.float64]) -> str:
    """Lay out what ``time_variant`` returned. Speed-ups are taken round by round: a drifting machine cancels out."""
    medians = np.median(latencies_ms, axis=0)
    ratios = np.median(latencies_ms[:, :1] / latencies_ms, axis=0)
    height, width = config.input_size
    row = f"{config.name:<14}{f'{height} x {width}':<16}{medians[0]:>11.1f} ms{medians[1]:>12.1f} ms{ratios[1]:>8.2f}"
    if len(medians) < 3:
        return row + f"{'not built':>21}{'-':>8}"
    return row + f"{medians[2]:>18.1f} ms{ratios[2]:>8.2f}"


def time_variant(config: HyperSegConfig, threads: int, rounds: int) -> NDArray[np.float64]:
    """Return [round, network] the latency in ms of PyTorch eager, ONNX Runtime, and it with our operators, if built."""
    height, width = config.input_size
    torch.manual_seed(0)
    model = HyperSeg(config).eval()
    image_rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.fp32.onnx"  # the library of operators is for fp32
        folded, _ = drop_dead_paths(fold_batchnorm(model))
        bare = fuse(onnx_from_model(folded, info_from_config(config, height, width)))
        onnx.save(attach_functions(bare), path)
        exported = [Segmenter(path, "onnxruntime", threads=threads, operators=False)]
        if BUILT_LIBRARY.is_file():
            exported.append(Segmenter(path, "onnxruntime", threads=threads))
    torch.set_num_threads(threads)

    @torch.inference_mode()
    def eager(image_rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        image_nchw = torch.from_numpy(image_rgb[None]).permute(0, 3, 1, 2)
        logits = model(normalise(image_nchw, config))
        labels: NDArray[np.uint8] = logits.max(1).indices.to(torch.uint8).numpy()  # twice as fast as argmax
        return labels

    networks: list[Callable[[NDArray[np.uint8]], object]] = [eager, *exported]
    return time_in_turn([partial(network, image_rgb) for network in networks], rounds)


def time_in_turn(calls: Sequence[Callable[[], object]], rounds: int) -> NDArray[np.float64]:
    """Return [round, call] the median latency in ms: the calls are timed in turn, every other round from last to first.

    Each turn begins with runs that are not timed: the threads of the one before spin for a while after their work.
    """
    latencies_ms = np.zeros((rounds, len(calls)))
    for round_ in range(rounds):
        for index, call in list(enumerate(calls))[:: -1 if round_ % 2 else 1]:
            measured_ms = [_latency_ms(call) for _ in range(UNTIMED_CALLS + TIMED_CALLS)]
            latencies_ms[round_, index] = np.median(measured_ms[UNTIMED_CALLS:])
    return latencies_ms


def _latency_ms(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    sys.exit(run_command(main))
