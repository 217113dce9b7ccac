import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, version_converter

from calibration.layers import default_int8_layers
from calibration.placement import place_qdq
from export.downgrade import downgrade
from export.graph import OPSET
from export.half import to_half
from export.operators import attach_functions, strip_functions


@pytest.fixture(scope="module")
def bare(random_bundle):
    return strip_functions(onnx.load(random_bundle("street-tiny").onnx()))


@pytest.fixture(scope="module")
def in_precision(bare):
    def make(precision):
        thresholds = {x: 3.0 for node in bare.graph.node if node.op_type in ("Conv", "Add") for x in node.input}
        model = place_qdq(bare, thresholds, default_int8_layers(bare)) if precision == "int8" else bare
        return model if precision == "fp32" else to_half(model)

    return make


def run(model, image):
    session = onnxruntime.InferenceSession(attach_functions(model).SerializeToString())
    return session.run(["labels"], {"image": image})[0]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_older_forms_compute_the_same(random_bundle, in_precision, precision, batch):
    model, info = in_precision(precision), random_bundle("street-tiny").info
    image = np.random.default_rng(0).integers(0, 256, (batch, info.height, info.width, 3), np.uint8)
    # The bodies of our operators need the later opset: ONNX's own converter brings the model back there.
    older = version_converter.convert_version(downgrade(model), OPSET)
    np.testing.assert_array_equal(run(older, image), run(model, image))


def test_the_model_itself_stays_as_it_is(bare):
    before = bare.SerializeToString(deterministic=True)
    downgrade(bare)
    assert bare.SerializeToString(deterministic=True) == before


def test_constants_that_nothing_reads_any_more_are_gone(bare):
    graph = downgrade(bare).graph
    assert {constant.name for constant in graph.initializer} <= {name for node in graph.node for name in node.input}


def test_every_quantise_and_dequantise_reads_its_fp16_scale_through_a_cast(in_precision):
    """8.6 takes an initial scale for FP32, whatever type it has; one Cast serves all that share a scale."""
    model = in_precision("int8")
    before = {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
    older = downgrade(model)
    after = {constant.name: numpy_helper.to_array(constant) for constant in older.graph.initializer}
    casts = {node.output[0]: node for node in older.graph.node if node.op_type == "Cast"}
    scales = {node.input[1] for node in older.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")}
    assert len(scales) > 30
    for scale in scales:
        assert helper.get_node_attr_value(casts[scale], "to") == TensorProto.FLOAT16
        values = after[casts[scale].input[0]]
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, before[scale])
    assert sum(node.op_type == "Cast" for node in older.graph.node) == len(scales) + 3  # the graph's ends


def test_an_fp32_scale_stays_an_initializer(bare):
    quantised = place_qdq(bare, {"sub": 3.0}, ["backbone.trunk.conv_stem"])
    assert sum(node.op_type == "Cast" for node in downgrade(quantised).graph.node) == 2


def test_another_mean_than_that_over_height_and_width_is_refused(bare):
    other = onnx.ModelProto()
    other.CopyFrom(bare)
    (mean, *_) = (node for node in other.graph.node if node.op_type == "ReduceMean")
    other.graph.initializer.append(numpy_helper.from_array(np.array([1]), "channels"))
    mean.input[1] = "channels"
    with pytest.raises(ValueError, match="no mean over height and width"):
        downgrade(other)


def test_a_shape_without_an_end_is_refused_and_a_whole_one_stays():
    def model_of(shape):
        text = f"small (float[2, 3] x) => (int64[m] y) {{ y = {shape}(x) }}"
        return onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 20]>\n{text}')

    whole, until = (downgrade(model_of(shape)) for shape in ("Shape", "Shape<end = 1>"))
    assert [node.op_type for node in whole.graph.node] == ["Shape"]
    results = [
        onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": np.zeros((2, 3), np.float32)})[0]
        for model in (whole, until)
    ]
    assert [result.tolist() for result in results] == [[2, 3], [2]]
    with pytest.raises(ValueError, match="has no end"):
        downgrade(model_of("Shape<start = 1>"))


def test_what_the_older_form_cannot_say_is_refused(bare):
    (*_, resize) = (node for node in bare.graph.node if node.op_type == "Resize")
    (antialias,) = (attribute for attribute in resize.attribute if attribute.name == "antialias")
    antialias.i = 1
    with pytest.raises(ValueError, match="antialias = 1"):
        downgrade(bare)
    antialias.i = 0
