"""Let our operators take in what stands around them: fewer maps, and smaller ones, then travel through memory.

    Concat([coordinates,] skip, Resize(previous)) -> DPWConv or DPWInvertedResidual     becomes     the operator's Level
    [Resize ->] ArgMax -> Cast                                                          becomes     LabelHead

The results are the same, but for FP16's labels: a LabelHead does not round the enlarged logits. What does not fit stays
as it is: another enlargement, an input that something else reads too, a level that adds its input to its result.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from export.operators import (
    DOMAIN,
    DPW_INVERTED_RESIDUAL,
    DPW_INVERTED_RESIDUAL_LEVEL,
    DPWCONV,
    DPWCONV_LEVEL,
    LABEL_HEAD,
    VERSION,
    register_schemas,
)
from export.operators.schemas import MAX_CLASSES, MAX_SCALE

_LEVEL_OF = {DPWCONV: DPWCONV_LEVEL, DPW_INVERTED_RESIDUAL: DPW_INVERTED_RESIDUAL_LEVEL}

_BILINEAR = {"mode": b"linear", "coordinate_transformation_mode": b"half_pixel"}
_FIRST_LARGEST = {"axis": 1, "keepdims": 0, "select_last_index": 0}

# Between the coordinates in float32, as the exporter computes them, and the exact ones.
_ROUND_OFF = 1e-6


def fuse(bare: ModelProto) -> ModelProto:
    """Return a copy of a bare FP32 model with DPWConvLevel, DPWInvertedResidualLevel and LabelHead where they fit.

    Nodes and tensors that stay keep their names; what nothing reads any more goes, the coordinates among it. The model
    must note its tensors' shapes, as exported ones do. The result passes the checker and strict shape inference.
    """
    register_schemas()
    fused = ModelProto()
    fused.CopyFrom(bare)
    before = _Graph(bare.graph)
    for node in fused.graph.node:
        if node.op_type in _LEVEL_OF:
            _fuse_level(node, before)
        elif node.op_type == "Cast":
            _fuse_label_head(node, before)
    _drop_unread(fused.graph)
    _import_domain(fused)
    onnx.checker.check_model(fused, full_check=True)
    return fused


class _Graph:
    """A graph by its tensors."""

    def __init__(self, graph: GraphProto) -> None:
        values = (*graph.input, *graph.value_info, *graph.output)
        self.shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
        self._initializers = {constant.name: constant for constant in graph.initializer}
        self._makers: dict[str, NodeProto] = {name: node for node in graph.node for name in node.output}
        self._reads = Counter(name for node in graph.node for name in node.input)
        self._reads.update(value.name for value in graph.output)

    def made_by(self, name: str, op_type: str, **attributes: Any) -> NodeProto | None:
        """Return the node that makes a tensor, if it is of this operator and has these attributes."""
        node = self._makers.get(name)
        if node is None or node.op_type != op_type or not attributes.items() <= _attributes(node).items():
            return None
        return node

    def is_read_once(self, name: str) -> bool:
        """Whether one input, or one output of the network, reads a tensor."""
        return self._reads[name] == 1

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return the value of an initializer, or of what the exporter leaves unfolded of large constants, or None."""
        if name in self._initializers:
            return numpy_helper.to_array(self._initializers[name])
        node = self.made_by(name, "Concat") or self.made_by(name, "Expand")
        parts = [part for each in (node.input if node else []) if (part := self.constant(each)) is not None]
        if node is None or len(parts) < len(node.input):
            return None
        if node.op_type == "Concat":
            return np.concatenate(parts, _attributes(node)["axis"])
        return np.broadcast_to(parts[0], np.broadcast_shapes(parts[0].shape, tuple(parts[1])))

    def enlarged(self, name: str) -> tuple[str, int] | None:
        """Return X [N, C, h, w] and the scale if the tensor is X bilinearly enlarged by one whole number."""
        resize = self.made_by(name, "Resize", **_BILINEAR)
        if resize is None or len(resize.input) != 3:
            return None
        scales = self.constant(resize.input[2])
        if scales is None or scales.shape != (4,) or [*scales] != [1, 1, round(scales[3]), round(scales[3])]:
            return None
        return resize.input[0], round(scales[3])

    def is_coordinates(self, name: str, like: str) -> bool:
        """Whether a tensor is x and y from -1 to 1, end points included, for the pixels of a map."""
        expand = self.made_by(name, "Expand")
        values = None if expand is None else self.constant(expand.input[0])
        height, width = self.shapes[like][2:]
        if values is None or values.shape != (1, 2, height, width):
            return False
        x, y = np.linspace(-1, 1, width), np.linspace(-1, 1, height)
        exact = np.stack(np.meshgrid(x, y))
        return bool(np.abs(values[0] - exact).max() < _ROUND_OFF)


def _fuse_level(node: NodeProto, before: _Graph) -> None:
    """Let a dynamic convolution read the maps that its input is put together from."""
    concat = before.made_by(node.input[0], "Concat", axis=1)
    if concat is None or not before.is_read_once(node.input[0]) or _attributes(node).get("residual"):
        return
    *maps, last = concat.input
    previous, scale = before.enlarged(last) or ("", 1)
    if scale != 2 or not before.is_read_once(last):
        return
    *coordinates, skip = maps
    if len(coordinates) > 1 or not all(before.is_coordinates(name, like=skip) for name in coordinates):
        return
    node.op_type = _LEVEL_OF[node.op_type]
    node.input[:] = [skip, previous, *node.input[1:]]
    attributes = {name: value for name, value in _attributes(node).items() if name != "residual"}
    del node.attribute[:]
    for name, value in {**attributes, "positions": len(coordinates)}.items():
        node.attribute.append(helper.make_attribute(name, value))


def _fuse_label_head(cast: NodeProto, before: _Graph) -> None:
    """Put a LabelHead in the place of the cast behind an ArgMax over at most MAX_CLASSES classes."""
    argmax = before.made_by(cast.input[0], "ArgMax", **_FIRST_LARGEST)
    if argmax is None or not before.is_read_once(cast.input[0]) or _attributes(cast)["to"] != TensorProto.FLOAT:
        return
    logits, scale = before.enlarged(argmax.input[0]) or (argmax.input[0], 1)
    shape = before.shapes[logits]
    if len(shape) != 4 or not 1 <= shape[1] <= MAX_CLASSES or scale > MAX_SCALE:
        return
    head = helper.make_node(LABEL_HEAD, [logits], cast.output, argmax.name, domain=DOMAIN, scale=scale)
    cast.CopyFrom(head)


def _drop_unread(graph: GraphProto) -> None:
    """Remove what leads to no output of the network."""
    read = {value.name for value in graph.output}
    for node in reversed([*graph.node]):
        if read.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            read.update(node.input)
    for values in (graph.initializer, graph.value_info):
        for value in [value for value in values if value.name not in read]:
            values.remove(value)


def _import_domain(model: ModelProto) -> None:
    """A network without dynamic convolutions does not know our domain before it gets a LabelHead."""
    uses = any(node.domain == DOMAIN for node in model.graph.node)
    if uses and not any(opset.domain == DOMAIN for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
