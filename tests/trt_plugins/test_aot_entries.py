"""The kernels that go into an engine, against the launchers of the plugin library, on the CPU.

What Python chooses for a node is what the launcher launches for it, and the entry computes the same bits.
"""

from __future__ import annotations

import ctypes
import dataclasses
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from runtime.backends.tensorrt.aot.choice import (
    ACTIVATIONS,
    PAD_MODES,
    DpwConv,
    DpwInvertedResidual,
    LabelHead,
    Launch,
    Node,
)
from tests.runtime.backends.tensorrt.aot.nodes import block, conv
from tests.trt_plugins.kernel_library import FLAGS, INVALID, PLUGINS, DpwConvParams, DpwInvertedResidualParams, Map

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")

HERE = Path(__file__).parent / "aot"
KERNELS = [f"kernels/{name}/{name}.cu" for name in ("dpwconv", "dpw_inverted_residual", "label_head")]
GRANTED_BYTES = 48 * 1024


class LabelHeadParams(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("logits", ctypes.c_void_p),
        ("labels", ctypes.c_void_p),
        *((name, ctypes.c_int) for name in ("batch", "classes", "height", "width", "scale")),
    ]


PARAMS = {
    DpwConv: ("dpwconv", DpwConvParams),
    DpwInvertedResidual: ("dpw_inverted_residual", DpwInvertedResidualParams),
    LabelHead: ("label_head", LabelHeadParams),
}


def compile_library(library: Path, sources: list[Path], *options: str) -> Path:
    includes = ["-I", HERE, "-I", PLUGINS / "cpu"]
    command = ["g++", *FLAGS, *includes, "-x", "c++", *sources, "-x", "none", *options, "-o", library]
    subprocess.run(command, check=True)
    return library


@pytest.fixture(scope="session")
def compiled(made_once) -> Path:
    """The folder of launchers.so, and of cpu.o for the entries' libraries."""

    def fill(folder: Path) -> None:
        scheduler = PLUGINS / "cpu" / "cpu.cpp"
        subprocess.run(["g++", "-std=c++17", "-O1", "-fPIC", "-c", scheduler, "-o", folder / "cpu.o"], check=True)
        sources = [*(PLUGINS / source for source in KERNELS), HERE / "launchers.cpp"]
        compile_library(folder / "launchers.so", sources, str(folder / "cpu.o"), "-ldl")

    return made_once("aot-launchers", fill)


@pytest.fixture(scope="module")
def launchers(compiled: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(compiled / "launchers.so"))
    library.launched.restype = ctypes.c_char_p
    return library


