import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml

from runtime.errors import UserError
from training import load_model, save_model
from training.evaluate import evaluate_on_street
from training.fit import SegmentationTraining, fit
from training.model import create_model
from training.recipe import read_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def recipe():
    return replace(
        read_recipe(Path("training/configs/street-tiny.yaml")),
        train_scenes=4,
        val_scenes=2,
        scene_size=(64, 128),
        crop_size=(64, 128),
        resize_scale=(1.0, 1.5),
        batch_size=2,
        images_per_epoch=4,
        epochs=2,
    )


@pytest.fixture(scope="module")
def trained(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("fit")
    fit(recipe, out)
    return out


def weights_of(path):
    return torch.load(path, weights_only=True)["state_dict"]


def test_training_leaves_best_and_last_checkpoint_and_curves(trained):
    assert (trained / "best.ckpt").is_file()
    assert (trained / "last.ckpt").is_file()
    assert list((trained / "logs").glob("events*"))
    model = load_model(trained / "best.ckpt")
    assert model.config.name == "street-tiny"
    assert "4 scenes" in model.training_data
    assert evaluate_on_street(model, scenes=1, size=(64, 128)).shape == (19,)


def test_training_changes_every_weight(recipe, trained):
    torch.manual_seed(recipe.seed)
    fresh = create_model("street-tiny").state_dict()
    learnt = {key.removeprefix("model."): value for key, value in weights_of(trained / "last.ckpt").items()}
    same = [key for key, value in fresh.items() if value.ndim == 4 and torch.equal(value, learnt[key])]
    assert not same


def test_the_schedule_is_polynomial_and_adams_betas_are_the_papers(recipe, trained):
    checkpoint = torch.load(trained / "last.ckpt", weights_only=True)
    (optimizer,) = checkpoint["optimizer_states"]
    (group,) = optimizer["param_groups"]
    assert tuple(group["betas"]) == (0.5, 0.999)
    assert group["weight_decay"] == 0
    assert group["initial_lr"] == recipe.learning_rate
    assert group["lr"] == 0.0  # the last step has used up (1 - t/T)
    assert checkpoint["global_step"] == recipe.steps == 4


def test_two_processes_share_an_epoch_and_its_schedule(recipe, tmp_path):
    """Half the steps each, and the learning rate still ends at 0."""
    config = tmp_path / "recipe.yaml"
    settings = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(recipe).items()}
    config.write_text(yaml.safe_dump(settings | {"images_per_epoch": 8}))
    command = [sys.executable, "-m", "training", "fit", "--config", config, "--out", tmp_path, "--devices", "2"]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2 * 8 // (2 * 2)
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == 0.0


def test_resume_goes_on_where_it_stopped(recipe, trained, tmp_path, monkeypatch):
    validate = SegmentationTraining.on_validation_epoch_end

    def interrupt_in_second_epoch(self):
        validate(self)
        if self.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationTraining, "on_validation_epoch_end", interrupt_in_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            fit(recipe, tmp_path)
    interrupted = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert interrupted["global_step"] == 2
    fit(recipe, tmp_path, resume=tmp_path / "last.ckpt")
    resumed = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert resumed["global_step"] == 4
    assert resumed["optimizer_states"][0]["param_groups"][0]["lr"] == 0.0


def test_resume_with_another_recipe_is_refused(recipe, trained, tmp_path):
    with pytest.raises(UserError, match=r"learning_rate 0\.\d+ -> 0\.5"):
        fit(replace(recipe, learning_rate=0.5), tmp_path, resume=trained / "last.ckpt")


def test_resume_from_a_model_without_training_state_is_refused(recipe, tmp_path):
    save_model(create_model("street-tiny"), tmp_path / "model.ckpt")
    with pytest.raises(UserError, match="not the state of a training"):
        fit(recipe, tmp_path, resume=tmp_path / "model.ckpt")


def test_an_illegal_crop_is_refused(recipe, tmp_path):
    with pytest.raises(UserError, match="nearest legal sizes"):
        fit(replace(recipe, crop_size=(100, 100)), tmp_path)


def test_evaluation_refuses_a_model_of_other_classes():
    with pytest.raises(UserError, match="predicts the classes of camvid"):
        evaluate_on_street(create_model("camvid-s").eval())
