"""How fast a network runs in PyTorch, by the paper's protocol: one image at a time, upload and download included."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from runtime.device.description import describe_device as describe_machine
from runtime.errors import UserError
from runtime.metrics import Latency, latency_of
from training.network.config import check_input_size
from training.network.model import HyperSeg, normalise

SPEED_PROTOCOL = (
    "batch 1, from a uint8 image in host memory to uint8 labels in host memory (upload, normalisation, arg max and "
    "download included), both at the network's input size; PyTorch eager in FP32 (no TF32 convolutions), BatchNorms "
    "kept; the median after a warm-up"
)


def measure_latency(
    model: HyperSeg, *, size: tuple[int, int] | None = None, device: str = "cpu", warm_up: int = 10, frames: int = 50
) -> Latency:
    """Time ``frames`` (at least 1) images of ``size`` (height, width; the variant's own by default) on ``device``.

    Protocol: SPEED_PROTOCOL. ``warm_up`` images before them are not timed. The model is returned to its device and
    mode. Raises UserError for an illegal size or a device that cannot be used.
    """
    height, width = size or model.config.input_size
    check_input_size(model.config, height, width)
    image_nhwc = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    latencies_ms = []
    with inference_on(device, model) as torch_device:
        for index in range(warm_up + frames):
            _synchronise(torch_device)
            start_s = time.perf_counter()
            image_nchw = torch.from_numpy(image_nhwc).to(torch_device).permute(0, 3, 1, 2).contiguous()
            logits = model(normalise(image_nchw, model.config))
            logits.max(1).indices.byte().cpu()  # on a CPU, max is twice as fast as argmax
            _synchronise(torch_device)
            if index >= warm_up:
                latencies_ms.append((time.perf_counter() - start_s) * 1000)
    return latency_of(latencies_ms)


def describe_device(device: str = "cpu") -> str:
    """Name the GPU, or the CPU and the number of threads that PyTorch uses. Raises UserError as ``measure_latency``."""
    torch_device = _usable(device)
    if torch_device.type == "cuda":
        return torch.cuda.get_device_name(torch_device)
    threads = torch.get_num_threads()
    return f"{describe_machine().cpu}, {threads} thread{'s' if threads > 1 else ''}"


@contextmanager
def inference_on(device: str, model: HyperSeg) -> Iterator[torch.device]:
    """Have the model on ``device``, in eval mode and without gradients; afterwards it is where and as it was.

    On a GPU, convolutions are in full FP32 and cuDNN looks for its fastest ones, as in the published code.
    Raises UserError for a device that cannot be used.
    """
    torch_device = _usable(device)
    home, was_training = next(model.parameters()).device, model.training
    cudnn = torch.backends.cudnn
    settings = cudnn.allow_tf32, cudnn.benchmark
    try:
        cudnn.allow_tf32, cudnn.benchmark = False, True
        model.to(torch_device).eval()  # outside inference_mode, in which it would make parameters useless for training
        with torch.inference_mode():
            yield torch_device
    finally:
        cudnn.allow_tf32, cudnn.benchmark = settings
        model.to(home).train(was_training)


def _usable(device: str) -> torch.device:
    try:
        empty = torch.empty(0, device=device)
        empty.cpu()  # refuses "meta"
    except (RuntimeError, AssertionError) as error:  # the second where PyTorch was built without CUDA
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"PyTorch cannot use the device {device!r}: {reason}. Use cpu, or cuda on a machine with an NVIDIA GPU and "
            "its driver (cuda:1 is the second GPU)."
        ) from error
    return empty.device


def _synchronise(device: torch.device) -> None:
    """Wait for what the GPU still has to do; a CPU is never behind."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
