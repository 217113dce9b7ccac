"""The engine checks without TensorRT: commands, profile, end-to-end figures and aims, by doubles."""

import enum
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from runtime.backends.tensorrt.aot import compiler
from runtime.errors import UserError
from trt_plugins.gpu import __main__ as gpu_check
from trt_plugins.gpu import end_to_end, engine, layers
from trt_plugins.gpu.end_to_end import frames_per_s, measure, open_network
from trt_plugins.gpu.engine import AOT, NETWORKS, OURS, PLAIN, Engines, frames_table, judge_aims, with_ratios
from trt_plugins.gpu.layers import OTHER, REFORMATS, Layer, figures, layers_of, median_us, part_rows
from trt_plugins.gpu.parts import ENCODER, LEVELS, MAPPERS
from trt_plugins.gpu.report import Check, Failed, NotRun, Report, summary


def graph():
    """A convolution with its swish, a mapper and a level."""
    nodes = [
        helper.make_node("Conv", ["x", "network.backbone.conv.weight"], ["c"], name="node_conv"),
        helper.make_node("Sigmoid", ["c"], ["g"], name="node_Sigmoid"),
        helper.make_node("Mul", ["c", "g"], ["s"], name="node_silu"),
        helper.make_node("Conv", ["s", "network.decoder.mappers.0.weight"], ["t"], name="node_conv_1"),
        helper.make_node("DPWConv", ["s", "t", "network.decoder.levels.0.bias"], ["y"], name="node_dpwconv"),
    ]
    names = ("network.backbone.conv.weight", "network.decoder.mappers.0.weight", "network.decoder.levels.0.bias")
    weights = [helper.make_tensor(name, onnx.TensorProto.FLOAT, [1], [0.0]) for name in names]
    return helper.make_model(helper.make_graph(nodes, "graph", [], [], weights))


PARTS = {
    "node_conv": ENCODER,
    "node_Sigmoid": ENCODER,
    "node_silu": ENCODER,
    "node_conv_1": MAPPERS,
    "node_dpwconv": LEVELS,
}


def test_layers_tell_their_nodes_by_metadata_or_by_name():
    nodes = list(PARTS)
    metadata = "[ONNX Layer: node_conv]\x1e[ONNX Layer: node_Sigmoid]\x1e[ONNX Layer: node_silu]"
    detailed = [
        {"Name": "__myl_ConvSigmMul_myl0_1", "LayerType": "kgen", "Metadata": metadata},
        {"Name": "Reformatting CopyNode for Input Tensor 0 to node_dpwconv", "LayerType": "Reformat"},
        {"Name": "__myl_Fc_myl0_2", "Metadata": "[ONNX Layer: unknown]"},
    ]
    inspected = json.dumps({"Layers": detailed})
    assert layers_of(inspected.replace(r"\u001e", "\x1e"), nodes) == layers_of(inspected, nodes)
    found = layers_of(inspected, nodes)
    assert [layer.nodes for layer in found] == [("node_conv", "node_Sigmoid", "node_silu"), ("node_dpwconv",), ()]
    assert [layer.part(PARTS) for layer in found] == [ENCODER, REFORMATS, OTHER]
    named = ["node_conv + PWN(PWN(node_Sigmoid), node_silu)", "node_conv_1", "node_dpwconv"]
    found = layers_of(json.dumps({"Layers": named}), nodes)
    assert [layer.nodes for layer in found] == [
        ("node_conv", "node_Sigmoid", "node_silu"),
        ("node_conv_1",),
        ("node_dpwconv",),
    ]
    assert [layer.part(PARTS) for layer in found] == [ENCODER, MAPPERS, LEVELS]


