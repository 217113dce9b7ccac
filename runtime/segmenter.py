"""Frames in, class maps out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from runtime.backends.backend import Backend, Slot
from runtime.bundle import TORCH_REFERENCE_NAME, ModelInfo, open_bundle
from runtime.errors import UserError

__all__ = ["BACKENDS", "Backend", "Pending", "Segmenter", "Slot", "open_backend"]

BACKENDS = ("auto", "onnxruntime", "torch", "tensorrt")


def open_backend(
    path: Path | str,
    backend: str = "auto",
    *,
    precision: str = "fp32",
    threads: int | None = None,
    plugin: Path | None = None,
    operators: bool = True,
) -> Backend:
    """Load a network: from a bundle folder in the given precision, or from one .onnx or .engine file.

    ``auto`` is TensorRT for an .engine file and ONNX Runtime for everything else. The torch backend runs the bundle's
    ``model.pt2``, given by the folder or by the file. ``threads`` counts for the backends that compute on the CPU,
    ``plugin`` (the library with the network's operators; None looks for it) for TensorRT. With ``operators`` False ONNX
    Runtime does without the library of scripts/build_cpu_operators.sh.

    A bundle's file is checked against the manifest first. Raises UserError for anything that cannot be loaded.
    """
    path = Path(path)
    if backend not in BACKENDS:
        raise UserError(f"unknown backend {backend!r}. Choose one of: {', '.join(BACKENDS)}.")
    if not path.exists():
        raise UserError(
            f"{path} does not exist. Give a bundle folder or a .onnx file, which scripts/export.sh makes, "
            "or a .engine file, which python -m runtime build makes."
        )
    if backend == "torch":
        return _open_torch(path, precision, threads)
    if backend == "tensorrt" or (backend == "auto" and path.suffix == ".engine"):
        return _open_tensorrt(path, precision, plugin)
    return _open_onnx_runtime(path, precision, threads, operators)


def _open_onnx_runtime(path: Path, precision: str, threads: int | None, operators: bool) -> Backend:
    from runtime.backends.onnx_runtime import OnnxRuntimeBackend

    if path.is_dir():
        bundle = open_bundle(path)
        path = bundle.onnx(precision)
        bundle.verify_file(path)
    elif path.suffix != ".onnx":
        raise UserError(f"ONNX Runtime cannot run {path}. Give a bundle folder or a .onnx file.")
    return OnnxRuntimeBackend(path, threads=threads, operators=operators)


def _open_torch(path: Path, precision: str, threads: int | None) -> Backend:
    from runtime.backends.torch_reference import TorchBackend

    if path.is_file() and path.name != TORCH_REFERENCE_NAME:
        raise UserError(f"the torch backend cannot run {path}. Give a bundle folder or its {TORCH_REFERENCE_NAME}.")
    if precision != "fp32":
        raise UserError(f"the torch backend runs in fp32, not in {precision}.")
    bundle = open_bundle(path if path.is_dir() else path.parent)
    bundle.verify_file(bundle.torch_reference)
    return TorchBackend(bundle.torch_reference, bundle.info, threads=threads)


def _open_tensorrt(path: Path, precision: str, plugin: Path | None) -> Backend:
    if path.is_dir():
        bundle = open_bundle(path)
        path = bundle.folder / f"{bundle.info.name}.{precision}.engine"
        if not path.is_file():
            raise UserError(
                f"{bundle.folder} has no TensorRT engine of precision {precision!r} ({path.name}). An engine is built "
                f"on the device that runs it: python -m runtime build {bundle.folder} --precision {precision}"
            )
    elif path.suffix != ".engine":
        raise UserError(
            f"TensorRT cannot run {path} as it is. Build an engine from it, python -m runtime build {path}, "
            "and give the .engine file."
        )
    from runtime.backends.tensorrt.backend import TensorRTBackend
    from runtime.backends.tensorrt.engine_file import open_engine

    return TensorRTBackend(open_engine(path, plugin))


class Segmenter:
    """Segments frames of any size with an exported network.

    ``path`` is a bundle folder, an .onnx or an .engine file. Frames are stretched to the network's size and labels
    brought back by nearest neighbour. One thread at a time may call it or ``start``; all memory is allocated once.

    >>> segmenter = Segmenter("out/quickstart/bundle")
    >>> labels = segmenter(frame_rgb)  # uint8 [H, W, 3] -> uint8 [H, W]

    To have one frame resized and another drawn while the device works on a third, keep ``in_flight`` of them under way:

    >>> pending = segmenter.start(frame_rgb)
    >>> labels = pending.labels()  # in the order of starting; may be called by another thread
    """

    def __init__(
        self,
        path: Path | str,
        backend: str = "auto",
        *,
        precision: str = "fp32",
        threads: int | None = None,
        plugin: Path | None = None,
        operators: bool = True,
    ) -> None:
        self._backend = open_backend(
            path, backend, precision=precision, threads=threads, plugin=plugin, operators=operators
        )
        self._free_slots = deque(self._backend.slots)  # a deque: start() takes and labels() gives back in two threads
        self._closed = False

    @property
    def info(self) -> ModelInfo:
        """The network's description: classes, palette, input size."""
        return self._backend.info

    @property
    def backend(self) -> str:
        """The name of the backend that runs the network."""
        return self._backend.name

    @property
    def description(self) -> str:
        """The backend's name, and what it runs the network with beside the file itself."""
        return self._backend.description

    @property
    def precision(self) -> str:
        """The precision of the file that runs: fp32, fp16, int8, or unknown."""
        return self._backend.precision

    @property
    def in_flight(self) -> int:
        """How many frames may be started before the first one's labels are taken: 1 on a CPU, 2 on a GPU."""
        return len(self._backend.slots)

    def __call__(self, frame_rgb: np.ndarray) -> np.ndarray:
        """Segment one frame, uint8 RGB [H, W, 3], into class indices, uint8 [H, W]; the caller owns the result.

        Raises ValueError for a frame of another type or shape.
        """
        return self.start(frame_rgb).labels()

    def start(self, frame_rgb: np.ndarray) -> Pending:
        """Begin a frame, uint8 RGB [H, W, 3], which the caller has back when this returns.

        Raises ValueError for a frame of another type or shape, and RuntimeError if ``in_flight`` frames are under way.
        """
        if frame_rgb.dtype != np.uint8 or frame_rgb.ndim != 3 or frame_rgb.shape[2] != 3 or frame_rgb.size == 0:
            raise ValueError(f"expected an RGB frame uint8 [H, W, 3], got {frame_rgb.dtype} {list(frame_rgb.shape)}")
        if self._closed:
            raise RuntimeError("this Segmenter is closed")
        try:
            slot = self._free_slots.popleft()
        except IndexError:
            raise RuntimeError(f"no more than {self.in_flight} in flight: take the labels of one first") from None
        try:
            _fit(frame_rgb, slot.image_nhwc[0])
            slot.start()
        except BaseException:
            self._free_slots.append(slot)
            raise
        return Pending(slot, frame_rgb.shape[:2], self._free_slots.append)

    def close(self) -> None:
        """Free the device's memory; every frame's labels must have been taken. The Segmenter can no longer be used."""
        self._closed = True
        self._backend.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Pending:
    """A frame under way, begun by :meth:`Segmenter.start`."""

    def __init__(self, slot: Slot, frame_size: tuple[int, ...], give_back: Callable[[Slot], None]) -> None:
        self._slot: Slot | None = slot
        self._frame_size = frame_size
        self._give_back = give_back

    def labels(self) -> np.ndarray:
        """Wait for the frame's class indices, uint8 [H, W]; the caller owns them. Can be taken once."""
        slot, self._slot = self._slot, None
        if slot is None:
            raise RuntimeError("the labels of this frame have been taken already")
        try:
            height, width = self._frame_size
            # Into an array of its own even at equal size: the slot's is overwritten by a later frame.
            labels = np.empty((height, width), np.uint8)
            cv2.resize(slot.finish()[0], (width, height), labels, interpolation=cv2.INTER_NEAREST)
            return labels
        finally:
            self._give_back(slot)


def _fit(frame_rgb: np.ndarray, image_rgb: np.ndarray) -> None:
    """Stretch a frame into the network's image; both uint8 [H, W, 3]."""
    height, width = frame_rgb.shape[:2]
    network_height, network_width = image_rgb.shape[:2]
    if (height, width) == (network_height, network_width):
        np.copyto(image_rgb, frame_rgb)
    else:
        shrinks = height >= network_height and width >= network_width
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        cv2.resize(frame_rgb, (network_width, network_height), image_rgb, interpolation=interpolation)
