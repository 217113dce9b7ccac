"""The counting model of a frame: its kernels by hand, its multiply-adds by PyTorch's counter, the page's tables."""

from dataclasses import replace
from math import prod
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch.utils.flop_counter import FlopCounterMode

from calibration.layers import attributes_of
from export.operators import register_schemas, strip_functions
from runtime.errors import UserError
from trt_plugins.gpu.costs import ORIN, Device
from trt_plugins.gpu.floors import head_work, level_work
from trt_plugins.gpu.parts import (
    CONTEXT,
    DECODER,
    ENCODER,
    IMAGE,
    LABELS,
    LEVEL_INPUTS,
    LEVELS,
    MAPPERS,
    SQUEEZE_EXCITE,
    part_of_nodes,
)
from trt_plugins.gpu.predict import (
    ORIN_MACHINE,
    Kernel,
    Machine,
    frame_us,
    kernels_of,
    load,
    machine_table,
    part_table,
    quantised,
    sensitivity_table,
)
from trt_plugins.gpu.shapes import published_heads, published_levels

PAGE = Path(__file__).parents[2] / "docs/performance.md"
LEVEL_4 = published_levels()["cityscapes-m"][4]


def model_of(nodes, shapes, constants, inputs, outputs):
    """A model of float tensors; ``shapes`` are those of all that nodes give and of the inputs."""
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    weights = [
        helper.make_tensor(name, TensorProto.FLOAT, shape, bytes(4 * prod(shape)), raw=True)
        for name, shape in constants.items()
    ]
    ends = [values.pop(name) for name in inputs], [values.pop(name) for name in outputs]
    graph = helper.make_graph(nodes, "graph", *ends, weights, value_info=list(values.values()))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("hyperseg", 1)])


def node(op_type, inputs, output, **attributes):
    return helper.make_node(op_type, inputs, [output], name=output, **attributes)


