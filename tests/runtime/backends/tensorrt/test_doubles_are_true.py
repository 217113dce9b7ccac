"""The names, parameters and values of our doubles of TensorRT, CUDA and PyCUDA, against the real modules."""

from __future__ import annotations

import ctypes
import enum
import inspect
from contextlib import suppress
from types import FunctionType

import pytest

from runtime.backends.tensorrt.cuda_graph import Replay
from tests.runtime.backends.tensorrt.cuda_doubles import World, make_cuda, make_pycuda
from tests.runtime.backends.tensorrt.engine_double import Plan, make_trt
from tests.runtime.backends.tensorrt.mirror import broken_promises
from tests.runtime.backends.tensorrt.real_bindings import VERSIONS, prepare


@pytest.mark.parametrize("version", VERSIONS)
def test_tensorrt(version: str, request: pytest.FixtureRequest):
    names = prepare(version, request.config.cache.mkdir("tensorrt-bindings")).names()
    assert broken_promises(make_trt(Plan(World(), major=int(version.partition(".")[0]))), names) == []


def test_cuda_python():
    real = pytest.importorskip("cuda.bindings.driver", exc_type=ImportError)
    ours = {name: value for name, value in vars(make_cuda(World())).items() if name.lower().startswith("cu")}
    assert len(ours) == 8
    for name, promised in ours.items():
        if isinstance(promised, FunctionType):
            parameters = [list(inspect.signature(function).parameters) for function in (promised, getattr(real, name))]
            assert parameters[0] == parameters[1], name
        else:
            assert issubclass(promised, enum.IntEnum)
            assert all(getattr(getattr(real, name), member.name) == member.value for member in promised), name


def test_the_real_cuda_python_says_why_there_is_no_graph():
    real = pytest.importorskip("cuda.bindings.driver", exc_type=ImportError)
    with suppress(OSError):
        ctypes.CDLL("libcuda.so.1")
        pytest.skip("needs a machine without an NVIDIA driver")
    with pytest.raises(RuntimeError) as no_driver:
        real.cuInit(0)
    calls: list[str] = []
    replay = Replay(lambda: calls.append("work"), stream=0x1000)
    assert replay.why_plain == str(no_driver.value)
    assert calls == []
    replay()
    assert calls == ["work"]
    replay.close()


def test_pycuda():
    real = pytest.importorskip("pycuda.driver", reason="PyCUDA is built on machines with CUDA", exc_type=ImportError)
    missing = []
    for name, promised in vars(make_pycuda(World())).items():
        members = vars(promised) if isinstance(promised, type) else {}
        public = [name, *(f"{name}.{member}" for member in members if not member.startswith("_"))]
        for path in public if not name.startswith("_") else []:
            owner = real
            for part in path.split("."):
                owner = getattr(owner, part, None)
            if owner is None:
                missing.append(path)
    assert missing == []
