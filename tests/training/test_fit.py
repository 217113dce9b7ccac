import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from runtime.data.label_sets import CITYSCAPES
from runtime.errors import UserError
from training import create_model, load_model, save_model
from training.fake_quantisation import FakeQuantisation
from training.fit import SegmentationTraining, fit
from training.int8_recipe import Int8Recipe
from training.network.config import HyperSegConfig
from training.recipe import read_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recipe():
    return replace(
        read_recipe(Path("training/configs/street-tiny.yaml")),
        train_scenes=4,
        val_scenes=2,
        scene_size=(64, 128),
        augmentation=({"resize": [1.0, 1.5]}, {"crop": [64, 128]}, {"flip": 0.5}),
        batch_size=2,
        images_per_epoch=4,
        epochs=2,
    )


@pytest.fixture(scope="module")
def trained(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("fit")
    fit(recipe, out)
    return out


@pytest.fixture
def int8_recipe():
    return Int8Recipe("street-tiny", "minmax", ("backbone.trunk.conv_stem", "decoder.mappers.0"))


def last(out):
    return torch.load(out / "last.ckpt", weights_only=True)


def fit_command(tmp_path, recipe, *arguments):
    config = tmp_path / "recipe.yaml"
    settings = {name: value for name, value in asdict(recipe).items() if value is not None}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
    config.write_text(yaml.safe_dump(plain))
    command = [sys.executable, "-m", "training", "fit", "--config", config, "--out", tmp_path, *arguments]
    return list(map(str, command))


def assert_same_weights(ours, theirs):
    assert ours.keys() == theirs.keys()
    different = [key for key in ours if not torch.equal(ours[key], theirs[key])]
    assert not different


def test_training_leaves_best_and_last_checkpoint_and_curves(trained):
    assert (trained / "best.ckpt").is_file()
    assert (trained / "last.ckpt").is_file()
    assert list((trained / "logs").glob("events*"))
    model = load_model(trained / "best.ckpt")
    assert model.config.name == "street-tiny"
    assert "4 scenes" in model.training_data


def test_training_changes_every_weight(recipe, trained):
    torch.manual_seed(recipe.seed)
    fresh = create_model("street-tiny").state_dict()
    learnt = {key.removeprefix("model."): value for key, value in last(trained)["state_dict"].items()}
    same = [key for key, value in fresh.items() if value.ndim == 4 and torch.equal(value, learnt[key])]
    assert not same


def test_the_schedule_is_polynomial_and_adams_betas_are_the_papers(recipe, trained):
    checkpoint = last(trained)
    (optimizer,) = checkpoint["optimizer_states"]
    (group,) = optimizer["param_groups"]
    assert tuple(group["betas"]) == (0.5, 0.999)
    assert group["weight_decay"] == 0
    assert group["initial_lr"] == recipe.learning_rate
    assert group["lr"] == 0.0  # the last step has used up (1 - t/T)
    assert checkpoint["global_step"] == 4


def test_a_schedule_by_epochs_holds_the_rate_for_an_epoch(recipe, tmp_path, monkeypatch):
    rates = []
    step = SegmentationTraining.training_step

    def recording(self, batch):
        rates.append(self.optimizers().param_groups[0]["lr"])
        return step(self, batch)

    monkeypatch.setattr(SegmentationTraining, "training_step", recording)
    fit(replace(recipe, schedule="epoch", power=3.0), tmp_path)
    lr = recipe.learning_rate
    assert rates == [lr, lr, lr * (1 - 1 / 2) ** 3, lr * (1 - 1 / 2) ** 3]


def test_the_network_predicts_the_classes_of_the_data(recipe):
    training = SegmentationTraining(replace(recipe, variant="camvid-s"), CITYSCAPES, "street")
    assert training.model.config.labels == CITYSCAPES
    assert training.model.decoder.plan.levels[-1].out_channels == 19


def test_two_processes_train_on_the_images_of_one(recipe, trained, tmp_path):
    """The same steps and schedule; the batch is shared, so only BatchNorm sees other statistics."""
    result = subprocess.run(fit_command(tmp_path, recipe, "--devices", 2), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert last(tmp_path)["global_step"] == last(trained)["global_step"] == 4
    assert last(tmp_path)["optimizer_states"][0]["param_groups"][0]["lr"] == 0.0


def test_a_batch_that_the_devices_cannot_share_is_refused(recipe, tmp_path):
    odd = replace(recipe, batch_size=3)
    result = subprocess.run(fit_command(tmp_path, odd, "--devices", 2), capture_output=True, text=True)
    assert result.returncode == 2
    assert "a batch of 3 images cannot be shared equally by 2 devices" in result.stderr


@pytest.mark.parametrize("change", [{}, {"ema_decay": 0.5}], ids=["plain", "ema"])
def test_killed_and_resumed_gives_the_weights_of_an_unbroken_run(recipe, tmp_path, change):
    # Dropout and drop path draw random numbers too: cityscapes-m has both, street-tiny neither.
    long = replace(recipe, variant="cityscapes-m", epochs=3, loss="bootstrapped_cross_entropy", **change)
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    unbroken.mkdir()
    broken.mkdir()
    subprocess.run(fit_command(unbroken, long, "--workers", 0), check=True, capture_output=True)
    process = subprocess.Popen(fit_command(broken, long, "--workers", 1), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (broken / "last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it must not have come to its end"
    done = last(broken)["global_step"]
    assert 0 < done < 6
    resume = fit_command(broken, long, "--resume", broken / "last.ckpt", "--workers", 2)
    subprocess.run(resume, check=True, capture_output=True)
    resumed, expected = last(broken), last(unbroken)
    assert resumed["global_step"] == expected["global_step"] == 6
    assert_same_weights(resumed["state_dict"], expected["state_dict"])
    assert resumed["lr_schedulers"] == expected["lr_schedulers"]


def test_the_seed_matters(recipe, trained, tmp_path):
    fit(replace(recipe, seed=1), tmp_path)
    key = "model.context_head.in_conv.0.weight"
    assert not torch.equal(last(tmp_path)["state_dict"][key], last(trained)["state_dict"][key])


def test_resume_with_another_recipe_is_refused(recipe, trained, tmp_path):
    with pytest.raises(UserError, match=r"learning_rate 0\.\d+ -> 0\.5"):
        fit(replace(recipe, learning_rate=0.5), tmp_path, resume=trained / "last.ckpt")


def test_resume_from_a_model_without_training_state_is_refused(recipe, tmp_path):
    save_model(create_model("street-tiny"), tmp_path / "model.ckpt")
    with pytest.raises(UserError, match="not the state of a training"):
        fit(recipe, tmp_path, resume=tmp_path / "model.ckpt")


def test_an_illegal_crop_is_refused(recipe, tmp_path):
    with pytest.raises(UserError, match="nearest legal sizes"):
        fit(replace(recipe, augmentation=({"crop": [100, 100]},)), tmp_path)


def test_the_moving_average_is_what_the_checkpoint_holds(recipe, trained, tmp_path):
    fit(replace(recipe, ema_decay=0.5), tmp_path)
    checkpoint = last(tmp_path)
    raw, key = checkpoint["current_model_state"], "model.context_head.in_conv.0.weight"
    assert torch.equal(raw[key], last(trained)["state_dict"][key]), "averaging must not change the training"
    assert not torch.equal(checkpoint["state_dict"][key], raw[key])
    load_model(tmp_path / "best.ckpt")


def test_the_options_for_speed_and_memory_train_too(recipe, tmp_path):
    fit(replace(recipe, channels_last=True, recompute=True, sync_batchnorm=True), tmp_path)
    load_model(tmp_path / "best.ckpt")


def test_channels_last_is_a_layout_and_computes_the_same(recipe):
    def logits(channels_last):
        torch.manual_seed(0)
        training = SegmentationTraining(replace(recipe, channels_last=channels_last), CITYSCAPES, "street").eval()
        conv = training.model.context_head.in_conv[0]
        layouts = []
        conv.register_forward_pre_hook(lambda _, x: layouts.append(x[0].is_contiguous()))
        result = training._logits(torch.randint(0, 256, (1, 3, 64, 128), dtype=torch.uint8))
        assert layouts == [not channels_last]
        return result

    plain = logits(False)
    # Another order of summation in float32.
    assert (logits(True) - plain).abs().mean() < 1e-4 * plain.abs().mean()


def test_synchronised_batchnorm_keeps_the_activations_and_the_names_of_the_weights(recipe):
    def training(sync_batchnorm):
        torch.manual_seed(0)
        return SegmentationTraining(replace(recipe, sync_batchnorm=sync_batchnorm), CITYSCAPES, "street").eval()

    plain, synchronised = training(False), training(True)
    norms = [module for module in synchronised.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert_same_weights(synchronised.state_dict(), plain.state_dict())
    images = torch.randint(0, 256, (1, 3, 64, 128), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.equal(synchronised._logits(images), plain._logits(images))


@pytest.mark.parametrize("name", ["street-tiny", "cityscapes-m-resnet18", "cityscapes-m-regular"])
def test_recomputing_gives_the_same_gradients_and_statistics(name):
    def train_once(recompute):
        torch.manual_seed(0)
        model = create_model(name).train()
        if recompute:
            model.recompute_in_backward()
        model(torch.randn(2, 3, 64, 128)).square().mean().backward()
        return model

    plain, again = train_once(False), train_once(True)
    for ours, theirs in zip(again.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)
    assert_same_weights(again.state_dict(), plain.state_dict())
    statistics = [module for module in again.modules() if isinstance(module, nn.BatchNorm2d)]
    assert statistics
    assert all(norm.momentum > 0 and norm.num_batches_tracked == 1 for norm in statistics)


def test_compiling_is_asked_of_torch_and_leaves_the_names_of_the_weights(recipe, monkeypatch):
    asked = []
    monkeypatch.setattr(nn.Module, "compile", lambda self: asked.append(type(self).__name__))
    training = SegmentationTraining(replace(recipe, compile=True), CITYSCAPES, "street")
    assert asked == ["HyperSeg"]
    assert isinstance(training.model.config, HyperSegConfig)


def test_starting_from_a_checkpoint_begins_with_its_weights_and_normalisation(recipe, tmp_path):
    torch.manual_seed(5)
    start = create_model("street-tiny")
    start.config = replace(start.config, mean=(0.5, 0.5, 0.5))
    save_model(start, tmp_path / "start.ckpt")
    fit(replace(recipe, learning_rate=1e-9, epochs=1), tmp_path / "fit", start_from=tmp_path / "start.ckpt")
    tuned = load_model(tmp_path / "fit" / "last.ckpt")
    assert tuned.config == start.config
    assert "4 scenes" in tuned.training_data
    for name, weight in start.named_parameters():
        # Two of Adam's steps of 1e-9 each.
        torch.testing.assert_close(tuned.get_parameter(name), weight, rtol=0, atol=1e-8)
    norm = "context_head.in_conv.1.num_batches_tracked"
    assert tuned.state_dict()[norm] == 2, "BatchNorm must train, too"


@pytest.mark.parametrize(
    ("change", "precision"),
    [
        ({}, "32-true"),
        ({"ema_decay": 0.5}, "32-true"),
        ({"channels_last": True, "recompute": True, "sync_batchnorm": True}, "bf16-mixed"),
    ],
    ids=["plain", "ema", "options"],
)
def test_fine_tuning_for_int8_leaves_an_ordinary_checkpoint_and_can_be_resumed(
    recipe, trained, int8_recipe, tmp_path, monkeypatch, change, precision
):
    tuning = replace(recipe, learning_rate=1e-3, **change)
    start = trained / "best.ckpt"
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    best = fit(tuning, unbroken, start_from=start, int8_recipe=int8_recipe, precision=precision)
    assert load_model(best).state_dict().keys() == load_model(start).state_dict().keys()

    begin = SegmentationTraining.on_train_epoch_start

    def break_off(self):
        if self.current_epoch == 1:
            raise RuntimeError("power cut")
        begin(self)

    monkeypatch.setattr(SegmentationTraining, "on_train_epoch_start", break_off)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(tuning, broken, start_from=start, int8_recipe=int8_recipe, precision=precision)
    monkeypatch.setattr(SegmentationTraining, "on_train_epoch_start", begin)
    assert last(broken)["global_step"] == 2
    fit(tuning, broken, resume=broken / "last.ckpt", int8_recipe=int8_recipe, precision=precision)
    resumed, expected = last(broken), last(unbroken)
    assert resumed["global_step"] == expected["global_step"] == 4
    assert_same_weights(resumed["state_dict"], expected["state_dict"])
    quantisation = expected["callbacks"]["FakeQuantisation"]
    assert quantisation["thresholds"].keys() == set(int8_recipe.layers)
    assert min(quantisation["thresholds"].values()) > 0
    assert resumed["callbacks"]["FakeQuantisation"] == quantisation


def test_fine_tuning_for_int8_rounds_in_training_and_validation(recipe, trained, int8_recipe, tmp_path, monkeypatch):
    start, rounds = trained / "best.ckpt", set()
    quantise = FakeQuantisation._quantise

    def recording(self, x, place, training):
        rounds.add((self.places[place], training))
        return quantise(self, x, place, training)

    monkeypatch.setattr(FakeQuantisation, "_quantise", recording)
    fit(recipe, tmp_path / "float", start_from=start)
    assert not rounds
    fit(recipe, tmp_path / "int8", start_from=start, int8_recipe=int8_recipe)
    assert rounds == {(layer, training) for layer in int8_recipe.layers for training in (True, False)}
    key = "model.decoder.mappers.0.weight"
    assert not torch.equal(last(tmp_path / "int8")["state_dict"][key], last(tmp_path / "float")["state_dict"][key])


def test_resume_with_another_int8_recipe_is_refused(recipe, trained, int8_recipe, tmp_path):
    with pytest.raises(
        UserError, match=r"another --int8-recipe, .* they differ in backbone\.trunk\.conv_stem, decoder"
    ):
        fit(recipe, tmp_path, resume=trained / "last.ckpt", int8_recipe=int8_recipe)
    fit(recipe, tmp_path, start_from=trained / "best.ckpt", int8_recipe=int8_recipe)
    for other in (None, replace(int8_recipe, layers=int8_recipe.layers[:1])):
        with pytest.raises(UserError, match=r"another --int8-recipe"):
            fit(recipe, tmp_path, resume=tmp_path / "last.ckpt", int8_recipe=other)


def test_a_beginning_that_does_not_fit_is_refused(recipe, trained, int8_recipe, tmp_path):
    checkpoint = trained / "last.ckpt"
    with pytest.raises(UserError, match="leave --start-from out"):
        fit(recipe, tmp_path, resume=checkpoint, start_from=checkpoint)
    with pytest.raises(UserError, match="name its checkpoint with --start-from"):
        fit(recipe, tmp_path, int8_recipe=int8_recipe)
    with pytest.raises(UserError, match="would overwrite"):
        fit(recipe, trained, start_from=checkpoint)
    with pytest.raises(UserError, match=r"holds a street-tiny; it differs from the camvid-s .* in name, "):
        fit(replace(recipe, variant="camvid-s"), tmp_path, start_from=checkpoint)
    with pytest.raises(UserError, match=r"trains in signal_offsets\."):
        fit(replace(recipe, signal_offsets="zero"), tmp_path, start_from=checkpoint)
    with pytest.raises(UserError, match="recipe is one of voc-l"):
        fit(recipe, tmp_path, start_from=checkpoint, int8_recipe=replace(int8_recipe, model="voc-l"))
