"""NVRTC compiles every kernel for every GPU that TensorRT 10.9 and later serve; what comes out is checked by ptxas."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from runtime.backends.tensorrt.aot import compiler
from runtime.backends.tensorrt.aot.choice import LabelHead, Launch, Node
from runtime.backends.tensorrt.aot.compiler import check_compiler, compile_kernel, find_cuda_headers
from runtime.errors import UserError
from tests.runtime.backends.tensorrt.aot.nodes import KERNELS, LEVEL_4

CAPABILITIES = (75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121)

BOUNDS = {"pixel_tile": 256}  # threads, where a launch may have fewer

# Each version of PTX before those that first know a GPU.
VERSIONS = [*(f"7.{minor}" for minor in range(9)), *(f"8.{minor}" for minor in range(9)), "9.0"]
BEFORE = dict(zip(VERSIONS, ["6.5", *VERSIONS], strict=False))


@pytest.fixture(scope="module", autouse=True)
def nvrtc():
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", exc_type=ImportError)
    try:
        nvrtc.nvrtcVersion()
        find_cuda_headers()
    except (RuntimeError, UserError) as error:
        pytest.skip(f"needs NVRTC and CUDA's headers: {error}")
    return nvrtc


@pytest.fixture
def ptxas(tmp_path):
    """Assemble a PTX text for a GPU; returns what ptxas says against it."""
    program = shutil.which("ptxas") or shutil.which("/usr/local/cuda/bin/ptxas")
    if program is None:
        pytest.skip("needs ptxas, of the CUDA toolkit")

    def assemble(ptx: str, capability: int) -> str:
        (tmp_path / "kernel.ptx").write_text(ptx)
        command = [program, f"-arch=sm_{capability}", "-v", tmp_path / "kernel.ptx", "-o", tmp_path / "kernel.cubin"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "is not defined for option 'gpu-name'" in done.stderr:
            pytest.skip(f"this ptxas knows no sm_{capability}")
        return done.stderr if done.returncode else ""

    return assemble


def launch_of(node: Node, capability: int) -> Launch:
    launches = node.launches(1, capability)
    return launches[max(launches)]


def inputs_of(node: Node) -> int:
    if isinstance(node, LabelHead):
        return 1
    biases = 3 if launch_of(node, 87).source == "dpw_inverted_residual" else 1
    return 2 + biases + (node.previous_channels > 0)


@pytest.mark.parametrize("capability", [75, 87, 120])
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_takes_its_inputs_the_batch_and_its_output(name: str, capability: int):
    """TensorRT passes them by position; a parameter of another width would shift the others."""
    launch = launch_of(KERNELS[name], capability)
    ptx = compile_kernel(launch.source, launch.defines, capability)
    ((entry, parameters),) = re.findall(r"\.visible \.entry (\w+)\((.*?)\)", ptx, re.DOTALL)
    assert entry == launch.source
    widths = [parameter.split()[1] for parameter in parameters.split(",")]
    assert widths == [".u64"] * inputs_of(KERNELS[name]) + [".u32", ".u64"]
    assert f".target sm_{capability}" in ptx
    assert "\0" not in ptx
    assert re.search(rf"\.maxntid {max(launch.block, BOUNDS.get(name, 0))}\b", ptx)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_the_lowered_version_is_the_oldest_that_the_gpu_allows(ptxas, capability: int):
    launch = launch_of(LEVEL_4, capability)
    ptx = compile_kernel(launch.source, launch.defines, capability)
    assert ptxas(ptx, capability) == ""
    if capability in (75, 88):  # 75: the product, not the GPU, sets the bound; 88: ptxas takes it for an sm_80
        return
    version = re.search(r"^\.version (.*)$", ptx, re.MULTILINE)[1]
    older = ptx.replace(f".version {version}", f".version {BEFORE[version]}", 1)
    assert "does not support .target" in ptxas(older, capability)


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_passes_the_assembler(ptxas, name: str):
    launch = launch_of(KERNELS[name], 87)
    assert ptxas(compile_kernel(launch.source, launch.defines, 87), 87) == ""


def test_the_bounds_are_those_of_the_kernels_in_the_library():
    """As functions the kernels lose their launch bounds, so that the entries bring them: blocks a multiprocessor."""
    kernels = compiler.find_sources().parent / "kernels"
    bounds = {
        kernel: " ".join(given.split())
        for path in kernels.glob("*/*.cuh")
        for given, kernel in re.findall(
            r"__global__ void __launch_bounds__\(((?:[^()]|\([^()]*\))*)\)\s*(\w+)\(", path.read_text()
        )
    }
    for node in KERNELS.values():
        launch = launch_of(node, 87)
        kernel = re.search(r"(\w+)<", launch.defines["NODE_CALL"])[1]
        given = launch.defines["NODE_BOUNDS"]
        if kernel == "dpwInvertedResidualTensorCore":
            given = re.sub(
                r"hyperseg::tensor_core::Tile<[^>]*>", "Tile<TILE_ROWS, TILE_COLUMNS, M_TILES, N_TILES>", given
            )
            assert given == bounds[kernel]
        else:
            assert given.split(", ")[1:] == bounds[kernel].split(", ")[1:], kernel


def test_a_gpu_newer_than_the_compiler_gets_code_for_the_newest_that_it_knows():
    launch = launch_of(LEVEL_4, 123)
    assert ".target sm_121" in compile_kernel(launch.source, launch.defines, 123)


def test_a_gpu_older_than_the_compiler_is_a_clear_message():
    with pytest.raises(UserError, match=r"NVRTC compiles for the compute capabilities 75, .*this GPU has 53"):
        check_compiler(53)


def test_what_does_not_compile_says_why():
    launch = launch_of(LEVEL_4, 87)
    with pytest.raises(RuntimeError, match=r'dpw_inverted_residual\.cu does not compile(.|\n)*"nonsense" is undefined'):
        compile_kernel(launch.source, {**launch.defines, "NODE_CALL": "nonsense()"}, 87)


def test_headers_that_the_compiler_cannot_read_are_a_clear_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "cuda_fp16.h").write_text("#error of another release\n")
    monkeypatch.setattr(compiler, "find_cuda_headers", lambda: tmp_path)
    with pytest.raises(UserError, match=r"(?s)do not compile three lines.*of another release.*one release of CUDA"):
        check_compiler(87)


def test_a_missing_part_is_a_clear_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nvrtc):
    def missing(*arguments: object) -> None:
        raise RuntimeError("Failure finding libnvrtc.so")

    def refused(message: str) -> None:
        with pytest.raises(UserError, match=message):
            check_compiler(87)

    with monkeypatch.context() as patch:
        patch.setattr(compiler, "_SOURCES", tmp_path / "nowhere")
        refused(r"nowhere does not exist.*Build the engine in a checkout")
    with monkeypatch.context() as patch:
        patch.setattr(nvrtc, "nvrtcGetSupportedArchs", missing)
        refused(r"NVRTC, CUDA's compiler library, does not load.*pip install nvidia-cuda-nvrtc")
    find_cuda_headers.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr("cuda.pathfinder.find_nvidia_header_directory", lambda name: None)
        refused(r"cuda_fp16\.h is not installed.*nvidia-cuda-runtime")
    with monkeypatch.context() as patch:
        patch.setitem(__import__("sys").modules, "cuda.pathfinder", None)
        refused(r"--plugin aot needs cuda-pathfinder.*pip install cuda-pathfinder")
