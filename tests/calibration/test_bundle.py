"""Bundles in every precision, made from trained networks."""

import json
import shutil

import cv2
import numpy as np
import onnx
import pytest
import torch

from calibration.bundle import Request, export_precisions
from calibration.cache import read_calibration
from runtime.bundle import open_bundle
from runtime.errors import UserError
from runtime.parity.budgets import PASSED
from runtime.parity.compare import Request as ParityRequest
from runtime.parity.compare import compare
from tests.calibration.conftest import SIZE
from training.int8_recipe import Int8Recipe, read_int8_recipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("brief_timing")]  # slow: a network is trained first

PRECISIONS = ("fp16", "int8")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def onnx_files(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.onnx")}


@pytest.fixture
def copied(street_bundle, tmp_path):
    return shutil.copytree(street_bundle.folder, tmp_path / "bundle")


@pytest.mark.parametrize("bundle", ["street_bundle", "resnet_bundle"])
def test_every_precision_keeps_its_budget_on_held_out_scenes(request, bundle):
    bundle = request.getfixturevalue(bundle)
    report = compare(bundle, ParityRequest(backends=("torch", "onnxruntime"), scenes=50))
    verdicts = {comparison.name.precision: comparison.status for comparison in report.comparisons}
    assert verdicts == {"fp32": PASSED, "fp16": PASSED, "int8": PASSED}
    assert report.reference.accuracy.mean_iou > 0.4  # it was trained: an untrained network keeps no budget, or any
    # Really in lower precision: FP16's rounding is 2^-11, and INT8's steps are coarser by far.
    differences = {c.name.precision: c.measured.accuracy.logits.relative for c in report.comparisons}
    assert differences["fp32"] < 1e-4 < differences["fp16"] < 1e-2 < differences["int8"] < 0.3


def test_a_bundle_holds_every_precision_and_what_it_was_made_by(street_bundle):
    street_bundle.verify()
    assert set(street_bundle.precisions) == {"fp32", "fp16", "int8"}
    assert {"street-tiny.calibration.json", "street-tiny.int8.recipe.json"} <= set(street_bundle.manifest.files)
    calibration = read_calibration(street_bundle.folder / "street-tiny.calibration.json")
    calibration.check(street_bundle.onnx("fp32"))
    assert len(calibration.images) == 64
    recipe = read_int8_recipe(street_bundle.folder / "street-tiny.int8.recipe.json")
    quantised = [
        node for node in onnx.load(street_bundle.onnx("int8")).graph.node if node.op_type == "Conv"
        and node.input[1].endswith("dequantised")
    ]  # fmt: skip
    assert len(quantised) == len(recipe.layers) > 15


def test_the_residual_additions_are_quantised(resnet_bundle):
    graph = onnx.load(resnet_bundle.onnx("int8")).graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    adds = [sorted(made_by.get(name, "") for name in node.input) for node in graph.node if node.op_type == "Add"]
    assert adds == [["Conv", "DequantizeLinear"]] * 5


def test_nothing_changed_does_nothing(street_checkpoint, copied):
    before = {path: path.stat().st_mtime_ns for path in copied.iterdir()}
    for request in (
        Request(PRECISIONS, data="street", count=64),
        Request(PRECISIONS, cache=copied / "street-tiny.calibration.json"),
    ):
        made = export_precisions(street_checkpoint, copied, request, size=SIZE, logits=True)
        assert made.export is None
    assert {path: path.stat().st_mtime_ns for path in copied.iterdir()} == before


@pytest.mark.parametrize("change", ["count", "logits", "size", "precisions", "a file", "recipe"])
def test_a_change_makes_the_bundle_anew(street_checkpoint, copied, tmp_path, change):
    precisions, count, size, logits, recipe = PRECISIONS, 64, SIZE, True, None
    match change:
        case "count":
            count = 32
        case "logits":
            logits = False
        case "size":
            size = (64, 192)
        case "precisions":
            precisions = ("fp16",)
        case "a file":
            (copied / "street-tiny.int8.trt.onnx").write_bytes(b"")
        case "recipe":
            recipe = tmp_path / "recipe.json"
            Int8Recipe("street-tiny", "minmax", ("backbone.trunk.conv_stem",)).write(recipe)
    request = Request(precisions, data="street", count=count, recipe=recipe)
    made = export_precisions(street_checkpoint, copied, request, size=size, logits=logits)
    assert made.export is not None
    open_bundle(copied).verify()
    assert set(open_bundle(copied).precisions) == {"fp32", *precisions}
    assert made.removed == (() if "int8" in precisions else ("int8",))
    again = export_precisions(street_checkpoint, copied, request, size=size, logits=logits)
    assert again.export is None


def test_a_cache_alone_gives_the_same_files(street_checkpoint, street_bundle, tmp_path):
    cache = street_bundle.folder / "street-tiny.calibration.json"
    recipe = street_bundle.folder / "street-tiny.int8.recipe.json"
    request = Request(PRECISIONS, cache=cache, recipe=recipe)
    export_precisions(street_checkpoint, tmp_path / "bundle", request, size=SIZE, logits=True)
    assert onnx_files(tmp_path / "bundle") == onnx_files(street_bundle.folder)


def test_a_cache_of_another_network_is_refused(street_checkpoint, resnet_bundle, copied):
    before = contents(copied)
    request = Request(PRECISIONS, cache=resnet_bundle.folder / "street-resnet.calibration.json")
    with pytest.raises(UserError, match="calibration is one of street-resnet"):
        export_precisions(street_checkpoint, copied, request, size=SIZE, logits=True)
    request = Request(PRECISIONS, cache=copied / "street-tiny.calibration.json")
    with pytest.raises(UserError, match="at another size"):
        export_precisions(street_checkpoint, copied, request, size=(64, 192), logits=True)
    assert contents(copied) == before
    assert list(copied.parent.iterdir()) == [copied]


def test_a_recipe_of_another_network_is_refused(street_checkpoint, resnet_bundle, copied):
    before = contents(copied)
    request = Request(
        PRECISIONS, data="street", count=8, recipe=resnet_bundle.folder / "street-resnet.int8.recipe.json"
    )
    with pytest.raises(UserError, match="one of street-resnet, but the network is street-tiny"):
        export_precisions(street_checkpoint, copied, request, size=SIZE, logits=True)
    assert contents(copied) == before


def test_a_cache_that_was_edited_is_refused(street_checkpoint, copied, tmp_path):
    cache = json.loads((copied / "street-tiny.calibration.json").read_text())
    del cache["tensors"]["sub"]
    (tmp_path / "cache.json").write_text(json.dumps(cache))
    request = Request(("fp16",), cache=tmp_path / "cache.json")
    with pytest.raises(UserError, match=r"changed by hand: .* differ in the tensors sub\."):
        export_precisions(street_checkpoint, tmp_path / "bundle", request, size=SIZE, logits=True)


def test_a_damaged_calibration_in_the_old_bundle_is_made_again(street_checkpoint, street_bundle, copied):
    (copied / "street-tiny.calibration.json").write_text("{")
    request = Request(PRECISIONS, data="street", count=64)
    made = export_precisions(street_checkpoint, copied, request, size=SIZE, logits=True)
    assert made.export is not None
    assert onnx_files(copied) == onnx_files(street_bundle.folder)


def test_a_recipe_without_layers_is_refused(street_checkpoint, copied, tmp_path):
    Int8Recipe("street-tiny", "mse", ()).write(tmp_path / "recipe.json")
    request = Request(PRECISIONS, data="street", recipe=tmp_path / "recipe.json")
    with pytest.raises(UserError, match="names no layer"):
        export_precisions(street_checkpoint, copied, request, size=SIZE, logits=True)


def test_images_that_cannot_be_measured_leave_the_old_bundle(street_checkpoint, copied, tmp_path):
    before = contents(copied)
    (tmp_path / "black").mkdir()
    for index in range(8):
        cv2.imwrite(str(tmp_path / "black" / f"{index}.png"), np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(UserError, match="all black"):
        export_precisions(street_checkpoint, copied, Request(PRECISIONS, data=str(tmp_path / "black")), size=SIZE)
    assert contents(copied) == before


def test_layers_that_overflow_fp16_stay_fp32(street_checkpoint, tmp_path):
    """The signal times 1e5 and the weight mappers divided by it are the same network, but the signal overflows."""
    checkpoint = torch.load(street_checkpoint, weights_only=True)
    weights, factor = checkpoint["state_dict"], 1e5
    for name in weights:
        if ".context_head.in_conv.1." in name or ".context_head.up.0.1." in name:  # BatchNorms before a ReLU
            weights[name] = weights[name] * (factor if name.endswith(("weight", "bias")) else 1)
        if ".context_head.down.0.0.weight" in name or ".decoder.mappers." in name:
            weights[name] = weights[name] / factor
    torch.save(checkpoint, tmp_path / "scaled.ckpt")
    made = export_precisions(
        tmp_path / "scaled.ckpt",
        tmp_path / "bundle",
        Request(PRECISIONS, data="street", count=16),
        size=SIZE,
        logits=True,
    )
    wide = {wide.tensor for wide in made.wide}
    assert {"relu", "relu_2", "cat_1"} <= wide  # the signal's halves, and both
    assert min(wide.largest for wide in made.wide) > 65504 / 8
    report = compare(made.bundle, ParityRequest(backends=("torch", "onnxruntime"), scenes=20))
    assert {comparison.status for comparison in report.comparisons} == {PASSED}
