"""Runs a TensorRT engine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np

from runtime.backends.backend import Backend
from runtime.backends.tensorrt.buffers import IMAGE, LOGITS, EngineTensor, check_tensors, plan_buffers
from runtime.backends.tensorrt.cuda import open_cuda
from runtime.backends.tensorrt.engine_file import OpenedEngine
from runtime.backends.tensorrt.lane import Lane
from runtime.backends.tensorrt.profiles import Profile, check_images, choose_profile, split_batch
from runtime.errors import UserError

_FRAMES_IN_FLIGHT = 2  # one on the device while the other is filled or read


class TensorRTBackend(Backend):
    """Runs an engine that :func:`~runtime.backends.tensorrt.engine_file.open_engine` opened, and closes it.

    Batch 1 has two lanes, its slots; every other batch size gets one when it is first asked for. Any thread may call,
    and different slots may be used by different threads at once.

    Raises UserError for an engine of another network, one without batch 1, and where the GPU has too little memory.
    """

    name = "tensorrt"

    def __init__(self, opened: OpenedEngine) -> None:
        self.info = opened.record.info
        self.precision = opened.record.precision
        self._cuda = open_cuda()
        self._opened: OpenedEngine | None = opened
        self._tensors = list(_io_tensors(opened))
        check_tensors(self._tensors, self.info)
        self.has_logits = any(tensor.name == LOGITS for tensor in self._tensors)
        self._profiles = list(_profiles(opened))
        self._taken: list[int] = []  # indices of the profiles that lanes run with
        self._lanes: dict[int, Lane] = {}
        with ExitStack() as undo:
            undo.callback(self._forget_engine)
            self._undo = undo
            self.slots = self._open_slots()
            self._undo = undo.pop_all()

    def labels(self, image_nhwc: np.ndarray) -> np.ndarray:
        """Classify images, uint8 RGB [N, H, W, 3], into uint8 labels [N, H, W].

        The next call may overwrite the returned array. Raises RuntimeError while the first slot is in flight.
        """
        parts = self._parts(image_nhwc)
        if len(parts) == 1:
            return self._run(parts[0]).finish()
        return np.concatenate([self._run(part).finish().copy() for part in parts])

    def logits(self, image_nhwc: np.ndarray) -> np.ndarray:
        """Scores of every class, float32 [N, K, H, W]. Raises UserError if the engine has no such output."""
        if not self.has_logits:
            raise UserError("the engine has no logits output. Export the checkpoint with --logits and build it again.")
        logits = []
        for part in self._parts(image_nhwc):
            lane = self._run(part)
            lane.finish()
            logits.append(lane.logits())
        return logits[0] if len(logits) == 1 else np.concatenate(logits)

    def network_ms(self, image_nhwc: np.ndarray) -> float:
        """One run of the network alone, on images that are on the device, between two CUDA events."""
        total_ms = 0.0
        for part in self._parts(image_nhwc):
            lane = self._lane(len(part))
            np.copyto(lane.image_nhwc, part)
            total_ms += lane.network_ms()
        return total_ms

    def close(self) -> None:
        """Wait for what is in flight, then free all that lies on the device. May be called twice."""
        self._undo.close()

    def _open_slots(self) -> tuple[Lane, ...]:
        slots = [self._open_lane(1)]
        if slots[0].why_plain is not None:
            print(f"note: frames run without a CUDA graph, so a little slower: {slots[0].why_plain}", file=sys.stderr)
        while len(slots) < _FRAMES_IN_FLIGHT:
            try:
                slots.append(self._open_lane(1))
            except UserError as error:  # memory for one only, or TensorRT 8 without profile sharing
                print(f"note: one frame in flight instead of {_FRAMES_IN_FLIGHT}: {error}", file=sys.stderr)
                break
        return tuple(slots)

    def _parts(self, image_nhwc: np.ndarray) -> list[np.ndarray]:
        """Cut images into batches that the engine runs."""
        check_images(image_nhwc, self.info)
        batches = split_batch(self._profiles, len(image_nhwc))
        return np.split(image_nhwc, np.cumsum(batches)[:-1])

    def _run(self, image_nhwc: np.ndarray) -> Lane:
        lane = self._lane(len(image_nhwc))
        np.copyto(lane.image_nhwc, image_nhwc)
        lane.start()
        return lane

    def _lane(self, batch: int) -> Lane:
        if batch == 1:
            return self.slots[0]
        if batch not in self._lanes:
            self._lanes[batch] = self._open_lane(batch)
        return self._lanes[batch]

    def _open_lane(self, batch: int) -> Lane:
        if self._opened is None:
            raise RuntimeError("this network is closed")
        profile = choose_profile(self._profiles, batch, self._taken)
        buffers = plan_buffers(self._tensors, batch, integrated=self._cuda.integrated)
        lane = Lane(self._cuda, self._opened.engine, self._opened.logger, profile, buffers)
        self._undo.callback(lane.close)
        self._taken.append(profile.index)
        return lane

    def _forget_engine(self) -> None:
        with self._cuda.current("closing the engine"):
            self._opened = None  # after the lanes: an engine must outlive its execution contexts


def _io_tensors(opened: OpenedEngine) -> Iterator[EngineTensor]:
    engine, trt = opened.engine, opened.trt
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        yield EngineTensor(
            name=name,
            is_input=engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
            dtype=engine.get_tensor_dtype(name).name,
            shape=tuple(engine.get_tensor_shape(name)),
        )


def _profiles(opened: OpenedEngine) -> Iterator[Profile]:
    engine = opened.engine
    fixed = engine.get_tensor_shape(IMAGE)[0]
    for index in range(engine.num_optimization_profiles):
        if fixed > 0:
            yield Profile(index, fixed, fixed, fixed)
        else:
            least, best, most = (shape[0] for shape in engine.get_tensor_profile_shape(IMAGE, index))
            yield Profile(index, least, best, most)
