"""The operators as TensorRT's real Python bindings take them, each version in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from runtime.backends.tensorrt import aot
from runtime.backends.tensorrt.aot import prepare as prepare_build
from runtime.backends.tensorrt.aot.choice import Node
from runtime.backends.tensorrt.aot.compiler import compile_kernel
from runtime.backends.tensorrt.aot.operators import OPERATORS, node_of
from tests.runtime.backends.tensorrt.aot.nodes import KERNELS, block
from tests.runtime.backends.tensorrt.real_bindings import VERSIONS, RealBindings, prepare

WITH_AOT = tuple(version for version in VERSIONS if version.startswith(("10.16.", "11.")))

PREAMBLE = """
import json, sys
import tensorrt as trt
from runtime.backends.tensorrt.logger import logger_of
from tests.runtime.backends.tensorrt.aot.nodes import KERNELS, block
from tests.runtime.backends.tensorrt.aot.walk import create, prepare, walk
"""


@pytest.fixture(scope="module", params=WITH_AOT)
def bindings(request: pytest.FixtureRequest) -> RealBindings:
    pytest.importorskip("cuda.bindings.nvrtc", exc_type=ImportError)
    bindings = prepare(request.param, request.config.cache.mkdir("tensorrt-bindings"))
    if bindings.lean is None:
        pytest.skip(f"needs the lean runtime of TensorRT {bindings.version}, whose registry takes the operators")
    return bindings


def run(bindings: RealBindings, program: str) -> str:
    done = bindings.run(PREAMBLE + program)
    assert done.returncode == 0, done.stderr
    return "\n".join(line for line in done.stdout.splitlines() if "module is experimental" not in line)  # TensorRT's


FOUR_TACTICS = 'block("float16", (1, 10, 8), 44, 12, (384, 512), (24, 32))'


def test_tensorrt_gets_the_kernels_and_launches_that_were_chosen(bindings: RealBindings):
    nodes: dict[str, Node] = {**KERNELS, "tactics": block("float16", (1, 10, 8), 44, 12, (384, 512), (24, 32))}
    said = run(
        bindings,
        f"""
assert prepare(trt, "8.7", b"content") == b"content"
prepare(trt, "8.7", b"content")  # TensorRT refuses to register an operator twice
nodes = {{**KERNELS, "tactics": {FOUR_TACTICS}}}
print(json.dumps({{name: walk(node, [1, 3]) for name, node in nodes.items()}}))
""",
    )
    for name, kernels in json.loads(said).items():
        launches = [nodes[name].launches(batch, 87) for batch in (1, 3)]
        assert list(kernels) == [str(tactic) for tactic in launches[0]], name
        for tactic, found in kernels.items():
            of_batches = [by_tactic[int(tactic)] for by_tactic in launches]
            assert found["extras"] == [1, 3]
            assert found["launches"] == [
                {
                    **dict(zip(("grid_x", "grid_y"), launch.grid, strict=True)),
                    **{"grid_z": 1, "block_x": launch.block, "block_y": 1, "block_z": 1},
                    "shared_mem": launch.shared_bytes,
                }
                for launch in of_batches
            ], name
            launch = of_batches[0]
            assert found["kernel"] == launch.source
            assert found["ptx"] == compile_kernel(launch.source, launch.defines, 87)
    assert len(json.loads(said)["tactics"]) > 1


def test_what_is_wrong_with_a_node_stands_in_tensorrts_log(bindings: RealBindings):
    said = run(
        bindings,
        """
from tests.runtime.backends.tensorrt.aot.walk import operator_of
prepare(trt, "8.7", b"")
name, attributes, shapes, output = operator_of(KERNELS["conv direct"])
del attributes["activation"]  # TensorRT itself would shift those behind it
try:
    create(name, attributes).get_output_data_types([trt.float16] * 3, [4, 4, 1])
except Exception:
    print(logger_of(trt).take_errors())
try:
    create("DPWConv", operator_of(KERNELS["conv direct"])[1]).get_output_data_types(
        [trt.float16, trt.float32, trt.float16], [4, 4, 1]
    )
except Exception:
    print(logger_of(trt).take_errors())
""",
    )
    missing, types = said.splitlines()
    assert missing == "['DPWConv: the node lacks the attribute activation']"
    assert "DPWConv: the inputs are DataType.HALF, DataType.FLOAT, DataType.HALF; all share one type" in types


def test_a_process_that_has_loaded_the_library_is_refused(bindings: RealBindings):
    said = run(
        bindings,
        """
from runtime.errors import UserError
class Creator(trt.IPluginCreatorV3One):
    def __init__(self):
        trt.IPluginCreatorV3One.__init__(self)
        self.name, self.plugin_version, self.plugin_namespace = "LabelHead", "1", ""
        self.field_names = trt.PluginFieldCollection([])
creator = Creator()
assert trt.get_plugin_registry().register_creator(creator, "")
try:
    prepare(trt, "8.7", b"")
except UserError as error:
    print(error)
""",
    )
    assert said.startswith("this process has loaded the plugin library")


def test_the_library_is_refused_in_a_process_that_has_the_aot_operators(bindings: RealBindings):
    said = run(
        bindings,
        """
from pathlib import Path
from runtime.backends.tensorrt.plugin import load_plugin
from runtime.errors import UserError
library = Path("/nowhere/libhyperseg_plugins.so")
for _ in range(2):
    try:
        load_plugin(trt, library)
    except UserError as error:
        print(error)
    prepare(trt, "8.7", b"")
