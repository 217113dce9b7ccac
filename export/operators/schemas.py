"""The operators as ONNX sees them: domain ``hyperseg``, version 1; inputs, attributes, types and shapes.

Once registered, ONNX's checker, strict shape inference and other tools take a model that has no function bodies.
TensorRT's parser finds the plugin of an operator by its name; ``plugin_version`` and ``plugin_namespace`` are not among
the attributes, because the parser's defaults for them, "1" and "", are the plugin's own.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx.defs import OpSchema
from onnx.shape_inference import InferenceContext, InferenceError

DOMAIN = "hyperseg"
VERSION = 1
DPWCONV = "DPWConv"
DPWCONV_LEVEL = "DPWConvLevel"
DPW_INVERTED_RESIDUAL = "DPWInvertedResidual"
DPW_INVERTED_RESIDUAL_LEVEL = "DPWInvertedResidualLevel"
LABEL_HEAD = "LabelHead"

MAX_CLASSES = 256
MAX_SCALE = 64

_INT, _INTS, _STRING = OpSchema.AttrType.INT, OpSchema.AttrType.INTS, OpSchema.AttrType.STRING
_X = {"X": "[N, Cin, H, W]"}
_LEVEL_X = {"S": "skip map [N, Cs, H, W]", "P": "previous level [N, Cp, H / 2, W / 2]"}
_LEVEL = (
    "{} on X = [x, y, S, P]: x and y run from -1 to 1 along the width and the height, end points included; P is "
    "enlarged twice, bilinear, half-pixel. Cin = 2 * positions + Cs + Cp."
)


def register_schemas() -> None:
    """Make the operators known to onnx.defs; does nothing where they are."""
    for schema in (
        _dpwconv(
            DPWCONV,
            "Dynamic patch-wise convolution: patch (i, j) of X is convolved with its own weights, row-major "
            "[out_channels, Cin / group, kh, kw] from W[n, weight_offset, i, j] on. The halo of a patch is its "
            "neighbours' pixels; the map's border is padded.",
            _X,
        ),
        _dpwconv(DPWCONV_LEVEL, _LEVEL.format(DPWCONV), _LEVEL_X, _positions()),
        _dpw_inverted_residual(
            DPW_INVERTED_RESIDUAL,
            "Expand 1x1, activation, depthwise, activation, project 1x1, each patch with its own weights, [expand "
            "(hidden, Cin) | depthwise (hidden, kh, kw) | project (out, hidden)] from W[n, weight_offset, i, j] on. "
            "The halo is taken from X, and the expand runs on it with the weights of the patch.",
            _X,
            OpSchema.Attribute("residual", _INT, "1 to add X to the result, else 0"),
        ),
        _dpw_inverted_residual(
            DPW_INVERTED_RESIDUAL_LEVEL, _LEVEL.format(DPW_INVERTED_RESIDUAL), _LEVEL_X, _positions()
        ),
        _label_head(),
    ):
        if not onnx.defs.has(schema.name, schema.since_version, schema.domain):
            onnx.defs.register_schema(schema)


def _dpwconv(name: str, doc: str, maps: dict[str, str], *attributes: OpSchema.Attribute) -> OpSchema:
    group = OpSchema.Attribute("group", _INT, "number of groups the channels are split into")
    return _patch_wise(name, doc, maps, {"B": "[out_channels]"}, group, *attributes)


def _dpw_inverted_residual(name: str, doc: str, maps: dict[str, str], *attributes: OpSchema.Attribute) -> OpSchema:
    biases = {"B1": "[hidden_channels]", "B2": "[hidden_channels]", "B3": "[out_channels]"}
    hidden = OpSchema.Attribute("hidden_channels", _INT, "channels between expand and project")
    return _patch_wise(name, doc, maps, biases, hidden, *attributes)


def _positions() -> OpSchema.Attribute:
    return OpSchema.Attribute("positions", _INT, "1 where X begins with the two coordinates, else 0")


def _patch_wise(
    name: str, doc: str, maps: dict[str, str], biases: dict[str, str], *attributes: OpSchema.Attribute
) -> OpSchema:
    """Complete an operator with what all patch-wise ones have: W, Y and the common attributes."""
    return _schema(
        name,
        doc,
        maps | {"W": "[N, K, Nh, Nw]; K may be larger than what is read"} | biases,
        "[N, out_channels, H, W]",
        [
            OpSchema.Attribute("out_channels", _INT, "channels of Y"),
            OpSchema.Attribute("kernel_shape", _INTS, "kh and kw, both odd"),
            OpSchema.Attribute("pad_mode", _STRING, "reflect or constant (zeros)"),
            OpSchema.Attribute("activation", _STRING, "none, relu or relu6"),
            OpSchema.Attribute("weight_offset", onnx.helper.make_attribute("weight_offset", 0), "first channel read"),
            *attributes,
        ],
        _infer_level if "P" in maps else _infer_map,
    )


def _label_head() -> OpSchema:
    return _schema(
        LABEL_HEAD,
        "The class of each pixel: the index of the largest logit after bilinear, half-pixel enlargement, the first one "
        "where several are equal. The logits are finite: what NaN and infinity give is left open. At most "
        f"{MAX_CLASSES} classes, which both types hold exactly.",
        {"X": "logits [N, C, h, w]"},
        "[N, h * scale, w * scale]",
        [OpSchema.Attribute("scale", _INT, f"1 to {MAX_SCALE}")],
        _infer_labels,
    )


def _schema(
    name: str,
    doc: str,
    inputs: dict[str, str],
    output: str,
    attributes: list[OpSchema.Attribute],
    infer: Callable[[InferenceContext], None],
) -> OpSchema:
    schema = OpSchema(
        name,
        DOMAIN,
        VERSION,
        doc,
        inputs=[OpSchema.FormalParameter(name, "T", shape) for name, shape in inputs.items()],
        outputs=[OpSchema.FormalParameter("Y", "T", output)],
        type_constraints=[("T", ["tensor(float)", "tensor(float16)"], "inputs and output share one type")],
        attributes=attributes,
    )
    schema.set_type_and_shape_inference_function(infer)
    return schema


def _infer_map(context: InferenceContext) -> None:
    """Y has the first input's type and shape but for its channels."""
    output = context.get_input_type(0)
    out_channels = context.get_attribute("out_channels")
    if output is None or out_channels is None:
        return
    if output.tensor_type.HasField("shape"):
        output.tensor_type.shape.dim[1].CopyFrom(_dimension(out_channels.i))
    context.set_output_type(0, output)


