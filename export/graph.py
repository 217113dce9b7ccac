"""The ONNX graph: uint8 image in, labels out, the dynamic convolutions as operators of the domain `hyperseg`."""

from __future__ import annotations

import logging
import warnings

import onnx
import torch
from torch import Tensor, nn

from export import operators
from runtime.bundle import ONNX_METADATA_KEY, ModelInfo
from training import HyperSeg
from training.network.model import normalise

OPSET = 20


class Deployed(nn.Module):
    """A folded HyperSeg between its deployment's ends: RGB uint8 [N, H, W, 3] to labels uint8 [N, H, W].

    With ``logits`` it returns (labels, logits float32 [N, classes, H, W]). TensorRT knows uint8 only at the ends
    and cast from or to float: so the image is cast before anything else, and the labels by way of float.
    """

    def __init__(self, folded: HyperSeg, logits: bool) -> None:
        super().__init__()
        self.network = folded
        self.logits = logits

    def forward(self, image: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Normalise, segment, take the arg max."""
        logits = self.network(normalise(image.float().permute(0, 3, 1, 2), self.network.config))
        labels = logits.argmax(1).float().to(torch.uint8)
        return (labels, logits) if self.logits else labels


def onnx_from_model(folded: HyperSeg, info: ModelInfo, *, logits: bool = False) -> onnx.ModelProto:
    """Export a folded model at ``info``'s size, the batch symbolic, without function bodies.

    The result passes the checker and strict shape inference; ``info`` stands in its metadata.
    """
    operators.register_schemas()
    image = torch.zeros(2, info.height, info.width, 3, dtype=torch.uint8)
    program = torch.onnx.export(
        Deployed(folded, logits).eval(),
        (image,),
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=["labels", "logits"] if logits else ["labels"],
        dynamic_shapes={"image": {0: torch.export.Dim("batch", min=1)}},
        custom_translation_table=operators.translation_table(),
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    for noted in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        del noted.metadata_props[:]  # the exporter's notes: stack traces with the paths of this machine
    _ask_the_cast_for_shapes(model.graph)
    onnx.helper.set_model_props(model, {ONNX_METADATA_KEY: info.to_json()})
    onnx.checker.check_model(model, full_check=True)
    return model


def _ask_the_cast_for_shapes(graph: onnx.GraphProto) -> None:
    """Let the image's cast answer for the image's shape, which the exporter asks of the image itself: see Deployed."""
    (cast,) = (node for node in graph.node if node.op_type == "Cast" and node.input[0] == "image")
    for shape in [node for node in graph.node if node.op_type == "Shape" and node.input[0] == "image"]:
        graph.node.remove(shape)
        shape.input[0] = cast.output[0]
        graph.node.insert(list(graph.node).index(cast) + 1, shape)


def quieten_exporter() -> None:
    """Silence the exporter's deprecation and progress chatter; its errors still come through."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="torch|onnxscript|copyreg")
