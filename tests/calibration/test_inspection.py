import argparse

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calibration.inspection import findings
from calibration.inspection.command import add_arguments, main
from calibration.inspection.inspection import inspect_model
from calibration.inspection.text import as_text
from calibration.layers import default_int8_layers
from calibration.placement import place_qdq
from export.downgrade import downgrade
from export.half import to_half
from export.operators import attach_functions, strip_functions
from runtime.errors import UserError
from training.network.variants import VARIANTS


class Net:
    """A hand-built quantised network without a fault; methods change it, and return it."""

    def __init__(self, dtype=np.float16, opset=20):
        self.dtype, self.opset = np.dtype(dtype), opset
        self.nodes, self.constants = [], {}
        self.size = (6, 10)
        self.constant("half", np.asarray(0.5, dtype))
        # image -> stem -> [block: first -> relu -> second] + skip -> grouped -> concat with a slice -> head
        self.node("Mul", ["image", "half"], "scaled")
        self.conv("stem", "scaled", 8, 4, kernel=3)
        self.node("Relu", ["stem"], "stem_relu")
        self.conv("first", "stem_relu", 16, 8, scale=0.02)
        self.node("Relu", ["first"], "first_relu")
        self.conv("second", "first_relu", 8, 16)
        self.node("Add", ["second", "stem_relu_dq"], "sum")
        self.node("Relu", ["sum"], "sum_relu")
        self.conv("grouped", "sum_relu", 8, 4, kernel=3, group=2)
        self.node("MaxPool", ["grouped"], "pooled", kernel_shape=[1, 1])
        self.node("Concat", ["pooled", "grouped"], "joined", axis=1)
        self.conv("head", "joined", 12, 16)
        self.node("Sigmoid", ["head"], "out")

    def constant(self, name, value):
        self.constants[name] = np.asarray(value)
        return name

    def node(self, op_type, inputs, output, at=None, **attributes):
        made = helper.make_node(op_type, inputs, [output], f"node_{output}", **attributes)
        self.nodes.insert(len(self.nodes) if at is None else at, made)
        return output

    def qdq(self, tensor, scale, *, at=None, **attributes):
        if any(f"{tensor}_dq" in node.output for node in self.nodes):
            return f"{tensor}_dq"
        scale = np.asarray(scale, self.dtype)
        parameters = [
            self.constant(f"{tensor}_scale", scale),
            self.constant(f"{tensor}_zero", np.zeros_like(scale, np.int8)),
        ]
        at = len(self.nodes) if at is None else at
        self.node("QuantizeLinear", [tensor, *parameters], f"{tensor}_q", at, **attributes)
        return self.node("DequantizeLinear", [f"{tensor}_q", *parameters], f"{tensor}_dq", at + 1, **attributes)

    def conv(self, name, x, out, channels, *, kernel=1, group=1, scale=0.01):
        values = np.random.default_rng(0).normal(size=(out, channels, kernel, kernel)).astype(self.dtype)
        weight = self.qdq(self.constant(f"network.{name}.weight", values), np.full(out, 0.03), axis=0)
        inputs = [self.qdq(x, scale), weight, self.constant(f"network.{name}.bias", np.zeros(out, self.dtype))]
        self.node("Conv", inputs, name, group=group, kernel_shape=[kernel, kernel], pads=[kernel // 2] * 4)

    def __getitem__(self, output):
        return next(node for node in self.nodes if output in node.output)

    def rewire(self, output, place, tensor):
        self[output].input[place] = tensor
        return self

    def set(self, constant, value):
        self.constants[constant] = np.asarray(value)
        return self

    def cast(self, tensor, to, *, before):
        """Cast ``tensor`` for the one node that makes ``before``."""
        reader = self[before]
        place = list(reader.input).index(tensor)
        result = self.node("Cast", [tensor], f"{tensor}_as_{to}", self.nodes.index(reader), to=to)
        return self.rewire(before, place, result)

    def save(self, folder):
        element = helper.np_dtype_to_tensor_dtype(self.dtype)
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("image", element, ["batch", 4, *self.size])],
            [helper.make_tensor_value_info("out", element, [None] * 4)],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )
        path = folder / "net.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10), path)
        return path


def found(inspected):
    return [(finding.kind, finding.where) for finding in inspected.findings]


@pytest.mark.parametrize("opset", [17, 20])  # ONNX has FP16 Q/DQ from opset 19 on, but TensorRT reads them before, too
def test_a_sound_network_has_no_findings(tmp_path, opset):
    inspected = inspect_model(Net(opset=opset).save(tmp_path))
    assert found(inspected) == []
    assert {layer.precision for layer in inspected.layers} == {"int8"}
    assert (inspected.quantised_tensors, inspected.quantised_weights, inspected.casts) == (5, 5, 0)


