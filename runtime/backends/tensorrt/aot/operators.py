"""Our operators as TensorRT's quickly deployable plugins, whose kernels become part of the engine.

TensorRT asks three things of an operator: what its output is like (``register``), in which types and in how many ways
it can be computed (``autotune``), and the kernel itself with its launch (``aot_impl``). It learns an operator's inputs
and attributes from the functions' signatures; those are made here from the table below.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.backends.tensorrt.aot.choice import DpwConv, DpwInvertedResidual, LabelHead, Launch, Node
from runtime.backends.tensorrt.aot.compiler import compile_kernel
from runtime.backends.tensorrt.logger import logger_of

NAMESPACE = "hyperseg"  # the operators' domain in ONNX files, where TensorRT's parser looks for them

_PATCH_WISE = ("out_channels", "kernel_shape", "pad_mode", "activation", "weight_offset")
_TEXTS = ("pad_mode", "activation")


@dataclass(frozen=True)
class Operator:
    """An operator's inputs and attributes, in the order in which TensorRT passes them."""

    name: str
    inputs: tuple[str, ...]
    attributes: tuple[str, ...]


OPERATORS = (
    Operator("DPWConv", ("X", "W", "B"), (*_PATCH_WISE, "group")),
    Operator("DPWConvLevel", ("S", "P", "W", "B"), (*_PATCH_WISE, "group", "positions")),
    Operator("DPWInvertedResidual", ("X", "W", "B1", "B2", "B3"), (*_PATCH_WISE, "hidden_channels", "residual")),
    Operator(
        "DPWInvertedResidualLevel", ("S", "P", "W", "B1", "B2", "B3"), (*_PATCH_WISE, "hidden_channels", "positions")
    ),
    Operator("LabelHead", ("X",), ("scale",)),
)


@functools.cache  # TensorRT refuses operators that it already has
def register_operators(trt: ModuleType, compute_capability: int) -> None:
    """Make TensorRT build our operators into engines, by kernels for a compute capability such as 87."""
    trtp = importlib.import_module("tensorrt.plugin")
    for operator in OPERATORS:
        _register(trt, trtp, operator, compute_capability)


def node_of(operator: Operator, dtype: str, sizes: Sequence[Sequence[int]], attributes: dict[str, Any]) -> Node:
    """The numbers of a node from its inputs' sizes, whose batch is not looked at. Raises ValueError if they clash."""
    values = _values(operator, attributes)
    if operator.name == "LabelHead":
        _, classes, height, width = sizes[0]
        return LabelHead(dtype, classes, height, width, values["scale"])

    of_input = dict(zip(operator.inputs, sizes, strict=True))
    _, skip_channels, height, width = sizes[0]
    _, weight_channels, grid_height, grid_width = of_input["W"]
    previous_channels = 0
    if "P" in of_input:
        _, previous_channels, *half = of_input["P"]
        if [2 * pixels for pixels in half] != [height, width]:
            raise ValueError(f"the map of {height}x{width} is not twice as large as the previous level's, {half}")
    kernel_height, kernel_width = values.pop("kernel_shape")
    numbers = {
        "dtype": dtype,
        "positions": 0,
        "skip_channels": skip_channels,
        "previous_channels": previous_channels,
        "height": height,
        "width": width,
        "weight_channels": weight_channels,
        "grid_height": grid_height,
        "grid_width": grid_width,
        "kernel_height": kernel_height,
        "kernel_width": kernel_width,
        **values,
    }
    node: DpwConv | DpwInvertedResidual
    if operator.name.startswith("DPWConv"):
        node, biases = DpwConv(**numbers), {"B": values["out_channels"]}
    else:
        node = DpwInvertedResidual(**{"residual": 0, **numbers})
        biases = {"B1": node.hidden_channels, "B2": node.hidden_channels, "B3": node.out_channels}
    for name, length in biases.items():
        if list(of_input[name]) != [length]:
            raise ValueError(f"{name} is {list(of_input[name])} and should be [{length}]")
    return node


