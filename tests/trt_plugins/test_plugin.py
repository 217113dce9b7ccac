"""The plugin library in TensorRT's own registries, its sources under sanitizers, and the exported graphs against it."""

import functools
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import onnx
import pytest

from export.downgrade import downgrade
from export.half import to_half
from export.operators import register_schemas, strip_functions
from runtime.backends.tensorrt.plugin import find_plugin
from runtime.errors import UserError
from tests.export.parsers import element_types
from tests.trt_plugins.registry_session import NVCC, Refused, Session, compile_driver
from training.network.variants import VARIANTS

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
BUILD = ROOT / "scripts" / "build_plugin.sh"

# A registry asks the library much, but runs no kernel: these need not be fast.
QUICK_BUILD = {"CMAKE_BUILD_PARALLEL_LEVEL": "1", "NVCC_APPEND_FLAGS": "-Xcicc=-O1 -Xptxas=-O0"}

needs_nvcc = pytest.mark.skipif(NVCC is None, reason="needs the CUDA compiler nvcc")
needs_cmake = pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
slow = pytest.mark.slow

DPWCONV = {
    "out_channels": "i:16",
    "kernel_shape": "i:3,3",
    "group": "i:2",
    "pad_mode": "s:reflect",
    "activation": "s:relu6",
    "weight_offset": "i:5",
}
DPWCONV_SHAPES = ["2,8,12,16", f"2,{5 + 16 * 4 * 9},3,4", "16"]
INVERTED = {
    "hidden_channels": "i:24",
    "out_channels": "i:8",
    "kernel_shape": "i:3,3",
    "pad_mode": "s:constant",
    "activation": "s:relu",
    "residual": "i:1",
    "weight_offset": "i:0",
}
INVERTED_SHAPES = ["2,8,12,16", f"2,{24 * (8 + 9 + 8)},3,4", "24", "24", "8"]
# The levels read the same number of channels: two coordinates, five of S and one of P, or only five and three.
INVERTED_LEVEL = {**INVERTED, "positions": "i:0"}
del INVERTED_LEVEL["residual"]
OPERATORS = {
    "DPWConv": (DPWCONV, DPWCONV_SHAPES, "2,16,12,16"),
    "DPWInvertedResidual": (INVERTED, INVERTED_SHAPES, "2,8,12,16"),
    "DPWConvLevel": ({**DPWCONV, "positions": "i:1"}, ["2,5,12,16", "2,1,6,8", *DPWCONV_SHAPES[1:]], "2,16,12,16"),
    "DPWInvertedResidualLevel": (INVERTED_LEVEL, ["2,5,12,16", "2,3,6,8", *INVERTED_SHAPES[1:]], "2,8,12,16"),
    "LabelHead": ({"scale": "i:3"}, ["2,19,12,16"], "2,36,48"),
}

TYPE_NAMES = {onnx.TensorProto.FLOAT: "float", onnx.TensorProto.FLOAT16: "half"}


def exported_symbols(library):
    listing = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1] for line in listing.splitlines()}


@pytest.fixture(scope="session")
def build_library(tmp_path_factory):
    """Build the library of a TensorRT major version against the project's own declarations, once."""

    @functools.cache
    def build(major):
        out = tmp_path_factory.mktemp("plugin")
        command = [BUILD, "--tensorrt-major", str(major), "--arch", "90", "--out", out]
        subprocess.run(command, check=True, env={**os.environ, **QUICK_BUILD})
        return out / f"tensorrt{major}" / "libhyperseg_plugins.so"

    return build


@pytest.fixture(scope="module", params=[10, 11])
def built(request, build_library):
    return request.param, build_library(request.param)


@pytest.fixture(scope="session")
def start_session(tmp_path_factory):
    """Start sessions with a library; skip where TensorRT's lean runtime of that version is missing."""

    @functools.cache
    def driver(major):
        path = tmp_path_factory.mktemp("session") / "registry_session"
        compile_driver(path, [HERE / "registry_session.cpp"], major, "-ldl")
        return path

    sessions = []

    def start(major, library):
        package = importlib.util.find_spec("tensorrt_lean_libs")
        folders = package.submodule_search_locations if package else []
        runtimes = [runtime for folder in folders for runtime in Path(folder).glob(f"libnvinfer_lean.so.{major}")]
        if not runtimes:
            pytest.skip(f"needs TensorRT {major}'s lean runtime: tensorrt-lean-cu{major + 2}-libs")
        sessions.append(Session(str(driver(major)), str(runtimes[0]), str(library)))
        return sessions[-1]

    yield start
    for session in sessions:
        session.close()