def test_times_by_part_and_the_decoders_share():
    runs = [{"a": 0.060, "b": 0.020, "c": 0.0}, {"a": 0.062, "b": 0.020, "c": 0.0}, {"a": 0.9, "b": 0.020, "c": 0.0}]
    times = median_us([run | {"d": 0.010, "Reformatting e": 0.008} for run in runs])
    assert times == pytest.approx({"a": 62, "b": 20, "c": 0, "d": 10, "Reformatting e": 8})
    held = [Layer("a", ("node_conv", "node_silu"), False), Layer("b", ("node_dpwconv",), False)]
    held += [Layer("c", ("node_conv_1",), False), Layer("d", ("node_Sigmoid", "node_silu"), False)]
    rows = part_rows(times, held, PARTS)
    assert [(row["name"], row["layers"], row["us"]) for row in rows] == [
        (ENCODER, 2, pytest.approx(72)),
        (MAPPERS, 0, 0),
        (LEVELS, 1, pytest.approx(20)),
        (REFORMATS, 1, pytest.approx(8)),
    ]
    assert sum(row["percent"] for row in rows) == pytest.approx(100)
    found = figures(times, held, graph())
    assert found["decoder_percent"] == pytest.approx(20)
    assert (found["layers"], found["activations_apart"], found["longest"][0]["name"]) == (4, 1, "a")


class Context:
    """TensorRT's execution context, which tells a profiler of two layers."""

    def __init__(self):
        self.profiler, self.addresses, self.runs = None, {}, 0

    def set_optimization_profile_async(self, profile_index, stream_handle):
        return (profile_index, stream_handle) == (0, 7)

    def set_input_shape(self, name, shape):
        assert (name, shape) == ("image", (1, 4, 6, 3))

    def set_tensor_address(self, name, memory):
        self.addresses[name] = memory

    def execute_async_v3(self, stream_handle):
        assert stream_handle == 7
        assert set(self.addresses) == {"image", "labels"}
        self.runs += 1
        if self.profiler is not None:
            self.profiler.report_layer_time("node_conv + PWN(PWN(node_Sigmoid), node_silu)", 0.03)
            self.profiler.report_layer_time("node_dpwconv", 0.01)
        return True


class IProfiler:
    def __init__(self):
        self.is_initialised = True  # what pybind11 demands of a subclass


class TensorIOMode(enum.Enum):
    INPUT = 0
    OUTPUT = 1


@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_profile_of_an_engine(tmp_path, monkeypatch, capsys):
    context, named = Context(), ["node_conv + PWN(PWN(node_Sigmoid), node_silu)", "node_dpwconv"]
    trt = SimpleNamespace(
        IProfiler=IProfiler, TensorIOMode=TensorIOMode, LayerInformationFormat=SimpleNamespace(JSON="json")
    )
    inspector = SimpleNamespace(get_engine_information=lambda form: json.dumps({"Layers": named, "form": form}))
    shapes = {"image": (-1, 4, 6, 3), "labels": (-1, 4, 6)}
    opened = SimpleNamespace(
        trt=trt,
        record=SimpleNamespace(onnx="model.onnx"),
        engine=SimpleNamespace(
            create_execution_context=lambda: context,
            create_engine_inspector=lambda: inspector,
            num_io_tensors=2,
            get_tensor_name=lambda index: list(shapes)[index],
            get_tensor_shape=shapes.__getitem__,
            get_tensor_mode=lambda name: TensorIOMode.INPUT if name == "image" else TensorIOMode.OUTPUT,
        ),
    )
    monkeypatch.setattr("runtime.backends.tensorrt.engine_file.open_engine", lambda path, plugin: opened)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: SimpleNamespace(cuda_stream=7, synchronize=lambda: None))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    zeros = torch.zeros
    monkeypatch.setattr(torch, "zeros", lambda *size, device, **more: zeros(*size, **more))
    with pytest.raises(UserError, match="is missing"):
        layers.profile(tmp_path / "model.engine", None)
    onnx.save(graph(), tmp_path / "model.onnx")
    monkeypatch.setattr(sys, "argv", ["layers", str(tmp_path / "model.engine"), "--json", str(tmp_path / "out.json")])
    layers.main()
    found = json.loads((tmp_path / "out.json").read_text())
    assert {row["name"]: row["us"] for row in found["parts"]} == pytest.approx({ENCODER: 30, LEVELS: 10})
    assert found["decoder_percent"] == pytest.approx(25)
    assert found["kernels"] is None  # there is no device to see any on
    assert context.runs == 10 + 1 + 50
    assert "kernels: not counted" in capsys.readouterr().out


