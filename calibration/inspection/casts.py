"""Where the graph changes between FP32 and FP16, and whether anything is computed for it."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import NodeProto, TensorProto

from calibration.inspection import findings as kinds
from calibration.inspection.findings import Finding
from calibration.inspection.graph import DQ, Graph, Q

FLOATS: dict[int, str] = {
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.DOUBLE: "fp64",
}


def check_casts(graph: Graph, carrier: str) -> Iterator[Finding]:
    """Find stray casts, and what is FP32 in a graph whose ``carrier``, the type of most layers' output, is fp16."""
    for node in stray_casts(graph, carrier):
        before, after = (FLOATS[graph.types[name]] for name in (node.input[0], node.output[0]))
        yield Finding(kinds.STRAY_CAST, _between(graph, node), f"{before} to {after}")
    if carrier == "fp16":
        for node in graph.nodes:
            computes = node.op_type not in ("Cast", "Constant", Q, DQ) and not graph.is_int8(node)
            if computes and _computes_in_fp32(graph, node):
                yield Finding(kinds.FP32_ISLAND, graph.name(node))


def casts(graph: Graph) -> list[NodeProto]:
    """List the casts of what is computed; those of constants are done when the engine is built."""
    return [node for node in graph.nodes if node.op_type == "Cast" and not graph.is_constant(node.input[0])]


def stray_casts(graph: Graph, carrier: str) -> list[NodeProto]:
    """List the casts between float types that stand neither at an end of the graph nor around operators in FP32."""
    return [
        cast
        for cast in casts(graph)
        if not (_at_start(graph, cast) or _at_end(graph, cast) or _serves(graph, cast, carrier))
    ]


def _at_start(graph: Graph, cast: NodeProto) -> bool:
    before = graph.made_by(cast.input[0], "Cast")
    return cast.input[0] in graph.inputs or (before is not None and _at_start(graph, before))


def _at_end(graph: Graph, cast: NodeProto) -> bool:
    readers = graph.readers[cast.output[0]]
    ends = bool(readers) and all(reader.op_type == "Cast" and _at_end(graph, reader) for reader in readers)
    return cast.output[0] in graph.outputs or ends


def _serves(graph: Graph, cast: NodeProto, carrier: str) -> bool:
    """Whether a cast leads to, or from, an operator that computes in FP32 while most compute in FP16."""
    before, after = (graph.types.get(name) for name in (cast.input[0], cast.output[0]))
    if before not in FLOATS or after not in FLOATS:
        return True  # shapes and indices
    if carrier != "fp16":
        return False
    if (before, after) == (TensorProto.FLOAT16, TensorProto.FLOAT):
        users = _users(graph, cast.output[0])
        return bool(users) and all(user.op_type != "Cast" and _computes_in_fp32(graph, user) for user in users)
    maker = graph.maker.get(cast.input[0])
    return (before, after) == (TensorProto.FLOAT, TensorProto.FLOAT16) and maker is not None and maker.op_type != "Cast"


def _users(graph: Graph, tensor: str) -> list[NodeProto]:
    """The readers of a tensor; for Q and DQ, which compute nothing themselves, their readers."""
    users = []
    for reader in graph.readers[tensor]:
        users += _users(graph, reader.output[0]) if reader.op_type in (Q, DQ) else [reader]
    return users


def _computes_in_fp32(graph: Graph, node: NodeProto) -> bool:
    tensors = [name for name in (*node.input, *node.output) if name and not graph.is_constant(name)]
    return any(graph.types.get(name) == TensorProto.FLOAT for name in tensors)


def _between(graph: Graph, cast: NodeProto) -> str:
    maker, readers = graph.maker.get(cast.input[0]), graph.readers[cast.output[0]]
    before = f"after {graph.name(maker)}" if maker is not None else f"of {cast.input[0]}"
    return f"{before}, before {graph.name(readers[0])}" if readers else before