@pytest.fixture(scope="module")
def session(built, start_session):
    return start_session(*built)


@slow
@needs_nvcc
@needs_cmake
def test_library_exports_two_functions_and_links_nothing_of_tensorrt(built):
    _, library = built
    assert exported_symbols(library) == {"getCreators", "setLoggerFinder"}
    needed = subprocess.run(["objdump", "-p", library], check=True, capture_output=True, text=True).stdout
    assert "libnvinfer" not in needed
    assert "libcudart" not in needed


@slow
@needs_nvcc
@needs_cmake
def test_library_says_for_which_tensorrt_it_is(built, tmp_path):
    major, library = built
    copied = Path(shutil.copy(library, tmp_path))  # out of the folder whose name tells it too
    assert find_plugin(major, copied) == copied
    with pytest.raises(UserError, match=f"is for TensorRT {major}, but here is TensorRT {21 - major}"):
        find_plugin(21 - major, copied)


@slow
@needs_nvcc
@needs_cmake
def test_library_builds_against_tensorrts_own_headers(tmp_path, start_session):
    roots = [
        os.environ.get("TENSORRT_ROOT", "/none") + "/include",
        "/usr/include",
        *Path("/usr/include").glob("*-linux-gnu"),
    ]
    if not any(Path(root, "NvInferRuntime.h").is_file() for root in roots):
        pytest.skip("needs TensorRT's headers, in the system or in TENSORRT_ROOT")
    done = subprocess.run([BUILD, "--arch", "90", "--out", tmp_path], check=True, capture_output=True, text=True)
    assert "headers in" in done.stdout
    (library,) = tmp_path.glob("tensorrt*/libhyperseg_plugins.so")
    major = int(library.parent.name.removeprefix("tensorrt"))
    assert exported_symbols(library) == {"getPluginCreators" if major == 8 else "getCreators", "setLoggerFinder"}
    if major >= 10:
        # The session speaks the project's own declarations: both sides agree on every call's place and arguments.
        session = start_session(major, library)
        for name, (attributes, inputs, output) in OPERATORS.items():
            session.create(name, attributes)
            assert session.ask("capabilities").endswith(f"{name} 1 '' outputs 1")
            assert session.fields("recreate") == attributes
            assert session.ask("types", *["half"] * len(inputs)) == "half"
            assert session.ask("shapes", *inputs) == output
            assert session.ask("formats 1", *["half:linear"] * (len(inputs) + 1)) == "yes"
            for command in ("configure", "change"):
                session.ask(command, *inputs)
            with pytest.raises(Refused, match="an input has no memory"):
                session.ask("enqueue half", *inputs)
        assert session.ask("shapes ?,19,?,16") == "?,3*?2,48"


