"""Blocks of EfficientNet, as an exported file spells them, become nodes ``MBConv`` of the operator library.

X -> [expand 1x1, swish] -> depthwise, swish -> * (mean, squeeze 1x1, swish, excite 1x1, sigmoid) -> project 1x1 [+ X]

Only convolutions in FP32 with constant weights: in an FP16 or INT8 file nothing is found.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

DOMAIN, VERSION = "hyperseg", 1


def with_blocks(model: ModelProto) -> ModelProto:
    """Return a copy of the model in which each block is one node, which only the operator library can run.

    A block's output keeps its name. A block of which something else reads a tensor inside stays as it is.
    """
    from onnx import ModelProto, helper

    grouped = ModelProto()
    grouped.CopyFrom(model)
    graph = grouped.graph
    search = _Search(graph)
    blocks = {block.output[0]: block for block in (search.block(node) for node in graph.node) if block is not None}
    nodes = [blocks.get(node.output[0], node) for node in graph.node if not search.inside.intersection(node.output)]
    del graph.node[:]
    graph.node.extend(nodes)
    if blocks and all(opset.domain != DOMAIN for opset in grouped.opset_import):
        grouped.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
    return grouped


class _NotABlock(Exception):
    pass


class _Search:
    """Follows blocks from their projection backwards; ``inside`` are the tensors that go with those found."""

    def __init__(self, graph: GraphProto) -> None:
        self.graph = graph
        self.makers: dict[str, NodeProto] = {output: node for node in graph.node for output in node.output}
        self.readers = Counter(name for node in graph.node for name in node.input)
        self.readers.update(output.name for output in graph.output)
        self.additions = {name: node for node in graph.node if node.op_type == "Add" for name in node.input}
        self.constants = {constant.name: constant for constant in graph.initializer}
        self.inside: set[str] = set()

    def block(self, project: NodeProto) -> NodeProto | None:
        """Return the block that ends with this projection as one node; None if there is none."""
        from onnx import helper

        seen: set[str] = set()
        try:
            self._is_conv(project, pointwise=True)
            scale = self._maker(project.input[0], "Mul", seen)
            gate = self._maker(scale.input[1], "Sigmoid", seen)
            excite = self._conv(gate.input[0], seen, pointwise=True)
            squeeze = self._conv(self._before_swish(excite.input[0], 1, seen), seen, pointwise=True)
            mean = self._mean(squeeze.input[0], seen)
            if mean.input[0] != scale.input[0]:
                return None
            depthwise = self._conv(self._before_swish(scale.input[0], 2, seen), seen, pointwise=False)
        except _NotABlock:
            return None
        convs = [depthwise, squeeze, excite, project]
        x, expand, seen_with_expand = depthwise.input[0], None, set(seen)
        try:
            expand = self._conv(self._before_swish(x, 1, seen_with_expand), seen_with_expand, pointwise=True)
        except _NotABlock:
            pass
        else:
            x, seen = expand.input[0], seen_with_expand
            convs.append(expand)
        last = project.output[0]
        addition = self.additions.get(last)
        residual = addition is not None and self.readers[last] == 1 and x in addition.input
        if residual and addition is not None:
            seen.add(last)
            last = addition.output[0]
        self.inside |= seen
        return helper.make_node(
            "MBConv",
            [x, *(name for conv in convs for name in (conv.input[1], self._bias(conv)))],
            [last],
            name=project.name,
            domain=DOMAIN,
            strides=_attribute(depthwise, "strides", [1, 1]),
            pads=_attribute(depthwise, "pads", [0, 0, 0, 0]),
            residual=int(residual),
        )

    def _bias(self, conv: NodeProto) -> str:
        """Return the bias of a convolution; the exporter leaves zeros away."""
        import numpy as np
        from onnx import numpy_helper

        if len(conv.input) == 3:
            return str(conv.input[2])
        weight = conv.input[1]
        zeros = np.zeros(self.constants[weight].dims[0], np.float32)
        self.graph.initializer.append(numpy_helper.from_array(zeros, f"{conv.output[0]}.bias"))
        return f"{conv.output[0]}.bias"

    def _maker(self, name: str, op_type: str, seen: set[str], readers: int = 1) -> NodeProto:
        """Return the node of that type that makes a tensor for so many readers."""
        node = self.makers.get(name)
        if node is None or node.op_type != op_type or self.readers[name] != readers:
            raise _NotABlock
        seen.add(name)
        return node

    def _before_swish(self, name: str, readers: int, seen: set[str]) -> str:
        """Return x of ``name`` = x * sigmoid(x)."""
        x, gate = self._maker(name, "Mul", seen, readers).input
        if self._maker(gate, "Sigmoid", seen).input[0] != x or self.readers[x] != 2:
            raise _NotABlock
        return str(x)

    def _mean(self, name: str, seen: set[str]) -> NodeProto:
        """Return the mean over all pixels that is ``name``."""
        from onnx import numpy_helper

        mean = self._maker(name, "ReduceMean", seen)
        axes = self.constants.get(mean.input[1]) if len(mean.input) == 2 else None
        if axes is None or sorted(numpy_helper.to_array(axes)) != [2, 3] or not _attribute(mean, "keepdims", 1):
            raise _NotABlock
        return mean

    def _conv(self, name: str, seen: set[str], pointwise: bool) -> NodeProto:
        """Return the convolution that is ``name``."""
        conv = self.makers.get(name)
        if conv is None:
            raise _NotABlock
        self._is_conv(conv, pointwise)
        seen.add(name)
        return conv

    def _is_conv(self, node: NodeProto, pointwise: bool) -> None:
        from onnx import TensorProto

        constants = [self.constants.get(name) for name in node.input[1:]]
        types = [constant.data_type for constant in constants if constant is not None]
        if node.op_type != "Conv" or len(types) != len(constants) or set(types) != {TensorProto.FLOAT}:
            raise _NotABlock
        weight = self.constants[node.input[1]].dims
        expected: dict[str, Any] = {"auto_pad": b"NOTSET", "dilations": [1, 1], "group": 1}
        if pointwise:
            expected |= {"strides": [1, 1], "pads": [0, 0, 0, 0]}
        else:
            expected |= {"group": weight[0]}
        shape_fits = list(weight[2:]) == [1, 1] if pointwise else len(weight) == 4 and weight[1] == 1
        if not shape_fits or any(_attribute(node, name, value) != value for name, value in expected.items()):
            raise _NotABlock


def _attribute(node: NodeProto, name: str, default: Any) -> Any:
    from onnx import helper

    return next((helper.get_attribute_value(found) for found in node.attribute if found.name == name), default)
