"""Which part of the network a node of the exported graph belongs to, by the names of the parameters that it reads.

The exporter keeps those names; a node without parameters belongs where its input comes from.
"""

from __future__ import annotations

from onnx import GraphProto, ModelProto, NodeProto

from calibration.layers import tensor_origins

IMAGE = "image"
ENCODER = "encoder"
SQUEEZE_EXCITE = "squeeze-excite"  # the encoder's: mean, two convolutions of 1x1 maps, and the scaling of the map
CONTEXT = "context head"
MAPPERS = "weight mappers"
LEVEL_INPUTS = "level inputs"  # coordinates, enlarged previous level and skip map, put together by nodes of their own
LEVELS = "levels"
LABELS = "labels"
PARTS = (IMAGE, ENCODER, SQUEEZE_EXCITE, CONTEXT, MAPPERS, LEVEL_INPUTS, LEVELS, LABELS)
DECODER = (MAPPERS, LEVEL_INPUTS, LEVELS, LABELS)

# By the module's path in the parameter's name; the first that occurs in it.
_BY_PARAMETER = {
    ".se.": SQUEEZE_EXCITE,
    "backbone.": ENCODER,
    "context_head.": CONTEXT,
    "decoder.mappers.": MAPPERS,
    "decoder.levels.": LEVELS,
}


def part_of_nodes(model: ModelProto) -> dict[str, str]:
    """Map the name of each node to its part, one of PARTS."""
    graph, origins = model.graph, tensor_origins(model)
    constants = {constant.name for constant in graph.initializer}
    ahead = _feeding_nodes(graph)
    parts: dict[str, str] = {}
    of_tensor: dict[str, str] = {}
    for node in graph.node:
        parameters = (origins.get(name, name) for name in node.input)
        named = [_by_parameter(name) for name in parameters if name in constants]
        inherited = [of_tensor[name] for name in node.input if name in of_tensor]
        part = ahead.get(node.name) or next(filter(None, named), None) or _inherited(node, inherited)
        parts[node.name] = part
        of_tensor.update(dict.fromkeys(node.output, part))
    return parts


def _by_parameter(name: str) -> str | None:
    return next((part for path, part in _BY_PARAMETER.items() if path in name), None)


def _inherited(node: NodeProto, parts: list[str]) -> str:
    if node.op_type in ("ArgMax", "LabelHead"):
        return LABELS
    if node.op_type == "Mul" and SQUEEZE_EXCITE in parts:  # scales the encoder's map
        return SQUEEZE_EXCITE
    return parts[0] if parts else IMAGE


def _feeding_nodes(graph: GraphProto) -> dict[str, str]:
    """Find what belongs to its reader: squeeze-excite's mean, what makes a level's input, the labels' enlargement."""
    producers = {output: node for node in graph.node for output in node.output}
    ends = {output.name for output in graph.output}
    parts = {}
    for node in graph.node:
        before = [producers[name] for name in node.input if name in producers]
        if node.op_type == "Resize" and node.output[0] in ends:  # logits that were asked for
            parts[node.name] = LABELS
        elif node.op_type in ("ArgMax", "LabelHead"):
            parts.update({feeding.name: LABELS for feeding in before if feeding.op_type == "Resize"})
        elif node.op_type in ("GlobalAveragePool", "ReduceMean"):
            if any(".se." in name for reader in graph.node if node.output[0] in reader.input for name in reader.input):
                parts[node.name] = SQUEEZE_EXCITE
        elif node.op_type.startswith("DPW") and before and before[0].op_type == "Concat":
            parts[before[0].name] = LEVEL_INPUTS
            for name in before[0].input:
                if name in producers and producers[name].op_type in ("Resize", "Expand"):
                    parts[producers[name].name] = LEVEL_INPUTS
    return parts