def inputs_of(node: Node, batch: int) -> dict[str, np.ndarray]:
    """Random inputs by the names of the launchers' parameters, in the node's order."""
    generator = np.random.default_rng(1)
    size = (node.height, node.width)
    if isinstance(node, LabelHead):
        shapes = {"logits": (batch, node.classes, *size)}
    else:
        shapes = {"skip": (batch, node.skip_channels, *size)}
        if node.previous_channels:
            shapes["previous"] = (batch, node.previous_channels, size[0] // 2, size[1] // 2)
        shapes["weight"] = (batch, node.weight_channels, node.grid_height, node.grid_width)
        if isinstance(node, DpwConv):
            shapes["bias"] = (node.out_channels,)
        else:
            shapes |= {
                "bias1": (node.hidden_channels,),
                "bias2": (node.hidden_channels,),
                "bias3": (node.out_channels,),
            }
    return {name: generator.standard_normal(shape).astype(node.dtype) for name, shape in shapes.items()}


def output_of(node: Node, batch: int) -> np.ndarray:
    if isinstance(node, LabelHead):
        return np.full((batch, node.height * node.scale, node.width * node.scale), np.nan, node.dtype)
    return np.full((batch, node.out_channels, node.height, node.width), np.nan, node.dtype)


def call_launcher(library: ctypes.CDLL, fields: dict, kind: type, batch: int, pointers: dict[str, int]) -> int:
    """Call a launcher with a node's numbers, which need not make sense, and addresses by name."""
    name, struct = PARAMS[kind]
    params = struct()
    numbers = dict(fields, batch=batch, type=["float32", "float16"].index(fields["dtype"]))
    if kind is not LabelHead:
        numbers["pad_mode"] = PAD_MODES.index(fields["pad_mode"])
        numbers["activation"] = ACTIVATIONS.index(fields["activation"])
        channels = (numbers["skip_channels"], numbers["previous_channels"], numbers["positions"])
        numbers["in_channels"] = channels[0] + channels[1] + 2 * channels[2]
        params.x = Map(pointers["skip"], pointers.get("previous"), *channels)
    for field, *_ in struct._fields_:
        if field in numbers:
            setattr(params, field, numbers[field])
        elif field in pointers:
            setattr(params, field, pointers[field])
    return getattr(library, name)(ctypes.byref(params))


def anywhere(fields: dict) -> dict[str, int]:
    """Addresses for launches that do not run."""
    pointers = dict.fromkeys(("skip", "weight", "bias", "bias1", "bias2", "bias3", "y", "logits", "labels"), 4096)
    return pointers | ({"previous": 4096} if fields.get("previous_channels") else {})


def launched_by(library: ctypes.CDLL, node: Node, batch: int, multiprocessors: int) -> list[str]:
    """What the launcher launches for a node: kernel, grid x, grid y, threads, bytes."""
    library.use_device(multiprocessors, GRANTED_BYTES, False)
    pointers = anywhere(dataclasses.asdict(node))
    assert call_launcher(library, dataclasses.asdict(node), type(node), batch, pointers) == 0
    return library.launched().decode().split("|")


def chosen(launch: Launch) -> list[str]:
    call = launch.defines["NODE_CALL"]
    return [call.partition("(")[0], *(str(value) for value in (*launch.grid, launch.block, launch.shared_bytes))]


# What the kernels' own tests compute too, but small: the fibres are slow.
COMPUTED = {
    "lane_per_patch": (conv("float16", (0, 5, 0), 3, (6, 10), (3, 5), offset=7, extra=2), 2),
    "lane_per_patch level": (conv("float32", (1, 5, 4), 3, (8, 4), (2, 1)), 1),
    "conv pixel_tile level": (conv("float16", (1, 5, 4), 3, (6, 10), (1, 1)), 1),
    "conv direct": (conv("float32", (0, 6, 0), 6, (4, 6), (2, 2), (3, 3), group=6, pad="constant"), 2),
    "conv direct level": (conv("float16", (1, 3, 1), 6, (4, 6), (2, 2), (3, 3), group=6), 1),
    "tensor_core 16 level": (block("float16", (1, 7, 5), 20, 11, (16, 32), (1, 2)), 1),
    "tensor_core 8": (block("float16", (0, 13, 0), 20, 13, (16, 16), (2, 2), residual=1, pad="constant"), 2),
    "pixel_tile level": (block("float32", (0, 4, 3), 9, 5, (12, 10), (2, 1)), 1),
    "direct": (block("float32", (0, 2, 0), 3, 2, (4, 2), (2, 1), (45, 45), pad="constant"), 1),
    "label head 1": (LabelHead("float32", 5, 3, 4, 1), 2),
    "label head 2": (LabelHead("float16", 5, 3, 5, 2), 2),
    "label head 3": (LabelHead("float16", 5, 3, 4, 3), 1),
}


@pytest.mark.parametrize("case", COMPUTED)
def test_an_entry_computes_what_its_launcher_computes(
    launchers: ctypes.CDLL, compiled: Path, tmp_path: Path, case: str
):
    node, batch = COMPUTED[case]
    inputs, expected = inputs_of(node, batch), output_of(node, batch)
    pointers = {name: array.ctypes.data for name, array in inputs.items()}
    launchers.use_device(0, GRANTED_BYTES, True)
    output = {"y": expected.ctypes.data, "labels": expected.ctypes.data}
    assert call_launcher(launchers, dataclasses.asdict(node), type(node), batch, pointers | output) == 0
    assert not np.isnan(expected).any()

    launches = node.launches(batch, 87)
    launch = launches[max(launches)]
    defines = [f"-D{name}={value}" for name, value in launch.defines.items()]
    options = [f'-DSOURCE="{PLUGINS / "aot" / launch.source}.cu"', f"-DENTRY={launch.source}", str(compiled / "cpu.o")]
    entry = ctypes.CDLL(str(compile_library(tmp_path / "entry.so", [HERE / "entry.cpp"], *options, *defines)))
    found = output_of(node, batch)
    values = [*(ctypes.c_void_p(address) for address in pointers.values()), ctypes.c_int(batch)]
    values.append(ctypes.c_void_p(found.ctypes.data))
    addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
    entry.run(*launch.grid, launch.block, ctypes.c_size_t(launch.shared_bytes), addresses)
    np.testing.assert_array_equal(found, expected)


PUBLISHED = [
    *(conv(dtype, maps, out, size, grid)
      for dtype in ("float16", "float32")
      for maps, out, size, grid in [
          ((0, 82, 0), 64, (24, 48), (24, 48)), ((1, 28, 64), 32, (48, 96), (24, 48)),
          ((1, 10, 32), 16, (96, 192), (24, 48)), ((0, 9, 0), 7, (96, 192), (24, 48)),
          ((1, 10, 32), 16, (24, 40), (8, 8)),
      ]),
    *(block(dtype, maps, hidden, out, size, grid)
      for dtype in ("float16", "float32")
      for maps, hidden, out, size, grid in [
          ((1, 6, 16), 48, 16, (192, 384), (24, 48)), ((1, 16, 16), 68, 19, (384, 768), (24, 48)),
          ((1, 10, 8), 44, 12, (384, 512), (24, 32)), ((0, 21, 0), 42, 12, (720, 960), (45, 30)),
          ((0, 40, 0), 150, 40, (64, 64), (8, 8)), ((0, 40, 0), 150, 9, (64, 64), (8, 8)),
      ]),
    block("float16", (1, 7, 10), 16, 16, (64, 64), (4, 4)),
    block("float16", (0, 16, 0), 16, 16, (64, 32), (4, 2), kernel=(5, 5), residual=1),
    block("float16", (0, 1600, 0), 3, 2, (2, 2), (1, 1), kernel=(1, 1)),
    block("float32", (0, 3, 0), 9, 4, (32, 32), (2, 2), kernel=(25, 21), pad="constant"),
    conv("float16", (0, 9, 0), 9, (32, 32), (2, 2), (3, 3), group=9),
    *(LabelHead(dtype, 19, 384, 768, scale) for dtype in ("float16", "float32") for scale in (1, 2, 3, 8)),
]  # fmt: skip


NODES = [*PUBLISHED, *(node for node, _ in COMPUTED.values())]


@pytest.mark.parametrize("batch", [1, 3])
def test_python_chooses_as_the_launchers_do(launchers: ctypes.CDLL, batch: int):
    for node in NODES:
        launches = {tactic: chosen(launch) for tactic, launch in node.launches(batch, 75).items()}
        # Where there are few multiprocessors, as many patches a block as fit in memory; where there are many, one.
        for multiprocessors, tactic in ((0, max(launches)), (10**6, min(launches))):
            name, *numbers = launched_by(launchers, node, batch, multiprocessors)
            assert [name.removeprefix("void ").partition("(")[0], *numbers] == launches[tactic], node


def test_python_refuses_what_the_launchers_refuse(launchers: ctypes.CDLL):
    """Changed by one number at a time, a node is refused by both or by neither."""
    launchers.use_device(0, GRANTED_BYTES, False)
    generator, refused = random.Random(0), 0
    for _ in range(3000):
        node = generator.choice(NODES)
        fields = dataclasses.asdict(node)
        name = generator.choice([name for name, value in fields.items() if isinstance(value, int)])
        near = [fields[name] - 1, fields[name] + 1, fields[name] * 2]
        fields[name] = generator.choice([0, 1] if name == "residual" else [0, 1, 2, 3, 7, 65, 300, *near])
        code = call_launcher(launchers, fields, type(node), 1, anywhere(fields))
        try:
            type(node)(**fields)
        except ValueError:
            refused += 1
            assert code == INVALID, (node, name, fields[name])
        else:
            assert code == 0, (node, name, fields[name])
    assert 500 < refused < 2500