def test_work_is_counted_by_layer_and_precision(tmp_path):
    net = Net().rewire("head", 0, "joined").rewire("head", 1, "network.head.weight")
    inspected = inspect_model(prune(net).save(tmp_path))
    # output pixels x output channels x input channels per group x kernel
    expected = {"stem": 60 * 8 * 4 * 9, "first": 60 * 16 * 8, "second": 60 * 8 * 16, "grouped": 60 * 8 * 4 * 9}
    assert {layer.name: layer.macs for layer in inspected.layers} == {**expected, "head": 60 * 12 * 16}
    assert inspected.macs == {"int8": sum(expected.values()), "fp16": 60 * 12 * 16}
    assert [(layer.operator, layer.output) for layer in inspected.layers][3:] == [
        ("Conv 3x3 2 groups", (8, 6, 10)),
        ("Conv 1x1", (12, 6, 10)),
    ]


def prune(net):
    """Take away the Q/DQ that nothing reads any more."""
    for op_type in ("DequantizeLinear", "QuantizeLinear"):
        read = {name for node in net.nodes for name in node.input}
        net.nodes = [node for node in net.nodes if node.op_type != op_type or node.output[0] in read]
    return net


def missing_skip(net):
    return net.rewire("sum", 1, "stem_relu")


def test_a_tensor_whose_moved_values_are_quantised_alike_is_not_read_in_float(tmp_path):
    net = Net()
    net.conv("side", "pooled", 8, 8)  # which the Concat reads, whose result the head reads in INT8
    assert found(inspect_model(net.save(tmp_path))) == []


def test_a_scale_cast_to_its_type_is_a_constant(tmp_path):
    net = Net()
    net.node("Cast", [net.constant("wide", np.float32(0.01))], "scale", 0, to=TensorProto.FLOAT16)
    net.rewire("joined_q", 1, "scale").rewire("joined_dq", 1, "scale")
    inspected = inspect_model(net.save(tmp_path))
    assert found(inspected) == []
    assert inspected.casts == 0


def both_inputs(net):
    at = net.nodes.index(net["sum"])
    net.qdq("second", 0.01, at=at)
    return net.rewire("sum", 0, "second_dq")


def per_tensor(net):
    for output in ("network.first.weight_q", "network.first.weight_dq"):
        del net[output].attribute[:]
    return net.set("network.first.weight_scale", np.float16(0.03)).set("network.first.weight_zero", np.int8(0))


def wrong_axis(net):
    net.set("network.second.weight_scale", np.full(16, 0.03, np.float16))
    net.set("network.second.weight_zero", np.zeros(16, np.int8))
    for output in ("network.second.weight_q", "network.second.weight_dq"):
        net[output].attribute[0].i = 1
    return net


def zero_point(net):
    return net.set("first_relu_zero", np.int8(3))


def unsigned(net):
    return net.set("first_relu_zero", np.uint8(128))


def no_zero_point(net):
    del net["first_relu_q"].input[2], net["first_relu_dq"].input[2]
    return net


def into_relu(net):
    return net.rewire("stem_relu", 0, net.qdq("stem", 0.01, at=net.nodes.index(net["stem_relu"])))


def into_concat(net):
    # what ONNX Runtime's quantiser does: every reader of a quantised tensor gets the quantised one
    return net.rewire("joined", 0, net.qdq("pooled", 0.01, at=net.nodes.index(net["joined"])))


def into_plain_add(net):
    # the skip stays quantised, but the convolution before it is not in INT8
    net.rewire("second", 0, "first_relu").rewire("second", 1, "network.second.weight")
    return prune(net)


def twice(net):
    return net.rewire("second", 0, net.qdq("first_relu_dq", 0.01, at=net.nodes.index(net["second"])))


def unread(net):
    net.node("DequantizeLinear", list(net["first_relu_dq"].input), "spare")
    return net


def only_input(net):
    return prune(net.rewire("head", 1, "network.head.weight"))


def only_weight(net):
    return prune(net.rewire("head", 0, "joined"))


def quantised_bias(net):
    scale = net.constant("network.head.bias_scale", np.full(12, 0.0003, np.float16))
    stored = net.constant("network.head.bias_q", np.zeros(12, np.int32))
    net.node("DequantizeLinear", [stored, scale], "bias_dq", 0, axis=0)
    return net.rewire("head", 2, "bias_dq")


def untied(net):
    net.conv("side", "pooled", 8, 8, scale=0.013)
    return net