class TwoSlots:
    """A backend of two slots that says what was done to it."""

    def __init__(self):
        self.info, self.done = SimpleNamespace(height=4, width=6), []
        self.slots = tuple(
            SimpleNamespace(
                image_nhwc=np.zeros((1, 4, 6, 3), np.uint8),
                start=lambda number=number: self.done.append(f"start {number}"),
                finish=lambda number=number: self.done.append(f"finish {number}"),
            )
            for number in (0, 1)
        )

    def labels(self, image_nhwc):
        self.done.append("frame")
        return image_nhwc[..., 0]

    def network_ms(self, image_nhwc):
        self.done.append("network")
        return 2.0


def test_frames_are_timed_one_by_one_and_with_all_slots_in_flight():
    backend, image = TwoSlots(), np.full((1, 4, 6, 3), 7, np.uint8)
    assert frames_per_s(backend, image, 4) > 0
    order = "start 0, start 1, finish 0, start 0, finish 1, start 1, finish 0, finish 1"
    assert ", ".join(backend.done) == order
    assert all((slot.image_nhwc == 7).all() for slot in backend.slots)
    found = measure(backend, image, frames=5, untimed=2)
    assert (found["network_ms"], found["network_p99_ms"]) == (2, 2)
    assert set(found) == {"network_ms", "network_p99_ms", "frame_ms", "frame_p99_ms", "frames_per_s"}
    assert (backend.done.count("frame"), backend.done.count("network")) == (7, 7)


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells what a machine without a GPU says")
def test_pytorch_on_a_gpu_needs_one(tmp_path):
    with pytest.raises(UserError, match="no CUDA GPU"):
        open_network("eager", tmp_path / "model.ckpt", None)