def _register(trt: ModuleType, trtp: ModuleType, operator: Operator, compute_capability: int) -> None:
    """Decorate an operator's three functions."""
    types = {trt.float32: ("float32", "FP32"), trt.float16: ("float16", "FP16")}
    inputs, plugin = len(operator.inputs), f"{NAMESPACE}::{operator.name}"

    def node(tensors: Sequence[Any], attributes: dict[str, Any]) -> Node:
        dtype = types.get(tensors[0].dtype, (str(tensors[0].dtype),))[0]
        return node_of(operator, dtype, [_sizes(tensor) for tensor in tensors], attributes)

    def launches(tensors: Sequence[Any], attributes: Sequence[Any], batch: Any) -> dict[int, Launch]:
        named = dict(zip(operator.attributes, attributes, strict=True))
        return node(tensors, named).launches(batch, compute_capability)

    def describe(*tensors: Any, **attributes: Any) -> Any:
        if any(tensor.dtype != tensors[0].dtype for tensor in tensors):
            raise ValueError(f"the inputs are {', '.join(str(tensor.dtype) for tensor in tensors)}; all share one type")
        x, values = tensors[0], _values(operator, attributes)
        if all(not size.is_fake and size.is_constant for tensor in tensors for size in [*tensor.shape_expr][1:]):
            node(tensors, attributes)  # says what is wrong while TensorRT still reads the file
        if operator.name == "LabelHead":
            batch, _, height, width = x.shape_expr
            return trtp.from_shape_expr((batch, height * values["scale"], width * values["scale"]), x.dtype)
        y = x.like()
        y.shape_expr[1] = values["out_channels"]
        return y

    def tune(*values: Any) -> Any:
        tensors, attributes = values[:inputs], values[inputs:-1]
        same_type = ", ".join([types[tensors[0].dtype][1]] * (inputs + 1))
        return [trtp.AutoTuneCombination(same_type, "LINEAR", list(launches(tensors, attributes, batch=1)))]

    def implement(*values: Any) -> Any:
        tensors, attributes, tactic = values[:inputs], values[inputs:-2], values[-1]
        batch = tensors[0].shape_expr[0]
        launch = launches(tensors, attributes, batch)[tactic]
        ptx = compile_kernel(launch.source, launch.defines, compute_capability)
        params = trtp.KernelLaunchParams()
        params.grid_x, params.grid_y = launch.grid
        params.block_x, params.shared_mem = launch.block, launch.shared_bytes
        return launch.source, ptx, params, trtp.SymIntExprs.from_tuple([trtp.SymInt32(batch)])

    def signed(function: Callable[..., Any], last: Sequence[str], returns: Any) -> Callable[..., Any]:
        """The function with the signature that TensorRT reads, and its errors in TensorRT's log.

        TensorRT says only that a call of Python's failed; integers are arrays because a plain int is one that NumPy
        2.4 cannot convert any more.
        """

        @functools.wraps(function)
        def logged(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except Exception as error:
                logger_of(trt).log(trt.ILogger.Severity.ERROR, f"{operator.name}: {error}")  # type: ignore[attr-defined]
                raise

        kinds = dict.fromkeys(operator.inputs, trtp.TensorDesc)
        kinds |= {name: str if name in _TEXTS else npt.NDArray[np.int32] for name in operator.attributes}
        parameters = [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=kinds.get(name, inspect._empty))
            for name in (*kinds, *last)
        ]
        logged.__signature__ = inspect.Signature(parameters, return_annotation=returns)  # type: ignore[attr-defined]
        return logged

    kernel = tuple[str, str, trtp.KernelLaunchParams, trtp.SymIntExprs]  # type: ignore[name-defined]
    trtp.register(plugin)(signed(describe, (), trtp.TensorDesc))
    trtp.autotune(plugin)(signed(tune, ("outputs",), list[trtp.AutoTuneCombination]))  # type: ignore[name-defined]
    trtp.aot_impl(plugin)(signed(implement, ("outputs", "tactic"), kernel))


def _sizes(tensor: Any) -> list[int]:
    """A tensor's sizes, the batch as -1: from its shape where TensorRT gives one, else from expressions of sizes."""
    if tensor.has_shape:
        sizes = list(tensor.shape)
    else:
        sizes = [size.constant_value() if size.is_constant else -1 for size in tensor.shape_expr]
    return [-1, *sizes[1:]] if len(sizes) > 1 else sizes


def _values(operator: Operator, attributes: dict[str, Any]) -> dict[str, Any]:
    """An operator's attributes by name. Raises ValueError where the node lacks one, which TensorRT lets pass."""
    if missing := [name for name in operator.attributes if name not in attributes]:
        raise ValueError(f"the node lacks the attribute {', '.join(missing)}")
    return {name: _value(name, attributes[name]) for name in operator.attributes}


def _value(name: str, value: Any) -> Any:
    """A text without the NUL that TensorRT's parser leaves at its end, an integer, or the two of kernel_shape."""
    if name in _TEXTS:
        return value.removesuffix("\0")
    numbers = [int(number) for number in value]
    expected = 2 if name == "kernel_shape" else 1
    if len(numbers) != expected:
        raise ValueError(f"{name} has {len(numbers)} values instead of {expected}")
    return numbers if name == "kernel_shape" else numbers[0]
