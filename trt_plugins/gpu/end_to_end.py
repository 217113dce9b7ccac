"""Time frames of one network end to end: ``python -m trt_plugins.gpu.end_to_end {engine,eager,compiled} PATH``.

A frame, batch 1, goes from a uint8 image in host memory to uint8 labels in host memory, of the network's size, through
the runtime's own backend where there is an engine, and through page-locked memory in PyTorch too. The network alone is
timed on an image that is on the device, by the device's clock. One network a process: what one leaves behind, or
breaks, is not the next one's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from runtime.backends.backend import Backend, CpuSlot
from runtime.errors import UserError, run_command
from runtime.files import replace_file
from runtime.metrics import latency_of
from training import HyperSeg, load_model
from training.network.model import normalise

_UNTIMED, _TIMED = 30, 400


class TorchOnGpu(Backend):
    """The unfolded network on the GPU, FP32 as it is, or FP16 through torch.compile.

    Eager runs by PyTorch's defaults, by which cuDNN may round FP32 products to TF32. torch.compile runs in the mode
    reduce-overhead: at batch 1 launching kernels is what costs, and that mode puts them into a CUDA graph.
    """

    name = "torch"
    has_logits = False

    def __init__(self, model: HyperSeg, *, compiled: bool) -> None:
        from export.bundle import info_of_model

        self.precision = "fp16" if compiled else "fp32"
        self.info = info_of_model(model, None)
        self.slots = (CpuSlot(self.info, self.labels),)
        torch.backends.cudnn.benchmark = True
        self._model = model.cuda().eval()
        dtype = torch.float16 if compiled else torch.float32
        self._model.to(dtype)

        def network(image_nhwc: torch.Tensor) -> torch.Tensor:
            x = normalise(image_nhwc.permute(0, 3, 1, 2).float(), model.config).to(dtype)
            labels: torch.Tensor = self._model(x).argmax(1).to(torch.uint8)
            return labels

        self._network: Callable[[torch.Tensor], torch.Tensor] = network
        if compiled:
            self._network = torch.compile(network, mode="reduce-overhead", dynamic=False)
        shape = (1, self.info.height, self.info.width, 3)
        self._image = torch.zeros(shape, dtype=torch.uint8, pin_memory=True)
        self._labels = torch.zeros(shape[:3], dtype=torch.uint8, pin_memory=True)
        self._on_device = self._image.cuda()

    @torch.inference_mode()
    def labels(self, image_nhwc: np.ndarray) -> np.ndarray:
        """Classify one image, uint8 RGB [1, H, W, 3], into uint8 labels [1, H, W]; the next call overwrites them."""
        self._image.copy_(torch.from_numpy(image_nhwc))
        self._on_device.copy_(self._image, non_blocking=True)
        self._labels.copy_(self._network(self._on_device), non_blocking=True)
        torch.cuda.synchronize()
        return self._labels.numpy()

    def logits(self, image_nhwc: np.ndarray) -> np.ndarray:
        """Nobody asks for them here. Raises UserError."""
        raise UserError("logits are not timed")

    @torch.inference_mode()
    def network_ms(self, image_nhwc: np.ndarray) -> float:
        """One run of the network alone, between two CUDA events."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        self._network(self._on_device)
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))


def measure(backend: Backend, image_nhwc: np.ndarray, frames: int = _TIMED, untimed: int = _UNTIMED) -> dict[str, Any]:
    """Time one network: medians and p99 in milliseconds, and frames a second with its slots all in flight."""

    def frame_ms() -> float:
        start_s = time.perf_counter()
        backend.labels(image_nhwc)
        return (time.perf_counter() - start_s) * 1e3

    def network_ms() -> float:
        time_ms = backend.network_ms(image_nhwc)
        assert time_ms is not None, "a backend on a GPU times its network"
        return time_ms

    for _ in range(untimed):
        frame_ms()
    frame = latency_of([frame_ms() for _ in range(frames)])
    for _ in range(untimed):
        network_ms()
    network = latency_of([network_ms() for _ in range(frames)])
    return {
        "network_ms": network.p50_ms,
        "network_p99_ms": network.p99_ms,
        "frame_ms": frame.p50_ms,
        "frame_p99_ms": frame.p99_ms,
        "frames_per_s": frames_per_s(backend, image_nhwc, frames),
    }


def frames_per_s(backend: Backend, image_nhwc: np.ndarray, frames: int) -> float:
    """Frames a second from image to labels in host memory, with as many under way as the backend has slots."""
    free, under_way = deque(backend.slots), deque[Any]()
    start_s = time.perf_counter()
    for _ in range(frames):
        if not free:
            under_way[0].finish()
            free.append(under_way.popleft())
        slot = free.popleft()
        np.copyto(slot.image_nhwc, image_nhwc)
        slot.start()
        under_way.append(slot)
    for slot in under_way:
        slot.finish()
    return frames / (time.perf_counter() - start_s)


def open_network(kind: str, path: Path, plugin: Path | None) -> Backend:
    """Open an engine, or a checkpoint in PyTorch. Raises UserError for what cannot be used here."""
    if kind == "engine":
        from runtime.backends.tensorrt.backend import TensorRTBackend
        from runtime.backends.tensorrt.engine_file import open_engine

        return TensorRTBackend(open_engine(path, plugin))
    if not torch.cuda.is_available():
        raise UserError("PyTorch finds no CUDA GPU on this machine.")
    return TorchOnGpu(load_model(path), compiled=kind == "compiled")


def main() -> None:
    """Time the network that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m trt_plugins.gpu.end_to_end",
        description="Times frames of one network, image to labels in host memory, at batch 1.",
    )
    parser.add_argument("kind", choices=("engine", "eager", "compiled"), help="TensorRT, PyTorch or torch.compile")
    parser.add_argument("path", type=Path, help="the engine; for PyTorch the checkpoint")
    parser.add_argument("--plugin", type=Path, metavar="LIB", help="the plugin library (default: looked for)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    with open_network(arguments.kind, arguments.path, arguments.plugin) as backend:
        shape = (1, backend.info.height, backend.info.width, 3)
        found = measure(backend, np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    for name, value in found.items():
        print(f"{name}: {value:.3f}")
    if arguments.json is not None:
        with replace_file(arguments.json) as aside:
            aside.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(run_command(main))
