"""Whether Q/DQ stand where TensorRT makes INT8 kernels of them.

These checks read the graph alone and know nothing of the code that placed the Q/DQ.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
from onnx import NodeProto, TensorProto

from calibration.inspection import findings as kinds
from calibration.inspection.findings import Finding
from calibration.inspection.graph import DQ, WEIGHTED, Graph, Q

FP16_SMALLEST_NORMAL = 2.0**-14

_SAME_SCALE = 1e-3  # relative; rounding a scale to FP16, as one of a pair of types may be, changes it by up to 2^-11

_MOVES_FIRST_INPUT = {
    "Cast", "Expand", "Flatten", "Identity", "MaxPool", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
    "Unsqueeze",
}  # fmt: skip


def check_quantisers(graph: Graph) -> Iterator[Finding]:
    """Find what is wrong with Q/DQ, or costs or risks something."""
    for node in graph.nodes:
        if node.op_type == Q or (node.op_type == DQ and graph.made_by(node.input[0], Q) is None):
            yield from _parameters(graph, node)
        if node.op_type == DQ:
            yield from _pair(graph, node)
            yield from _readers(graph, node)
        if node.op_type == Q:
            yield from _int8_readers(graph, node)
            yield from _float_readers(graph, node)
        if node.op_type == "Add":
            yield from _residual(graph, node)
        if node.op_type in WEIGHTED:
            yield from _weighted(graph, node)
    yield from _untied(graph)


def _parameters(graph: Graph, node: NodeProto) -> Iterator[Finding]:
    """Scale and zero point of a Q, or of a DQ that reads a constant."""
    role, scale = graph.role(node), graph.constant(node.input[1])
    if scale is None:
        yield Finding(kinds.BAD_SCALE, role, "it is computed, not a constant")
    elif unusable := scale[~(np.isfinite(scale) & (scale > 0))].tolist():
        yield Finding(kinds.BAD_SCALE, role, f"{unusable[0]}, in {len(unusable)} of {scale.size}")
    elif scale.dtype == np.float16 and (scale < FP16_SMALLEST_NORMAL).any():
        yield Finding(kinds.SUBNORMAL, role, f"{scale.min():.2g}")

    zero_point = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    quantised = _quantised_type(graph, node, zero_point)
    if quantised not in ("int8", "int32"):  # int32 is a bias, which has a rule of its own
        yield Finding(kinds.ASYMMETRIC, role, f"{quantised}, not int8")
    elif zero_point is not None and zero_point.any():
        yield Finding(kinds.ASYMMETRIC, role, f"zero point {zero_point[zero_point != 0].flat[0]}")


def _quantised_type(graph: Graph, node: NodeProto, zero_point: np.ndarray | None) -> str:
    if zero_point is not None:
        return str(zero_point.dtype)
    if node.op_type == DQ:
        stored = graph.constant(node.input[0])
        return "int8" if stored is None else str(stored.dtype)
    stated = graph.attributes(node).get("output_dtype", 0) or TensorProto.UINT8  # the operator's default
    return str(TensorProto.DataType.Name(stated)).lower()


def _pair(graph: Graph, dq: NodeProto) -> Iterator[Finding]:
    """Q and DQ of a pair have one scale."""
    q = graph.made_by(dq.input[0], Q)
    if q is None:
        return
    before, after = graph.constant(q.input[1]), graph.constant(dq.input[1])
    if before is not None and after is not None and not _same(before, after):
        yield Finding(kinds.BAD_SCALE, graph.role(dq), "the Q and the DQ have different scales")


def _readers(graph: Graph, dq: NodeProto) -> Iterator[Finding]:
    """A DQ is read by weighted layers, and by the Adds that an INT8 convolution takes in."""
    result = dq.output[0]
    if not graph.readers[result]:
        at_end = "it makes an output of the network" if result in graph.outputs else "nothing reads it"
        yield Finding(kinds.LOOSE_END, graph.role(dq), at_end)
    for reader in graph.readers[result]:
        place = list(reader.input).index(result)
        if reader.op_type in WEIGHTED and place < 2:
            continue
        if reader.op_type in WEIGHTED:
            yield Finding(kinds.QUANTISED_BIAS, graph.name(reader))
        elif reader.op_type == Q:
            yield Finding(kinds.TWICE, graph.role(reader))
        elif reader.op_type == "Add" and _both_dequantised(graph, reader):
            if place == 0:  # once for both
                yield Finding(kinds.BOTH_INPUTS, graph.name(reader))
        elif reader.op_type != "Add" or not graph.int8_epilogue(reader.input[1 - place], reader):
            yield Finding(kinds.STRANDED, graph.name(reader), f"its input {place}")


def _both_dequantised(graph: Graph, add: NodeProto) -> bool:
    return all(graph.made_by(name, DQ) is not None for name in add.input)


def _int8_readers(graph: Graph, q: NodeProto) -> Iterator[Finding]:
    """What a Q makes is read by a DQ."""
    readers = graph.readers[q.output[0]]
    if not readers or q.output[0] in graph.outputs:
        at_end = "it makes an output of the network" if q.output[0] in graph.outputs else "nothing reads it"
        yield Finding(kinds.LOOSE_END, graph.role(q), at_end)
    for reader in readers:
        if reader.op_type != DQ:
            yield Finding(kinds.LOOSE_END, graph.name(reader), "it reads INT8 without a DQ")


def _float_readers(graph: Graph, q: NodeProto) -> Iterator[Finding]:
    """A tensor that is quantised and read in float as well, there or where its values are moved to."""
    source = q.input[0]
    if source not in graph.maker or graph.is_constant(source) or graph.made_by(source, DQ):
        return
    others = [reader for reader in _readers_of_values(graph, source) if reader.op_type != Q]
    names = dict.fromkeys(graph.name(reader) for reader in others if not _said_of_add(graph, reader))
    if names:
        yield Finding(kinds.ALSO_FLOAT, graph.role(q), f"in float by {', '.join(names)}")


def _readers_of_values(graph: Graph, tensor: str) -> Iterator[NodeProto]:
    """The readers of a tensor; for those that only move its values, which TensorRT does in INT8 too, their readers."""
    for reader in graph.readers[tensor]:
        if tensor in _moved(graph, reader):
            yield from _readers_of_values(graph, reader.output[0])
        else:
            yield reader


def _said_of_add(graph: Graph, node: NodeProto) -> bool:
    """Whether a node is an Add of which a finding of its own tells the same."""
    return node.op_type == "Add" and any(True for _ in _residual(graph, node))


def _residual(graph: Graph, add: NodeProto) -> Iterator[Finding]:
    """An Add takes the INT8 convolution before it along if its other input is INT8."""
    one, other = add.input
    shapes = graph.shapes.get(one), graph.shapes.get(other)
    if graph.is_constant(one) or graph.is_constant(other) or shapes[0] != shapes[1]:
        return
    if graph.made_by(one, DQ) is not None or graph.made_by(other, DQ) is not None:
        return
    makers = [graph.made_by(name, "Conv") for name in (one, other)]
    convolutions = [graph.name(node) for node in makers if node is not None and graph.is_int8(node)]
    if any(graph.int8_epilogue(name, add) for name in (one, other)):
        yield Finding(kinds.MISSING_SKIP, graph.name(add), f"after {convolutions[0]}")
    elif convolutions:
        yield Finding(kinds.MAY_NOT_FUSE, convolutions[0], f"with {graph.name(add)}")


def _weighted(graph: Graph, node: NodeProto) -> Iterator[Finding]:
    """Input and weight are both quantised or both not, the weight per output channel; and TensorRT has a kernel."""
    x, w = (graph.made_by(name, DQ) for name in node.input[:2])
    name = graph.name(node)
    if (x is None) != (w is None):
        yield Finding(kinds.HALF, name, "only the weight" if x is None else "only the input")
    if w is not None:
        yield from _weight_axis(graph, node, w)
    shape = graph.weight_shape(node)
    if x is None or w is None or node.op_type != "Conv" or shape is None:
        return
    group = graph.attributes(node).get("group", 1)
    channels = shape[1], shape[0] // group  # input and output channels of one group
    if channels == (1, 1) and group > 1:
        yield Finding(kinds.DEPTHWISE, name)
    elif group > 1 and any(size % 4 for size in channels):
        yield Finding(kinds.ODD_GROUPS, name, f"{channels[0]} to {channels[1]}")
    height_width = graph.shapes.get(node.output[0], ())[2:]
    if height_width and prod(size or 0 for size in height_width) == 1:
        yield Finding(kinds.TINY_MAP, name)


def _weight_axis(graph: Graph, node: NodeProto, dq: NodeProto) -> Iterator[Finding]:
    scale, shape = graph.constant(dq.input[1]), graph.weight_shape(node)
    if scale is None or shape is None:
        return
    transposed = node.op_type == "Gemm" and graph.attributes(node).get("transB", 0)
    axis = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0 if transposed else 1, "MatMul": len(shape) - 1}[node.op_type]
    if scale.size == 1 and shape[axis] > 1:
        yield Finding(kinds.PER_TENSOR, graph.name(node), f"one scale for {shape[axis]} channels")
    elif scale.size > 1 and (stated := graph.attributes(dq).get("axis", 1) % len(shape)) != axis:
        yield Finding(kinds.PER_TENSOR, graph.name(node), f"along axis {stated}, not {axis}")


def _untied(graph: Graph) -> Iterator[Finding]:
    """Where quantised tensors consist of the same values, moved, their scales are equal."""
    groups: list[tuple[set[str], list[NodeProto]]] = []
    for q in graph.nodes:
        if q.op_type != Q or graph.is_constant(q.input[0]):
            continue
        sources, quantisers = _sources(graph, q.input[0]), [q]
        for group in [group for group in groups if group[0] & sources]:
            groups.remove(group)
            sources, quantisers = group[0] | sources, group[1] + quantisers
        groups.append((sources, quantisers))
    for _, quantisers in groups:
        scales = {graph.role(q): graph.constant(q.input[1]) for q in quantisers}
        known = {role: scale for role, scale in scales.items() if scale is not None}
        first = next(iter(known.values()), None)
        if first is not None and not all(_same(first, scale) for scale in known.values()):
            detail = ", ".join(f"{role} {float(scale.max()):.4g}" for role, scale in known.items())
            yield Finding(kinds.UNTIED, next(iter(known)), detail)


def _sources(graph: Graph, tensor: str) -> set[str]:
    """The tensor and those whose values it holds, but for a Q/DQ."""
    sources, ahead = set(), [tensor]
    while ahead:
        name = ahead.pop()
        sources.add(name)
        if (node := graph.maker.get(name)) is not None:
            ahead.extend(_moved(graph, node))
    return {name for name in sources if not graph.is_constant(name)}


def _moved(graph: Graph, node: NodeProto) -> list[str]:
    """The inputs whose values a node only moves; none for one that computes."""
    attributes, first = graph.attributes(node), [*node.input[:1]]
    if node.op_type == "Concat":
        return list(node.input)
    if node.op_type == "Resize":
        return first if attributes.get("mode", b"nearest") == b"nearest" else []
    if node.op_type == "Pad":
        padding = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
        zeros = attributes.get("mode", b"constant") == b"constant" and padding is not None and not padding.any()
        return first if zeros else []
    return first if node.op_type in _MOVES_FIRST_INPUT else []


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.size == other.size and bool(
        np.allclose(one.astype(np.float64), other.astype(np.float64), rtol=_SAME_SCALE, atol=0, equal_nan=True)
    )
