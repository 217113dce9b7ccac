"""A tiny network that every test can predict: a pixel's class is its strongest colour channel (red, green, blue)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from runtime.bundle import ONNX_METADATA_KEY, TORCH_REFERENCE_NAME, Manifest, ModelInfo
from runtime.files import sha256_of

COLOUR_INFO = ModelInfo(
    name="colours",
    variant="tiny",
    classes=("red", "green", "blue"),
    palette=((220, 20, 60), (107, 142, 35), (70, 130, 180)),
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
    height=32,
    width=48,
    operator_version=1,
)


def write_onnx(
    path: Path,
    info: ModelInfo,
    weight: np.ndarray,
    *,
    labels_type: int = TensorProto.UINT8,
    logits: bool = False,
    metadata: bool = True,
) -> Path:
    """Write image -> 1x1 convolution with ``weight`` [K, 3] -> arg max, as an exported file looks from outside."""
    mean = numpy_helper.from_array(np.float32(info.mean).reshape(1, 3, 1, 1), "mean")
    std = numpy_helper.from_array(np.float32(info.std).reshape(1, 3, 1, 1), "std")
    scale = numpy_helper.from_array(np.float32(255), "scale")
    kernel = numpy_helper.from_array(weight.astype(np.float32).reshape(-1, 3, 1, 1), "kernel")
    nodes = [
        helper.make_node("Cast", ["image"], ["float_nhwc"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float_nhwc"], ["float_nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["float_nchw", "scale"], ["unit"]),
        helper.make_node("Sub", ["unit", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normalised"]),
        helper.make_node("Conv", ["normalised", "kernel"], ["logits"]),
        helper.make_node("ArgMax", ["logits"], ["indices"], axis=1, keepdims=0),
        helper.make_node("Cast", ["indices"], ["labels"], to=labels_type),
    ]
    size = [info.height, info.width]
    outputs = [helper.make_tensor_value_info("labels", labels_type, ["N", *size])]
    if logits:
        outputs.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(weight), *size]))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", *size, 3])],
        outputs,
        [mean, std, scale, kernel],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if metadata:
        helper.set_model_props(model, {ONNX_METADATA_KEY: info.to_json()})
    onnx.save(model, path)
    return path


def write_bundle(folder: Path, info: ModelInfo, weight: np.ndarray, *, logits: bool = False) -> Path:
    """Write a whole bundle around :func:`write_onnx` and the same network as ``model.pt2``."""
    folder.mkdir(parents=True)
    write_onnx(folder / f"{info.name}.fp32.onnx", info, weight, logits=logits)
    convolution = torch.nn.Conv2d(3, len(weight), 1, bias=False)
    with torch.no_grad():
        convolution.weight.copy_(torch.from_numpy(weight.reshape(-1, 3, 1, 1)))
    program = torch.export.export(convolution.eval(), (torch.zeros(1, 3, info.height, info.width),))
    torch.export.save(program, folder / TORCH_REFERENCE_NAME)
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir())}
    manifest = Manifest(info, "0" * 64, "none", files, {"torch": torch.__version__}, "2026-01-01T00:00:00+00:00")
    manifest.write(folder)
    return folder


def colour_frame(height: int = 48, width: int = 64) -> np.ndarray:
    """An RGB frame in three upright bands: red, green, blue."""
    frame_rgb = np.full((height, width, 3), 40, np.uint8)
    for band in range(3):
        frame_rgb[:, band * width // 3 : (band + 1) * width // 3, band] = 220
    return frame_rgb
