from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from calibration.layers import default_int8_layers
from calibration.placement import place_qdq
from export.half import FP16_MAX_SAFE, to_half
from export.operators import DOMAIN, attach_functions, strip_functions
from tests.export.parsers import assert_tensorrt_reads, element_types
from training.network.variants import VARIANTS

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
ENDS = Counter({("image", HALF): 1, ("labels", TensorProto.UINT8): 1, ("logits", FLOAT): 1})
UNIT = 2.0**-11  # the relative rounding error of FP16
SUBNORMAL = 2.0**-25  # the absolute one of numbers below 2^-14


@pytest.fixture(scope="module")
def bare(random_bundle):
    return strip_functions(onnx.load(random_bundle("street-tiny").onnx()))


@pytest.fixture(scope="module")
def image(random_bundle):
    info = random_bundle("street-tiny").info
    return np.random.default_rng(0).integers(0, 256, (1, info.height, info.width, 3), np.uint8)


@pytest.fixture(scope="module")
def quantised(bare):
    return place_qdq(bare, thresholds(bare), default_int8_layers(bare))


def thresholds(bare):
    return {name: 3.0 for node in bare.graph.node if node.op_type in ("Conv", "Add") for name in node.input}


def all_tensors(model, image):
    """Run a model as it is written and return every float tensor of its main graph."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    types = element_types(model.graph)
    outputs = {name for node in model.graph.node for name in node.output if types[name] in (FLOAT, HALF)}
    for name in sorted(outputs - {output.name for output in model.graph.output}):
        copy.graph.output.add().CopyFrom(helper.make_tensor_value_info(name, types[name], None))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(attach_functions(copy).SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": image}), strict=True))


def casts(model):
    """Count the casts by what they cast and to which type."""
    counted = Counter()
    for node in model.graph.node:
        if node.op_type == "Cast":
            (x,), (y,), to = node.input, node.output, helper.get_node_attr_value(node, "to")
            counted[y if y in ("labels", "logits") else x, to] += 1
    return counted


def nodes_in_fp32(half):
    types = element_types(half.graph)
    nodes = [node for node in half.graph.node if node.op_type not in ("Cast", "Shape")]
    return {node.name for node in nodes if FLOAT in (types[node.input[0]], types[node.output[0]])}


def test_every_float_tensor_is_fp16_and_casts_stand_at_the_ends_alone(bare):
    before = bare.SerializeToString(deterministic=True)
    half = to_half(bare)
    types = element_types(half.graph)
    scales = {node.input[2] for node in half.graph.node if node.op_type == "Resize"} - {""}
    assert {name for name, element_type in types.items() if element_type == FLOAT} == scales | {"logits"}
    assert casts(half) == ENDS
    assert [(value.name, types[value.name]) for value in half.graph.output] == [
        ("labels", TensorProto.UINT8),
        ("logits", FLOAT),
    ]
    assert bare.SerializeToString(deterministic=True) == before
    assert half.SerializeToString(deterministic=True) == to_half(bare).SerializeToString(deterministic=True)
    assert half.metadata_props == bare.metadata_props
    assert_tensorrt_reads(half)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_fp16_throughout_and_runs(random_bundle, name):
    bundle = random_bundle(name)
    bare = strip_functions(onnx.load(bundle.onnx()))
    half = to_half(bare)
    assert casts(half) == ENDS
    assert nodes_in_fp32(half) == set()
    assert_tensorrt_reads(half)
    assert_tensorrt_reads(to_half(place_qdq(bare, thresholds(bare), default_int8_layers(bare))))
    session = onnxruntime.InferenceSession(attach_functions(half).SerializeToString())
    image = np.full((2, bundle.info.height, bundle.info.width, 3), 127, np.uint8)
    labels, logits = session.run(["labels", "logits"], {"image": image})
    # The labels are those of the enlarged logits before they are rounded to FP16.
    chosen = np.take_along_axis(logits, labels[:, None].astype(int), 1)[:, 0]
    assert (logits.max(1) - chosen <= 2 * UNIT * np.abs(logits).max(1)).all()


def test_every_tensor_has_the_type_and_shape_that_inference_finds(bare):
    half = to_half(bare, ["relu_1"])
    shapes = {value.name: value.type.tensor_type.shape for value in bare.graph.value_info}
    known = {value.name: value.type.tensor_type for value in (*half.graph.value_info, *half.graph.output)}
    for node in half.graph.node:
        for name in node.output:
            assert known[name].HasField("shape")
            assert name not in shapes or known[name].shape == shapes[name]
    forgotten = onnx.ModelProto()
    forgotten.CopyFrom(half)
    del forgotten.graph.value_info[:]
    inferred = element_types(onnx.shape_inference.infer_shapes(forgotten, strict_mode=True).graph)
    assert {name: inferred[name] for name in known} == {name: value.elem_type for name, value in known.items()}


def test_each_operator_computes_the_same_up_to_rounding(bare, image):
    """Each node alone, from the FP16 tensors before it: a whole network with random weights would blow up round-off.

    A sum of K products whose factors and partial sums are rounded is off by (K + 2) UNIT times the sum of the products'
    magnitudes at most; what a node makes of the magnitudes of all its inputs, without activation, is that sum.
    """
    half = to_half(bare)
    tensors = all_tensors(half, image)
    constants = {constant.name: numpy_helper.to_array(constant) for constant in bare.graph.initializer}
    checked = Counter()
    for node in bare.graph.node:
        output = {"logits": "logits_fp16"}.get(node.output[0], node.output[0])
        if node.op_type in ("Cast", "LabelHead") or output not in tensors:
            continue
        inputs = {n: constants.get(n, tensors.get(n)) for n in node.input if n}
        if any(value is None for value in inputs.values()):
            continue  # the arithmetic on sizes
        inputs = {name: x.astype(np.float32) if x.dtype == np.float16 else x for name, x in inputs.items()}
        exact, magnitude = run_alone(node, inputs), run_alone(*by_magnitude(node, inputs))
        summands = number_of_summands(node, inputs)
        largest = max(np.abs(x).max() for x in inputs.values() if x.dtype == np.float32)
        bound = (summands + 2) * (UNIT * magnitude + SUBNORMAL * max(1, largest))
        assert (np.abs(tensors[output] - exact) <= bound).all(), node.name
        checked[node.op_type] += 1
    levels = {"DPWConv", "DPWConvLevel", "DPWInvertedResidualLevel"}
    assert {"Conv", "Resize", "Mul", "ReduceMean", "Sigmoid"} | levels <= set(checked)


def by_magnitude(node, inputs):
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.op_type = {"Sub": "Add"}.get(node.op_type, node.op_type)
    for attribute in copy.attribute:
        if attribute.name == "activation":
            attribute.s = b"none"
        if attribute.name == "positions":  # the level's own have signs: their magnitudes join the skip map
            attribute.i = 0
            skip = inputs[node.input[0]]
            axes = [np.abs(np.linspace(-1, 1, size, dtype=np.float32)) for size in skip.shape[:1:-1]]
            inputs = inputs | {node.input[0]: np.concatenate([np.stack(np.meshgrid(*axes))[None], skip], 1)}
    return copy, {name: np.abs(x) if x.dtype == np.float32 else x for name, x in inputs.items()}


def number_of_summands(node, inputs):
    x, *others = (inputs[name] for name in node.input if name)
    if node.op_type == "Conv":
        return others[0][0].size
    if node.op_type == "ReduceMean":
        return x[0, 0].size
    if node.domain == DOMAIN:  # its weights are so many for each patch
        return inputs[node.input[2 if node.op_type.endswith("Level") else 1]].shape[1]
    return 4  # a bilinear Resize


def run_alone(node, inputs):
    values = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for n, x in inputs.items()
    ]
    output = helper.make_tensor_value_info(node.output[0], FLOAT, None)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(helper.make_graph([node], "alone", values, [output]), opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(attach_functions(model).SerializeToString())
    return session.run(None, inputs)[0]


@pytest.mark.parametrize(
    "wide", ["relu_1", "relu cat_1", "silu_5 mean_2", "logits", "sub", "conv2d_24", "dpw_inverted_residual_1"]
)
def test_the_nodes_at_a_wide_tensor_run_in_fp32_and_casts_stand_around_them_alone(bare, wide):
    wide = wide.split()
    half = to_half(bare, wide)
    nodes = [node for node in bare.graph.node if node.op_type not in ("Cast", "Shape")]
    single = {node.name for node in nodes if set(wide) & {*node.input, *node.output}}
    ours = {node.op_type for node in nodes if node.domain == DOMAIN and node.name in single}
    single |= {node.name for node in nodes if node.op_type in ours}
    assert nodes_in_fp32(half) == single

    floats = {name for name, element_type in element_types(bare.graph).items() if element_type == FLOAT}
    made_by = {name: node.name in single for node in bare.graph.node for name in node.output if name in floats}
    expected = ENDS - Counter({("logits", FLOAT): made_by["logits"]})
    for name, in_fp32 in made_by.items():
        readers = {node.name in single for node in nodes if name in node.input}
        if True in readers and not in_fp32 and name != "logits":
            expected[name, FLOAT] += 1
        if False in readers and in_fp32:
            expected[name, HALF] += 1
    assert casts(half) == expected
    assert not {(name, HALF) for name in wide} & set(casts(half))
    assert_tensorrt_reads(half)


def test_a_network_that_fp16_cannot_hold_computes_the_same_where_its_wide_tensors_are_kept(bare, image):
    """The context head is homogeneous: with all its biases scaled, what scales its input scales the signal.

    By a power of two, and back in the mappers: in FP32 nothing is rounded by that.
    """
    large = scale_context_head(bare, 2.0**20)
    measured = all_tensors(large, image)
    wide = [name for name, x in measured.items() if np.abs(x).max() > FP16_MAX_SAFE]
    assert wide
    assert max(np.abs(x).max() for x in measured.values()) > np.finfo(np.float16).max
    kept, reference = all_tensors(to_half(large, wide), image), all_tensors(to_half(bare, wide), image)
    assert np.isfinite(kept["logits"]).all()
    np.testing.assert_array_equal(kept["logits"], reference["logits"])
    assert not np.isfinite(all_tensors(to_half(large), image)["logits"]).all()


def scale_context_head(bare, factor):
    large = onnx.ModelProto()
    large.CopyFrom(bare)
    for constant in large.graph.initializer:
        if "in_conv" in constant.name or ("context_head" in constant.name and constant.name.endswith("bias")):
            scale = factor
        elif "mappers" in constant.name and constant.name.endswith("weight"):
            scale = 1 / factor
        else:
            continue
        constant.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constant) * np.float32(scale), constant.name))
    return large


def test_weights_that_fp16_cannot_hold_keep_their_reader_in_fp32(bare):
    large = onnx.ModelProto()
    large.CopyFrom(bare)
    (weight,) = (c for c in large.graph.initializer if c.name == "network.context_head.in_conv.0.weight")
    values = numpy_helper.to_array(weight).copy()
    values[0, 0] = 65520  # the first number that rounds to infinity
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    (reader,) = (node for node in large.graph.node if weight.name in node.input)
    half = to_half(large)
    assert nodes_in_fp32(half) == {reader.name}
    assert casts(half) == ENDS + Counter({(reader.input[0], FLOAT): 1, (reader.output[0], HALF): 1})
    (kept,) = (c for c in half.graph.initializer if c.name == weight.name)
    np.testing.assert_array_equal(numpy_helper.to_array(kept), values)


def test_quantise_and_dequantise_have_the_type_of_their_float_side(quantised):
    half = to_half(quantised)
    scales = {node.input[1] for node in half.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")}
    types = element_types(half.graph)
    assert len(scales) > 30
    assert {types[scale] for scale in scales} == {HALF}
    assert casts(half) == ENDS
    trt = assert_tensorrt_reads(half)
    assert sum(node.op_type == "Cast" for node in trt.graph.node) == ENDS.total() + len(scales)  # see downgrade


def test_between_dequantise_and_convolution_stands_no_cast(quantised):
    """Whichever output or input of one is wide; TensorRT would run such a convolution in floating point."""
    before = convolutions_behind_qdq(quantised.graph)
    inputs = {output: pairs[0][0].input[0] for output, pairs in before.items()}
    assert len(before) > 15
    mixed = 0
    for wide in sorted({*inputs, *inputs.values()}):
        half = to_half(quantised, [wide])
        types = element_types(half.graph)
        scales = {constant.name: numpy_helper.to_array(constant) for constant in half.graph.initializer}
        after = convolutions_behind_qdq(half.graph)
        readers = Counter(name for node in half.graph.node for name in node.input)
        assert all(readers[node.output[0]] for node in half.graph.node if node.op_type == "DequantizeLinear"), wide
        assert after.keys() == before.keys(), wide
        for output, pairs in after.items():
            for quantise, dequantise in pairs:
                expected = FLOAT if wide in (output, inputs[output]) else HALF
                assert types[dequantise.output[0]] == types[dequantise.input[1]] == expected
                one, other = quantise.input[1], dequantise.input[1]
                np.testing.assert_array_equal(scales[one].astype(np.float32), scales[other].astype(np.float32))
                if types[one] != types[other]:
                    assert readers[quantise.output[0]] == 2  # one DQ of each type
                    mixed += 1
        assert_tensorrt_reads(half)
    assert mixed


def convolutions_behind_qdq(graph):
    """Map the output of each quantised convolution to the (Q, DQ) right before its input and before its weight."""
    makers = {output: node for node in graph.node for output in node.output}
    found = {}
    for node in graph.node:
        dequantisers = [makers.get(name) for name in node.input[:2]] if node.op_type == "Conv" else []
        if {each and each.op_type for each in dequantisers} == {"DequantizeLinear"}:
            found[node.output[0]] = [(makers[each.input[0]], each) for each in dequantisers]
    assert {each.op_type for pairs in found.values() for each, _ in pairs} == {"QuantizeLinear"}
    return found


def model_of(text):
    return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 20]>\n{text}')


def test_a_constant_is_written_in_each_type_that_reads_it():
    """0.1 is another number in FP16; the addition to a is FP16, that to the wide b is FP32."""
    half = to_half(
        model_of(
            """small (float[1] x) => (float[1] y, float[1] z) {
                tenth = Constant<value = float[1] {0.1}>()
                same = Constant<value_float = 0.1>()
                a = Identity(x)
                b = Neg(x)
                sum_a = Add(a, tenth)
                y = Add(sum_a, same)
                z = Add(b, tenth)
            }"""
        ),
        ["b"],
    )
    session = onnxruntime.InferenceSession(half.SerializeToString())
    y, z = session.run(["y", "z"], {"x": np.zeros(1, np.float32)})
    assert z == np.float32(0.1)
    assert y == np.float32(2 * np.float16(0.1))
    assert casts(half) == Counter({("x", HALF): 1, ("y_fp16", FLOAT): 1, ("sum_a", FLOAT): 0}) + Counter()


@pytest.mark.parametrize(("wide", "smallest"), [([], 2.0**-14), (["x"], 1e-6)])
def test_scales_are_normal_numbers_of_their_type(wide, smallest):
    model = model_of(
        """small (float[2] x) => (float[2] y) <float[2] scale = {1e-6, 0.5}, int8[2] zero = {0, 0}> {
            q = QuantizeLinear<axis = 0>(x, scale, zero)
            d = DequantizeLinear<axis = 0>(q, scale, zero)
            y = Neg(d)
        }"""
    )
    half = to_half(model, wide)
    (scale,) = (numpy_helper.to_array(value) for value in half.graph.initializer if value.name == "scale")
    np.testing.assert_array_equal(scale, np.array([smallest, 0.5], scale.dtype))
    assert scale.dtype == (np.float32 if wide else np.float16)


def test_what_onnx_defines_in_fp32_stays_so():
    half = to_half(
        model_of(
            """small (float[1, 1, 2, 2] x) => (float[1, 1, 4, 4] y)
            <float[4] scales = {1, 1, 2, 2}> { resized = Resize(x, , scales)  y = Add(resized, resized) }"""
        )
    )
    types = element_types(half.graph)
    assert (types["scales"], types["resized"]) == (FLOAT, HALF)


def test_a_wide_tensor_that_is_not_there_is_an_error(bare):
    with pytest.raises(ValueError, match=r"no tensors \['elsewhere'\]"):
        to_half(bare, ["relu", "elsewhere"])