@pytest.fixture
def packages(monkeypatch):
    """Everything is installed, TensorRT 10.9, NVRTC and CMake."""
    monkeypatch.setattr(engine, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.9.0"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(compiler, "check_compiler", lambda capability: None)
    monkeypatch.setattr(engine.shutil, "which", lambda name: f"/usr/bin/{name}")


class Commands:
    """Runs commands by leaving the files that they would; what contains a word of ``failing`` fails."""

    def __init__(self, failing=()):
        self.failing, self.ran = failing, []

    def __call__(self, *command):
        self.ran.append(command)
        if any(word in " ".join(command) for word in self.failing):
            raise Failed("it failed", {"said": ["why"]})
        out = Path(command[command.index("--out" if "--out" in command else "--json") + 1])
        if "calibration" in command:
            out.mkdir(parents=True)
            onnx.save(graph(), out / "net.fp16.trt.onnx")
        elif "runtime.parity" in command:
            out.mkdir()
            (out / "parity.json").write_text('{"figure": 1}')
        elif "--json" in command:
            out.write_text('{"frame_ms": 1.0, "network_ms": 0.5, "frames_per_s": 1000.0}')


def test_each_part_is_made_once_by_the_projects_commands(tmp_path, packages, monkeypatch):
    run = Commands()
    engines = Engines(tmp_path, tmp_path / "trained.ckpt", run)
    assert engines.compare("fp16") == {"engine": "fp16", "parity": {"figure": 1}}
    engines.compare("int8")
    python, plugin, bundle = sys.executable, tmp_path / "plugin/tensorrt10/libhyperseg_plugins.so", tmp_path / "bundle"
    export, library, build, parity, *_ = run.ran
    assert export[:6] == (python, "-m", "calibration", "export", str(tmp_path / "trained.ckpt"), "--out")
    assert library[:3] == ("scripts/build_plugin.sh", "--arch", "90")
    assert library[-2:] == ("--tensorrt-major", "10")
    assert build[:5] == (python, "-m", "runtime", "build", str(bundle))
    assert build[5:] == (*("--precision", "fp16", "--plugin", str(plugin), "--out", str(bundle / "net.fp16.engine")),)
    assert parity[3:8] == (str(bundle), "--backends", "tensorrt", "--precisions", "fp16")
    assert parity[-2:] == ("--plugin", str(plugin))
    assert sum("calibration" in command for command in run.ran) == 1
    assert engines.profile("fp16")["frame_ms"] == 1
    assert run.ran[-1][:5] == (python, "-m", "trt_plugins.gpu.layers", str(bundle / "net.fp16.engine"), "--plugin")

    engines.compare(AOT)
    build, parity = run.ran[-2:]
    assert build[4:9] == (str(tmp_path / "bundle aot"), "--precision", "fp16", "--plugin", "aot")
    assert (tmp_path / "bundle aot/net.fp16.trt.onnx").is_file()
    assert "--plugin" not in parity

    made = SimpleNamespace(plain=lambda model: model)
    monkeypatch.setitem(sys.modules, "export.plain", made)
    engines.time_frames("TensorRT fp16 without plugin")
    build, timing = run.ran[-2:]
    assert build[4] == str(tmp_path / "plain/net.fp16.trt.onnx")
    assert timing[3:5] == ("engine", str(tmp_path / "plain/net.fp16.engine"))
    engines.time_frames("torch.compile fp16")
    assert run.ran[-1][3:6] == ("compiled", str(tmp_path / "trained.ckpt"), "--json")


def test_what_random_weights_missing_packages_and_old_versions_leave_out(tmp_path, packages, monkeypatch):
    engines = Engines(tmp_path, run=Commands())
    with pytest.raises(NotRun, match="random weights"):
        engines.compare("int8")
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.8.0"))
    with pytest.raises(NotRun, match=r"TensorRT 10\.8\.0 cannot keep kernels"):
        Engines(tmp_path, tmp_path / "trained.ckpt", Commands()).engine(AOT)
    monkeypatch.setattr(engine, "find_spec", lambda name: None if name in ("pycuda", "timm") else object())
    with pytest.raises(NotRun, match="not installed: pycuda, timm"):
        engines.profile("fp16")
    with pytest.raises(NotRun, match="not installed: timm"):
        Engines(tmp_path / "other", run=Commands()).time_frames("PyTorch eager fp32")


def test_what_builds_kernels_is_asked_for_before_it_is_used(tmp_path, packages, monkeypatch):
    def no_nvrtc(capability):
        raise UserError(f"NVRTC does not load for {capability}")

    monkeypatch.setattr(compiler, "check_compiler", no_nvrtc)
    run = Commands()
    engines = Engines(tmp_path, tmp_path / "trained.ckpt", run)
    with pytest.raises(NotRun, match="NVRTC does not load for 90"):
        engines.engine(AOT)
    monkeypatch.setattr(engine.shutil, "which", lambda name: None)
    with pytest.raises(NotRun, match="cmake"):
        engines.engine("fp16")
    assert not any(word in command for command in run.ran for word in ("build", "scripts/build_plugin.sh"))


def test_the_script_takes_files_from_where_it_is_called(tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    said = subprocess.run(
        [engine.ROOT / "scripts/gpu_check.sh", "--checkpoint", "best.ckpt", "--out=reports/here.json"],
        cwd=tmp_path,
        env=os.environ | {"HYPERSEG_PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    here = tmp_path.resolve()
    files = ["--checkpoint", str(here / "best.ckpt"), f"--out={here}/reports/here.json"]
    assert said == [str(engine.ROOT.resolve()), "-m", "trt_plugins.gpu", *files]


def test_a_checkpoint_that_is_not_there_is_told_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu_check", "--checkpoint", str(tmp_path / "best.ckpt")])
    with pytest.raises(SystemExit) as ended:
        gpu_check.main()
    assert ended.value.code == 2
    assert f"there is no checkpoint {tmp_path}/best.ckpt" in capsys.readouterr().err


def test_a_part_that_failed_is_not_tried_again_and_hides_no_other(tmp_path, packages):
    run = Commands(failing=["--precision int8"])
    engines = Engines(tmp_path, tmp_path / "trained.ckpt", run)
    with pytest.raises(Failed, match="it failed"):
        engines.profile("int8")
    with pytest.raises(NotRun, match="the engine int8 could not be made, see above"):
        engines.time_frames("engine int8")
    assert engines.time_frames("engine fp16")["frame_ms"] == 1


def times(frame_ms, network_ms=0.4, per_s=1200.0):
    return {"frame_ms": frame_ms, "network_ms": network_ms, "frames_per_s": per_s}


def test_the_table_of_frames_keeps_what_ran():
    def time_frames(name):
        if name == "engine int8":
            raise Failed("exit code 1", {"said": ["why"]})
        if name == "torch.compile fp16":
            raise RuntimeError("broken")
        if name == "engine fp16 aot":
            raise NotRun("TensorRT is too old")
        return times(10.0 if name == "PyTorch eager fp32" else 0.5)

    with pytest.raises(Failed, match=r"2 of 6: engine int8, torch\.compile fp16") as failure:
        frames_table(time_frames, lambda text: None)
    found = failure.value.figures
    assert [row["name"] for row in found["networks"]] == [OURS, "TensorRT fp16 without plugin", "PyTorch eager fp32"]
    assert found["not_run"] == {"engine fp16 aot": "TensorRT is too old"}
    assert found["failed"]["torch.compile fp16"]["reason"] == "RuntimeError: broken"
    assert found["networks"][2]["frame/ours"] == 20
    text = summary(Report("2026-01-31", {}, (Check("frames", "failed", "why", found),)))
    assert "PyTorch eager fp32" in text
    assert with_ratios([{"name": "PyTorch eager fp32", **times(1.0)}])[0]["frame/ours"] is None

    def nothing(name):
        raise NotRun("not installed: tensorrt")

    with pytest.raises(NotRun, match="not installed: tensorrt"):
        frames_table(nothing, lambda text: None)


def test_aims_are_judged_on_the_device_they_are_for():
    def found(eager_ms, plain_ms, per_s):
        rows = [{"name": OURS, **times(0.5, per_s=per_s)}]
        rows += [{"name": "PyTorch eager fp32", **times(eager_ms)}]
        rows += [{"name": "TensorRT fp16 without plugin", **times(plain_ms)}]
        return {"networks": with_ratios(rows)}

    reached = judge_aims(found(7.5, 0.75, 1000.0), "NVIDIA H200")["aims"]
    assert [row["reached"] for row in reached] == [15, 1.5, 1000]
    with pytest.raises(Failed, match="missed: PyTorch eager fp32, frame/ours; frames a second"):
        judge_aims(found(7.4, 0.75, 999.0), "NVIDIA H200")
    with pytest.raises(NotRun, match="not timed: engine fp16"):
        judge_aims({}, "NVIDIA H200")
    with pytest.raises(NotRun, match="on an H200, this is Orin"):
        judge_aims(found(7.5, 0.75, 1000.0), "Orin")


def test_every_network_that_is_timed_is_an_engine_that_is_built_or_pytorch():
    assert {name for kind, name in NETWORKS.values() if kind == "engine"} == {"fp16", "int8", AOT, PLAIN}
    assert {kind for kind, _ in NETWORKS.values()} == {"engine", "eager", "compiled"}
    assert OURS in NETWORKS
    assert set(engine.RATIO_AIMS) <= set(NETWORKS)
    assert end_to_end.__doc__
