"""Checkpoints: the weights with all that rebuilds and deploys the network, loadable without pickle's risks."""

from __future__ import annotations

import io
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import torch

from runtime.data.data_set import LabelSet
from runtime.errors import UserError
from runtime.files import replace_file
from training.network.config import HyperSegConfig
from training.network.model import HyperSeg

FORMAT_VERSION = 1


def save_model(model: HyperSeg, path: str | Path) -> None:
    """Write a checkpoint; it appears complete or not at all. Raises UserError if the file cannot be written."""
    buffer = io.BytesIO()  # to a file, torch reports a full disk as one of its own errors
    torch.save({"hyperseg": describe_model(model), "state_dict": model.state_dict()}, buffer)
    with replace_file(Path(path)) as aside:
        aside.write_bytes(buffer.getbuffer())


def describe_model(model: HyperSeg) -> dict[str, Any]:
    """Return what a checkpoint says beside the weights, as plain values."""
    return {"version": FORMAT_VERSION, "config": asdict(model.config), "training_data": model.training_data}


def load_model(path: str | Path) -> HyperSeg:
    """Read a checkpoint of ``save_model`` or of ``fit`` and return the model in eval mode, on the CPU.

    Its input is a normalised float32 image [N, 3, H, W], its output logits [N, classes, H, W].
    Raises UserError for a file that is missing, truncated, no checkpoint, or not one of ours.
    """
    checkpoint = read_checkpoint(Path(path))
    header = checkpoint["hyperseg"]
    model = HyperSeg(_config(header["config"]))
    model.training_data = header["training_data"]
    # A Lightning checkpoint holds the network as the attribute `model` of its module.
    weights = {key.removeprefix("model."): value for key, value in checkpoint["state_dict"].items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"the weights in {path} do not fit its variant {model.config.name}: {error}") from error
    return model.eval()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint's dictionary, checked to be one of ours; never runs code from the file."""
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise UserError(f"the checkpoint {path} {what}. Train one: python -m training fit --config training/configs/X")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no checkpoint fail in the unpickler in any way there is
        raise UserError(
            f"{path} cannot be read as a checkpoint ({_first_sentence(error)}). It is truncated, or no PyTorch file, "
            "or holds more than plain weights. Copy it again, or train it with `python -m training fit`."
        ) from error
    if not isinstance(checkpoint, dict) or "hyperseg" not in checkpoint or "state_dict" not in checkpoint:
        raise UserError(
            f"{path} is a PyTorch file, but no checkpoint of this project: it does not say which variant it is. "
            "Use one written by `python -m training fit` or training.save_model."
        )
    version = checkpoint["hyperseg"].get("version")
    if version != FORMAT_VERSION:
        raise UserError(f"{path} has checkpoint version {version}; this code reads version {FORMAT_VERSION}.")
    return checkpoint


def _config(values: dict[str, Any]) -> HyperSegConfig:
    known = {field.name: field for field in fields(HyperSegConfig)}
    missing = {name for name, field in known.items() if field.default is MISSING} - values.keys()
    if differing := missing | (values.keys() - known.keys()):
        raise UserError(f"the checkpoint's config does not match this code in {sorted(differing)}.")
    return HyperSegConfig(**(values | {"labels": LabelSet(**values["labels"])}))


def _first_sentence(error: Exception) -> str:
    """Leave out what torch goes on with: the advice to load a file in a way that may run code."""
    return str(error).strip().split("\n")[0].split(". ")[0] or type(error).__name__
