from collections import Counter
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper, shape_inference

from calibration.layers import default_int8_layers, weighted_layers
from calibration.placement import place_qdq
from export.bundle import info_from_config
from export.dead_paths import drop_dead_paths
from export.fold import fold_batchnorm
from export.fuse import fuse
from export.graph import onnx_from_model
from export.operators import attach_functions, register_schemas, strip_functions

# A level of 8 x 16 pixels and the labels, in the nodes that the exporter writes.
BILINEAR = 'Resize<mode = "linear", coordinate_transformation_mode = "half_pixel">'
COMMON = 'out_channels = 9, kernel_shape = [3, 3], pad_mode = "reflect", activation = "relu"'
CONV = f"hyperseg.DPWConv<group = 1, {COMMON}>(x, theta, bias)"
BLOCK = f"hyperseg.DPWInvertedResidual<hidden_channels = 4, residual = 0, {COMMON}>(x, theta, bias4, bias4, bias)"
INPUTS = "float[1, 3, 8, 16] skip, float[1, 4, 4, 8] previous, float[1, 800, 2, 4] theta"
LEVEL = f"""
    at = Expand(coordinates, ones)
    enlarged = {BILINEAR}(previous, , twice)
    x = Concat<axis = 1>(at, skip, enlarged)
    y = {CONV}
"""
HEAD = f"""
    logits = {BILINEAR}(y, , twice)
    classes = ArgMax<axis = 1, keepdims = 0, select_last_index = 0>(logits)
    as_float = Cast<to = 1>(classes)
    labels = Cast<to = 2>(as_float)
"""
LABELS = "uint8[1, 16, 32] labels"


def coordinates(height=8, width=16):
    return np.stack(np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height)))[None]


def small(level=LEVEL, head=HEAD, inputs=INPUTS, outputs=LABELS, **constants):
    """A model of these nodes; ``constants`` are added, or replace others."""
    register_schemas()
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["": 20, "hyperseg": 1]>\nsmall ({inputs}) => ({outputs}) {{{level}{head}}}'
    )
    named = {"coordinates": coordinates(), "ones": np.ones(4, int), "twice": np.array([1.0, 1.0, 2.0, 2.0])}
    named |= {"bias": np.linspace(-1, 1, 9), "bias4": np.linspace(-1, 1, 4)} | constants
    read = {name for node in model.graph.node for name in node.input}
    for name, values in named.items():
        if name in read:
            typed = values.astype(np.int64 if values.dtype.kind == "i" else np.float32)
            model.graph.initializer.append(numpy_helper.from_array(typed, name))
    return shape_inference.infer_shapes(model, strict_mode=True)


def ours(model):
    return Counter(node.op_type for node in model.graph.node if node.domain == "hyperseg")


def run(model, **inputs):
    session = onnxruntime.InferenceSession(attach_functions(model).SerializeToString())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def random_maps(model):
    random = np.random.default_rng(0)
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in model.graph.input}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def assert_equal_labels(fused, model):
    inputs = random_maps(model)
    np.testing.assert_array_equal(run(fused, **inputs)["labels"], run(model, **inputs)["labels"])


@pytest.mark.parametrize(("block", "name"), [(CONV, "DPWConvLevel"), (BLOCK, "DPWInvertedResidualLevel")])
def test_a_level_and_the_labels_become_one_node_each(block, name):
    model = small(LEVEL.replace(CONV, block), outputs=f"{LABELS}, float[1, 9, 8, 16] y")
    before = model.SerializeToString(deterministic=True)
    fused = fuse(model)
    level, head, cast = fused.graph.node
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in level.attribute}
    (plain,) = (node for node in model.graph.node if node.domain == "hyperseg")
    expected = {attribute.name: helper.get_attribute_value(attribute) for attribute in plain.attribute}
    expected.pop("residual", None)
    assert attributes == {**expected, "positions": 1}
    assert (level.op_type, [*level.input]) == (name, ["skip", "previous", *plain.input[1:]])
    assert (head.op_type, [*head.input], [*head.output]) == ("LabelHead", ["y"], ["as_float"])
    assert helper.get_node_attr_value(head, "scale") == 2
    assert (cast.op_type, [*cast.output]) == ("Cast", ["labels"])
    assert {constant.name for constant in fused.graph.initializer} == {*plain.input[2:]}
    assert {value.name for value in fused.graph.value_info} == {"as_float"}
    before_fusing, after = run(model, **random_maps(model)), run(fused, **random_maps(model))
    np.testing.assert_array_equal(after["labels"], before_fusing["labels"])
    np.testing.assert_allclose(after["y"], before_fusing["y"], rtol=1e-5, atol=1e-5)  # float32, values of size 10
    assert before == model.SerializeToString(deterministic=True), "the given model must stay as it was"


def test_what_is_fused_already_stays_as_it_is():
    fused = fuse(small())
    assert fuse(fused) == fused


