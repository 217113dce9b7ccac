"""What TensorRT's ONNX parsers read, from their lists of operators and their importers."""

import re

import numpy as np
from onnx import TensorProto, helper, numpy_helper, shape_inference

from export.downgrade import downgrade

OPERATOR = re.compile(
    "Add|ArgMax|AveragePool|Cast|Clip|Concat|Conv|Expand|Gather|Gemm|GlobalAveragePool|MatMul|MaxPool|Mul|Pad|Relu"
    "|Reshape|Resize|Shape|Sigmoid|Slice|Sub|Transpose|DPWConv|DPWConvLevel|DPWInvertedResidual|DPWInvertedResidualLevel"
    "|LabelHead|QuantizeLinear|DequantizeLinear"
)
# 8.6 does not read more of these, and does not say so.
ATTRIBUTE = {
    "Resize": re.compile(
        "coordinate_transformation_mode|cubic_coeff_a|exclude_outside|extrapolation_value|mode|nearest_mode"
    ),
    "Shape": re.compile("none"),
    "QuantizeLinear": re.compile("axis"),
    "DequantizeLinear": re.compile("axis"),
}
# A Resize by scales, or by sizes; 8.6 asks for a zero point without looking whether there is one.
INPUTS = {"Resize": {3, 4}, "Shape": {1}, "QuantizeLinear": {3}, "DequantizeLinear": {3}}
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


def assert_tensorrt_reads(bare):
    """Hold a model, as it is written for TensorRT, against all that; return it."""
    assert_uint8_at_the_ends_alone(bare.graph)
    model = downgrade(bare)
    assert_uint8_at_the_ends_alone(model.graph)
    quantised = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    assert [opset.version for opset in model.opset_import if opset.domain == ""] == [19 if quantised else 17]
    types = element_types(shape_inference.infer_shapes(model).graph)
    for node in model.graph.node:
        assert OPERATOR.fullmatch(node.op_type)
        if node.op_type in ATTRIBUTE:
            assert all(ATTRIBUTE[node.op_type].fullmatch(attribute.name) for attribute in node.attribute)
            assert len(node.input) in INPUTS[node.op_type]
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert_quantises(node, model.graph, types)
        elif node.op_type != "Cast":
            assert_one_float_type(node, types)
    return model


def element_types(graph):
    """Map every tensor and initializer to its type."""
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {constant.name: constant.data_type for constant in graph.initializer}


def assert_one_float_type(node, types):
    """A strongly typed network has no casts but those in the file; 8.6 reads the scales of a Resize as FP32."""
    scales = node.input[2] if node.op_type == "Resize" else None
    assert scales in (None, "") or types[scales] == TensorProto.FLOAT
    floats = {types[name] for name in (*node.input, *node.output) if name and name != scales} & set(FLOATS)
    assert len(floats) <= 1, node


def assert_quantises(node, graph, types):
    """8.6 reads an initial scale as FP32 whatever it is; from 10 on the scale's type is that of the float side."""
    x, scale, zero_point = node.input
    constants = {constant.name: constant for constant in graph.initializer}
    float_side, int8_side = (x, node.output[0]) if node.op_type == "QuantizeLinear" else (node.output[0], x)
    assert (types[scale], types[int8_side]) == (types[float_side], TensorProto.INT8)
    if types[scale] == TensorProto.FLOAT16:
        (cast,) = (node for node in graph.node if scale in node.output)
        assert cast.op_type == "Cast"
        scale = cast.input[0]
    scales, zeros = numpy_helper.to_array(constants[scale]), numpy_helper.to_array(constants[zero_point])
    assert scales.dtype == np.float32
    assert (scales.astype(np.float16) > 0).all()
    assert zeros.dtype == np.int8
    assert zeros.shape == scales.shape
    assert not zeros.any()
    if scales.ndim:  # a weight's, for each output channel; where no axis is said, 10.1 takes 0 and later parsers 1
        assert helper.get_node_attr_value(node, "axis") == 0


def assert_uint8_at_the_ends_alone(graph):
    """The image and the labels are uint8; only casts to and from a float touch them."""
    types = element_types(graph)
    uint8 = {name for name, element_type in types.items() if element_type == TensorProto.UINT8}
    assert uint8 == {"image", "labels"}
    for node in graph.node:
        if uint8 & {*node.input, *node.output}:
            assert node.op_type == "Cast"
        if "image" in node.input:
            assert types[node.output[0]] in FLOATS
        if "labels" in node.output:
            assert helper.get_node_attr_value(node, "to") == TensorProto.UINT8
            assert types[node.input[0]] in FLOATS
