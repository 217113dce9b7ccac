import gc
import weakref

import numpy as np
import pytest

from runtime.metrics import confusion_matrix, iou_per_class
from runtime.parity.accuracy import measure_accuracy
from runtime.parity.names import NetworkName
from runtime.parity.scenes import Scene, Scenes
from tests.runtime.parity.fakes import FakeBackend, channels, scenes_of

TORCH, ORT = NetworkName("torch", "fp32"), NetworkName("onnxruntime", "fp32")


def unwatched(scene, labels):
    pass


def scene(seed: int, truth_size: tuple[int, int] = (8, 12)) -> Scene:
    rng = np.random.default_rng(seed)
    return Scene(f"scene {seed}", rng.integers(0, 256, (4, 6, 3), np.uint8), rng.integers(0, 3, truth_size, np.uint8))


def test_everything_is_counted_over_all_scenes():
    def shifted(image_nhwc):
        scores = channels(image_nhwc)
        scores[:, 0] += 40
        return scores

    # Every pixel weighs the same, also those of a larger scene.
    both = [scene(0), Scene("large", scene(1).image_rgb.repeat(3, 0), scene(1).truth)]
    found = measure_accuracy(
        TORCH, {TORCH: FakeBackend(channels), ORT: FakeBackend(shifted)}, scenes_of(*both), 3, unwatched
    )
    pairs = [(one.image_rgb.argmax(2), shifted(one.image_rgb[None])[0].argmax(0), one) for one in both]
    equal = sum(int((expected == labels).sum()) for expected, labels, _ in pairs)
    assert found[ORT].label_agreement == equal / (24 + 72)
    assert 0 < found[ORT].label_agreement < 1
    confusion = sum(confusion_matrix(one.at_truth(labels.astype(np.uint8)), one.truth, 3) for _, labels, one in pairs)
    assert found[ORT].iou == pytest.approx(iou_per_class(confusion))
    assert found[ORT].mean_iou == pytest.approx(iou_per_class(confusion).mean())
    assert found[ORT].logits is not None
    assert found[ORT].logits.max_absolute == 40
    assert found[ORT].logits.mean_absolute == pytest.approx(40 / 3)
    assert sum(found[ORT].logits_exponents) == 3 * (24 + 72)
    assert found[TORCH].label_agreement == 1
    assert found[TORCH].logits is None


def test_labels_outlive_the_backends_next_call():
    shown = []
    networks = {TORCH: FakeBackend(channels), ORT: FakeBackend(lambda image: channels(image)[:, ::-1])}
    measure_accuracy(TORCH, networks, scenes_of(scene(0)), 3, lambda _, labels: shown.append(labels))
    (labels,) = shown
    np.testing.assert_array_equal(labels[TORCH], scene(0).image_rgb.argmax(2))
    np.testing.assert_array_equal(labels[ORT], scene(0).image_rgb[..., ::-1].argmax(2))


@pytest.mark.parametrize(("of_reference", "of_other"), [(True, False), (False, True)])
def test_logits_are_left_out_where_one_side_has_none(of_reference: bool, of_other: bool):
    def refuse(image_nhwc):
        return channels(image_nhwc)

    networks = {TORCH: FakeBackend(refuse, has_logits=of_reference), ORT: FakeBackend(refuse, has_logits=of_other)}
    found = measure_accuracy(TORCH, networks, scenes_of(scene(0)), 3, unwatched)
    assert found[ORT].logits is None
    assert found[ORT].label_agreement == 1


def test_without_truth_there_is_no_iou():
    bare = Scene("bare", scene(0).image_rgb, None)
    found = measure_accuracy(TORCH, {TORCH: FakeBackend(channels)}, scenes_of(bare), 3, unwatched)
    assert found[TORCH].iou is None
    assert found[TORCH].mean_iou is None


def test_scenes_are_not_kept():
    made: list[weakref.ref[Scene]] = []

    def load(index: int) -> Scene:
        gc.collect()
        assert sum(reference() is not None for reference in made) <= 1  # the one that the loop still holds
        one = scene(index)
        made.append(weakref.ref(one))
        return one

    scenes = Scenes("many", "as they are", 20, load)
    measure_accuracy(TORCH, {TORCH: FakeBackend(channels), ORT: FakeBackend(channels)}, scenes, 3, unwatched)
    assert len(made) == 20