def test_large_coordinates_are_not_folded():
    x, y = np.split(coordinates(), 2, 1)
    level = LEVEL.replace("at = Expand(coordinates", "both = Concat<axis = 1>(xs, ys) at = Expand(both")
    assert fuse(small(level, xs=x, ys=y)) == fuse(small())
    larger = level.replace("both =", "xs = Expand(row, shape) ys = Expand(column, shape) both =")
    constants = {
        "row": np.linspace(-1, 1, 16),
        "column": np.linspace(-1, 1, 8)[:, None],
        "shape": np.array([1, 1, 8, 16]),
    }
    assert fuse(small(larger, **constants)) == fuse(small())


@pytest.mark.slow
def test_at_a_published_size_with_the_largest_maps_every_level_is_fused(random_model):
    folded, _ = drop_dead_paths(fold_batchnorm(random_model("camvid-l")))
    height, width = folded.config.input_size
    fused = fuse(onnx_from_model(folded, info_from_config(folded.config, height, width)))
    assert ours(fused) == {"DPWConv": 1, "DPWConvLevel": 2, "DPWInvertedResidualLevel": 3, "LabelHead": 1}


def test_a_level_without_coordinates():
    model = small(LEVEL.replace("(at, ", "("))
    (level, *_) = fuse(model).graph.node
    assert helper.get_node_attr_value(level, "positions") == 0
    assert_equal_labels(fuse(model), model)


MOVED = coordinates()
MOVED[0, 1, 7, 15] -= 1e-5
NOT_A_LEVEL = {
    "another mode": (LEVEL.replace("linear", "nearest"), {}),
    "another half pixel": (LEVEL.replace("half_pixel", "align_corners"), {}),
    "another scale": (
        LEVEL.replace("twice", "scales"),
        {"scales": np.array([1.0, 1.0, 4.0, 4.0]), "inputs": INPUTS.replace("4, 4, 8]", "4, 2, 4]")},
    ),
    "a scale in one direction": (
        LEVEL.replace("twice", "scales"),
        {"scales": np.array([1.0, 1.0, 1.0, 2.0]), "inputs": INPUTS.replace("4, 4, 8]", "4, 8, 8]")},
    ),
    "another order": (LEVEL.replace("skip, enlarged)", "enlarged, skip)"), {}),
    "one more map": (LEVEL.replace("skip, enlarged)", "skip, skip, enlarged)"), {}),
    "coordinates twice": (LEVEL.replace("(at, skip", "(at, at, skip"), {}),
    "another axis": (
        LEVEL.replace("axis = 1>(at, ", "axis = 0>(").replace("at = Expand(coordinates, ones)", ""),
        {
            "inputs": INPUTS.replace("1, 3, 8", "1, 4, 8").replace("1, 800", "2, 800"),
            "outputs": "uint8[2, 16, 32] labels",
        },
    ),
    "X read by another": (LEVEL + "other = Relu(x)", {"outputs": f"{LABELS}, float[1, 9, 8, 16] other"}),
    "X an output": (LEVEL, {"outputs": f"{LABELS}, float[1, 9, 8, 16] x"}),
    "P read by another": (LEVEL + "other = Relu(enlarged)", {"outputs": f"{LABELS}, float[1, 4, 8, 16] other"}),
    "residual": (LEVEL.replace(CONV, BLOCK.replace("residual = 0", "residual = 1")), {}),
    "x and y changed round": (LEVEL, {"coordinates": coordinates()[:, ::-1]}),
    "from 1 to -1": (LEVEL, {"coordinates": -coordinates()}),
    "end points left out": (LEVEL, {"coordinates": coordinates() * np.array([15 / 16, 7 / 8]).reshape(1, 2, 1, 1)}),
    "one value moved": (LEVEL, {"coordinates": MOVED}),
    "no number": (LEVEL, {"coordinates": np.full((1, 2, 8, 16), np.nan)}),
    "coordinates that are computed": (
        LEVEL.replace("Expand(coordinates", "Expand(given"),
        {"inputs": f"{INPUTS}, float[1, 2, 8, 16] given"},
    ),
}


@pytest.mark.parametrize(("level", "changes"), NOT_A_LEVEL.values(), ids=NOT_A_LEVEL)
def test_what_is_no_level_stays(level, changes):
    model = small(level, **changes)
    fused = fuse(model)
    assert [node.op_type for node in fused.graph.node[-2:]] == ["LabelHead", "Cast"]
    assert fused.graph.node[:-2] == model.graph.node[:-4]


HEADS = {
    "no enlargement": (HEAD.replace(f"{BILINEAR}(y, , twice)", "Identity(y)"), "[1, 8, 16]", 1),
    "three times": (HEAD.replace("twice", "scales"), "[1, 24, 48]", 3),
    "twice, by the nearest": (HEAD.replace("linear", "nearest"), "[1, 16, 32]", 1),
    "in other directions": (HEAD.replace("twice", "tall"), "[1, 24, 16]", 1),
    "by no whole number": (HEAD.replace("twice", "half_more"), "[1, 12, 24]", 1),
    "the last largest": (HEAD.replace("select_last_index = 0", "select_last_index = 1"), "[1, 16, 32]", None),
    "another axis": (HEAD.replace("axis = 1", "axis = 2"), "[1, 9, 32]", None),
    "another cast": (HEAD.replace("to = 1", "to = 6"), "[1, 16, 32]", None),
}


