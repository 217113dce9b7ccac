"""Any tensor inside a network as TensorRT computes it, and ONNX Runtime for comparison: through Polygraphy."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from runtime.backends.tensorrt.build import parse_network
from runtime.backends.tensorrt.gpu import current_gpu
from runtime.backends.tensorrt.logger import failure, logger_of, make
from runtime.backends.tensorrt.model_file import EXPORT_AGAIN, ModelFile, read_model
from runtime.backends.tensorrt.plugin import find_plugin, load_plugin
from runtime.backends.tensorrt.versions import import_tensorrt, rules_of
from runtime.bundle import Bundle
from runtime.errors import UserError

Tensors = dict[str, np.ndarray]


def run_both(bundle: Bundle, precision: str, image_nhwc: np.ndarray, plugin: Path | None) -> tuple[Tensors, Tensors]:
    """Run an image, uint8 [1, H, W, 3], through ONNX Runtime and TensorRT; returns the tensors of each by name.

    An engine of its own is built, with every float tensor as an output, so it fuses less than the engine that is
    deployed. Raises UserError where Polygraphy, TensorRT, its plugin library or a GPU is missing, or the engine cannot
    be built or run.
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
    tensorrt = import_tensorrt()
    logger = logger_of(tensorrt)
    logger.take_errors()  # of earlier calls
    try:
        with G_LOGGER.verbosity():  # silent: what goes wrong is raised as well
            session = _onnx_runtime_session(bundle.onnx(precision))
            runners = [OnnxrtRunner(session), _trt_runner(tensorrt, bundle, precision, plugin)]
            results = Comparator.run(runners, data_loader=[{"image": image_nhwc}])
    except (PolygraphyException, OSError) as error:  # OSError: Polygraphy opens CUDA's runtime library by itself
        raise failure(f"Polygraphy could not run both: {error}", logger.take_errors()) from error
    onnx_runtime, engine = ({**iterations[0]} for _, iterations in results)
    return onnx_runtime, engine


def _onnx_runtime_session(path: Path) -> Any:
    from polygraphy import constants
    from polygraphy.backend.onnx import BytesFromOnnx, ModifyOutputs, OnnxFromPath
    from polygraphy.backend.onnxrt import SessionFromOnnx

    return SessionFromOnnx(BytesFromOnnx(ModifyOutputs(OnnxFromPath(str(path)), outputs=constants.MARK_ALL)))


def _trt_runner(tensorrt: ModuleType, bundle: Bundle, precision: str, plugin: Path | None) -> Any:
    from polygraphy.backend.trt import CreateConfig, EngineFromNetwork, ModifyNetworkOutputs, Profile, TrtRunner

    file = read_model(bundle.folder, precision)
    current_gpu()  # without one, TensorRT fails with no reason given
    rules = rules_of(tensorrt.__version__)
    library = find_plugin(rules.major, plugin, bundle.folder)
    logger = logger_of(tensorrt)
    # The runner keeps our builder alive, and with it our logger: Polygraphy's own is silenced, reasons and all.
    builder = make(tensorrt.Builder, logger)
    load_plugin(tensorrt, library)
    network, parser = parse_network(tensorrt, builder, rules, file, logger)

    shape = (1, bundle.info.height, bundle.info.width, 3)
    builder_flags = {flag.lower(): True for flag in rules.builder_flags(precision)}
    config = CreateConfig(profiles=[Profile().add("image", shape, shape, shape)], **builder_flags)
    marked = ModifyNetworkOutputs((builder, network, parser), outputs=_outputs(file))
    return TrtRunner(EngineFromNetwork(marked, config=config))


def _outputs(file: ModelFile) -> list[str]:
    """The float tensors, and the outputs that the network has anyway: TensorRT knows the labels' uint8 only there.

    Polygraphy's MARK_ALL would add the shapes that the parser computes, with which builds fail: NVIDIA/TensorRT#3592.
    """
    import onnx

    graph = onnx.load_model_from_string(file.content).graph
    float_types = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    floats = {value.name for value in graph.value_info if value.type.tensor_type.elem_type in float_types}
    if not floats:
        raise UserError(f"{file.path} does not say which of its tensors are floats. {EXPORT_AGAIN}")
    inner = [name for node in graph.node for name in node.output if name in floats]
    return [*inner, *(output.name for output in graph.output)]
