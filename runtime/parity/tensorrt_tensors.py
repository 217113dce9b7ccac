"""Any tensor inside a network as TensorRT computes it, and ONNX Runtime for comparison: through Polygraphy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from runtime.bundle import Bundle
from runtime.errors import UserError

Tensors = dict[str, np.ndarray]


def run_both(bundle: Bundle, precision: str, image_nhwc: np.ndarray, plugin: Path | None) -> tuple[Tensors, Tensors]:
    """Run an image, uint8 [1, H, W, 3], through ONNX Runtime and TensorRT; returns the tensors of each by name.

    An engine of its own is built, with every tensor as an output, so it fuses less than the engine that is deployed.
    Raises UserError where Polygraphy, TensorRT, its plugin library or a GPU is missing.
    """
    try:
        from polygraphy.backend.onnxrt import OnnxrtRunner
        from polygraphy.comparator import Comparator
        from polygraphy.exception import PolygraphyException
        from polygraphy.logger import G_LOGGER
    except ImportError:
        raise UserError(
            "comparing TensorRT layer by layer needs Polygraphy, which is not installed. pip install polygraphy"
        ) from None
    try:
        with G_LOGGER.verbosity():  # silent: what goes wrong is raised as well
            session = _onnx_runtime_session(bundle.onnx(precision))
            runners = [OnnxrtRunner(session), _trt_runner(bundle, precision, plugin)]
            results = Comparator.run(runners, data_loader=[{"image": image_nhwc}])
    except PolygraphyException as error:
        raise UserError(f"Polygraphy could not run both: {error}") from error
    onnx_runtime, tensorrt = ({**iterations[0]} for _, iterations in results)
    return onnx_runtime, tensorrt


def _onnx_runtime_session(path: Path) -> Any:
    from polygraphy import constants
    from polygraphy.backend.onnx import BytesFromOnnx, ModifyOutputs, OnnxFromPath
    from polygraphy.backend.onnxrt import SessionFromOnnx

    return SessionFromOnnx(BytesFromOnnx(ModifyOutputs(OnnxFromPath(str(path)), outputs=constants.MARK_ALL)))


def _trt_runner(bundle: Bundle, precision: str, plugin: Path | None) -> Any:
    from runtime.backends.tensorrt.gpu import current_gpu
    from runtime.backends.tensorrt.logger import logger_of
    from runtime.backends.tensorrt.plugin import find_plugin, load_plugin
    from runtime.backends.tensorrt.versions import import_tensorrt, rules_of

    tensorrt = import_tensorrt()
    current_gpu()  # without one, TensorRT fails with no reason given
    rules = rules_of(tensorrt.__version__)
    library = find_plugin(rules.major, plugin, bundle.folder)
    builder = tensorrt.Builder(logger_of(tensorrt))  # before the library: its errors are told to this logger
    load_plugin(tensorrt, library)
    del builder
    from polygraphy import constants
    from polygraphy.backend.trt import (
        CreateConfig,
        EngineFromNetwork,
        ModifyNetworkOutputs,
        NetworkFromOnnxPath,
        Profile,
        TrtRunner,
    )

    shape = (1, bundle.info.height, bundle.info.width, 3)
    path = bundle.folder / f"{bundle.info.name}.{precision}.trt.onnx"
    bundle.verify_file(path)
    flags = {flag.lower(): True for flag in rules.builder_flags(precision)}
    network = NetworkFromOnnxPath(str(path), strongly_typed=rules.strongly_typed)
    config = CreateConfig(profiles=[Profile().add("image", shape, shape, shape)], **flags)
    return TrtRunner(EngineFromNetwork(ModifyNetworkOutputs(network, outputs=constants.MARK_ALL), config=config))
