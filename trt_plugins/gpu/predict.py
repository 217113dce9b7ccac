"""How long a frame takes, predicted by counting: ``python -m trt_plugins.gpu.predict MODEL ...``, no GPU needed.

MODEL is a variant's name (at its published size, with random weights), a bundle or an ONNX file. Its nodes are put
together as TensorRT puts them together, a convolution with its bias, activation and the map that is added to it, and
each kernel that remains takes as long as the slowest of four:

- its bytes, each map and each weight once, over the bandwidth that kernels reach, or over the L2 cache's where its
  bytes stay there,
- its multiply-adds on the tensor cores at half their peak,
- those on the CUDA cores at their peak,
- the least time of a kernel within a CUDA graph.

What is assumed stands in MACHINES. Left out are what kernels overlap, copies between layouts, the interpolation within
a fused level, and how good TensorRT's kernels are; a frame therefore takes longer than this where its kernels reach
less. Nothing here was measured.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto

from calibration.layers import attributes_of, default_int8_layers, shapes_of
from calibration.placement import place_qdq
from export.bundle import info_from_config
from export.dead_paths import drop_dead_paths
from export.fold import fold_batchnorm
from export.fuse import fuse
from export.graph import onnx_from_model, quieten_exporter
from export.operators import register_schemas, strip_functions
from runtime.bundle import open_bundle
from runtime.errors import UserError, run_command
from training import HyperSeg
from training.network.variants import VARIANTS, variant
from trt_plugins.gpu.costs import H200, LANES, ORIN, ORIN_NX, RTX_4090, Device
from trt_plugins.gpu.parts import IMAGE, LABELS, LEVELS, MAPPERS, PARTS, SQUEEZE_EXCITE, part_of_nodes

_TENSOR_PEAK_REACHED = 0.5


@dataclass(frozen=True)
class Machine:
    """A device, and what is assumed of it beside its rates: ``kernel_us`` is the least time of a kernel."""

    device: Device
    bandwidth_reached: float  # share of the device's
    kernel_us: float
    cached_bytes: int = 0  # a kernel that moves less finds its maps in the L2 cache
    cached_bytes_per_s: float = 0.0


ORIN_MACHINE = Machine(ORIN, 0.8, 4.0)
MACHINES = (
    # The bandwidth of H200 is 90 % of its data sheet's already, those of the others are whole. Half of an L2 cache is
    # taken for what one kernel may move.
    Machine(H200, 1.0, 2.0, cached_bytes=25_000_000, cached_bytes_per_s=7e12),
    Machine(RTX_4090, 0.9, 2.0, cached_bytes=36_000_000, cached_bytes_per_s=3e12),
    ORIN_MACHINE,
    Machine(ORIN_NX, 0.8, 5.0),
)


@dataclass(frozen=True)
class Kernel:
    """What one launch moves and computes; ``swish`` is an activation that TensorRT should take into another kernel.

    ``theta_bytes`` are those of the bytes that are a level's weights.
    """

    name: str
    part: str
    bytes: int
    tensor_multiply_adds: int = 0
    multiply_adds: int = 0
    theta_bytes: int = 0
    swish: bool = False
    int8: bool = False

    def us(self, machine: Machine) -> float:
        """Microseconds on a machine."""
        device = machine.device
        bandwidth = device.bytes_per_s * machine.bandwidth_reached
        if self.bytes < machine.cached_bytes:
            bandwidth = machine.cached_bytes_per_s
        clocks_per_s = device.multiprocessors * device.clock_hz
        tensor_rate = clocks_per_s * device.matrix_multiply_adds * _TENSOR_PEAK_REACHED * (2 if self.int8 else 1)
        seconds = max(
            self.bytes / bandwidth,
            self.tensor_multiply_adds / tensor_rate,
            self.multiply_adds / (clocks_per_s * 4 * LANES),
        )
        return max(1e6 * seconds, machine.kernel_us)


def kernels_of(model: ModelProto, value_bytes: int = 2) -> list[Kernel]:
    """List the kernels of a bare model, with or without Q/DQ, at batch 1, its floats counted as ``value_bytes`` each.

    What is read from a DequantizeLinear and written for QuantizeLinears alone has a byte. Activations of whole maps are
    kernels of their own in the list, marked, so that a caller may leave them out.
    """
    counter = _Counter(model, value_bytes)
    found = (counter.kernel(node) for node in model.graph.node)
    return [kernel for kernel in found if kernel is not None]


def frame_us(kernels: Iterable[Kernel], machine: Machine) -> float:
    """Microseconds of kernels one after the other, those of swish left out: the convolution before takes it in."""
    return sum(kernel.us(machine) for kernel in kernels if not kernel.swish)


class _Counter:
    def __init__(self, model: ModelProto, value_bytes: int) -> None:
        self.graph = model.graph
        self.value_bytes = value_bytes
        self.parts = part_of_nodes(model)
        self.shapes = shapes_of(model)
        self.constants = {constant.name for constant in model.graph.initializer}
        self.producers = {output: node for node in self.graph.node for output in node.output}
        self.readers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.graph.node:
            for name in dict.fromkeys(node.input):
                self.readers[name].append(node)

    def kernel(self, node: NodeProto) -> Kernel | None:
        """Count one node; None for what another kernel takes in, what is known at build time and what moves nothing."""
        output, part = node.output[0], self.parts[node.name]
        if len(self.shapes.get(output, ())) < 3 or self.constants >= set(node.input):
            return None
        moves = Kernel(node.name, part, self._read(node) + self._written(output))
        match node.op_type:
            case "Conv":
                return self._convolution(node)
            case "GlobalAveragePool" | "ReduceMean" | "Resize" | "Concat":
                return moves
            case "QuantizeLinear" if not self._all_quantise(node.input[0]):
                return replace(moves, bytes=self._values(output) * (self.value_bytes + 1))
            case "Sub":  # the last of four that normalise the image, of a byte a value
                return replace(moves, bytes=self._values(output) + self._written(output))
            case "Mul" if part != IMAGE and prod(self.shapes[output][2:]) > 1:
                return replace(moves, bytes=self._size(output) + self._written(output), swish=self._is_swish(node))
            case "ArgMax":  # TensorRT's TopK: largest values and, as int32, where they are
                return replace(moves, bytes=self._read(node) + self._values(output) * (self.value_bytes + 4))
            case "LabelHead":
                enlarged = self._values(node.input[0]) * attributes_of(node)["scale"] ** 2
                return replace(moves, multiply_adds=4 * enlarged)
            case "Cast" if part == LABELS:
                other = 1 if output in {end.name for end in self.graph.output} else 4
                return replace(moves, bytes=self._values(output) * (self.value_bytes + other))
            case operator if operator.startswith("DPW"):
                return self._level(node)
        return None

    def _convolution(self, node: NodeProto) -> Kernel:
        """A convolution with what follows it up to a tensor that somebody else reads."""
        weight, stored, moved = self.shapes[node.input[1]], node.output[0], self._read(node)
        multiply_adds = self._values(stored) * prod(weight[1:])
        depthwise = weight[1] == 1 and attributes_of(node).get("group", 1) == weight[0]
        while taken := self._taken_in(stored):
            if taken.op_type == "Add":
                moved += self._size(next(name for name in taken.input if name != stored))
            stored = taken.output[0]
        return Kernel(
            node.name,
            self.parts[node.name],
            moved + self._written(stored),
            0 if depthwise else multiply_adds,
            multiply_adds if depthwise else 0,
            int8=self._is_quantised(node.input[0]),
        )

    def _taken_in(self, name: str) -> NodeProto | None:
        """The node behind a convolution that its kernel computes as well: the gate and product of a swish as one."""
        readers = self.readers[name]
        if len(readers) == 2 and {reader.op_type for reader in readers} == {"Sigmoid", "Mul"}:
            (mul,) = (reader for reader in readers if reader.op_type == "Mul")
            return mul if self._is_swish(mul) else None
        return readers[0] if len(readers) == 1 and readers[0].op_type in ("Relu", "Sigmoid", "Add") else None

    def _level(self, node: NodeProto) -> Kernel:
        attributes = attributes_of(node)
        count = 2 if node.op_type.endswith("Level") else 1
        maps, theta_name = node.input[:count], node.input[count]
        inputs = sum(self.shapes[name][1] for name in maps) + 2 * attributes.get("positions", 0)
        _, outputs, height, width = self.shapes[node.output[0]]
        rows, columns = self.shapes[theta_name][2:]
        taps, pixels = prod(attributes["kernel_shape"]), height * width
        hidden = attributes.get("hidden_channels")
        if hidden is None:
            theta = outputs * (inputs // attributes["group"]) * taps
            products, filtered = 0, pixels * theta
        else:
            theta = hidden * (inputs + taps + outputs)
            halo = [size - 1 for size in attributes["kernel_shape"]]  # which each patch expands again
            windows = rows * columns * (height // rows + halo[0]) * (width // columns + halo[1])
            products, filtered = hidden * (windows * inputs + pixels * outputs), pixels * hidden * taps
        theta_bytes = rows * columns * theta * self.value_bytes
        moved = sum(map(self._size, (*maps, node.output[0]))) + theta_bytes
        return Kernel(node.name, self.parts[node.name], moved, products, filtered, theta_bytes)

    def _is_swish(self, mul: NodeProto) -> bool:
        gates = [self.producers.get(name) for name in mul.input]
        return any(gate is not None and gate.op_type == "Sigmoid" and gate.input[0] in mul.input for gate in gates)

    def _is_quantised(self, name: str) -> bool:
        return name in self.producers and self.producers[name].op_type == "DequantizeLinear"

    def _all_quantise(self, name: str) -> bool:
        """Whether a tensor is stored as INT8, because nobody reads it otherwise."""
        return bool(self.readers[name]) and all(reader.op_type == "QuantizeLinear" for reader in self.readers[name])

    def _values(self, name: str) -> int:
        return prod(self.shapes[name])

    def _size(self, name: str) -> int:
        return self._values(name) * (1 if self._is_quantised(name) else self.value_bytes)

    def _read(self, node: NodeProto) -> int:
        """Bytes of the maps and weights that a node reads; biases, scales and sizes are too small to count."""
        return sum(self._size(name) for name in node.input if len(self.shapes.get(name, ())) >= 3)

    def _written(self, name: str) -> int:
        return self._values(name) * (1 if self._all_quantise(name) else self.value_bytes)


def quantised(bare: ModelProto) -> ModelProto:
    """Return the model with Q/DQ around the layers that are INT8 by default, with ranges made up."""
    return place_qdq(bare, dict.fromkeys(shapes_of(bare), 1.0), default_int8_layers(bare))


def load(name: str) -> ModelProto:
    """Return the bare FP32 graph of a variant, a bundle or an ONNX file. Raises UserError where there is none."""
    if name in VARIANTS:
        config = variant(name)
        folded, _ = drop_dead_paths(fold_batchnorm(HyperSeg(config).eval()))
        quieten_exporter()
        return onnx_from_model(folded, info_from_config(config, *config.input_size))
    path = Path(name)
    if path.is_dir():
        path = path / f"{open_bundle(path).info.name}.fp32.onnx"
    if not path.is_file():
        raise UserError(f"{name} is no variant ({', '.join(VARIANTS)}), and there is no bundle or file of this name.")
    return strip_functions(onnx.load(path))


def machine_table(precisions: dict[str, list[Kernel]]) -> list[str]:
    """Return the time of a frame on every machine as the lines of a Markdown table, a column for each precision."""
    heads = (f"{name}, MB | bytes alone, ms | kernels, of least time | ms | FPS" for name in precisions)
    lines = ["| machine | " + " | ".join(heads) + " |", "|---|" + "---:|" * 5 * len(precisions)]
    for machine in MACHINES:
        cells = []
        for kernels in precisions.values():
            counted = [kernel for kernel in kernels if not kernel.swish]
            moved, time_ms = sum(kernel.bytes for kernel in counted), frame_us(counted, machine) / 1e3
            least = sum(kernel.us(machine) == machine.kernel_us for kernel in counted)
            cells += [f"{moved / 1e6:,.0f}", f"{1e3 * moved / machine.device.bytes_per_s:.2f}"]
            cells += [f"{len(counted)}, {least}", f"{time_ms:.2f}", f"{1e3 / time_ms:,.0f}"]
        lines.append(f"| {machine.device.name} | {' | '.join(cells)} |")
    return lines


def part_table(kernels: Sequence[Kernel]) -> list[str]:
    """Return what each part of the network costs as the lines of a Markdown table."""
    names = " | ".join(f"{machine.device.name}, us" for machine in MACHINES)
    lines = [f"| part | kernels | MB | on tensor cores, 10^6 | on CUDA cores, 10^6 | {names} |"]
    lines.append("|---|" + "---:|" * (4 + len(MACHINES)))
    kernels = [kernel for kernel in kernels if not kernel.swish]
    for part in (*PARTS, "all"):
        those = [kernel for kernel in kernels if part in (kernel.part, "all")]
        if not those:
            continue
        tensor = sum(kernel.tensor_multiply_adds for kernel in those) / 1e6
        cuda = sum(kernel.multiply_adds for kernel in those) / 1e6
        times = " | ".join(f"{frame_us(those, machine):,.0f}" for machine in MACHINES)
        moved = sum(kernel.bytes for kernel in those) / 1e6
        lines.append(f"| {part} | {len(those)} | {moved:,.1f} | {tensor:,.1f} | {cuda:,.1f} | {times} |")
    return lines


def sensitivity_table(kernels: Sequence[Kernel], machine: Machine) -> list[str]:
    """Return milliseconds by share of the bandwidth, with swish in the convolutions and apart, as Markdown lines."""
    shares = (1.0, 0.8, 0.7, 0.6, 0.5)
    lines = [f"| {machine.device.name}, ms at bandwidth | " + " | ".join(f"{share:.0%}" for share in shares) + " |"]
    lines.append("|---|" + "---:|" * len(shares))
    for what, counted in (
        ("swish in the convolutions", [kernel for kernel in kernels if not kernel.swish]),
        ("swish apart", [replace(kernel, swish=False) for kernel in kernels]),
    ):
        machines = [replace(machine, bandwidth_reached=share) for share in shares]
        lines.append(f"| {what} | " + " | ".join(f"{frame_us(counted, m) / 1e3:.2f}" for m in machines) + " |")
    return lines


def ideas(kernels: Sequence[Kernel]) -> dict[str, list[Kernel]]:
    """Return the kernels as they would be with one thing more fused, or in INT8; each idea at its best."""
    kernels = [kernel for kernel in kernels if not kernel.swish]
    mappers, levels, excite = (
        [kernel for kernel in kernels if kernel.part == part] for part in (MAPPERS, LEVELS, SQUEEZE_EXCITE)
    )
    layers = [kernel for kernel in excite if kernel.tensor_multiply_adds]  # of 1x1 maps, two a block
    together = Kernel(
        "all mappers",
        MAPPERS,
        sum(kernel.bytes for kernel in mappers),
        sum(kernel.tensor_multiply_adds for kernel in mappers),
    )
    coarse = {kernel.name: replace(kernel, bytes=kernel.bytes - kernel.theta_bytes) for kernel in levels[:2]}
    halved = {kernel.name: replace(kernel, bytes=kernel.bytes // 2, int8=True) for kernel in levels}
    return {
        "squeeze-excite: mean and both layers in one kernel": [kernel for kernel in kernels if kernel not in layers],
        "squeeze-excite: all of it within its neighbours": [kernel for kernel in kernels if kernel not in excite],
        "weights of levels 0 and 1 made where they are used": [
            coarse.get(kernel.name, kernel) for kernel in kernels if kernel not in mappers[:2]
        ],
        "all weight mappers in one launch": [*(kernel for kernel in kernels if kernel not in mappers), together],
        "levels in INT8, weights and logits too": [halved.get(kernel.name, kernel) for kernel in kernels],
    }


def idea_table(kernels: Sequence[Kernel]) -> list[str]:
    """Return what each of ``ideas`` saves, in microseconds and percent of a frame, as the lines of a Markdown table."""
    lines = ["| idea | kernels less | " + " | ".join(f"{m.device.name}, us (%)" for m in MACHINES) + " |"]
    lines.append("|---|" + "---:|" * (1 + len(MACHINES)))
    launches = sum(not kernel.swish for kernel in kernels)
    for idea, changed in ideas(kernels).items():
        cells = []
        for machine in MACHINES:
            before_us = frame_us(kernels, machine)
            saved_us = before_us - frame_us(changed, machine)
            cells.append(f"{saved_us:,.0f} ({100 * saved_us / before_us:.1f})")
        lines.append(f"| {idea} | {launches - len(changed)} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Read the command line and print the tables of every model that it names."""
    parser = argparse.ArgumentParser(
        prog="python -m trt_plugins.gpu.predict", description=__doc__.split("\n\n")[0].replace("``", "")
    )
    parser.add_argument("models", nargs="+", metavar="MODEL", help="a variant, a bundle or an ONNX file")
    parser.add_argument("--unfused", action="store_true", help="levels and labels as they are before export.fuse")
    arguments = parser.parse_args()
    register_schemas()
    for name in arguments.models:
        bare = load(name)
        graph = bare if arguments.unfused else fuse(bare)
        fp16 = kernels_of(graph)
        multiply_adds = sum(kernel.tensor_multiply_adds + kernel.multiply_adds for kernel in fp16 if not kernel.swish)
        print(f"\n{name}, batch 1, {multiply_adds / 1e9:.2f} x 10^9 multiply-adds. Counted, not measured.\n")
        tables = (
            machine_table({"FP16": fp16, "INT8": kernels_of(quantised(graph))}),
            part_table(fp16),
            sensitivity_table(fp16, ORIN_MACHINE),
            idea_table(fp16),
        )
        print("\n\n".join("\n".join(table) for table in tables))


if __name__ == "__main__":
    sys.exit(run_command(main))
