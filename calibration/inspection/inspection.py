"""What an ONNX file runs in which precision, and what of it TensorRT will not run as meant."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto

from calibration.inspection.casts import FLOATS, casts, check_casts, stray_casts
from calibration.inspection.findings import FLOAT_CARRIER, Finding
from calibration.inspection.graph import DQ, Graph, Q
from calibration.inspection.quantisers import check_quantisers
from export.operators import register_schemas, strip_functions
from runtime.bundle import ONNX_METADATA_KEY, ModelInfo
from runtime.errors import UserError

# What reading a graph raises in which each node is valid, but not what the nodes are together.
_UNREADABLE = (ArithmeticError, LookupError, ValueError, TypeError, RuntimeError, onnx.shape_inference.InferenceError)


@dataclass(frozen=True)
class LayerPrecision:
    """One layer: a convolution, dynamic or not. ``output`` is its size without the batch, None where it is symbolic.

    ``precision`` is int8 where input and weight come from a DequantizeLinear; its output then still is a float tensor.
    """

    name: str
    operator: str
    output: tuple[int | None, ...]
    precision: str
    macs: int  # multiply-accumulates for one image


@dataclass(frozen=True)
class Inspection:
    """What was read of one file."""

    path: Path
    info: ModelInfo | None  # None in a file that is not one of HyperSeg
    opset: int
    has_bodies: bool  # function bodies of the dynamic operators, for ONNX Runtime
    layers: tuple[LayerPrecision, ...]
    quantised_tensors: int  # activations with Q/DQ
    quantised_weights: int
    casts: int
    stray_casts: int
    findings: tuple[Finding, ...]

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that break a rule."""
        return tuple(finding for finding in self.findings if finding.kind.fault)

    @property
    def notes(self) -> tuple[Finding, ...]:
        """The findings that cost or risk something."""
        return tuple(finding for finding in self.findings if not finding.kind.fault)

    @property
    def macs(self) -> Counter[str]:
        """Multiply-accumulates by precision."""
        macs: Counter[str] = Counter()
        for layer in self.layers:
            macs[layer.precision] += layer.macs
        return macs


def inspect_model(path: Path) -> Inspection:
    """Read any file of a bundle, or another ONNX file with convolutions.

    Raises UserError for a file that is missing, not valid ONNX, or without a layer whose work can be counted.
    """
    model = _load(path)
    try:
        return _inspect(path, model)
    except _UNREADABLE as error:
        raise UserError(
            f"{path} cannot be inspected: shapes or types in it are unknown, or contradict each other "
            f"({type(error).__name__}: {_on_one_line(error)}). Give a file that ONNX Runtime or TensorRT loads and "
            "that notes the shapes of its tensors."
        ) from error


def _inspect(path: Path, model: ModelProto) -> Inspection:
    graph = Graph(strip_functions(model))
    if not graph.layers:
        raise UserError(
            f"{path} has no convolution, so there is nothing to inspect. Give a network, such as NAME.int8.onnx."
        )
    layers = tuple(
        _layer(graph, layer.name or layer.output, layer.macs, graph.maker[layer.output]) for layer in graph.layers
    )
    (carrier, _), *_ = Counter(_float_type(graph, layer.output) for layer in graph.layers).most_common()
    findings = [*check_quantisers(graph), *check_casts(graph, carrier)]
    if carrier == "fp32" and any(layer.precision == "int8" for layer in layers):
        findings.append(Finding(FLOAT_CARRIER, "all that is not int8"))
    quantisers = [node for node in graph.nodes if node.op_type == DQ]
    weights = [node for node in quantisers if _is_constant_pair(graph, node)]
    return Inspection(
        path=path,
        info=_info(model),
        opset=next((opset.version for opset in model.opset_import if opset.domain == ""), 0),
        has_bodies=bool(model.functions),
        layers=layers,
        quantised_tensors=len(quantisers) - len(weights),
        quantised_weights=len(weights),
        casts=len(casts(graph)),
        stray_casts=len(stray_casts(graph, carrier)),
        findings=tuple(findings),
    )


def _load(path: Path) -> ModelProto:
    """Read a file with its weights. Raises UserError where it is none, or not valid ONNX."""
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist. Give an ONNX file, such as BUNDLE/NAME.int8.onnx.") from None
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot read {path}: {reason}. Give an ONNX file, such as BUNDLE/NAME.int8.onnx.") from error
    except Exception as error:  # protobuf's own; which class it is depends on its version
        raise UserError(f"{path} is no ONNX file, or not a whole one. Copy or export it again.") from error
    if not model.graph.node:  # to protobuf an empty file is a model, too
        raise UserError(f"{path} is not an ONNX file, or has an empty graph. Give one such as BUNDLE/NAME.int8.onnx.")
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (onnx.checker.ValidationError, OSError, ValueError) as error:
        raise UserError(
            f"{path} has weights in a file of their own, which cannot be read: {_on_one_line(error)}. "
            "Copy that file along, to where the ONNX file names it."
        ) from error
    register_schemas()
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:  # ValueError: more than 2 GiB
        raise UserError(
            f"{path} is not valid ONNX: {_on_one_line(error)}. Export it again, or ask those who made it."
        ) from error
    return model


def _on_one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _info(model: ModelProto) -> ModelInfo | None:
    for field in model.metadata_props:
        if field.key == ONNX_METADATA_KEY:
            try:
                return ModelInfo.from_json(field.value)
            except ValueError:
                return None
    return None


def _layer(graph: Graph, name: str, macs: int, node: NodeProto) -> LayerPrecision:
    precision = "int8" if graph.is_int8(node) else _float_type(graph, node.output[0])
    return LayerPrecision(name, _operator(graph, node), graph.shapes.get(node.output[0], ())[1:], precision, macs)


def _operator(graph: Graph, node: NodeProto) -> str:
    """Operator and kernel, as in ``Conv 3x3``, and what is special: ``depthwise``, ``8 groups``."""
    attributes = graph.attributes(node)
    kernel = attributes.get("kernel_shape") or (graph.weight_shape(node) or ())[2:]
    words = [node.op_type, "x".join(map(str, kernel))]
    if (group := attributes.get("group", 1)) > 1:
        depthwise = node.op_type == "Conv" and (graph.weight_shape(node) or (0, 0))[1] == 1
        words.append("depthwise" if depthwise else f"{group} groups")
    return " ".join(words)


def _float_type(graph: Graph, tensor: str) -> str:
    return FLOATS.get(graph.types.get(tensor, 0), "unknown")


def _is_constant_pair(graph: Graph, dq: NodeProto) -> bool:
    q = graph.made_by(dq.input[0], Q)
    return graph.is_constant(q.input[0] if q is not None else dq.input[0])
