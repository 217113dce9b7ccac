"""TensorRT's engine and execution context for tests: the tiny network, whose class is the strongest colour channel.

It runs on the device of ``cuda_doubles.py``. ``test_backend.py`` holds its names and parameters against the real
modules. Names that start with an underscore are the double's own.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from runtime.backends.tensorrt.engine_file import EngineRecord, OpenedEngine
from tests.runtime.backends.tensorrt.cuda_doubles import NETWORK_MS, Op, World
from tests.runtime.tiny_models import COLOUR_INFO

NUMPY = {
    "FLOAT": np.float32,
    "HALF": np.float16,
    "UINT8": np.uint8,
    "INT8": np.int8,
    "INT32": np.int32,
    "INT64": np.int64,
    "BF16": np.uint16,
}


@dataclass
class Plan:
    """What the engine was built to be, and what goes wrong with it."""

    world: World
    profiles: tuple[tuple[int, int, int], ...] = ((1, 1, 1),)  # least, best and most images
    labels: str = "INT32"
    logits: str | None = None
    fixed_batch: bool = False  # the batch is written in the graph: no dynamic shape
    major: int = 10  # of TensorRT's version; this engine of 8 was built without profile sharing
    fails_in_capture: bool = False
    refuses: set[str] = field(default_factory=set)  # calls that TensorRT answers with no


class LoggerDouble:
    """Collects what the double complains about."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def take_errors(self) -> list[str]:
        taken, self.errors = self.errors, []
        return taken

    def take_warnings(self) -> list[str]:
        return []


def open_double(plan: Plan) -> OpenedEngine:
    """What ``open_engine`` returns."""
    trt, logger = make_trt(plan), LoggerDouble()
    record = EngineRecord(COLOUR_INFO, "fp16", (1,), "10.3", "Toy GPU", "8.7", "0", "x.onnx", "0", "0", "2026-01-01")
    return OpenedEngine(Path("toy.engine"), trt.ICudaEngine(logger), record, logger, trt)


def make_trt(plan: Plan) -> Any:
    """The module ``tensorrt``, as far as running needs it."""
    world, size = plan.world, (COLOUR_INFO.height, COLOUR_INFO.width)
    trt: Any = ModuleType("tensorrt")

    types = {"FLOAT": 0, "HALF": 1, "INT8": 2, "INT32": 3, "UINT8": 5}
    DataType = enum.Enum("DataType", types if plan.major == 8 else {**types, "BF16": 7, "INT64": 8})

    class TensorIOMode(enum.Enum):
        INPUT = 1
        OUTPUT = 2

    first = plan.profiles[0][1] if plan.fixed_batch else -1
    tensors = {
        "image": (TensorIOMode.INPUT, DataType.UINT8, (first, *size, 3)),
        "labels": (TensorIOMode.OUTPUT, DataType[plan.labels], (first, *size)),
    }
    if plan.logits is not None:
        tensors["logits"] = (TensorIOMode.OUTPUT, DataType[plan.logits], (first, 3, *size))

    class ICudaEngine:
        def __init__(self, _logger):
            self._logger, self._in_use = _logger, []
            world.alive["engine"] += 1

        @property
        def num_io_tensors(self):
            return len(tensors)

        @property
        def num_optimization_profiles(self):
            return len(plan.profiles)

        def get_tensor_name(self, index):
            return list(tensors)[index]

        def get_tensor_mode(self, name):
            return tensors[name][0]

        def get_tensor_dtype(self, name):
            return tensors[name][1]

        def get_tensor_shape(self, name):
            return tensors[name][2]

        def get_tensor_profile_shape(self, name, profile_index):
            assert not plan.fixed_batch
            return [(images, *size, 3) for images in plan.profiles[profile_index]]

        def create_execution_context(self):
            if world.take(1) is None or "create_execution_context" in plan.refuses:
                self._logger.errors.append("[defaultAllocator.cpp] Error Code 1: Cuda Runtime (out of memory)")
                return None
            return IExecutionContext(self)

        def __del__(self):
            if world.alive["execution"]:
                world.complaints.append("the engine is freed before an execution context")
            world.alive["engine"] -= 1

    class IExecutionContext:
        def __init__(self, _engine):
            self._engine, self._profile, self._shape, self._runs = _engine, None, None, 0
            self._addresses = {}
            world.alive["execution"] += 1

        def set_optimization_profile_async(self, profile_index, stream_handle):
            taken = profile_index in self._engine._in_use and plan.major == 8
            if taken or "set_optimization_profile_async" in plan.refuses:
                self._engine._logger.errors.append(f"Profile {profile_index} has been chosen by another context")
                raise RuntimeError("Error in set optimization profile async.")
            self._profile = profile_index
            self._engine._in_use.append(profile_index)
            return True

        def set_input_shape(self, name, shape):
            assert name == "image"
            least, _, most = plan.profiles[self._profile]
            self._shape = tuple(shape)
            return "set_input_shape" not in plan.refuses and least <= shape[0] <= most and shape[1:] == (*size, 3)

        def set_tensor_address(self, name, memory):
            assert name in tensors
            assert memory in world.memory
            self._addresses[name] = memory
            return "set_tensor_address" not in plan.refuses

        def execute_async_v3(self, stream_handle):
            stream = world.streams[stream_handle]
            capturing = stream._captured is not None
            if "execute_async_v3" in plan.refuses or (capturing and plan.fails_in_capture):
                stream._invalid = capturing
                self._engine._logger.errors.append("[executor.cpp] Error Code 1: Cuda (operation not permitted)")
                return False
            assert self._runs > 0 or not capturing, "TensorRT wants a run before the capture"
            assert set(self._addresses) == set(tensors), "every tensor needs memory"
            self._runs += 1
            memory = {name: world.memory[address] for name, address in self._addresses.items()}
            images = self._shape[0]

            def run():
                image_nhwc = memory["image"].reshape(self._shape)
                np.copyto(
                    _view(memory["labels"], plan.labels, (images, *size)), image_nhwc.argmax(-1), casting="unsafe"
                )
                if plan.logits is not None:
                    scores = image_nhwc.transpose(0, 3, 1, 2) / 255
                    np.copyto(_view(memory["logits"], plan.logits, scores.shape), scores, casting="unsafe")

            stream._add(Op(f"network {images}", run, NETWORK_MS))
            return True

        def __del__(self):
            if not set(self._addresses.values()) <= set(world.memory):
                world.complaints.append("memory is freed before the execution context that works on it")
            world.alive["execution"] -= 1

    for public in (DataType, TensorIOMode, ICudaEngine, IExecutionContext):
        setattr(trt, public.__name__, public)
    return trt


def _view(memory: np.ndarray, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    return memory.view(NUMPY[dtype]).reshape(shape)