def _infer_level(context: InferenceContext) -> None:
    """A level whose previous level has not half its height and width has no meaning."""
    skip, previous = (context.get_input_type(index) for index in (0, 1))
    if skip is not None and previous is not None:
        for size, half in zip(skip.tensor_type.shape.dim[2:], previous.tensor_type.shape.dim[2:], strict=False):
            if size.dim_value and half.dim_value and size.dim_value != 2 * half.dim_value:
                raise InferenceError(f"S is {size.dim_value} where P is {half.dim_value}, not twice as large")
    _infer_map(context)


def _infer_labels(context: InferenceContext) -> None:
    """Y has the type of the logits, no channels, and ``scale`` times their height and width."""
    output = context.get_input_type(0)
    scale = context.get_attribute("scale")
    if output is None or scale is None:
        return
    if not 1 <= scale.i <= MAX_SCALE:
        raise InferenceError(f"scale {scale.i} is not within 1 to {MAX_SCALE}")
    if output.tensor_type.HasField("shape"):
        n, classes, *sizes = output.tensor_type.shape.dim
        if classes.dim_value > MAX_CLASSES:
            raise InferenceError(f"{classes.dim_value} classes are more than {MAX_CLASSES}")
        enlarged = [_dimension(size.dim_value * scale.i) if size.dim_value else _dimension() for size in sizes]
        output.tensor_type.shape.CopyFrom(onnx.TensorShapeProto(dim=[n, *enlarged]))
    context.set_output_type(0, output)


def _dimension(value: int | None = None) -> onnx.TensorShapeProto.Dimension:
    return onnx.TensorShapeProto.Dimension(dim_value=value)