def scale_of(value):
    def plant(net):
        return net.set("first_relu_scale", np.float16(value))

    return plant


def unequal_pair(net):
    net.constant("other_scale", np.float16(0.5))
    return net.rewire("first_relu_dq", 1, "other_scale")


def computed_scale(net):
    net.node("Identity", ["first_relu_scale"], "scale", 0)
    return net.rewire("first_relu_q", 1, "scale")


def there_and_back(net):
    return net.cast("sum", TensorProto.FLOAT, before="sum_relu").cast(
        f"sum_as_{TensorProto.FLOAT}", TensorProto.FLOAT16, before="sum_relu"
    )


FAULTS = {
    missing_skip: [(findings.MISSING_SKIP, "Add node_sum")],
    both_inputs: [(findings.BOTH_INPUTS, "Add node_sum")],
    per_tensor: [(findings.PER_TENSOR, "first")],
    wrong_axis: [(findings.PER_TENSOR, "second")],
    zero_point: [(findings.ASYMMETRIC, "input of second")],
    unsigned: [(findings.ASYMMETRIC, "input of second")],
    no_zero_point: [(findings.ASYMMETRIC, "input of second")],
    into_relu: [(findings.STRANDED, "Relu node_stem_relu")],
    into_concat: [(findings.STRANDED, "Concat node_joined")],
    into_plain_add: [(findings.STRANDED, "Add node_sum")],
    twice: [(findings.TWICE, "input of second")],
    unread: [(findings.LOOSE_END, "DequantizeLinear node_spare")],
    only_input: [(findings.HALF, "head")],
    only_weight: [(findings.HALF, "head")],
    quantised_bias: [(findings.QUANTISED_BIAS, "head")],
    untied: [(findings.UNTIED, "input of head")],
    scale_of(0.0): [(findings.BAD_SCALE, "input of second")],
    scale_of(-0.01): [(findings.BAD_SCALE, "input of second")],
    scale_of(np.nan): [(findings.BAD_SCALE, "input of second")],
    scale_of(np.inf): [(findings.BAD_SCALE, "input of second")],
    unequal_pair: [(findings.BAD_SCALE, "input of second")],
    computed_scale: [(findings.BAD_SCALE, "input of second")],
    there_and_back: [(findings.STRAY_CAST, "after Add node_sum, before Cast node_sum_as_1_as_10"),
                     (findings.STRAY_CAST, "after Cast node_sum_as_1, before Relu node_sum_relu")],
}  # fmt: skip


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize(("plant", "expected"), FAULTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_fault_is_found_and_no_other(tmp_path, plant, expected, opset):
    inspected = inspect_model(plant(Net(opset=opset)).save(tmp_path))
    assert found(inspected) == expected
    assert len(inspected.faults) == len(expected)


def test_a_cast_between_dq_and_layer_keeps_the_layer_from_int8(tmp_path):
    inspected = inspect_model(Net().cast("joined_dq", TensorProto.FLOAT, before="head").save(tmp_path))
    assert found(inspected)[0] == (findings.STRANDED, f"Cast node_joined_dq_as_{TensorProto.FLOAT}")
    assert inspected.layers[-1].precision != "int8"


def depthwise(net):
    net.conv("side", "sum_relu", 8, 1, group=8)
    return net


def odd_groups(net):
    net.conv("side", "joined", 16, 2, group=8, scale=0.01)
    return net


def tiny_map(net):
    net.node("GlobalAveragePool", ["head"], "mean")
    net.conv("side", "mean", 8, 12)
    return net


def also_float(net):
    net.node("Sigmoid", ["first_relu"], "side")
    return net


def other_reader(net):
    missing_skip(net).node("Sigmoid", ["second"], "side")
    return net


def subnormal(net):
    return net.set("first_relu_scale", np.float16(3e-5))


NOTES = {
    depthwise: [(findings.DEPTHWISE, "side")],
    odd_groups: [(findings.ODD_GROUPS, "side")],
    tiny_map: [(findings.TINY_MAP, "side")],
    also_float: [(findings.ALSO_FLOAT, "input of second")],
    other_reader: [(findings.MAY_NOT_FUSE, "second")],
    subnormal: [(findings.SUBNORMAL, "input of second")],
}


@pytest.mark.parametrize(("plant", "expected"), NOTES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_what_costs_or_risks_something_is_a_note_and_no_fault(tmp_path, plant, expected):
    assert found(inspect_model(plant(Net()).save(tmp_path))) == expected


def test_int8_among_fp32_is_noted(tmp_path):
    inspected = inspect_model(Net(np.float32).save(tmp_path))
    assert found(inspected) == [(findings.FLOAT_CARRIER, "all that is not int8")]


def in_fp32(net, output):
    """Compute the node that makes ``output`` in FP32, between two casts."""
    net.cast(net[output].input[0], TensorProto.FLOAT, before=output)
    at = net.nodes.index(net[output])
    net[output].output[0] = "wide"
    net.node("Cast", ["wide"], output, at + 1, to=TensorProto.FLOAT16)
    return net


@pytest.mark.parametrize("opset", [17, 20])
def test_casts_around_what_is_fp32_are_not_stray(tmp_path, opset):
    inspected = inspect_model(in_fp32(Net(opset=opset), "sum_relu").save(tmp_path))
    assert found(inspected) == [(findings.FP32_ISLAND, "Relu node_sum_relu")]
    assert (inspected.casts, inspected.stray_casts) == (2, 0)


def test_a_change_to_fp16_and_back_is_stray_in_an_fp32_network(tmp_path):
    net = Net(np.float32).cast("sum", TensorProto.FLOAT16, before="sum_relu")
    net[f"sum_as_{TensorProto.FLOAT16}"].name = "down"
    net.cast(f"sum_as_{TensorProto.FLOAT16}", TensorProto.FLOAT, before="sum_relu")
    inspected = inspect_model(net.save(tmp_path))
    assert [finding.kind for finding in inspected.faults] == [findings.STRAY_CAST] * 2


def test_casts_at_the_ends_are_not_stray(tmp_path):
    net = Net()
    net.node("Cast", ["image"], "image_float", 0, to=TensorProto.FLOAT)
    net.node("Cast", ["image_float"], "image_half", 1, to=TensorProto.FLOAT16)
    net.rewire("scaled", 0, "image_half")
    net["out"].output[0] = "scores"
    net.node("Cast", ["scores"], "scores_float", to=TensorProto.FLOAT)
    net.node("Cast", ["scores_float"], "out", to=TensorProto.FLOAT16)
    assert found(inspect_model(net.save(tmp_path))) == []


def quantised(bare):
    """Put the convolutions of an exported network into INT8 by arbitrary ranges, all else into FP16."""
    tensors = [name for node in bare.graph.node for name in node.output]
    ranges = {name: 1 + index % 7 for index, name in enumerate(tensors)}
    return to_half(place_qdq(bare, ranges, default_int8_layers(bare)))


@pytest.fixture(scope="module")
def files(random_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    bare = strip_functions(onnx.load(random_bundle("street-tiny").onnx()))
    for precision, model in {"fp32": bare, "fp16": to_half(bare), "int8": quantised(bare)}.items():
        onnx.save(attach_functions(model), folder / f"{precision}.onnx")
        onnx.save(downgrade(model), folder / f"{precision}.trt.onnx")
    return folder


@pytest.mark.parametrize("form", ["onnx", "trt.onnx"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_the_files_of_a_bundle_have_no_faults(files, precision, form):
    inspected = inspect_model(files / f"{precision}.{form}")
    assert inspected.faults == ()
    assert inspected.info is not None
    assert inspected.has_bodies == (form == "onnx")
    dynamic = [layer for layer in inspected.layers if layer.operator.startswith("DPW")]
    assert {layer.precision for layer in dynamic} == {"fp32" if precision == "fp32" else "fp16"}
    assert (inspected.quantised_weights > 0) == (precision == "int8")


def test_a_dynamic_operator_that_reads_int8_is_a_fault(files, tmp_path):
    model = onnx.load(files / "int8.onnx")
    graph = model.graph
    at, dynamic = next((at, node) for at, node in enumerate(graph.node) if node.op_type == "DPWConv")
    parameters = next(node for node in graph.node if node.op_type == "QuantizeLinear").input[1:]
    graph.node.insert(at, helper.make_node("QuantizeLinear", [dynamic.input[0], *parameters], ["q"]))
    graph.node.insert(at + 1, helper.make_node("DequantizeLinear", ["q", *parameters], ["dq"]))
    graph.node[at + 2].input[0] = "dq"
    onnx.save(model, tmp_path / "planted.onnx")
    (fault,) = inspect_model(tmp_path / "planted.onnx").faults
    assert (fault.kind, fault.where) == (findings.STRANDED, "decoder.levels.0")


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_the_placement_of_every_variant_has_no_faults(random_bundle, tmp_path, name):
    path = tmp_path / "int8.trt.onnx"
    onnx.save(downgrade(quantised(strip_functions(onnx.load(random_bundle(name).onnx())))), path)
    assert inspect_model(path).faults == ()


def run(*words):
    """The exit code of the command."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return main(parser.parse_args([str(word) for word in words]))


def test_the_text_names_layer_fault_and_remedy_and_fits_a_terminal(tmp_path, capsys):
    assert run(missing_skip(Net()).save(tmp_path)) == 1
    text = capsys.readouterr().out
    assert "FAULT  residual Add without a quantised skip (1)\n         Add node_sum (after second)\n" in text
    assert findings.MISSING_SKIP.remedy[:60] in text
    assert max(map(len, text.splitlines()[1:])) <= 120  # the first line is the path
    assert run(Net().save(tmp_path)) == 0
    assert capsys.readouterr().out.endswith("no faults\n\nno notes\n")


def test_a_note_alone_is_no_reason_for_exit_code_1(tmp_path):
    assert run(depthwise(Net()).save(tmp_path)) == 0


def test_the_text_says_where_a_size_is_not_fixed(tmp_path):
    net = Net()
    net.size = ("height", "width")
    text = as_text(inspect_model(net.save(tmp_path)))
    assert "8 x ? x ?" in text
    assert "count as 1" in text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "does not exist"),
        (b"", "not an ONNX file"),
        (b"# not ONNX\n", "no ONNX file"),
    ],
)
def test_what_is_no_onnx_file_is_refused(tmp_path, content, says):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        inspect_model(path)


def test_half_a_file_a_folder_and_a_network_without_convolutions_are_refused(tmp_path):
    path = Net().save(tmp_path)
    (tmp_path / "half.onnx").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="not a whole one"):
        inspect_model(tmp_path / "half.onnx")
    with pytest.raises(UserError, match="cannot read"):
        inspect_model(tmp_path)
    net = Net()
    net.nodes = net.nodes[:1]
    net["scaled"].output[0] = "out"
    with pytest.raises(UserError, match="no convolution"):
        inspect_model(net.save(tmp_path))


def no_scale(net):
    del net["first_relu_q"].input[1:]


def no_weight(net):
    del net["head"].input[1:]


def unknown_operator(net):
    net["sum_relu"].op_type = "Foo"


def reversed_order(net):
    net.nodes.reverse()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (no_scale, "not valid ONNX: .* input size 1 .* node_first_relu_q"),
        (no_weight, "not valid ONNX: .* input size 1 .* node_head"),
        (unknown_operator, "not valid ONNX: No Op registered for Foo"),
        (reversed_order, "not valid ONNX: .* topologically sorted"),
    ],
)
def test_what_is_not_valid_onnx_is_refused_with_the_reason(tmp_path, spoil, says):
    net = Net()
    spoil(net)
    with pytest.raises(UserError, match=says):
        inspect_model(net.save(tmp_path))


def no_groups(net):
    next(attribute for attribute in net["grouped"].attribute if attribute.name == "group").i = 0


def no_shape(net):
    net["stem_relu"].domain, net["stem_relu"].op_type = "foreign", "Swish"


@pytest.mark.parametrize("spoil", [no_groups, no_shape])
def test_valid_nodes_that_do_not_go_together_are_refused(tmp_path, spoil):
    net = Net()
    spoil(net)
    path = net.save(tmp_path)
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("foreign", 1))
    onnx.save(model, path)
    onnx.checker.check_model(model)  # else the test would be one of the above
    with pytest.raises(UserError, match="cannot be inspected: shapes or types"):
        inspect_model(path)


def test_a_buffer_of_the_wrong_size_is_refused_by_name(tmp_path):
    path = Net().save(tmp_path)
    model = onnx.load(path)
    weight = next(constant for constant in model.graph.initializer if constant.name == "network.head.weight")
    weight.raw_data = weight.raw_data[:-2]
    onnx.save(model, path)
    with pytest.raises(UserError, match=r"not valid ONNX: .*network\.head\.weight.* too small"):
        inspect_model(path)


def test_weights_in_a_file_of_their_own_are_read_and_missed_by_name(tmp_path):
    path = Net().save(tmp_path)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert found(inspect_model(path)) == []
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(UserError, match=r"weights in a file of their own.*weights\.bin"):
        inspect_model(path)


def test_operators_of_other_domains_are_let_be(tmp_path):
    net = Net()
    net["out"].domain, net["out"].op_type = "foreign", "Swish"
    path = net.save(tmp_path)
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("foreign", 1))
    onnx.save(model, path)
    assert found(inspect_model(path)) == []


def test_the_help_says_what_the_file_may_be_and_what_the_exit_codes_mean():
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    text = parser.format_help()
    assert "FILE.onnx may be any ONNX file of a bundle" in text
    assert "exit code: 0 without faults, whatever the notes, 1 with faults, 2 for" in text
    assert max(map(len, text.splitlines())) <= 120
