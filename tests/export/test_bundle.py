import numpy as np
import onnx
import pytest
import torch

from export import bundle as bundle_module
from export.bundle import export_bundle
from runtime.bundle import open_bundle
from runtime.errors import UserError
from runtime.segmenter import Segmenter
from training import create_model, load_model, save_model

SIZE = (64, 128)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.ckpt"
    save_model(create_model("street-tiny").eval(), path)
    return path


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    return export_bundle(checkpoint, tmp_path_factory.mktemp("out") / "bundle", size=SIZE)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_bundle_is_whole(exported):
    bundle = open_bundle(exported.folder)
    bundle.verify()
    assert set(bundle.manifest.files) == {"street-tiny.fp32.onnx", "street-tiny.fp32.trt.onnx", "model.pt2"}
    assert (bundle.info.height, bundle.info.width) == SIZE
    assert exported.label_agreement["fp32"] > 0.999
    assert "random weights" in bundle.manifest.training_data
    assert bundle.manifest.tools["torch"]


def test_the_file_for_tensorrt_has_no_functions_and_the_other_runs_anywhere(exported):
    assert not onnx.load(exported.folder / "street-tiny.fp32.trt.onnx").functions
    segmenter = Segmenter(exported.folder / "street-tiny.fp32.onnx")
    assert segmenter(np.zeros((100, 150, 3), np.uint8)).shape == (100, 150)


def test_a_new_export_replaces_the_old_bundle_and_keeps_what_is_not_its_own(checkpoint, exported, tmp_path):
    out = tmp_path / "bundle"
    export_bundle(checkpoint, out, size=SIZE)
    (out / "my.engine").write_text("mine")
    (out / "street-tiny.fp32.onnx").write_text("changed")
    export_bundle(checkpoint, out, size=(64, 192))
    open_bundle(out).verify()
    assert open_bundle(out).info.width == 192
    assert (out / "my.engine").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("step", ["onnx_from_model", "attach_functions", "label_agreement"])
def test_a_failure_half_way_leaves_the_old_bundle(checkpoint, exported, monkeypatch, step):
    before = contents(exported.folder)

    def no_space(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle_module, step, no_space)
    with pytest.raises(UserError, match="No space left on device"):
        export_bundle(checkpoint, exported.folder, size=SIZE)
    assert contents(exported.folder) == before
    assert list(exported.folder.parent.iterdir()) == [exported.folder]


@pytest.mark.parametrize("limit", [1_000, 1_000_000, 2_000_000])  # the first file, an ONNX file, the PyTorch reference
def test_a_full_disk_leaves_the_old_bundle(checkpoint, exported, file_size_limit, limit):
    before = contents(exported.folder)
    with file_size_limit(limit), pytest.raises(UserError, match=r"cannot write .* File too large"):
        export_bundle(checkpoint, exported.folder, size=SIZE)
    assert contents(exported.folder) == before
    assert list(exported.folder.parent.iterdir()) == [exported.folder]


def test_disagreement_with_pytorch_is_an_error_and_writes_nothing(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_module, "label_agreement", lambda _: {"fp32": 0.5})
    with pytest.raises(UserError, match="agrees with PyTorch on only 50"):
        export_bundle(checkpoint, tmp_path / "bundle", size=SIZE)
    assert not list(tmp_path.iterdir())


def test_weights_that_are_no_numbers_are_refused(checkpoint, tmp_path):
    model = load_model(checkpoint)
    with torch.no_grad():
        model.decoder.mappers[2].weight[0] = float("nan")
    save_model(model, tmp_path / "diverged.ckpt")
    with pytest.raises(UserError, match=r"NaN or infinity in decoder\.mappers\.2\.weight of .*diverged\.ckpt"):
        export_bundle(tmp_path / "diverged.ckpt", tmp_path / "bundle", size=SIZE)
    assert not (tmp_path / "bundle").exists()


def test_a_folder_of_other_things_is_refused(checkpoint, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="holds no bundle"):
        export_bundle(checkpoint, tmp_path, size=SIZE)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
