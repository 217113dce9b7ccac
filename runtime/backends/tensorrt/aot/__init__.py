"""Engines that hold our operators' kernels themselves, and so need no plugin library to run.

``python -m runtime build BUNDLE --plugin aot``: TensorRT 10.9 and newer asks Python for an operator's kernel while it
builds (a quickly deployable plugin, compiled ahead of time), and keeps the kernel in the engine. The kernels are those
of the plugin library, compiled by NVRTC for this GPU and for the sizes of the very node.
"""

from __future__ import annotations

from types import ModuleType

from runtime.backends.tensorrt.aot.compiler import check_compiler
from runtime.backends.tensorrt.aot.operators import NAMESPACE, OPERATORS, register_operators
from runtime.backends.tensorrt.logger import logger_of
from runtime.backends.tensorrt.versions import check_aot_plugins, finds_domains
from runtime.errors import UserError


def prepare(trt: ModuleType, compute_capability: str, content: bytes) -> bytes:
    """Make TensorRT build our operators into engines; returns the ONNX file's content as its parser wants it.

    Raises UserError where TensorRT, NVRTC, CUDA's headers or the kernels' sources cannot do that, and in a process that
    has loaded the plugin library.
    """
    check_aot_plugins(trt.__version__)
    capability = int(compute_capability.replace(".", ""))
    check_compiler(capability)
    registry = trt.get_plugin_registry()
    if any(registry.get_creator(operator.name, "1", "") is not None for operator in OPERATORS):
        raise UserError(
            "this process has loaded the plugin library, whose operators TensorRT would take. Build an engine with "
            "--plugin aot in a process of its own."
        )
    logger_of(trt).take_errors()  # some versions log what they do not find
    register_operators(trt, capability)
    return content if finds_domains(trt.__version__) else _with_namespace(content)


def _with_namespace(content: bytes) -> bytes:
    """TensorRT 10.9 takes an operator's namespace from an attribute alone, not from the node's domain."""
    try:
        import onnx
    except ImportError:
        raise UserError("--plugin aot takes the library onnx with TensorRT 10.9: pip install onnx") from None
    model = onnx.load_model_from_string(content)
    for node in model.graph.node:
        if node.domain == NAMESPACE:
            node.attribute.append(onnx.helper.make_attribute("plugin_namespace", NAMESPACE))
    return bytes(model.SerializeToString())
