"""One batch on its way through the GPU: an execution context, its memory, its stream."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import Any

import numpy as np

from runtime.backends.tensorrt.buffers import IMAGE, LABELS, LOGITS, Buffer, Place
from runtime.backends.tensorrt.cuda import Cuda
from runtime.backends.tensorrt.cuda_graph import Replay
from runtime.backends.tensorrt.logger import Logger, failure
from runtime.backends.tensorrt.profiles import Profile
from runtime.errors import UserError


class Lane:
    """Runs one batch size with memory of its own, so that several lanes can be under way at once.

    The caller fills ``image_nhwc``, then calls ``start`` and ``finish``, from any threads; the lane of batch 1 is the
    backend's slot. Raises UserError where TensorRT or CUDA refuse, above all for want of memory.
    """

    def __init__(self, cuda: Cuda, engine: Any, logger: Logger, profile: Profile, buffers: tuple[Buffer, ...]) -> None:
        self._cuda = cuda
        self._logger = logger
        self._buffers = buffers
        self._host: dict[str, np.ndarray] = {}
        self._addresses: dict[str, int] = {}
        self._replay_network: Replay | None = None
        self._under_way = False
        with cuda.current("making room for a frame"), ExitStack() as undo:  # undone in reverse order
            undo.callback(self._host.clear)  # page-locked memory goes with the last reference to it
            self._stream = cuda.stream()
            undo.callback(setattr, self, "_stream", None)
            for buffer in buffers:
                self._allocate(buffer, undo)
            self._context = engine.create_execution_context()
            undo.callback(setattr, self, "_context", None)
            self._prepare_context(profile)
            undo.callback(self._stream.synchronize)
            self._frame()  # TensorRT settles its shapes in the first run, which must not be the captured one
            self._stream.synchronize()
            self._replay = Replay(self._frame, self._stream.handle)
            undo.callback(self._replay.close)
            undo.callback(self._stream.synchronize)
            self._replay()  # what a refused capture left behind must show here, not in the user's first frame
            self._stream.synchronize()
            self._undo = undo.pop_all()
        self._labels = np.empty(self._host[LABELS].shape, np.uint8)

    @property
    def image_nhwc(self) -> np.ndarray:
        """The images to be filled before ``start``, uint8 [N, H, W, 3]."""
        if not self._host:
            raise RuntimeError("this network is closed")
        if self._under_way:
            raise RuntimeError("the images are still being read; finish() this slot first")
        return self._host[IMAGE]

    @property
    def why_plain(self) -> str | None:
        """Why frames run without a CUDA graph; None where they run with one."""
        return self._replay.why_plain

    def start(self) -> None:
        """Begin upload, network and download; returns at once."""
        if self._under_way:
            raise RuntimeError("a frame is under way in this slot already; finish() it first")
        with self._cuda.current("starting a frame"):
            self._replay()
        self._under_way = True

    def finish(self) -> np.ndarray:
        """Wait for the labels, uint8 [N, H, W]; valid until the next start."""
        if not self._under_way:
            raise RuntimeError("no frame is under way in this slot; start() one first")
        self._under_way = False
        with self._cuda.current("running the network"):
            self._stream.synchronize()
        labels = self._host[LABELS]
        if labels.dtype == np.uint8:
            return labels
        np.copyto(self._labels, labels, casting="unsafe")  # there are at most 256 classes: nothing is lost
        return self._labels

    def logits(self) -> np.ndarray:
        """Scores float32 [N, K, H, W] of the images that were finished last; the caller owns them."""
        (buffer,) = [buffer for buffer in self._buffers if buffer.name == LOGITS]
        logits = np.empty(buffer.shape, buffer.dtype)
        with self._cuda.current("fetching the logits"):
            self._cuda.fetch(logits, self._addresses[LOGITS])
        return logits.astype(np.float32, copy=False)

    def network_ms(self) -> float:
        """How long the device takes for the network alone; ``image_nhwc`` is filled and no frame under way."""
        with self._cuda.current("timing the network"):
            if self._replay_network is None:
                self._replay_network = Replay(self._network, self._stream.handle)
                self._undo.callback(self._replay_network.close)
            self._upload()
            return self._cuda.elapsed_ms(self._replay_network, self._stream)

    def close(self) -> None:
        """Wait for what is under way, then free graphs, execution context, memory and stream, in this order."""
        # After a failed kernel every call fails, and the first failure is the one worth showing.
        with suppress(UserError), self._cuda.current("closing the network"):
            self._undo.close()

    def _allocate(self, buffer: Buffer, undo: ExitStack) -> None:
        if buffer.place is not Place.DEVICE:
            self._host[buffer.name] = self._cuda.page_locked(buffer.shape, buffer.dtype)
        if buffer.place is Place.MAPPED:
            self._addresses[buffer.name] = self._cuda.mapped_address(self._host[buffer.name])
        else:
            memory = self._cuda.allocate(buffer.nbytes)
            undo.callback(memory.free)
            self._addresses[buffer.name] = int(memory)

    def _prepare_context(self, profile: Profile) -> None:
        self._check(self._context is not None, "TensorRT cannot make room for an execution context")
        try:
            chosen = self._context.set_optimization_profile_async(profile.index, self._stream.handle)
        except RuntimeError:  # what the Python bindings make of a refusal
            chosen = False
        self._check(chosen, f"TensorRT does not give optimisation profile {profile.index} to an execution context")
        self._stream.synchronize()
        for buffer in self._buffers:
            if buffer.is_input:
                shaped = self._context.set_input_shape(buffer.name, buffer.shape)
                self._check(shaped, f"TensorRT does not take {buffer.name} of shape {list(buffer.shape)}")
            placed = self._context.set_tensor_address(buffer.name, self._addresses[buffer.name])
            self._check(placed, f"TensorRT does not take the memory of {buffer.name}")

    def _frame(self) -> None:
        self._upload()
        self._network()
        for buffer in self._buffers:
            if buffer.place is Place.STAGED and not buffer.is_input:
                self._cuda.download(self._host[buffer.name], self._addresses[buffer.name], self._stream)

    def _upload(self) -> None:
        for buffer in self._buffers:
            if buffer.place is Place.STAGED and buffer.is_input:
                self._cuda.upload(self._addresses[buffer.name], self._host[buffer.name], self._stream)

    def _network(self) -> None:
        self._check(self._context.execute_async_v3(self._stream.handle), "TensorRT cannot run the network")

    def _check(self, succeeded: bool, otherwise: str) -> None:
        if not succeeded:
            raise failure(otherwise, self._logger.take_errors())
