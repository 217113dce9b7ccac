"""Any tensor inside an exported ONNX file, as ONNX Runtime computes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from runtime.errors import UserError

if TYPE_CHECKING:
    import onnx

LOGITS = "logits"

_WEIGHTS_OF = "network."  # the exporter names weights by their module: network.backbone.trunk.conv_stem.weight
_MAPPERS = "decoder.mappers."


@dataclass(frozen=True)
class Tensor:
    """A tensor and the operator that makes it."""

    name: str
    op: str


class OnnxTensors:
    """Runs one image, uint8 [1, H, W, 3], through an ONNX file whose inner tensors are all outputs.

    With them as outputs ONNX Runtime fuses less than in the file as it is, and the library of compiled operators, with
    which a backend may run the file, has no part in it. Raises UserError where the package onnx is missing or the file
    does not run.
    """

    def __init__(self, path: Path, image_nhwc: np.ndarray) -> None:
        try:
            import onnx
        except ImportError:
            raise UserError(
                "looking into an ONNX file needs the package onnx, which is not installed. pip install onnx"
            ) from None
        model = onnx.load(path)
        self._image_nhwc = image_nhwc
        self.tensors = [Tensor(name, node.op_type) for node in model.graph.node for name in node.output if name]
        self.modules = _modules(model.graph)
        outputs = {output.name for output in model.graph.output}
        model.graph.output.extend(
            onnx.helper.make_empty_tensor_value_info(tensor.name)
            for tensor in self.tensors
            if tensor.name not in outputs
        )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise UserError(
                f"ONNX Runtime cannot load {path} with its inner tensors as outputs: {str(error).splitlines()[0]}"
            ) from error

    def run(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the tensors of these names."""
        values = self._session.run(list(names), {"image": self._image_nhwc})
        return dict(zip(names, values, strict=True))


def _modules(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """The tensors that stand for a module of the trained network, by the module's name, in the graph's order.

    A module's tensor is the output of the last node that reads its weights; a BatchNorm is part of the convolution
    before it. Left out are the weight mappers, whose output the folding scales. The logits come last; a file with a
    LabelHead, which enlarges them within itself, has them only as an output.
    """
    readers = Counter(name for node in graph.node for name in node.input)
    # What several nodes read says nothing about which module each of them is.
    weights = {
        weight.name for weight in graph.initializer if weight.name.startswith(_WEIGHTS_OF) and readers[weight.name] == 1
    }
    modules: dict[str, Tensor] = {}
    for node in graph.node:
        for name in weights.intersection(node.input):
            module = name.removeprefix(_WEIGHTS_OF).rpartition(".")[0]
            if not module.startswith(_MAPPERS):
                modules.pop(module, None)  # so that the last node also decides the order
                modules[module] = Tensor(node.output[0], node.op_type)
    makers = {name: node for node in graph.node for name in node.output}
    logits = next((node.input[0] for node in graph.node if node.op_type == "ArgMax"), LOGITS)
    if logits in makers:
        modules[LOGITS] = Tensor(logits, makers[logits].op_type)
    return modules
