"""Tiny models for every test of the runtime."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import ModelInfo
from tests.runtime.tiny_models import COLOUR_INFO, write_bundle


@pytest.fixture(scope="session")
def colour_info() -> ModelInfo:
    return COLOUR_INFO


@pytest.fixture(scope="session")
def colour_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose ONNX file has the logits output too. Read only: copy it to change it."""
    return write_bundle(tmp_path_factory.mktemp("models") / "colours", COLOUR_INFO, np.eye(3), logits=True)


@pytest.fixture(scope="session")
def street_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the 19 street classes and random weights; its ONNX file has no logits output."""
    from runtime.street import CLASSES, PALETTE

    info = dataclasses.replace(COLOUR_INFO, name="street", classes=CLASSES, palette=PALETTE, height=64, width=128)
    weight = np.random.default_rng(0).normal(size=(len(CLASSES), 3)).astype(np.float32)
    return write_bundle(tmp_path_factory.mktemp("models") / "street", info, weight)
