"""How large each tensor inside an ONNX file gets on the calibration images.

Memory stays flat however many images there are: a first pass over them keeps one number a tensor, a second one adds
each image to histograms, whose bins the first has settled.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper
from tqdm import tqdm

from calibration.images import CalibrationImages
from calibration.layers import shapes_of, weighted_layers
from calibration.thresholds import BINS, METHODS, find_thresholds
from runtime.errors import UserError

_MAX_BYTES_A_RUN = 256 * 2**20  # of the tensors that one run returns

# ReduceMax and ReduceMin of ONNX Runtime overlook NaN, a sum does not. None of the three copies the tensor.
_REDUCTIONS = ("ReduceMax", "ReduceMin", "ReduceL1")


@dataclass(frozen=True)
class TensorRange:
    """What was measured of a tensor; ``largest`` is its largest magnitude on any image.

    ``thresholds``, by method, are there for what can be quantised, the inputs of Conv and Add; where only zeros were
    seen, which any threshold keeps exact, they are 1. ``layers`` read the tensor; they are there for human readers.
    """

    largest: float
    thresholds: dict[str, float] = field(default_factory=dict)
    layers: tuple[str, ...] = ()


def collect_ranges(model: ModelProto | Path, images: CalibrationImages) -> dict[str, TensorRange]:
    """Run an FP32 model with function bodies over the images; return its float tensors by name, in the graph's order.

    Constants are left out, and what is inside of functions. Raises UserError for a model that is quantised already, has
    NaN in its weights or cannot be run, and if activations overflow.
    """
    if isinstance(model, Path):
        model = onnx.load(model)
    _check(model.graph)
    layers = weighted_layers(model)
    sizes = float_tensors(model)
    quantisable = {node.input[0] for node in model.graph.node if node.op_type == "Conv"}
    quantisable.update(name for node in model.graph.node if node.op_type == "Add" for name in node.input)
    chunks = list(_chunks({name: size for name, size in sizes.items() if name in quantisable}))
    runs = len(images) * (1 + len(chunks))
    with tqdm(total=runs, desc="measuring ranges", unit="run", leave=False, disable=None) as bar:
        largest = _largest(model, list(sizes), images, bar)
        thresholds = {
            name: find_thresholds(counts, largest[name]) if largest[name] > 0 else dict.fromkeys(METHODS, 1.0)
            for chunk in chunks
            for name, counts in _histograms(model, chunk, largest, images, bar).items()
        }
    for name in thresholds:
        if largest[name] == 0:
            print(f"note: the tensor {name} is 0 on all {len(images)} images; is the network trained?", file=sys.stderr)
    return {
        name: TensorRange(
            largest[name], thresholds.get(name, {}), tuple(layer.name for layer in layers if layer.input == name)
        )
        for name in sizes
    }


def _check(graph: GraphProto) -> None:
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in graph.node):
        raise UserError("the model is already quantised, and ranges are measured on an FP32 one. Give NAME.fp32.onnx.")
    for constant in graph.initializer:
        if constant.data_type == TensorProto.FLOAT and not np.isfinite(numpy_helper.to_array(constant)).all():
            name = constant.name.removeprefix("network.")
            raise UserError(
                f"there is NaN or infinity in the weights: {name}. The training has diverged or the file is damaged. "
                "Export a checkpoint whose mIoU is known to be good."
            )


def float_tensors(model: ModelProto) -> dict[str, int]:
    """Map the float tensors that nodes of the main graph make to how many values they have for one image."""
    shapes = shapes_of(model)
    noted = (*model.graph.value_info, *model.graph.output)
    floats = {value.name for value in noted if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    made = [name for node in model.graph.node for name in node.output]
    return {name: prod(shapes[name]) for name in made if name in floats}


def _chunks(sizes: dict[str, int]) -> Iterator[list[str]]:
    """Cut the tensors into chunks that one run can return."""
    chunk: list[str] = []
    for name, size in sizes.items():
        if chunk and 4 * (sum(sizes[other] for other in chunk) + size) > _MAX_BYTES_A_RUN:
            yield chunk
            chunk = []
        chunk.append(name)
    if chunk:
        yield chunk


def _largest(model: ModelProto, names: Sequence[str], images: CalibrationImages, bar: tqdm) -> dict[str, float]:
    """Return the largest magnitude of each tensor; ONNX Runtime reduces them before they leave the graph."""
    reducing = ModelProto()
    reducing.CopyFrom(model)
    del reducing.graph.node[:]
    for node in model.graph.node:
        reducing.graph.node.append(node)
        # Right behind it and, see _session, in this order: the tensor can then be freed.
        for name in {*node.output}.intersection(names):
            reducing.graph.node.extend(helper.make_node(op, [name], [f"{name}/{op}"], keepdims=0) for op in _REDUCTIONS)
    session = _session(reducing, [f"{name}/{op}" for name in names for op in _REDUCTIONS])
    largest = np.zeros(len(names))
    for index in range(len(images)):
        highest, lowest, total = np.array(_run(session, images.load(index))).reshape(len(names), 3).T
        magnitudes = np.maximum(highest, -lowest)
        overflowing = np.isnan(total) | np.isinf(magnitudes)
        if overflowing.any():
            _raise_overflow(model, names[int(np.argmax(overflowing))], images.records[index].name)
        largest = np.maximum(largest, magnitudes)
        bar.update()
    return dict(zip(names, largest.tolist(), strict=True))


def _histograms(
    model: ModelProto, names: Sequence[str], largest: dict[str, float], images: CalibrationImages, bar: tqdm
) -> dict[str, np.ndarray]:
    """Return a histogram of each tensor's magnitudes over all images."""
    session = _session(model, names)
    histograms = {name: np.zeros(BINS, np.int64) for name in names}
    for index in range(len(images)):
        for name, x in zip(names, _run(session, images.load(index)), strict=True):
            histograms[name] += np.histogram(np.abs(x), BINS, (0, largest[name]))[0]
        bar.update()
    return histograms


def _session(model: ModelProto, outputs: Sequence[str]) -> onnxruntime.InferenceSession:
    """Open a model with other outputs than its own."""
    opened = ModelProto()
    opened.CopyFrom(model)
    del opened.graph.output[:]
    opened.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED  # as the nodes stand in the file
    try:
        return onnxruntime.InferenceSession(opened.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise UserError(
            f"ONNX Runtime cannot run the model: {str(error).splitlines()[0]} Give NAME.fp32.onnx, not *.trt.onnx."
        ) from error


def _run(session: onnxruntime.InferenceSession, image_rgb: np.ndarray) -> list[np.ndarray]:
    values: list[np.ndarray] = session.run(None, {session.get_inputs()[0].name: image_rgb[None]})
    return values


def _raise_overflow(model: ModelProto, name: str, image: str) -> None:
    (node,) = (node for node in model.graph.node if name in node.output)
    layer = next((layer.name for layer in weighted_layers(model) if layer.output == name), node.name)
    raise UserError(
        f"the network's activations overflow: {layer} ({node.op_type}) gives infinity or NaN on the image {image}, "
        "though its weights are finite. The training has diverged. Export a checkpoint whose mIoU is known to be good."
    )
