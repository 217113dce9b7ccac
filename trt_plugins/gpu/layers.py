"""Where an engine's time goes: ``python -m trt_plugins.gpu.layers ENGINE``.

Every layer of the engine is timed by TensorRT's own profiler, and put down to the part of the network whose ONNX nodes
it holds. A profiled run is slower than one from a CUDA graph, because each layer is timed apart: look at shares.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import onnx
import torch

from runtime.errors import UserError, run_command
from runtime.files import replace_file
from trt_plugins.gpu.parts import DECODER, ENCODER, PARTS, part_of_nodes
from trt_plugins.gpu.report import table

if TYPE_CHECKING:
    from runtime.backends.tensorrt.engine_file import OpenedEngine

REFORMATS = "reformats"  # TensorRT's own copies between types and layouts
OTHER = "other"
_WIDEST_VALUE_BYTES = 8
_UNTIMED_RUNS, _RUNS = 10, 50
_SHOWN_LAYERS = 12


@dataclass(frozen=True)
class Layer:
    """A layer as the engine's inspector describes it; ``nodes`` are those of the ONNX graph that it holds."""

    name: str
    nodes: tuple[str, ...]
    is_reformat: bool

    def part(self, parts: Mapping[str, str]) -> str:
        """The part that most of the nodes belong to, by their names."""
        if self.is_reformat:
            return REFORMATS
        counted = Counter(parts[node] for node in self.nodes if node in parts)
        return counted.most_common(1)[0][0] if counted else OTHER


def layers_of(inspected: str, nodes: Iterable[str]) -> list[Layer]:
    """Read the JSON text of TensorRT's engine inspector; ``nodes`` are the names of the ONNX graph's nodes.

    Which nodes a layer holds stands in its metadata if the engine was built to tell, otherwise at best in its name.
    """
    known, layers = set(nodes), []
    # TensorRT parts the nodes' names by a control character, which strict JSON would want escaped.
    for entry in json.loads(inspected, strict=False)["Layers"]:
        fields = {"Name": entry} if isinstance(entry, str) else entry
        name, metadata = fields["Name"], fields.get("Metadata", "")
        held = re.findall(r"\[ONNX Layer: ([^\]]+)\]", metadata) or re.findall(r"[\w./:]+", name)
        kind = f"{fields.get('LayerType', '')} {name}"
        is_reformat = re.search(r"\breformat", kind, re.IGNORECASE) is not None
        layers.append(Layer(name, tuple(node for node in dict.fromkeys(held) if node in known), is_reformat))
    return layers