@slow
@needs_nvcc
@needs_cmake
class TestRegistry:
    """What TensorRT 10 and 11 get when they ask."""

    def test_a_plugin_has_all_capabilities_and_the_parsers_name(self, session):
        for name, (attributes, *_) in OPERATORS.items():
            session.create(name, attributes)
            assert session.ask("capabilities") == (
                f"PLUGIN_V3ONE_CORE PLUGIN_V3ONE_BUILD PLUGIN_V3ONE_RUNTIME {name} 1 '' outputs 1"
            )

    @pytest.mark.parametrize("name", OPERATORS)
    def test_declared_fields_are_the_schemas_attributes(self, session, name):
        register_schemas()
        kinds = {"INT": "i:", "INTS": "i:", "STRING": "s:"}
        schema = onnx.defs.get_schema(name, "hyperseg").attributes
        assert session.fields("declared", name) == {key: kinds[entry.type.name] for key, entry in schema.items()}

    def test_fields_go_round(self, session):
        for name, (attributes, *_) in OPERATORS.items():
            session.create(name, attributes)
            assert session.fields("recreate") == attributes
            session.ask("clone")
            assert session.fields("recreate") == attributes

    def test_offset_may_be_left_out_and_texts_may_lack_their_nul(self, session):
        attributes = {**DPWCONV, "pad_mode": "t:reflect", "activation": "t:relu6"}
        del attributes["weight_offset"]
        session.create("DPWConv", attributes)
        assert session.fields("recreate") == {**DPWCONV, "weight_offset": "i:0"}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"axis": "i:1"}, "no attribute 'axis'"),
            ({"out_channels": None}, "'out_channels' is missing"),
            ({"activation": None}, "'activation' is missing"),
            ({"out_channels": "l:16"}, "'out_channels' must be 1 integer"),
            ({"out_channels": "f:16"}, "'out_channels' must be 1 integer"),
            ({"out_channels": "s:16"}, "'out_channels' must be 1 integer"),
            ({"out_channels": "n:16"}, "'out_channels' must be 1 integer"),
            ({"out_channels": "i:"}, "'out_channels' must be 1 integer"),
            ({"out_channels": "i:0"}, "'out_channels' is 0"),
            ({"out_channels": "i:-3"}, "'out_channels' is -3"),
            ({"out_channels": "i:2147483647"}, "'out_channels' is 2147483647"),
            ({"out_channels": "i:15"}, "group 2 does not divide"),
            ({"kernel_shape": "i:3"}, "'kernel_shape' must be 2 integer"),
            ({"kernel_shape": "i:3,3,3"}, "'kernel_shape' must be 2 integer"),
            ({"kernel_shape": "i:3,2"}, "must be odd"),
            ({"group": "i:0"}, "'group' is 0"),
            ({"weight_offset": "i:-1"}, "'weight_offset' is -1"),
            ({"pad_mode": "s:edge"}, "'pad_mode' is 'edge'; it must be one of 'reflect', 'constant'"),
            ({"pad_mode": "i:0"}, "'pad_mode' must be a text"),
            ({"activation": "s:"}, "'activation' is ''"),
            ({"activation": "t:"}, "'activation' must be a text"),
            ({"activation": "s:relu66"}, "'activation' is 'relu66'"),
        ],
    )
    def test_bad_fields_are_refused_with_a_message(self, session, change, message):
        attributes = {key: value for key, value in {**DPWCONV, **change}.items() if value is not None}
        with pytest.raises(Refused, match=f"DPWConv: .*{message}"):
            session.create("DPWConv", attributes)

    @pytest.mark.parametrize(
        ("name", "change", "message"),
        [
            ("DPWInvertedResidual", {"residual": "i:2"}, "'residual' is 2"),
            ("DPWInvertedResidual", {"group": "i:1"}, "no attribute 'group'"),
            ("DPWInvertedResidual", {"hidden_channels": "i:0"}, "'hidden_channels' is 0"),
            ("DPWInvertedResidual", {"positions": "i:0"}, "no attribute 'positions'"),
            ("DPWInvertedResidualLevel", {"residual": "i:0"}, "no attribute 'residual'"),
            ("DPWInvertedResidualLevel", {"positions": None}, "'positions' is missing"),
            ("DPWConvLevel", {"positions": "i:2"}, "'positions' is 2; it must be 0 to 1"),
            ("LabelHead", {"scale": "i:0"}, "'scale' is 0; it must be 1 to 64"),
            ("LabelHead", {"scale": "i:65"}, "'scale' is 65"),
            ("LabelHead", {"scale": None}, "'scale' is missing"),
        ],
    )
    def test_bad_fields_of_the_other_operators_are_refused(self, session, name, change, message):
        attributes = {key: value for key, value in {**OPERATORS[name][0], **change}.items() if value is not None}
        with pytest.raises(Refused, match=f"{name}: .*{message}"):
            session.create(name, attributes)

    def test_a_field_that_is_given_twice_is_refused(self, session):
        with pytest.raises(Refused, match="'out_channels' is given twice"):
            session.ask("create DPWInvertedResidual out_channels=i:1 out_channels=i:1")

    def test_output_has_the_inputs_type_and_shape_but_for_its_channels(self, session):
        session.create("DPWConv", DPWCONV)
        assert session.ask("types float float float") == "float"
        assert session.ask("types half half half") == "half"
        assert session.ask("shapes", *DPWCONV_SHAPES) == "2,16,12,16"
        assert session.ask("shapes ?,?,?,? ?,?,?,? ?") == "?,16,?,?"
        session.create("DPWInvertedResidual", INVERTED)
        assert session.ask("shapes ?,8,12,16 ?,600,3,4 24 24 8") == "?,8,12,16"
        session.create("DPWConvLevel", OPERATORS["DPWConvLevel"][0])
        assert session.ask("shapes ?,5,12,16 ?,1,6,8 ?,581,3,4 16") == "?,16,12,16"
        assert session.ask("shapes ?,?,?,? ?,?,?,? ?,?,?,? ?") == "?,16,?,?"
        for name, (attributes, inputs, output) in OPERATORS.items():
            session.create(name, attributes)
            assert session.ask("shapes", *inputs) == output

    def test_labels_have_the_logits_batch_and_no_channels(self, session):
        session.create("LabelHead", {"scale": "i:2"})
        assert session.ask("types half") == "half"
        assert session.ask("shapes ?,19,256,512") == "?,512,1024"
        assert session.ask("shapes ?,?,?,512") == "?,2*?2,1024"
        session.create("LabelHead", {"scale": "i:1"})
        assert session.ask("shapes ?,21,?,512") == "?,?2,512"

    @pytest.mark.parametrize("types", ["float half float", "int8 int8 int8", "float float", "float float float float"])
    def test_other_types_are_refused(self, session, types):
        session.create("DPWConv", DPWCONV)
        with pytest.raises(Refused, match="DPWConv: "):
            session.ask("types", types)

    @pytest.mark.parametrize(
        ("position", "shape", "message"),
        [
            (0, "2,7,12,16", "group 2 does not divide the 7 channels"),
            (0, "2,10,12,16", "weight_offset 5 [+] 720"),
            (0, "2,8,13,16", "cannot be cut"),
            (0, "2,8,12,15", "cannot be cut"),
            (0, "3,8,12,16", "differ in their batch"),
            (0, "8,12,16", "X has 3 dimensions instead of 4"),
            (0, "0,8,12,16", "empty or too large"),
            (0, "2,8,12,2147483648", "empty or too large"),
            (1, "2,580,3,4", "weight_offset 5 [+] 576"),
            (1, "2,581,3", "W has 3 dimensions"),
            (1, "2,581,12,17", "cannot be cut"),
            (2, "15", "B .15. should be .16."),
            (2, "16,1", "B has 2 dimensions"),
        ],
    )
    def test_shapes_that_do_not_fit_are_refused_everywhere(self, session, position, shape, message):
        session.create("DPWConv", DPWCONV)
        for command in ("shapes", "configure", "change", "enqueue float"):
            with pytest.raises(Refused, match=message):
                session.ask(command, *(shape if i == position else good for i, good in enumerate(DPWCONV_SHAPES)))

    @pytest.mark.parametrize(
        ("position", "shape", "message"),
        [
            (0, "2,5,13,16", r"S .2, 5, 13, 16. is not twice as high and wide as P .2, 1, 6, 8."),
            (0, "2,5,12,15", "is not twice as high and wide"),
            (0, "3,5,12,16", "S .* and P .* differ in their batch"),
            (0, "5,12,16", "S has 3 dimensions instead of 4"),
            (0, "2,0,12,16", "S .* empty or too large"),
            (0, "2,6,12,16", "group 2 does not divide the 9 channels of X"),
            (0, "2,2147483647,12,16", "X has more than 65536 channels per group"),
            (1, "2,1,6", "P has 3 dimensions instead of 4"),
            (1, "2,-3,6,8", "P .* empty or too large"),
            (1, "2,3,6,8", r"fewer than weight_offset 5 [+] 720"),
            (1, "2,1,12,16", "is not twice as high and wide"),
            (2, "3,581,3,4", "differ in their batch"),
            (2, "2,581,5,4", "X .2, 8, 12, 16. cannot be cut"),
            (3, "15", "B .15. should be .16."),
        ],
    )
    def test_maps_that_make_no_level_are_refused_everywhere(self, session, position, shape, message):
        attributes, shapes, _ = OPERATORS["DPWConvLevel"]
        session.create("DPWConvLevel", attributes)
        for command in ("shapes", "configure", "change", "enqueue float"):
            with pytest.raises(Refused, match=f"DPWConvLevel: .*{message}"):
                session.ask(command, *(shape if i == position else good for i, good in enumerate(shapes)))

    def test_logits_that_have_no_labels_are_refused_everywhere(self, session):
        session.create("LabelHead", {"scale": "i:2"})
        session.ask("change 1,256,1,1")
        for shapes, message in (
            (["1,257,4,4"], "X has 257 classes; there may be 256"),
            (["19,4,4"], "X has 3 dimensions instead of 4"),
            (["1,19,0,4"], "empty or too large"),
            (["1,19,4,4", "19"], "there are 2 inputs instead of 1"),
        ):
            for command in ("shapes", "configure", "change"):
                with pytest.raises(Refused, match=f"LabelHead: .*{message}"):
                    session.ask(command, *shapes)

    def test_a_map_no_larger_than_the_halo_cannot_be_mirrored(self, session):
        shapes = ("1,2,2,1", "1,9999,1,1", "16")
        session.create("DPWConv", {**DPWCONV, "pad_mode": "s:constant"})
        session.ask("change", *shapes)
        session.create("DPWConv", DPWCONV)
        with pytest.raises(Refused, match="too small to be mirrored by 1 pixels"):
            session.ask("change", *shapes)

    def test_a_residual_needs_as_many_channels(self, session):
        session.create("DPWInvertedResidual", INVERTED)
        session.ask("change", *INVERTED_SHAPES)
        with pytest.raises(Refused, match=r"as many input channels .7. as output .8."):
            session.ask("change 2,7,12,16", *INVERTED_SHAPES[1:])
        for position, length in ((2, 23), (3, 23), (4, 7)):
            shapes = [length if i == position else shape for i, shape in enumerate(INVERTED_SHAPES)]
            with pytest.raises(Refused, match=f"B{position - 1} .{length}. should be"):
                session.ask("change", *shapes)

    def test_all_tensors_are_linear_and_of_one_type(self, session):
        session.create("DPWConv", DPWCONV)
        kinds = ["float:linear", "half:linear", "int8:linear", "float:hwc8", "half:hwc8"]
        for first in kinds:
            assert session.ask("formats 0", first, *kinds[:3]) == ("yes" if first in kinds[:2] else "not")
        for position in (1, 2, 3):
            for first in kinds[:2]:
                for kind in kinds:
                    tensors = [first] * position + [kind] + ["int8:hwc8"] * (3 - position)
                    assert session.ask("formats", position, *tensors) == ("yes" if kind == first else "not")

    @pytest.mark.parametrize("name", OPERATORS)
    def test_enqueue_without_memory_returns_an_error(self, session, name):
        attributes, shapes, _ = OPERATORS[name]
        session.create(name, attributes)
        with pytest.raises(Refused, match="an input has no memory"):
            session.ask("enqueue float", *shapes)
        with pytest.raises(Refused, match="of one type"):
            session.ask("enqueue int8", *shapes)

    def test_the_library_can_be_unloaded(self, built, start_session):
        session = start_session(*built)
        session.create("DPWConv", DPWCONV)
        assert session.ask("unload") == "gone"


