import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from calibration.search.scoring import Scorer, _score, without_logits
from export.operators import attach_functions, strip_functions
from runtime.backends.onnx_operators import library
from runtime.backends.onnx_runtime import OnnxRuntimeBackend
from runtime.errors import UserError
from runtime.metrics import confusion_matrix, mean_iou
from runtime.parity.scenes import open_scenes


@pytest.fixture
def street(random_bundle):
    bundle = random_bundle("street-tiny")
    return bundle, without_logits(strip_functions(onnx.load(bundle.onnx())))


def with_other_biases(bare: onnx.ModelProto, change: np.ndarray) -> onnx.ModelProto:
    """The network with other biases of its classes."""
    model = onnx.ModelProto()
    model.CopyFrom(bare)
    (bias,) = (one for one in model.graph.initializer if one.name == "network.decoder.levels.4.bias3")
    bias.CopyFrom(numpy_helper.from_array((numpy_helper.to_array(bias) + change).astype(np.float32), bias.name))
    return model


def test_scores_are_those_of_the_labels(street, tmp_path):
    """Against mIoU and labels worked out from the files, one by one."""
    bundle, bare = street
    scenes = open_scenes("street", None, bundle.info, 3)
    images = [scenes.load(index).image_rgb[None] for index in range(3)]
    truth = np.stack([scenes.load(index).truth for index in range(3)])

    # Of random weights one class always wins; without their means and with a little noise several do.
    logits = np.concatenate([OnnxRuntimeBackend(bundle.onnx()).logits(image) for image in images])
    noise = np.random.default_rng(0).normal(scale=logits.std((0, 2, 3)).mean(), size=(5, 19))
    models = {f"model {seed}": with_other_biases(bare, noise[seed] - logits.mean((0, 2, 3))) for seed in range(5)}
    scores = dict(Scorer(bundle.onnx(), scenes, threads=1).scores(models.items()))
    assert list(scores) == list(models)  # and they are more than are open at once

    def labels_of(path):
        backend = OnnxRuntimeBackend(path, threads=1)
        return np.concatenate([backend.labels(image).copy() for image in images])

    fp32 = labels_of(bundle.onnx())
    fp32_miou = mean_iou(confusion_matrix(fp32, truth, 19))
    for name, model in models.items():
        onnx.save(attach_functions(model), tmp_path / "model.onnx")
        labels = labels_of(tmp_path / "model.onnx")
        miou = mean_iou(confusion_matrix(labels, truth, 19))
        assert scores[name].changed_labels == pytest.approx(np.mean(labels != fp32))
        assert scores[name].miou == pytest.approx(miou)
        assert scores[name].loss_points == pytest.approx(100 * (fp32_miou - miou))
    assert len({score.miou for score in scores.values()}) == 5


def test_compiled_operators_are_left_alone(street, monkeypatch, tmp_path):
    """One that cannot be loaded would be noticed."""
    bundle, bare = street
    (tmp_path / "broken.so").write_text("not a library")
    monkeypatch.setattr(library, "BUILT_LIBRARY", tmp_path / "broken.so")
    with pytest.raises(UserError):
        OnnxRuntimeBackend(bundle.onnx())
    assert Scorer(bundle.onnx(), open_scenes("street", None, bundle.info, 1), threads=1).score(bare).loss_points == 0


def test_the_network_itself_loses_nothing(street):
    bundle, bare = street
    score = Scorer(bundle.onnx(), open_scenes("street", None, bundle.info, 2), threads=1).score(bare)
    assert (score.loss_points, score.error_points, score.changed_labels) == (0, 0, 0)


def test_the_standard_error_is_that_of_a_mean():
    """With one class of fixed size, mIoU is a mean over scenes, whose standard error has a formula."""
    right, scenes = np.random.default_rng(0).integers(500, 1000, 40), 40
    fp32 = np.zeros((scenes, 2, 2), np.int64)
    fp32[:, 0, 0] = 1000
    own = fp32.copy()
    own[:, 0, 0], own[:, 0, 1] = right, 1000 - right
    score = _score(fp32, own, 0.1)
    # Class 0 has the union 1000 a scene, class 1 no true pixel and so 0: mIoU is half of what class 0 has right.
    assert score.loss_points == pytest.approx(100 * np.mean(1 - right / 1000) / 2)
    # A standard deviation of 200 draws is known to a share of 1 / sqrt(2 * 200): 5 %, of which this allows three.
    assert score.error_points == pytest.approx(100 * np.std(right / 1000) / np.sqrt(scenes) / 2, rel=0.15)


def test_a_network_that_loses_as_much_on_every_scene_has_no_standard_error():
    fp32 = np.repeat(np.array([[[90, 10], [0, 100]]]), 5, axis=0)
    own = np.repeat(np.array([[[80, 20], [0, 100]]]), 5, axis=0)
    assert _score(fp32, own, 0.1).error_points == pytest.approx(0, abs=1e-9)


def test_logits_are_no_output_any_more(street):
    bundle, bare = street
    assert [output.name for output in bare.graph.output] == ["labels"]
    assert [output.name for output in onnx.load(bundle.onnx()).graph.output] == ["labels", "logits"]
