"""A small TensorRT for tests: it builds an "engine" that says what was asked for, and records the calls.

``test_real_bindings.py`` holds its names and parameters against the real modules. Names that start with an underscore
are the double's own: ``_calls``, and ``_faults`` to make it fail as the real one does.
"""

from __future__ import annotations

import ctypes
import enum
import json
import time
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import onnx

MAGIC = b"TRT!"


@dataclass
class Faults:
    """What goes wrong, and the log of it."""

    no_driver: bool = False
    plugin_refused: bool = False
    parser_errors: list[str] = field(default_factory=list)
    build_fails: str = ""
    never_finishes: bool = False  # the build goes on until the monitor stops it
    warning: str = ""


def make_tensorrt(version: str) -> ModuleType:
    """The module ``tensorrt`` of a version, with the names that this version has."""
    major = int(version.partition(".")[0])
    trt: Any = ModuleType("tensorrt")
    trt.__version__ = version
    trt._calls = []
    trt._faults = Faults()
    trt._logger = None

    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    severity = Severity

    class ILogger:
        Severity = severity

        def __init__(self):
            pass

        def log(self, severity, msg):
            raise AssertionError("the subclass must override this")

    members = {"EXPLICIT_BATCH": 0} if major < 11 else {}
    NetworkDefinitionCreationFlag = enum.IntEnum(
        "NetworkDefinitionCreationFlag", members if major == 8 else {**members, "STRONGLY_TYPED": 1}
    )
    BuilderFlag = enum.IntEnum(
        "BuilderFlag", {"TF32": 7, "DEBUG": 2} if major >= 11 else {"FP16": 0, "INT8": 1, "TF32": 7}
    )

    PreviewFeature = enum.IntEnum("PreviewFeature", {"PROFILE_SHARING_0806": 2} if major == 8 else {})

    class ProfilingVerbosity(enum.IntEnum):
        LAYER_NAMES_ONLY = 0
        DETAILED = 2

    class MemoryPoolType(enum.Enum):
        WORKSPACE = 0

    class IHostMemory(bytes):
        @property
        def nbytes(self):
            return len(self)

    class ITimingCache:
        __slots__ = ("_content", "_fits")

        def __init__(self, _content, _fits):
            self._content, self._fits = _content, _fits

        def serialize(self):
            return IHostMemory(self._content)

    class IOptimizationProfile:
        __slots__ = ("_shapes",)

        def __init__(self, _shapes):
            self._shapes = _shapes

        def set_shape(self, input, min, opt, max):
            assert all(isinstance(dim, int) for dims in (min, opt, max) for dim in dims)
            self._shapes[input] = [list(min), list(opt), list(max)]

    class ITensor:
        __slots__ = ("_name", "_shape")

        def __init__(self, _name, _shape):
            self._name, self._shape = _name, _shape

        @property
        def name(self):
            return self._name

        @property
        def shape(self):
            return self._shape

    class INetworkDefinition:
        __slots__ = ("_flags", "_inputs", "_model")

        def __init__(self, _flags):
            self._flags, self._inputs, self._model = _flags, [], None

        @property
        def num_inputs(self):
            return len(self._inputs)

        def get_input(self, index):
            return self._inputs[index] if index < len(self._inputs) else None

    class IBuilderConfig:
        __slots__ = ("_cache", "_features", "_flags", "_pools", "_profiles", "_verbosity") + (
            () if major == 8 else ("_monitor",)
        )

        def __init__(self, _pools):
            self._cache, self._flags, self._pools, self._profiles = None, ["TF32"], _pools, []
            self._features, self._verbosity = [], ProfilingVerbosity.LAYER_NAMES_ONLY
            if major > 8:
                self._monitor = None

        def set_memory_pool_limit(self, pool, pool_size):
            self._pools[pool.name] = pool_size

        def set_flag(self, flag):
            self._flags.append(flag.name)

        def clear_flag(self, flag):
            self._flags.remove(flag.name)

        def set_preview_feature(self, feature, enable):
            assert enable is True
            self._features.append(feature.name)

        def create_timing_cache(self, serialized_timing_cache):
            content = bytes(serialized_timing_cache)
            if content and not content.startswith(b"cache"):
                _log(severity.ERROR, "Timing cache: magic tag does not match")
                return None
            return ITimingCache(content, _fits=not content or content.startswith(f"cache {version} ".encode()))

        def set_timing_cache(self, cache, ignore_mismatch):
            if not cache._fits and not ignore_mismatch:
                _log(severity.ERROR, "Timing cache: version mismatch")
                return False
            self._cache = cache
            return True

        def get_timing_cache(self):
            return self._cache

        def add_optimization_profile(self, profile):
            assert profile._shapes, "TensorRT refuses a profile without shapes"
            self._profiles.append(profile._shapes)
            return len(self._profiles) - 1

        @property
        def profiling_verbosity(self):
            return self._verbosity

        @profiling_verbosity.setter
        def profiling_verbosity(self, verbosity):
            self._verbosity = ProfilingVerbosity(verbosity)

        if major > 8:

            @property
            def progress_monitor(self):
                return self._monitor

            @progress_monitor.setter
            def progress_monitor(self, monitor):
                assert isinstance(monitor, trt.IProgressMonitor)
                self._monitor = monitor

    class Builder:
        __slots__ = ("_logger",)

        def __init__(self, logger):
            self._logger = _start(logger)

        def create_network(self, flags=0):
            trt._calls.append(("create_network", flags))
            return INetworkDefinition(flags)

        def create_builder_config(self):
            return IBuilderConfig(_pools={})

        def create_optimization_profile(self):
            return IOptimizationProfile(_shapes={})

        def build_serialized_network(self, network, config):
            trt._calls.append(("build_serialized_network", config._flags, config._pools, config._profiles))
            if trt._faults.warning:
                _log(severity.WARNING, trt._faults.warning)
            if major > 8 and config._monitor is not None and not _report(config._monitor, trt._faults.never_finishes):
                _log(severity.WARNING, "The build was cancelled")
                return None
            if major == 8 and trt._faults.never_finishes:
                _hang()
            if trt._faults.build_fails:
                _log(severity.ERROR, trt._faults.build_fails)
                return None
            if config._cache is not None:
                config._cache._content = f"cache {version} timings".encode()
            asked = {
                "version": version,
                "flags": network._flags,
                "builder_flags": config._flags,
                "features": config._features,
                "pools": config._pools,
                "verbosity": config._verbosity.name,
                "profiles": config._profiles,
                "functions": [function.name for function in network._model.functions],
            }
            return IHostMemory(MAGIC + json.dumps(asked).encode())

    class ParserError:
        __slots__ = ("_text",)

        def __init__(self, _text):
            self._text = _text

        def desc(self):
            return self._text

    class OnnxParser:
        __slots__ = ("_errors", "_network")

        def __init__(self, network, logger):
            self._network, self._errors = network, []

        @property
        def num_errors(self):
            return len(self._errors)

        def get_error(self, index):
            return self._errors[index]

        def parse(self, model):
            self._errors = [ParserError(text) for text in trt._faults.parser_errors]
            for error in self._errors:
                _log(severity.ERROR, error.desc())
            self._network._model = onnx.load_model_from_string(bytes(model))
            for tensor in self._network._model.graph.input:
                dims = tuple(dim.dim_value or -1 for dim in tensor.type.tensor_type.shape.dim)
                self._network._inputs.append(ITensor(tensor.name, dims))
            return not self._errors

    class IPluginRegistry:
        __slots__ = ("_loaded",)

        def __init__(self, _loaded):
            self._loaded = _loaded

        if major > 8:

            def get_creator(self, type, version, plugin_namespace=""):
                return None

        def load_library(self, plugin_path):
            trt._calls.append(("load_library", plugin_path))
            if trt._faults.plugin_refused or plugin_path in self._loaded:
                _log(severity.ERROR, f"Could not load {plugin_path}")
                return None
            self._loaded.append(plugin_path)
            return object()

    class ICudaEngine:
        __slots__ = ("_asked",)

        def __init__(self, _asked):
            self._asked = _asked

    class Runtime:
        __slots__ = ("_logger",)

        def __init__(self, logger):
            self._logger = _start(logger)

        def deserialize_cuda_engine(self, serialized_engine):
            trt._calls.append(("deserialize_cuda_engine",))
            content = bytes(serialized_engine)
            if not content.startswith(MAGIC):
                _log(severity.ERROR, "Serialization: magic tag does not match")
                return None
            return ICudaEngine(json.loads(content[len(MAGIC) :]))

    if major > 8:

        class IProgressMonitor:
            def __init__(self):
                pass

            def phase_start(self, phase_name, parent_phase, num_steps):
                raise AssertionError("the subclass must override this")

            def step_complete(self, phase_name, step):
                raise AssertionError("the subclass must override this")

            def phase_finish(self, phase_name):
                raise AssertionError("the subclass must override this")

        trt.IProgressMonitor = IProgressMonitor

    registry = IPluginRegistry(_loaded=[])

    def get_plugin_registry():
        return registry

    def _log(level, text):
        if trt._logger is not None:
            trt._logger.log(level, text)

    def _start(logger):
        assert isinstance(logger, ILogger)
        trt._logger = trt._logger or logger  # TensorRT keeps the first
        if trt._faults.no_driver:
            _log(severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return logger

    for public in (
        *(ILogger, NetworkDefinitionCreationFlag, BuilderFlag, PreviewFeature, ProfilingVerbosity, MemoryPoolType),
        IHostMemory,
        *(ITimingCache, IOptimizationProfile, ITensor, INetworkDefinition, IBuilderConfig, Builder, ParserError),
        *(OnnxParser, IPluginRegistry, ICudaEngine, Runtime, get_plugin_registry),
    ):
        setattr(trt, public.__name__, public)
    return trt


def _report(monitor, never_finishes):
    """Two phases, one inside the other, as a build reports them; whether the monitor lets it go on to the end."""
    monitor.phase_start("Building Engine", None, 2)
    go_on = monitor.step_complete("Building Engine", 0)
    monitor.phase_start("Tactics", "Building Engine", 4)
    step = 0
    while go_on and (never_finishes or step < 4):
        go_on = monitor.step_complete("Tactics", min(step, 3))
        step += 1
        time.sleep(0.01)
    monitor.phase_finish("Tactics")
    go_on = go_on and monitor.step_complete("Building Engine", 1)
    monitor.phase_finish("Building Engine")
    return go_on


def _hang():
    """Never come back, and hear no signal handler of Python's: a plain mutex, locked twice by one thread."""
    mutex = ctypes.create_string_buffer(64)
    process = ctypes.CDLL(None)
    process.pthread_mutex_lock(mutex)
    process.pthread_mutex_lock(mutex)
