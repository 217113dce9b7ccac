"""The two operators as ONNX sees them: domain ``hyperseg``, version 1; inputs, attributes, types and shapes.

Once registered, ONNX's checker, strict shape inference and other tools take a model that has no function bodies.
TensorRT's parser finds the plugin of an operator by its name; ``plugin_version`` and ``plugin_namespace`` are not among
the attributes, because the parser's defaults for them, "1" and "", are the plugin's own.
"""

from __future__ import annotations

import onnx
from onnx.defs import OpSchema
from onnx.shape_inference import InferenceContext

DOMAIN = "hyperseg"
VERSION = 1
DPWCONV = "DPWConv"
DPW_INVERTED_RESIDUAL = "DPWInvertedResidual"

_INT, _INTS, _STRING = OpSchema.AttrType.INT, OpSchema.AttrType.INTS, OpSchema.AttrType.STRING


def register_schemas() -> None:
    """Make both operators known to onnx.defs; does nothing where they are."""
    for schema in (_dpwconv(), _dpw_inverted_residual()):
        if not onnx.defs.has(schema.name, schema.since_version, schema.domain):
            onnx.defs.register_schema(schema)


def _dpwconv() -> OpSchema:
    return _schema(
        DPWCONV,
        "Dynamic patch-wise convolution: patch (i, j) of X is convolved with its own weights, row-major "
        "[out_channels, Cin / group, kh, kw] from W[n, weight_offset, i, j] on. The halo of a patch is its neighbours' "
        "pixels; the map's border is padded.",
        biases={"B": "[out_channels]"},
        attributes=[OpSchema.Attribute("group", _INT, "number of groups the channels are split into")],
    )


def _dpw_inverted_residual() -> OpSchema:
    return _schema(
        DPW_INVERTED_RESIDUAL,
        "Expand 1x1, activation, depthwise, activation, project 1x1, each patch with its own weights, [expand (hidden, "
        "Cin) | depthwise (hidden, kh, kw) | project (out, hidden)] from W[n, weight_offset, i, j] on. The halo is "
        "taken from X, and the expand runs on it with the weights of the patch.",
        biases={"B1": "[hidden_channels]", "B2": "[hidden_channels]", "B3": "[out_channels]"},
        attributes=[
            OpSchema.Attribute("hidden_channels", _INT, "channels between expand and project"),
            OpSchema.Attribute("residual", _INT, "1 to add X to the result, else 0"),
        ],
    )


def _schema(name: str, doc: str, biases: dict[str, str], attributes: list[OpSchema.Attribute]) -> OpSchema:
    """Complete an operator with what both have: X, W, Y, their type and shapes, and the common attributes."""
    inputs = {"X": "[N, Cin, H, W]", "W": "[N, K, Nh, Nw]; K may be larger than what is read", **biases}
    schema = OpSchema(
        name,
        DOMAIN,
        VERSION,
        doc,
        inputs=[OpSchema.FormalParameter(name, "T", shape) for name, shape in inputs.items()],
        outputs=[OpSchema.FormalParameter("Y", "T", "[N, out_channels, H, W]")],
        type_constraints=[("T", ["tensor(float)", "tensor(float16)"], "inputs and output share one type")],
        attributes=[
            OpSchema.Attribute("out_channels", _INT, "channels of Y"),
            OpSchema.Attribute("kernel_shape", _INTS, "kh and kw, both odd"),
            OpSchema.Attribute("pad_mode", _STRING, "reflect or constant (zeros)"),
            OpSchema.Attribute("activation", _STRING, "none, relu or relu6"),
            OpSchema.Attribute("weight_offset", onnx.helper.make_attribute("weight_offset", 0), "first channel read"),
            *attributes,
        ],
    )
    schema.set_type_and_shape_inference_function(_infer_output)
    return schema


def _infer_output(context: InferenceContext) -> None:
    """Y has X's type and shape but for its channels."""
    output = context.get_input_type(0)
    out_channels = context.get_attribute("out_channels")
    if output is None or out_channels is None:
        return
    if output.tensor_type.HasField("shape"):
        output.tensor_type.shape.dim[1].CopyFrom(onnx.TensorShapeProto.Dimension(dim_value=out_channels.i))
    context.set_output_type(0, output)
