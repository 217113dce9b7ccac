"""Imported networks compute what the published ones do."""

from dataclasses import replace

import pytest
import torch

from runtime.errors import UserError
from tests.training.official.published import NETWORKS, Rules, published_logits
from tests.training.official.published_files import arch_text, random_state, write_published
from training import load_model, save_model
from training.official import import_official

# Of the logits' standard deviation. The published implementation's own mean |float32 - float64| is 9e-7 to 1.3e-6 on
# small images, for most networks, with logits of standard deviation 0.6 and more: five times that.
FLOAT32_MEAN = 1e-5
# Of the largest logit; float64 rounding through 26 blocks and 6 levels is well below.
FLOAT64_RELATIVE = 1e-9


@pytest.fixture(scope="module", params=NETWORKS)
def published(request, tmp_path_factory):
    """Name, network, state dict and import of one published network."""
    network = NETWORKS[request.param]
    state = random_state(network)
    path = tmp_path_factory.mktemp("published") / f"{request.param}.pth"
    write_published(path, state, arch=arch_text(network))
    imported = import_official(path)
    path.unlink()
    return request.param, network, state, imported


def image_for(name):
    rng = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, *((128, 256) if name == "voc-l" else (64, 128)), generator=rng)


def test_the_import_computes_what_the_published_network_does(published, tmp_path):
    name, network, state, imported = published
    image = image_for(name)
    with torch.inference_mode():
        expected = published_logits(state, network, image)
        single = imported.model(image)
        save_model(imported.model, tmp_path / "model.ckpt")
        double = imported.model.double()(image.double())
        imported.model.float()
    assert expected.std() > 0.3  # or the tolerances would compare noise with nothing
    assert single.dtype == torch.float32
    assert (double - expected).abs().max() <= FLOAT64_RELATIVE * expected.abs().max()
    assert (single - expected).abs().mean() <= FLOAT32_MEAN * expected.std()

    loaded = load_model(tmp_path / "model.ckpt")
    assert (loaded.config, loaded.training_data) == (imported.model.config, imported.model.training_data)
    with torch.inference_mode():
        assert torch.equal(loaded(image), single)


def test_the_import_says_what_it_found(published):
    name, network, state, imported = published
    report = "\n".join(imported.report)
    buffers = [key for key in state if key.startswith("decoder.coord")]
    assert not imported.model.training
    assert imported.model.config.name == name
    assert f"{len(state) - len(buffers)} of {len(state)} entries taken" in report
    assert all(key in report for key in buffers)
    assert "the tensors agree with arch" in report
    assert "epoch 357, best mIoU 0.7625" in report
    assert f"published weights {name} (epoch 357, best mIoU 0.7625)" in imported.model.training_data
    policy = "zero" if network.generation == "v1_0" else "cumulative"
    assert imported.model.config.signal_offsets == policy
    assert f"signal offsets {policy}" in report
    tracked = {value.item() for key, value in imported.model.state_dict().items() if key.endswith("_tracked")}
    assert tracked == {1234}


@pytest.mark.parametrize(
    "mistake",
    [
        Rules(trunk_eps=1e-5),
        Rules(context_eps=1e-3),
        Rules(decoder_eps=1e-3),
        Rules(padding="same"),
        Rules(padding="symmetric"),
        Rules(coordinates="yx"),
        Rules(align_corners=True),
        Rules(border="zero"),
        Rules(border="replicate"),
        Rules(ceiling=float("inf")),
        Rules(offsets="cumulative"),
        Rules(halo="neighbours"),
    ],
    ids=lambda rules: next(f"{key}={value}" for key, value in vars(rules).items() if value != getattr(Rules(), key)),
)
def test_a_mistake_would_not_pass_as_rounding(mistake):
    network = NETWORKS["cityscapes-m"]
    state, image = random_state(network), image_for("cityscapes-m")
    with torch.inference_mode():
        right, wrong = (published_logits(state, network, image, rules) for rules in (Rules(), mistake))
    assert (wrong - right).abs().mean() > 100 * FLOAT32_MEAN * right.std()


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("cityscapes-m", {"skip_scales": (0.25,) * 5}),
        ("cityscapes-s", {"generation": "v1_0"}),
        ("camvid-s", {"classes": 11}),
    ],
    ids=["reduced stride-2 map", "not unified", "11 classes"],
)
def test_a_network_that_differs_from_its_variant_is_said_and_computed(tmp_path, name, changes):
    network = replace(NETWORKS[name], **changes)
    state, image = random_state(network), image_for(name)
    imported = import_official(write_published(tmp_path / "other.pth", state, arch=arch_text(network)), name)
    assert sum(f"unlike the published {name}" in line for line in imported.report) == 1
    with torch.inference_mode():
        expected = published_logits(state, network, image)
        difference = (imported.model.double()(image.double()) - expected).abs().max()
    assert difference <= FLOAT64_RELATIVE * expected.abs().max()


def test_a_trained_context_path_is_said_loudly_and_read_in_consecutive_parts(tmp_path):
    network = NETWORKS["camvid-s"]
    state, image = random_state(network), image_for("camvid-s")
    trained = random_state(replace(network, generation="unify"))  # whose context path is not left as it was drawn
    state |= {key: value for key, value in trained.items() if key.startswith("weight_mapper.")}
    imported = import_official(write_published(tmp_path / "changed.pth", state))
    assert any("WARNING: the context path WAS trained" in line for line in imported.report)
    with torch.inference_mode():
        expected = published_logits(state, network, image, Rules(offsets="cumulative"))
        difference = (imported.model.double()(image.double()) - expected).abs().max()
    assert difference <= FLOAT64_RELATIVE * expected.abs().max()


def test_a_file_without_epoch_score_and_arch_and_with_the_other_normalisation(tmp_path):
    state = {f"module.{key}": value for key, value in random_state(NETWORKS["camvid-s"]).items()}
    path = write_published(tmp_path / "bare.pth", state, epoch=None, best_iou=None, arch=None)
    imported = import_official(path, "camvid-s", normalisation="half")
    assert imported.model.training_data == "CamVid, published weights bare (epoch unknown, best mIoU unknown)"
    assert any("the file has no arch text" in line for line in imported.report)
    assert (imported.model.config.mean, imported.model.config.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("key", "place", "message"),
    [
        ("weight_mapper.in_conv.0.weight", (3, 4, 0, 0), "no finite numbers"),
        ("decoder.coord64_128", (0, 0, 0, 5), "does not hold x and y"),
    ],
)
def test_values_that_cannot_be_right_are_refused(tmp_path, key, place, message):
    state = random_state(NETWORKS["cityscapes-m"])
    state[key][place] = float("nan")
    with pytest.raises(UserError, match=f"wrong.pth: .*{message}"):
        import_official(write_published(tmp_path / "wrong.pth", state))
