"""What TensorRT's ONNX parsers read, from their lists of operators and their importers."""

import re

from onnx import TensorProto, helper

from export.downgrade import downgrade

OPERATOR = re.compile(
    "Add|ArgMax|AveragePool|Cast|Clip|Concat|Conv|Expand|Gather|Gemm|GlobalAveragePool|MatMul|MaxPool|Mul|Pad|ReduceMean"
    "|Relu|Reshape|Resize|Shape|Sigmoid|Slice|Sub|Transpose|DPWConv|DPWInvertedResidual"
)
# 8.6 does not read more of these, and does not say so.
ATTRIBUTE = {
    "ReduceMean": re.compile("axes|keepdims"),
    "Resize": re.compile(
        "coordinate_transformation_mode|cubic_coeff_a|exclude_outside|extrapolation_value|mode|nearest_mode"
    ),
    "Shape": re.compile("none"),
}
INPUTS = {"ReduceMean": {1}, "Resize": {3, 4}, "Shape": {1}}  # a Resize by scales, or by sizes


def assert_tensorrt_reads(bare):
    """Hold a model, as it is written for TensorRT, against all that."""
    assert_uint8_at_the_ends_alone(bare.graph)
    model = downgrade(bare)
    assert_uint8_at_the_ends_alone(model.graph)
    assert [opset.version for opset in model.opset_import if opset.domain == ""] == [17]
    for node in model.graph.node:
        assert OPERATOR.fullmatch(node.op_type)
        if node.op_type in ATTRIBUTE:
            assert all(ATTRIBUTE[node.op_type].fullmatch(attribute.name) for attribute in node.attribute)
            assert len(node.input) in INPUTS[node.op_type]


def assert_uint8_at_the_ends_alone(graph):
    """The image and the labels are uint8; only casts to and from float touch them."""
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input, *graph.output)}
    uint8 = {name for name, element_type in types.items() if element_type == TensorProto.UINT8}
    assert uint8 == {"image", "labels"}
    for node in graph.node:
        if uint8 & {*node.input, *node.output}:
            assert node.op_type == "Cast"
        if "image" in node.input:
            assert types[node.output[0]] == TensorProto.FLOAT
        if "labels" in node.output:
            assert helper.get_node_attr_value(node, "to") == TensorProto.UINT8
            assert types[node.input[0]] == TensorProto.FLOAT
