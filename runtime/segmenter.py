"""Frames in, class maps out."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from runtime.bundle import TORCH_REFERENCE_NAME, ModelInfo, open_bundle
from runtime.errors import UserError

BACKENDS = ("auto", "onnxruntime", "torch", "tensorrt")


class Backend(Protocol):
    """What a file in ``runtime/backends/`` provides. Images are uint8 RGB [N, H, W, 3] of the network's size."""

    name: str
    info: ModelInfo
    has_logits: bool

    def labels(self, image_nhwc: np.ndarray) -> np.ndarray:
        """Labels uint8 [N, H, W]; the next call may overwrite them."""

    def logits(self, image_nhwc: np.ndarray) -> np.ndarray:
        """Scores float32 [N, K, H, W]. Raises UserError where the model was exported without them."""


def open_backend(
    path: Path | str, backend: str = "auto", *, precision: str = "fp32", threads: int | None = None
) -> Backend:
    """Load a network: from a bundle folder in the given precision, or from one .onnx file.

    ``auto`` is ONNX Runtime. The torch backend runs the bundle's ``model.pt2``, given by the folder or by the file.
    A bundle's file is checked against the manifest first. Raises UserError for anything that cannot be loaded.
    """
    path = Path(path)
    if backend not in BACKENDS:
        raise UserError(f"unknown backend {backend!r}. Choose one of: {', '.join(BACKENDS)}.")
    if backend == "tensorrt":
        raise UserError("TensorRT comes with a later version. Use --backend onnxruntime for now.")
    if not path.exists():
        raise UserError(f"{path} does not exist. Give a bundle folder or a .onnx file; scripts/export.sh makes both.")
    if backend == "torch":
        return _open_torch(path, precision, threads)
    return _open_onnx_runtime(path, precision, threads)


def _open_onnx_runtime(path: Path, precision: str, threads: int | None) -> Backend:
    from runtime.backends.onnx_runtime import OnnxRuntimeBackend

    if path.is_dir():
        bundle = open_bundle(path)
        path = bundle.onnx(precision)
        bundle.verify_file(path)
    elif path.suffix != ".onnx":
        raise UserError(f"ONNX Runtime cannot run {path}. Give a bundle folder or a .onnx file.")
    return OnnxRuntimeBackend(path, threads=threads)


def _open_torch(path: Path, precision: str, threads: int | None) -> Backend:
    from runtime.backends.torch_reference import TorchBackend

    if path.is_file() and path.name != TORCH_REFERENCE_NAME:
        raise UserError(f"the torch backend cannot run {path}. Give a bundle folder or its {TORCH_REFERENCE_NAME}.")
    if precision != "fp32":
        raise UserError(f"the torch backend runs in fp32, not in {precision}.")
    bundle = open_bundle(path if path.is_dir() else path.parent)
    bundle.verify_file(bundle.torch_reference)
    return TorchBackend(bundle.torch_reference, bundle.info, threads=threads)


class Segmenter:
    """Segments frames of any size with an exported network.

    ``path`` is a bundle folder or an .onnx file. Frames are stretched to the network's size and labels brought back by
    nearest neighbour. One thread at a time may call it: the buffers are allocated once and reused.

    >>> segmenter = Segmenter("out/quickstart/bundle")
    >>> labels = segmenter(frame_rgb)  # uint8 [H, W, 3] -> uint8 [H, W]
    """

    def __init__(
        self, path: Path | str, backend: str = "auto", *, precision: str = "fp32", threads: int | None = None
    ) -> None:
        self._backend = open_backend(path, backend, precision=precision, threads=threads)
        self._image_nhwc = np.empty((1, self.info.height, self.info.width, 3), np.uint8)

    @property
    def info(self) -> ModelInfo:
        """The network's description: classes, palette, input size."""
        return self._backend.info

    @property
    def backend(self) -> str:
        """The name of the backend that runs the network."""
        return self._backend.name

    def __call__(self, frame_rgb: np.ndarray) -> np.ndarray:
        """Segment one frame, uint8 RGB [H, W, 3], into class indices, uint8 [H, W]; the caller owns the result.

        Raises ValueError for a frame of another type or shape.
        """
        if frame_rgb.dtype != np.uint8 or frame_rgb.ndim != 3 or frame_rgb.shape[2] != 3 or frame_rgb.size == 0:
            raise ValueError(f"expected an RGB frame uint8 [H, W, 3], got {frame_rgb.dtype} {list(frame_rgb.shape)}")
        height, width = frame_rgb.shape[:2]
        network_height, network_width = self.info.height, self.info.width
        if (height, width) == (network_height, network_width):
            np.copyto(self._image_nhwc[0], frame_rgb)
        else:
            shrinks = height >= network_height and width >= network_width
            interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            cv2.resize(frame_rgb, (network_width, network_height), self._image_nhwc[0], interpolation=interpolation)
        network_labels = self._backend.labels(self._image_nhwc)[0]
        # Into an array of its own even at equal size: the backend's is overwritten by the next frame.
        labels = np.empty((height, width), np.uint8)
        cv2.resize(network_labels, (width, height), labels, interpolation=cv2.INTER_NEAREST)
        return labels