@pytest.mark.parametrize(("head", "shape", "scale"), HEADS.values(), ids=HEADS)
def test_the_labels_take_in_the_enlargement_they_can(head, shape, scale):
    scales = {"scales": [1, 1, 3, 3], "tall": [1, 1, 3, 1], "half_more": [1, 1, 1.5, 1.5]}
    constants = {name: np.array(values, float) for name, values in scales.items()}
    model = small(head=head, outputs=f"uint8{shape} labels", **constants)
    fused = fuse(model)
    heads = [node for node in fused.graph.node if node.op_type == "LabelHead"]
    assert [helper.get_node_attr_value(node, "scale") for node in heads] == [scale] * (scale is not None)
    assert (heads == []) == ("ArgMax" in {node.op_type for node in fused.graph.node})
    assert_equal_labels(fused, model)


def test_labels_of_more_classes_than_a_label_head_knows_stay():
    level = LEVEL.replace("out_channels = 9", "out_channels = 258")
    assert ours(fuse(small(level, bias=np.zeros(258)))) == {"DPWConvLevel": 1}


def test_indices_that_something_else_reads_stay():
    assert ours(fuse(small(outputs=f"{LABELS}, int64[1, 16, 32] classes"))) == {"DPWConvLevel": 1}


def test_logits_that_are_an_output_stay_beside_the_labels():
    model = small(outputs=f"{LABELS}, float[1, 9, 16, 32] logits")
    fused = fuse(model)
    assert [node.op_type for node in fused.graph.node] == ["DPWConvLevel", "Resize", "LabelHead", "Cast"]
    assert fused.graph.node[2].input == ["y"]
    results = run(fused, **random_maps(model))
    np.testing.assert_array_equal(results["labels"], results["logits"].argmax(1))


def test_a_model_without_any_of_it_is_returned_equal():
    model = small(
        LEVEL.replace("skip, enlarged", "enlarged, skip"), head="end = Relu(y)", outputs="float[1, 9, 8, 16] end"
    )
    assert fuse(model) == model


@pytest.fixture(scope="module")
def unfused(random_model):
    """Export a variant or ablation at its smallest size as the exporter leaves it, with logits."""

    @cache
    def export(name):
        folded, _ = drop_dead_paths(fold_batchnorm(random_model(name)))
        height = folded.config.size_multiple
        return onnx_from_model(folded, info_from_config(folded.config, height, 2 * height), logits=True)

    return export


@pytest.mark.parametrize("name", ["street-tiny", pytest.param("cityscapes-m", marks=pytest.mark.slow)])
def test_a_fused_network_computes_the_same(unfused, random_bundle, name):
    plain, info = unfused(name), random_bundle(name).info
    fused = fuse(plain)
    assert fused == strip_functions(onnx.load(random_bundle(name).onnx()))  # so are bundles
    for batch in (1, 3):
        image = np.random.default_rng(batch).integers(0, 256, (batch, info.height, info.width, 3), np.uint8)
        expected, results = run(plain, image=image), run(fused, image=image)
        # The same sums of the same numbers, but for the order in which Resize and Concat's kernels may take them.
        np.testing.assert_allclose(results["logits"], expected["logits"], atol=1e-5 * np.abs(expected["logits"]).max())
        assert (results["labels"] == expected["labels"]).mean() > 0.999


@pytest.mark.parametrize("name", ["street-tiny", pytest.param("cityscapes-m", marks=pytest.mark.slow)])
def test_the_same_layers_are_called_the_same_cost_the_same_and_are_quantised_alike(unfused, name):
    plain, fused = unfused(name), fuse(unfused(name))
    before, after = weighted_layers(plain), weighted_layers(fused)
    assert [(layer.name, layer.macs, layer.output) for layer in after] == [
        (layer.name, layer.macs, layer.output) for layer in before
    ]
    thresholds = {name: float(index + 1) for index, node in enumerate(plain.graph.node) for name in node.input}
    chosen = default_int8_layers(plain)
    assert default_int8_layers(fused) == chosen
    assert quantisers(place_qdq(fused, thresholds, chosen)) == quantisers(place_qdq(plain, thresholds, chosen)) != {}


def quantisers(model):
    """Which nodes read what is quantised, and its scales, by the tensor that is."""
    scales = {constant.name: numpy_helper.to_array(constant).tolist() for constant in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            readers = [reader.name for reader in model.graph.node if f"{node.input[0]}_dequantised" in reader.input]
            found[node.input[0]] = readers, scales[node.input[1]]
    return found
