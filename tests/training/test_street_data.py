import numpy as np
import pytest
import torch

from runtime import street
from training.street_data import AugmentedStreetScenes, StreetScenes


def test_scenes_are_what_the_renderer_makes():
    image, labels = StreetScenes(range(5, 6), 64, 128)[0]
    expected_image, expected_labels = street.render(5, height=64, width=128)
    assert torch.equal(image, torch.from_numpy(expected_image).permute(2, 0, 1))
    assert torch.equal(labels, torch.from_numpy(expected_labels))


@pytest.mark.parametrize("scale", [(0.4, 0.5), (1.0, 2.0)])
def test_augmented_scenes_have_the_crop_size_and_stay_aligned(scale):
    torch.manual_seed(0)
    scenes = AugmentedStreetScenes(range(1), 64, 128, crop_size=(64, 64), resize_scale=scale)
    blocks = np.random.default_rng(0).integers(0, 19, (4, 8), np.uint8).repeat(16, 0).repeat(16, 1)
    scenes.scenes[0] = np.repeat(blocks[..., None], 3, 2), blocks  # an image that shows its own labels
    seen_flips = set()
    for _ in range(20):
        image, labels = scenes[0]
        assert image.shape == (3, 64, 64)
        assert labels.shape == (64, 64)
        counted = labels != street.IGNORE
        # Nearest labels against a resampled image: apart only along the edges of the blocks.
        assert (image[0][counted] == labels[counted]).float().mean() > 0.6
        seen_flips.add(labels.numpy().tobytes())
    assert len(seen_flips) > 10, "every draw should differ"


def test_what_is_padded_does_not_count():
    torch.manual_seed(1)
    scenes = AugmentedStreetScenes(range(1), 64, 128, crop_size=(128, 128), resize_scale=(1.0, 1.0))
    image, labels = scenes[0]
    padded = labels == street.IGNORE
    assert padded.float().mean() >= 0.4
    assert image[:, padded].float().mean() < 40  # black, but for the bonnet of one's own car
