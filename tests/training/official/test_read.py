import os
import pickle
import zipfile
from argparse import Namespace

import numpy as np
import pytest
import torch

from runtime.errors import UserError
from tests.training.official.published_files import write_published
from training.official.read import read_published

STATE = {"backbone.weight": torch.arange(6.0).view(2, 3), "backbone.count": torch.tensor(7)}


def with_numpy_1_names(path):
    """Rewrite the pickle inside as numpy 1 would have written it; its names end with the line."""
    with zipfile.ZipFile(path) as archive:
        records = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    (name,) = (name for name in records if name.endswith("data.pkl"))
    assert records[name].count(b"cnumpy._core.multiarray\nscalar\n") == 1
    records[name] = records[name].replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for entry, content in records.items():
            archive.writestr(entry, content)
    return path


@pytest.mark.parametrize("rewrite", [lambda path: path, with_numpy_1_names], ids=["numpy 2", "numpy 1"])
def test_a_published_file_is_read(tmp_path, rewrite):
    path = rewrite(write_published(tmp_path / "published.pth", STATE, arch="a.b('c')"))
    file = read_published(path)
    assert (file.epoch, file.best_iou, file.arch) == (357, 0.7625, "a.b('c')")
    assert type(file.best_iou) is float
    assert list(file.state) == list(STATE)
    assert all(torch.equal(file.state[key], value) for key, value in STATE.items())


def test_the_older_file_format_is_read(tmp_path):
    content = {"epoch": 3, "state_dict": STATE, "best_iou": np.float64(0.5)}
    torch.save(content, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    file = read_published(tmp_path / "old.pth")
    assert (file.epoch, file.best_iou, file.arch) == (3, 0.5, None)
    assert torch.equal(file.state["backbone.weight"], STATE["backbone.weight"])


def test_the_prefix_of_data_parallel_goes(tmp_path):
    path = write_published(tmp_path / "parallel.pth", {f"module.{key}": value for key, value in STATE.items()})
    assert list(read_published(path).state) == list(STATE)


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hacked",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "entries",
    [
        {"arch": Hostile()},
        {"best_iou": Hostile()},
        {"optimizer": {"state": [Hostile()]}},
        {"state_dict": {**STATE, "extra": Hostile()}},
        {"state_dict": Hostile()},
    ],
    ids=lambda entries: next(iter(entries)),
)
def test_a_hostile_file_is_refused_and_leaves_no_trace(tmp_path, monkeypatch, entries, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save({"epoch": 1, "state_dict": STATE, **entries}, "hostile.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"Python object (posix|nt)\.system.* not run") as caught:
        read_published(tmp_path / "hostile.pth")
    assert "weights_only" not in str(caught.value)  # torch's message tells how to run it
    assert not (tmp_path / "hacked").exists()
    torch.load("hostile.pth", weights_only=False)
    assert (tmp_path / "hacked").exists()  # it was a live one


@pytest.mark.parametrize(
    ("value", "name"),
    [(Namespace(a=1), "argparse.Namespace"), (np.arange(3), "_reconstruct"), (np.float32(1), "Float32DType")],
    ids=["namespace", "array", "float32"],
)
def test_other_objects_are_refused_by_name(tmp_path, value, name):
    path = write_published(tmp_path / "other.pth", STATE, best_iou=value)
    with pytest.raises(UserError, match=f"Python object .*{name}"):
        read_published(path)


def test_reading_leaves_nothing_allowed_behind(tmp_path):
    path = write_published(tmp_path / "published.pth", STATE)
    before = set(torch.serialization.get_safe_globals())
    read_published(path)
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


def truncated(path):
    write_published(path, STATE)
    path.write_bytes(path.read_bytes()[:1000])


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("this is no checkpoint")


def state_dict_alone(path):
    torch.save(STATE, path)


def tensor_alone(path):
    torch.save(torch.zeros(3), path)


def empty_state_dict(path):
    write_published(path, {})


def number_in_the_state_dict(path):
    write_published(path, {**STATE, "extra": 3})


def sparse_tensor(path):
    write_published(path, {**STATE, "extra": torch.eye(3).to_sparse()})


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
@pytest.mark.parametrize(
    ("write", "message"),
    [
        (truncated, "cannot be read as a PyTorch file"),
        (empty, "cannot be read as a PyTorch file"),
        (text, "cannot be read as a PyTorch file"),
        (state_dict_alone, "it has no `state_dict`"),
        (tensor_alone, "it has no `state_dict`"),
        (empty_state_dict, "it has no `state_dict`"),
        (number_in_the_state_dict, "something else than named tensors, first of all 'extra'"),
        (sparse_tensor, "something else than named tensors, first of all 'extra'"),
    ],
)
def test_what_is_no_published_file_is_refused(tmp_path, write, message):
    write(tmp_path / "file.pth")
    with pytest.raises(UserError, match=message):
        read_published(tmp_path / "file.pth")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_published(tmp_path / "none.pth")
    with pytest.raises(UserError, match="is a folder"):
        read_published(tmp_path)
