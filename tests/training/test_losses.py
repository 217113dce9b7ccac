import numpy as np
import pytest
import torch

from training.losses import bootstrapped_cross_entropy, cross_entropy


def by_hand(logits, labels, hardest, threshold):
    """The definition, image by image, sorted."""
    means = []
    for image, truth in zip(logits.double().numpy(), labels.numpy(), strict=True):
        flat, wanted = image.reshape(len(image), -1), truth.ravel()
        log_sum = np.log(np.exp(flat).sum(0))
        losses = np.array([0.0 if c == 255 else log_sum[i] - flat[c, i] for i, c in enumerate(wanted)])
        ordered = np.sort(losses)[::-1]
        hard = ordered[ordered > threshold] if ordered[hardest] > threshold else ordered[:hardest]
        means.append(hard.mean())
    return np.mean(means)


@pytest.mark.parametrize("spread", [0.01, 1.0, 20.0])
@pytest.mark.parametrize("right", [0.0, 0.9])
def test_bootstrapped_cross_entropy_is_its_definition(spread, right):
    torch.manual_seed(0)
    labels = torch.randint(0, 5, (3, 40, 50))
    logits = spread * torch.randn(3, 5, 40, 50)
    keep = torch.rand(labels.shape) < right  # where the network is sure and right, the loss is small
    logits += 30 * keep[:, None] * torch.nn.functional.one_hot(labels, 5).movedim(-1, 1)
    labels[0, :10] = 255
    loss = bootstrapped_cross_entropy(logits, labels, hardest=100)
    assert loss.item() == pytest.approx(by_hand(logits, labels, 100, 0.3), rel=1e-5)  # float32 sums


def test_bootstrapped_cross_entropy_needs_more_pixels_than_it_keeps():
    with pytest.raises(ValueError, match="needs more than 4096"):
        bootstrapped_cross_entropy(torch.zeros(1, 2, 64, 64), torch.zeros(1, 64, 64, dtype=torch.long))


def test_an_image_without_counted_pixels_has_a_finite_gradient():
    logits = torch.zeros(1, 3, 80, 80, requires_grad=True)
    bootstrapped_cross_entropy(logits, torch.full((1, 80, 80), 255)).backward()
    assert torch.isfinite(logits.grad).all()


def test_cross_entropy_skips_ignored_pixels():
    logits = torch.randn(1, 3, 4, 4)
    labels = torch.zeros(1, 4, 4, dtype=torch.long)
    whole = cross_entropy(logits[..., :2], labels[..., :2])
    labels[..., 2:] = 255
    assert torch.allclose(cross_entropy(logits, labels), whole)
