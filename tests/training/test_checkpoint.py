import os

import pytest
import torch

from runtime.errors import UserError
from training import create_model, load_model, save_model


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "model.ckpt"
    model = create_model("street-tiny", signal_offsets="zero")
    model.training_data = "nothing"
    save_model(model, path)
    return path


def test_a_model_comes_back_as_it_was(tmp_path):
    torch.manual_seed(0)
    model = create_model("street-tiny").eval()
    model.training_data = "street, 3 scenes"
    save_model(model, tmp_path / "model.ckpt")
    loaded = load_model(tmp_path / "model.ckpt")
    image = torch.randn(1, 3, 64, 128)
    with torch.no_grad():
        assert torch.equal(loaded(image), model(image))
    assert not loaded.training
    assert (loaded.config, loaded.training_data) == (model.config, "street, 3 scenes")


def test_a_checkpoint_says_what_it_is_without_unpickling_code(checkpoint):
    header = torch.load(checkpoint, weights_only=True)["hyperseg"]
    config = header["config"]
    assert (config["name"], config["signal_offsets"]) == ("street-tiny", "zero")
    assert config["labels"]["classes"][0] == "road"
    assert config["labels"]["palette"][0] == (128, 64, 128)
    assert config["mean"] == (0.485, 0.456, 0.406)
    assert header["training_data"] == "nothing"


def truncated(path):
    path.write_bytes(path.read_bytes()[:1000])


def text(path):
    path.write_text("this is no checkpoint")


def empty(path):
    path.write_bytes(b"")


def foreign(path):
    torch.save({"model": {"weight": torch.zeros(3)}}, path)


def tensor(path):
    torch.save(torch.zeros(3), path)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hacked",)


def hostile(path):
    torch.save({"hyperseg": Hostile()}, path)


def newer(path):
    content = torch.load(path, weights_only=True)
    content["hyperseg"]["version"] = 99
    torch.save(content, path)


def other_weights(path):
    content = torch.load(path, weights_only=True)
    del content["state_dict"]["context_head.in_conv.0.weight"]
    torch.save(content, path)


def other_config(path):
    content = torch.load(path, weights_only=True)
    content["hyperseg"]["config"]["colour"] = "red"
    torch.save(content, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated, "cannot be read as a checkpoint"),
        (text, "cannot be read as a checkpoint"),
        (empty, "cannot be read as a checkpoint"),
        (hostile, "cannot be read as a checkpoint"),
        (foreign, "no checkpoint of this project"),
        (tensor, "no checkpoint of this project"),
        (newer, "checkpoint version 99"),
        (other_weights, "do not fit"),
        (other_config, "colour"),
    ],
)
def test_a_bad_checkpoint_is_refused(checkpoint, damage, message, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    damage(checkpoint)
    with pytest.raises(UserError, match=message):
        load_model(checkpoint)
    assert not (tmp_path / "hacked").exists()


def test_a_missing_checkpoint_and_a_folder_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_model(tmp_path / "none.ckpt")
    with pytest.raises(UserError, match="is a folder"):
        load_model(tmp_path)


def test_a_file_that_cannot_be_written_is_a_clear_error_and_leaves_the_old_one(checkpoint, file_size_limit):
    before = checkpoint.read_bytes()
    with file_size_limit(100_000), pytest.raises(UserError, match=r"cannot write .* File too large"):
        save_model(create_model("street-tiny"), checkpoint)
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]