@slow
@needs_nvcc
@needs_cmake
@pytest.mark.parametrize("precision", ["float", "half"])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_node_of_every_variant_is_accepted(session, random_bundle, name, precision):
    model = strip_functions(onnx.load(random_bundle(name).onnx()))
    model = downgrade(to_half(model) if precision == "half" else model)
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    known = {value.name: value.type.tensor_type.shape for value in (*graph.value_info, *graph.output)}
    shapes = {name: ",".join(str(d.dim_value or "?") for d in shape.dim) for name, shape in known.items()}
    shapes |= {tensor.name: ",".join(map(str, tensor.dims)) for tensor in graph.initializer}
    types = element_types(graph)
    nodes = [node for node in graph.node if node.domain == "hyperseg"]
    found = {node.op_type for node in nodes}
    assert found <= set(OPERATORS)
    assert found > {"LabelHead"}
    assert any(name.endswith("Level") for name in found)
    for node in nodes:
        declared = session.fields("declared", node.op_type)
        attributes = {}
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            match attribute.type:
                case onnx.AttributeProto.STRING:
                    attributes[attribute.name] = f"s:{value.decode()}"
                case onnx.AttributeProto.INT | onnx.AttributeProto.INTS:
                    attributes[attribute.name] = "i:" + ",".join(map(str, [value] if isinstance(value, int) else value))
            assert attributes[attribute.name].startswith(declared[attribute.name])
        session.create(node.op_type, attributes)
        assert session.fields("recreate") == attributes  # the exporter writes all of them
        inputs = [shapes[tensor] for tensor in node.input]
        assert inputs[0].startswith("?,")  # the batch is symbolic, the rest is known
        assert inputs[0].count("?") == 1
        assert session.ask("shapes", *inputs) == shapes[node.output[0]]
        session.ask("configure", *inputs)
        session.ask("change", *(shape.replace("?", "3") for shape in inputs))
        tensors = [TYPE_NAMES[types[tensor]] for tensor in (*node.input, *node.output)]
        assert set(tensors) == {precision}
        assert session.ask("types", *tensors[:-1]) == precision
        for position in range(len(tensors)):
            assert session.ask("formats", position, *(f"{tensor}:linear" for tensor in tensors)) == "yes"