@pytest.fixture
def block():
    """An EfficientNet block on [1, 8, 4, 6]: expand to 16, swish, squeeze-excite, project, sum."""
    at = "network.backbone.blocks.0."
    nodes = [
        node("Conv", ["x", f"{at}expand"], "expanded"),
        node("Sigmoid", ["expanded"], "gate"),
        node("Mul", ["expanded", "gate"], "swish"),
        node("Conv", ["swish", f"{at}depthwise"], "filtered", group=16, pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", ["filtered"], "mean"),
        node("Conv", ["mean", f"{at}se.reduce"], "reduced"),
        node("Conv", ["reduced", f"{at}se.expand"], "opened"),
        node("Sigmoid", ["opened"], "excitation"),
        node("Mul", ["filtered", "excitation"], "scaled"),
        node("Conv", ["scaled", f"{at}project"], "projected"),
        node("Add", ["projected", "x"], "y"),
    ]
    wide, one = [1, 16, 4, 6], [1, 16, 1, 1]
    shapes = dict.fromkeys(("expanded", "gate", "swish", "filtered", "scaled"), wide)
    shapes |= {"mean": one, "reduced": [1, 2, 1, 1], "opened": one, "excitation": one}
    shapes |= {"x": [1, 8, 4, 6], "projected": [1, 8, 4, 6], "y": [1, 8, 4, 6]}
    weights = {"expand": [16, 8, 1, 1], "depthwise": [16, 1, 3, 3], "project": [8, 16, 1, 1]}
    weights |= {"se.reduce": [2, 16, 1, 1], "se.expand": [16, 2, 1, 1]}
    return model_of(nodes, shapes, {at + name: shape for name, shape in weights.items()}, ["x"], ["y"])


def test_kernels_of_a_block_by_hand(block):
    kernels = {kernel.name: kernel for kernel in kernels_of(block)}
    assert list(kernels) == ["expanded", "swish", "filtered", "mean", "reduced", "opened", "scaled", "projected"]
    # Values of a map of 4x6: 192 of 8 channels, 384 of 16; two bytes each.
    moved = {
        "expanded": 192 + 128 + 384,
        "swish": 384 + 384,
        "filtered": 384 + 144 + 384,
        "mean": 384 + 16,
        "reduced": 16 + 32 + 2,
        "opened": 2 + 32 + 16,
        "scaled": 384 + 384,
        "projected": 384 + 128 + 192 + 192,  # the sum's other map as well
    }
    assert {name: kernel.bytes for name, kernel in kernels.items()} == {name: 2 * n for name, n in moved.items()}
    assert {name: k.tensor_multiply_adds for name, k in kernels.items() if k.tensor_multiply_adds} == {
        "expanded": 24 * 8 * 16,
        "reduced": 32,
        "opened": 32,
        "projected": 24 * 8 * 16,
    }
    assert {name: k.multiply_adds for name, k in kernels.items() if k.multiply_adds} == {"filtered": 24 * 16 * 9}
    assert [name for name, kernel in kernels.items() if kernel.swish] == ["swish"]
    squeezed = [name for name, kernel in kernels.items() if kernel.part == SQUEEZE_EXCITE]
    assert squeezed == ["mean", "reduced", "opened", "scaled"]
    assert sum(k.bytes for k in kernels_of(block, value_bytes=4)) == 4 * sum(moved.values())


def test_quantised_maps_have_a_byte_a_value(block):
    bare = quantised(block)  # expand and project; the sum's skip is x, which expand reads quantised as well
    kernels = {kernel.name: kernel for kernel in kernels_of(bare)}
    assert kernels["expanded"].bytes == 192 + 128 + 2 * 384
    assert kernels["projected"].bytes == 384 + 128 + 192 + 2 * 192
    assert kernels["scaled"].bytes == 2 * 384 + 384  # written for the projection alone
    assert [name for name, kernel in kernels.items() if kernel.int8] == ["expanded", "projected"]


def level_node(case, positions=1):
    (operator,) = case.operators
    register_schemas()
    attributes = {"hidden_channels": operator.hidden_channels, "out_channels": operator.out_channels}
    attributes |= {"kernel_shape": [3, 3], "positions": positions}
    inputs = ["skip", "previous", "theta", *(f"network.decoder.levels.4.bias{i}" for i in (1, 2, 3))]
    half = case.height // 2, case.width // 2
    shapes = {
        "skip": [1, case.skip_channels, case.height, case.width],
        "previous": [1, case.previous_channels, *half],
        "theta": [1, case.weight_channels, *case.grid],
        "y": [1, operator.out_channels, case.height, case.width],
    }
    biases = {name: [size] for name, size in zip(inputs[3:], operator.bias_shapes, strict=True)}
    level = helper.make_node("DPWInvertedResidualLevel", inputs, ["y"], name="y", domain="hyperseg", **attributes)
    return model_of([level], shapes, biases, ["skip", "previous", "theta"], ["y"])


def test_a_fused_level_costs_what_the_floors_say():
    (kernel,) = kernels_of(level_node(LEVEL_4))
    assert kernel.part == LEVELS
    assert kernel.bytes == level_work(LEVEL_4, 2).bytes == 14_540_800
    # With the expand on the halo of every patch the level has 633.1 M; nine a hidden value are the depthwise's.
    assert kernel.multiply_adds == 9 * 68 * 256 * 512
    assert kernel.tensor_multiply_adds == 633_094_144 - kernel.multiply_adds


def test_a_label_head_costs_what_the_floors_say():
    head = published_heads()["cityscapes-m"]
    shapes = {"logits": [1, 19, 256, 512], "y": [1, 512, 1024], "labels": [1, 512, 1024]}
    nodes = [
        helper.make_node("LabelHead", ["logits"], ["y"], name="head", domain="hyperseg", scale=2),
        node("Cast", ["y"], "labels", to=TensorProto.UINT8),
    ]
    head_kernel, cast = kernels_of(model_of(nodes, shapes, {}, ["logits"], ["labels"]))
    assert (head_kernel.part, cast.part) == (LABELS, LABELS)
    assert head_kernel.bytes == head_work(head, 2).bytes
    assert 2 * head_kernel.multiply_adds == head_work(head, 2).operations
    assert cast.bytes == 512 * 1024 * 3


@pytest.mark.parametrize("name", ["street-tiny", "cityscapes-m", "voc-l"])
def test_multiply_adds_are_those_that_pytorch_counts(random_bundle, random_model, name):
    bundle = random_bundle(name)
    graph = strip_functions(onnx.load(bundle.folder / f"{name}.fp32.onnx"))
    kernels = [kernel for kernel in kernels_of(graph) if kernel.part != LABELS]
    counted = sum(kernel.tensor_multiply_adds + kernel.multiply_adds for kernel in kernels)
    with FlopCounterMode(display=False) as counter, torch.inference_mode(), torch.device("meta"):
        random_model(name).to("meta")(torch.zeros(1, 3, bundle.info.height, bundle.info.width))
    assert counted == counter.get_total_flops() // 2
    parts = {kernel.part for kernel in kernels_of(graph)}
    assert parts == {IMAGE, ENCODER, SQUEEZE_EXCITE, CONTEXT, *DECODER}


def test_parts_of_a_real_graph(random_bundle):
    graph = strip_functions(onnx.load(random_bundle("street-tiny").folder / "street-tiny.fp32.onnx"))
    parts = part_of_nodes(graph)
    by_part = {part: [n for n in graph.graph.node if parts[n.name] == part] for part in set(parts.values())}
    assert len([n for n in by_part[MAPPERS] if n.op_type == "Conv"]) == 5
    assert {n.op_type for n in by_part[LEVELS]} == {"DPWConv", "DPWConvLevel", "DPWInvertedResidualLevel"}
    assert {"LabelHead", "Cast"} <= {n.op_type for n in by_part[LABELS]} <= {"LabelHead", "Cast", "Resize"}
    assert "Concat" in {n.op_type for n in by_part[LEVEL_INPUTS]}  # level 0's
    excited = [n for n in by_part[SQUEEZE_EXCITE] if n.op_type == "Conv"]
    assert len(excited) == 2 * len(
        [n for n in by_part[SQUEEZE_EXCITE] if n.op_type in ("ReduceMean", "GlobalAveragePool")]
    )
    assert all(attributes_of(n).get("group", 1) == 1 for n in excited)


def test_a_kernel_takes_as_long_as_its_slowest_part():
    machine = Machine(Device("made up", 10, 1e9, 1e12, 1000), 0.5, 1.0, cached_bytes=1000, cached_bytes_per_s=1e15)
    kernel = Kernel("k", ENCODER, bytes=10_000_000)
    assert kernel.us(machine) == pytest.approx(20)  # 10 MB at half of 1 TB/s
    assert replace(kernel, bytes=999).us(machine) == 1  # from the cache at once, but a launch is a launch
    assert replace(kernel, tensor_multiply_adds=10**9).us(machine) == pytest.approx(200)  # at half of 10^13 a second
    assert replace(kernel, tensor_multiply_adds=10**9, int8=True).us(machine) == pytest.approx(100)
    assert replace(kernel, multiply_adds=128 * 10**6).us(machine) == pytest.approx(100)
    assert frame_us([kernel, kernel, replace(kernel, swish=True)], machine) == pytest.approx(40)


def test_tables_have_every_precision_part_and_share(block):
    kernels = kernels_of(block)
    assert len(machine_table({"FP16": kernels, "INT8": kernels})) == 2 + 4
    rows = part_table(kernels)
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| encoder", "| squeeze-excite", "| all"]
    assert rows[-1].startswith("| all | 7 |")  # swish is the convolution's
    assert len(sensitivity_table(kernels, ORIN_MACHINE)) == 4


def test_what_cannot_be_counted_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no variant .* no bundle or file"):
        load(str(tmp_path / "nothing.onnx"))


@pytest.mark.slow
def test_the_page_has_the_tables_and_orin_reaches_100_frames_a_second():
    from export.fuse import fuse

    page = PAGE.read_text()
    unfused = load("cityscapes-m")
    graph = fuse(unfused)
    kernels = kernels_of(graph)
    precisions = {"FP16": kernels, "INT8": kernels_of(quantised(graph))}
    for table in (machine_table(precisions), part_table(kernels), sensitivity_table(kernels, ORIN_MACHINE)):
        assert "\n".join(table) in page
    before = kernels_of(unfused)
    assert f"{frame_us(before, ORIN_MACHINE) / 1e3:.2f} ms" in page
    assert ORIN_MACHINE.device is ORIN
    assert frame_us(kernels, ORIN_MACHINE) < 1e6 / 100
    # Published with the variant, and LabelHead's four a logit.
    head = published_heads()["cityscapes-m"]
    multiply_adds = sum(k.tensor_multiply_adds + k.multiply_adds for k in kernels)
    assert (multiply_adds - head_work(head, 2).operations // 2) / 1e9 == pytest.approx(7.685, abs=5e-4)