""",
    )
    without, having = said.splitlines()
    assert "cannot load the plugin library /nowhere" in without
    assert having.startswith("this process has built an engine with --plugin aot")


@pytest.mark.parametrize("version", [version for version in VERSIONS if version not in WITH_AOT])
def test_a_tensorrt_without_such_plugins_is_a_clear_message(version: str, bundle: Path, request: pytest.FixtureRequest):
    bindings = prepare(version, request.config.cache.mkdir("tensorrt-bindings"))
    done = bindings.run(
        f"""
import sys
from runtime.__main__ import main
from runtime.errors import run_command
sys.argv = ["runtime", "build", {str(bundle)!r}, "--plugin", "aot"]
sys.exit(run_command(main))
"""
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        f"error: TensorRT {version} cannot keep kernels in an engine: --plugin aot needs TensorRT 10.9 or newer"
    )


CONV = OPERATORS[0]
ATTRIBUTES = {
    "out_channels": np.array([2]),
    "kernel_shape": np.array([1, 1]),
    "pad_mode": "reflect\0",
    "activation": "relu",
    "weight_offset": np.array([0]),
    "group": np.array([1]),
}
SIZES = [[-1, 3, 4, 4], [-1, 6, 2, 2], [2]]


@pytest.mark.parametrize(
    ("sizes", "attributes", "message"),
    [
        ([[-1, 3, 4, 5], *SIZES[1:]], {}, "4x5 is not cut into equal patches"),
        ([*SIZES[:2], [3]], {}, r"B is \[3\] and should be \[2\]"),
        (SIZES, {"weight_offset": np.array([1])}, r"W holds 6 values a patch, fewer than weight_offset 1 \+ 6"),
        (SIZES, {"kernel_shape": np.array([1])}, "kernel_shape has 1 values instead of 2"),
        (SIZES, {"pad_mode": "mirror"}, "pad_mode is 'mirror'"),
        (SIZES, {"group": np.array([2])}, "group 2 divides not both"),
        (SIZES, {"kernel_shape": np.array([1, 2])}, "both must be odd"),
    ],
)
def test_numbers_that_clash_are_told(sizes, attributes, message):
    assert node_of(CONV, "float16", SIZES, ATTRIBUTES).pad_mode == "reflect"  # without the parser's NUL
    with pytest.raises(ValueError, match=message):
        node_of(CONV, "float16", sizes, ATTRIBUTES | attributes)


def test_the_labels_of_one_image_fit_in_32_bits():
    def labels(height, width, scale):
        return node_of(OPERATORS[-1], "float16", [[-1, 19, height, width]], {"scale": np.array([scale])})

    assert labels(20000, 26000, 2).scale == 2
    with pytest.raises(ValueError, match="40000x40000, enlarged 2 times, is too large"):
        labels(40000, 40000, 2)


def test_a_previous_level_of_another_size_is_told():
    sizes = [[-1, 2, 4, 4], [-1, 1, 2, 3], [-1, 6, 2, 2], [2]]
    with pytest.raises(ValueError, match=r"4x4 is not twice as large as the previous level's, \[2, 3\]"):
        node_of(OPERATORS[1], "float16", sizes, ATTRIBUTES | {"positions": np.array([0])})


def test_for_10_9_each_of_our_nodes_names_its_namespace(monkeypatch: pytest.MonkeyPatch, use_tensorrt):
    """Its parser does not look for a plugin in the node's domain."""
    monkeypatch.setattr(aot, "check_compiler", lambda capability: None)
    monkeypatch.setattr(aot, "register_operators", lambda trt, capability: None)
    nodes = [
        helper.make_node("LabelHead", ["x"], ["y"], domain="hyperseg", scale=2),
        helper.make_node("Relu", ["y"], ["z"]),
    ]
    content = helper.make_model(helper.make_graph(nodes, "g", [], [])).SerializeToString()
    assert prepare_build(use_tensorrt("10.10.0"), "8.7", content) == content
    changed = onnx.load_model_from_string(prepare_build(use_tensorrt("10.9.0"), "8.7", content))
    ours, theirs = changed.graph.node
    assert helper.get_node_attr_value(ours, "plugin_namespace") == b"hyperseg"
    assert not theirs.attribute


@pytest.mark.parametrize(
    "name",
    ["street-tiny", *(pytest.param(name, marks=pytest.mark.slow) for name in ("cityscapes-m", "camvid-s", "voc-l"))],
)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_every_node_of_an_exported_file_has_kernels(random_bundle, name, dtype):
    pytest.importorskip("cuda.bindings.nvrtc", exc_type=ImportError)
    bundle = random_bundle(name)
    graph = onnx.load(bundle.folder / f"{name}.fp32.trt.onnx").graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = [dim.dim_value or -1 for dim in value.type.tensor_type.shape.dim]
    operators = {operator.name: operator for operator in OPERATORS}
    nodes = [node for node in graph.node if node.domain == "hyperseg"]
    assert {node.op_type for node in nodes} > {"DPWConv", "LabelHead"}
    for node in nodes:
        # As TensorRT's parser passes them: a text as a str, integers as an array.
        attributes = {
            attribute.name: value.decode() if isinstance(value, bytes) else np.atleast_1d(value)
            for attribute in node.attribute
            for value in [helper.get_attribute_value(attribute)]
        }
        chosen = node_of(operators[node.op_type], dtype, [shapes[name] for name in node.input], attributes)
        for launch in chosen.launches(1, 87).values():
            assert launch.source in compile_kernel(launch.source, launch.defines, 87)
