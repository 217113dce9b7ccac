import dataclasses
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from runtime.bundle import open_bundle
from runtime.files import sha256_of
from runtime.parity.budgets import PASSED
from runtime.parity.compare import Request, compare
from runtime.parity.layers import compare_layers
from runtime.parity.names import NetworkName
from runtime.parity.onnx_tensors import OnnxTensors
from runtime.street import render
from training.network.variants import VARIANTS

pytestmark = pytest.mark.usefixtures("brief_timing")

ORT = NetworkName("onnxruntime", "fp32")
LARGE = sorted(VARIANTS.keys() - {"street-tiny"})


@pytest.mark.parametrize("name", ["street-tiny", *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_every_variant_is_within_its_budget_and_no_layer_departs(random_bundle, name):
    request = Request(backends=("torch", "onnxruntime"), precisions=("fp32",), scenes=2, threads=1, layers=True)
    report = compare(random_bundle(name), request)
    (comparison,) = report.comparisons
    assert (comparison.status, comparison.reason) == (PASSED, "")
    # Two float32 orders of summation: 6e-8 grows to about 1e-6 through these networks; 100 times that is a fault.
    assert comparison.measured.accuracy.logits.relative < 1e-4
    (layers,) = report.layers
    assert layers.not_run == ""
    assert layers.first_departed is None
    decoder = [layer.name for layer in layers.layers if layer.name.startswith("decoder.levels.")]
    assert len(decoder) == len(set(decoder)) >= 5
    assert layers.layers[-1].name == "logits"


def test_logits_that_only_the_label_head_has_are_left_out(random_bundle, tmp_path):
    bundle = random_bundle("street-tiny")
    model = onnx.load(bundle.onnx())
    (logits,) = (output for output in model.graph.output if output.name == "logits")
    (resize,) = (node for node in model.graph.node if "logits" in node.output)
    model.graph.output.remove(logits)
    model.graph.node.remove(resize)
    onnx.save(model, tmp_path / "labels.onnx")
    image_nhwc = np.zeros((1, bundle.info.height, bundle.info.width, 3), np.uint8)
    (*_, last), (*_, logits) = (OnnxTensors(p, image_nhwc).modules for p in (tmp_path / "labels.onnx", bundle.onnx()))
    assert (last, logits) == ("decoder.levels.4", "logits")


@pytest.mark.slow
def test_a_planted_fault_is_named(random_bundle, tmp_path):
    """One element of one weight of the ONNX file is changed: the first tensor that departs is the one made of it."""
    bundle = random_bundle("street-tiny")
    image_rgb, _ = render(3, height=bundle.info.height, width=bundle.info.width)
    faults = {
        "network.backbone.trunk.conv_stem.weight": "backbone.trunk.conv_stem",
        "network.backbone.trunk.blocks.3.0.se.conv_reduce.weight": "backbone.trunk.blocks.3.0.se.conv_reduce",
        "network.backbone.reductions.3.0.weight": "backbone.reductions.3.0",
        "network.context_head.up.0.0.weight": "context_head.up.0.0",
        "network.decoder.mappers.2.weight": "decoder.levels.2",
        "network.decoder.levels.3.bias2": "decoder.levels.3",
    }
    for weight, module in faults.items():
        folder = shutil.copytree(bundle.folder, tmp_path / weight)
        path = folder / bundle.onnx().name
        model = onnx.load(path)
        (found,) = [tensor for tensor in model.graph.initializer if tensor.name == weight]
        values = numpy_helper.to_array(found).copy()
        values.flat[values.size // 2] += 10 * np.abs(values).max()
        found.CopyFrom(numpy_helper.from_array(values, weight))
        onnx.save(model, path)
        files = bundle.manifest.files | {path.name: sha256_of(path)}
        dataclasses.replace(bundle.manifest, files=files).write(folder)
        (comparison,) = compare_layers(open_bundle(folder), [ORT], image_rgb)
        assert comparison.first_departed is not None, weight
        assert comparison.first_departed.name == module