def median_us(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Median microseconds of each layer, from the milliseconds that each run reported by name."""
    names = dict.fromkeys(name for run in runs for name in run)
    return {name: 1e3 * median(run.get(name, 0.0) for run in runs) for name in names}


def part_rows(times_us: Mapping[str, float], layers: Iterable[Layer], parts: Mapping[str, str]) -> list[dict[str, Any]]:
    """Add up the layers' times by part: rows of name, layers that take time, microseconds and percent of all."""
    by_name = {layer.name: layer.part(parts) for layer in layers}
    sums: dict[str, list[float]] = defaultdict(list)
    for name, time_us in times_us.items():
        # A reformat that the profiler alone knows by name is one as well.
        part = by_name.get(name, REFORMATS if "reformat" in name.lower() else OTHER)
        sums[part].append(time_us)
    total_us = sum(times_us.values())
    order = (*PARTS, REFORMATS, OTHER)
    return [
        {
            "name": part,
            "layers": sum(time_us > 0 for time_us in sums[part]),
            "us": sum(sums[part]),
            "percent": 100 * sum(sums[part]) / total_us,
        }
        for part in order
        if part in sums
    ]


def figures(times_us: Mapping[str, float], layers: Sequence[Layer], model: onnx.ModelProto) -> dict[str, Any]:
    """Return the parts, the decoder's share, the longest layers, and how many layers are activations of the encoder.

    An activation that is not taken into its convolution's kernel reads and writes a whole map once more.
    """
    parts = part_of_nodes(model)
    operators = {node.name: node.op_type for node in model.graph.node}
    rows = part_rows(times_us, layers, parts)
    nodes = {layer.name: layer.nodes for layer in layers}
    apart = [
        layer.name
        for layer in layers
        if layer.part(parts) == ENCODER and layer.nodes and {operators[n] for n in layer.nodes} <= {"Sigmoid", "Mul"}
    ]
    longest = sorted(times_us, key=lambda name: times_us[name], reverse=True)[:_SHOWN_LAYERS]
    return {
        "parts": rows,
        "decoder_percent": sum(row["percent"] for row in rows if row["name"] in DECODER),
        "layers": sum(row["layers"] for row in rows),
        "sum_of_layers_us": sum(times_us.values()),
        "activations_apart": sum(times_us.get(name, 0.0) > 0 for name in apart),
        "longest": [{"name": name, "us": times_us[name], "nodes": list(nodes.get(name, ()))} for name in longest],
    }


def profile(engine: Path, plugin: Path | None) -> dict[str, Any]:
    """Profile an engine at batch 1 on the current GPU. Raises UserError for an engine that cannot be used here."""
    from runtime.backends.tensorrt.engine_file import open_engine

    opened = open_engine(engine, plugin)
    onnx_file = engine.parent / opened.record.onnx
    if not onnx_file.is_file():
        raise UserError(f"{onnx_file}, which the engine was built from, is missing; its nodes tell the layers apart.")
    model = onnx.load(onnx_file)
    inspector = opened.engine.create_engine_inspector()
    inspected = inspector.get_engine_information(opened.trt.LayerInformationFormat.JSON)
    times_us, kernels = _timed(opened)
    layers = layers_of(inspected, [node.name for node in model.graph.node])
    return {"kernels": kernels, **figures(times_us, layers, model)}


def _timed(opened: OpenedEngine) -> tuple[dict[str, float], int | None]:
    """Median microseconds of each layer, and how many kernels a frame launches."""
    trt, engine = opened.trt, opened.engine
    stream = torch.cuda.Stream()
    context = engine.create_execution_context()
    if context is None or not context.set_optimization_profile_async(0, stream.cuda_stream):
        raise UserError("TensorRT cannot make room for an execution context: other programs may use the GPU's memory.")
    memory = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        shape = (1, *tuple(engine.get_tensor_shape(name))[1:])
        memory.append(torch.zeros(prod(shape) * _WIDEST_VALUE_BYTES, dtype=torch.uint8, device="cuda"))
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            context.set_input_shape(name, shape)
        context.set_tensor_address(name, memory[-1].data_ptr())
    torch.cuda.synchronize()

    def run() -> None:
        if not context.execute_async_v3(stream.cuda_stream):
            raise UserError("TensorRT cannot run the network")
        stream.synchronize()

    for _ in range(_UNTIMED_RUNS):
        run()
    kernels = _kernels_launched(run)
    runs: list[dict[str, float]] = []

    class Profiler(trt.IProfiler):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.IProfiler.__init__(self)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            runs[-1][layer_name] = runs[-1].get(layer_name, 0.0) + ms

    profiler = Profiler()
    context.profiler = profiler
    for _ in range(_RUNS):
        runs.append({})
        run()
    return median_us(runs), kernels


def _kernels_launched(run: Callable[[], None]) -> int | None:
    """Count the kernels by PyTorch's profiler; None where it sees none, for want of rights or of CUPTI."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        run()
    on_device = [event.name for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    return sum(not name.startswith(("Memcpy", "Memset")) for name in on_device) or None


def main() -> None:
    """Profile the engine that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m trt_plugins.gpu.layers", description="Times each layer of a TensorRT engine, by its part."
    )
    parser.add_argument("engine", type=Path)
    parser.add_argument("--plugin", type=Path, metavar="LIB", help="the plugin library (default: looked for)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    arguments = parser.parse_args()
    found = profile(arguments.engine, arguments.plugin)
    print("\n".join(table(found["parts"])))
    print(f"decoder: {found['decoder_percent']:.1f} % of the layers' time")
    print(f"kernels: {found['kernels'] or 'not counted'}, layers that take time: {found['layers']}")
    print(f"activations of the encoder that are layers of their own: {found['activations_apart']}")
    if arguments.json is not None:
        with replace_file(arguments.json) as aside:
            aside.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(run_command(main))