def plugin_sources(adapter):
    names = (
        "attributes dpw_inverted_residual_operator dpwconv_operator label_head_operator library logger operator shapes"
    )
    return [ROOT / "trt_plugins" / "plugin" / f"{name}.cpp" for name in (*names.split(), adapter)]


SANITIZERS = "-Xcompiler=-fsanitize=address\\,undefined,-fno-sanitize-recover=all,-g"


@slow
@needs_nvcc
def test_random_calls_crash_nothing(tmp_path):
    compile_driver(tmp_path / "fuzz", [HERE / "fuzz_plugin.cpp", *plugin_sources("v3_adapter")], 10, SANITIZERS)
    subprocess.run([tmp_path / "fuzz", "1", "10000"], check=True)


@needs_nvcc
def test_plugins_of_tensorrt_8_know_their_outputs(tmp_path):
    include = Path(os.environ.get("TENSORRT_ROOT", "/none"), "include")
    if not (include / "NvInferRuntime.h").is_file() or "NV_TENSORRT_MAJOR 8" not in (
        (include / "NvInferVersion.h").read_text()
    ):
        pytest.skip("needs the headers of TensorRT 8 in TENSORRT_ROOT")
    sources = [HERE / "v2_plugin.cpp", *plugin_sources("v2_adapter")]
    warnings = ["-Xcompiler=-Wno-deprecated-declarations", "-isystem", str(include)]
    compile_driver(tmp_path / "v2_plugin", sources, None, SANITIZERS, *warnings)
    subprocess.run([tmp_path / "v2_plugin"], check=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fast"], "There is no option --fast"),
        (["--arch"], "--arch needs a value"),
        (["--tensorrt-major", "9"], "the project declares TensorRT 10 and 11"),
        (["--tensorrt-major", "10", "--tensorrt-root", "/"], "exclude each other"),
    ],
)
def test_wrong_options_are_explained(arguments, message):
    done = subprocess.run([BUILD, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_missing_compiler_is_explained():
    environment = {**os.environ, "CUDACXX": "/no/nvcc"}
    done = subprocess.run([BUILD], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert "There is no CUDA compiler" in done.stderr


@needs_nvcc
@needs_cmake
def test_missing_headers_and_unknown_architectures_are_explained(tmp_path):
    for arguments, message in (
        (["--tensorrt-root", tmp_path], "holds no include/NvInferRuntime.h"),
        (["--tensorrt-major", "10", "--arch", "90,31"], "has no architecture 31"),
    ):
        done = subprocess.run([BUILD, *arguments, "--out", tmp_path], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert message in done.stderr
