"""Bundles of random weights, made and compared the way a user does it."""

import pytest

from export.bundle import export_bundle
from runtime.bundle import open_bundle
from runtime.parity import speed
from tests.export.conftest import random_model  # noqa: F401  a fixture
from training import save_model


@pytest.fixture
def random_bundle(random_model, tmp_path):  # noqa: F811
    """Export a variant with random weights at its smallest legal size, twice as wide as high."""

    def make(name):
        model = random_model(name)
        checkpoint = tmp_path / f"{name}.ckpt"
        save_model(model, checkpoint)
        multiple = model.config.size_multiple
        size = (multiple, 2 * multiple)
        return open_bundle(export_bundle(checkpoint, tmp_path / name, size=size, logits=True).folder)

    return make


@pytest.fixture(autouse=True)
def brief_timing(monkeypatch):
    """These tests judge accuracy; a frame is timed for the report to be whole."""
    monkeypatch.setattr(speed, "ROUNDS", 1)
    monkeypatch.setattr(speed, "FRAMES_A_TURN", 1)
    monkeypatch.setattr(speed, "_POWER_SECONDS", 0.0)
