"""All of the way to TensorRT but the engine: TensorRT is a double, and Polygraphy's build asks it for an engine."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import numpy as np
import onnx
import pytest

from runtime.backends.tensorrt.gpu import Gpu
from runtime.backends.tensorrt.logger import logger_of
from runtime.bundle import Bundle
from runtime.errors import UserError
from runtime.parity import tensorrt_tensors
from tests.runtime.backends.tensorrt.tensorrt_double import make_tensorrt

FLOATS = ["float_nhwc", "float_nchw", "unit", "centred", "normalised", "logits"]


class Tensor(NamedTuple):
    name: str
    is_network_output: bool


class Network:
    """A parsed network as Polygraphy looks at it: a layer for each node, before each one of shapes of the parser's."""

    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.marked: list[str] = []
        self._inputs: list[object] = []
        self._model = onnx.ModelProto()  # the double's parser fills both

    def __iter__(self):
        for index, node in enumerate(self._model.graph.node):
            for name in (f"(Unnamed Layer* {index}) [Shape]_output", node.output[0]):
                tensor = Tensor(name, is_network_output=name == "labels")
                yield SimpleNamespace(num_inputs=0, num_outputs=1, get_output=lambda _, tensor=tensor: tensor)

    def unmark_output(self, tensor) -> None:
        assert tensor.is_network_output

    def mark_output(self, tensor) -> None:
        self.marked.append(tensor.name)


@pytest.fixture
def networks(monkeypatch) -> list[Network]:
    """The networks that were made, of which no engine is."""
    from polygraphy.exception import PolygraphyException

    made: list[Network] = []

    class EngineFromNetwork:
        def __init__(self, network, config):
            self._network = network

        def __call__(self):
            builder, network, _ = self._network()
            made.append(network)
            assert builder.build_serialized_network(network, builder.create_builder_config()) is None
            raise PolygraphyException("Invalid Engine")

    monkeypatch.setattr("polygraphy.backend.trt.EngineFromNetwork", EngineFromNetwork)
    return made


@pytest.fixture
def use_tensorrt(monkeypatch, networks):
    def use(version: str = "10.3.0") -> ModuleType:
        trt = make_tensorrt(version)
        trt._faults.build_fails = "Could not find any implementation for node cat_3"
        monkeypatch.setattr(trt.Builder, "create_network", lambda _, flags: Network(flags))
        monkeypatch.setitem(sys.modules, "tensorrt", trt)
        monkeypatch.setattr(tensorrt_tensors, "current_gpu", lambda: Gpu("Orin", "8.7"))
        return trt

    return use


@pytest.fixture
def run(own_bundle: Bundle, add_to_manifest, tmp_path):
    """Run both networks with a plugin library for the version, and return what the user reads."""

    def run(trt: ModuleType, *, typed: bool = True) -> str:
        model = onnx.load(own_bundle.onnx())
        path = own_bundle.folder / "street.fp32.trt.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(model) if typed else model, path)
        bundle = add_to_manifest(own_bundle, path)
        library = tmp_path / "plugin.so"
        library.write_text(f"hyperseg_plugins for TensorRT {trt.__version__.split('.')[0]}", encoding="utf-8")
        image_nhwc = np.zeros((1, bundle.info.height, bundle.info.width, 3), np.uint8)
        with pytest.raises(UserError) as caught:
            tensorrt_tensors.run_both(bundle, "fp32", image_nhwc, library)
        return str(caught.value)

    return run


@pytest.mark.parametrize(("version", "flags"), [("8.6.1", 1), ("10.3.0", 2), ("11.1.0", 0)])
def test_the_outputs_are_the_floats_and_the_labels(use_tensorrt, run, networks, version, flags):
    """Shapes and indices are none: with the parser's own shapes among the outputs builds have failed."""
    run(use_tensorrt(version))
    (network,) = networks
    assert network.marked == [*FLOATS, "labels"]
    assert network.flags == flags


def test_a_file_without_types_is_refused(use_tensorrt, run, networks):
    message = run(use_tensorrt(), typed=False)
    assert "street.fp32.trt.onnx does not say which of its tensors are floats" in message
    assert "export the checkpoint again" in message
    assert not networks


def test_tensorrt_gives_the_reason_of_a_failed_build(use_tensorrt, run):
    message = run(use_tensorrt())
    assert message == (
        "Polygraphy could not run both: Invalid Engine. TensorRT says: Could not find any implementation for node cat_3"
    )


def test_the_errors_of_earlier_calls_are_not_its_own(use_tensorrt, run):
    trt = use_tensorrt()
    logger_of(trt).log(trt.ILogger.Severity.ERROR, "of yesterday")
    message = run(trt)
    assert "Invalid Engine" in message
    assert "yesterday" not in message


def test_tensorrt_gives_the_reason_of_a_file_it_cannot_read(use_tensorrt, run, networks):
    trt = use_tensorrt()
    trt._faults.parser_errors = ["No importer registered for op: DPWConv"]
    message = run(trt)
    assert "street.fp32.trt.onnx:\n  No importer registered for op: DPWConv\n" in message
    assert "scripts/build_plugin.sh" in message
    assert not networks


def test_a_tensorrt_that_cannot_start(use_tensorrt, run):
    trt = use_tensorrt()
    trt._faults.no_driver = True
    message = run(trt)
    assert message.startswith("TensorRT cannot start. TensorRT says: CUDA initialization failure")


def test_a_missing_cuda_runtime_library(use_tensorrt, run, monkeypatch):
    from polygraphy.backend.trt import TrtRunner

    def activate(_):
        raise OSError("libcudart.so: cannot open shared object file")

    monkeypatch.setattr(TrtRunner, "activate_impl", activate)
    assert "could not run both: libcudart.so: cannot open shared object file" in run(use_tensorrt())
