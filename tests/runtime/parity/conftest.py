from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from runtime.bundle import Bundle, open_bundle
from runtime.files import sha256_of
from runtime.parity import speed


@pytest.fixture(autouse=True)
def short_power_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Power takes seconds to measure, and here there is mostly none."""
    monkeypatch.setattr(speed, "_POWER_SECONDS", 0.0)


@pytest.fixture
def own_bundle(street_bundle: Path, tmp_path: Path) -> Bundle:
    """A copy of the street bundle that a test may change."""
    return open_bundle(shutil.copytree(street_bundle, tmp_path / "bundle"))


@pytest.fixture
def add_to_manifest():
    """Make files of a bundle's folder belong to it, as they are now."""

    def add(bundle: Bundle, *paths: Path) -> Bundle:
        files = bundle.manifest.files | {path.name: sha256_of(path) for path in paths}
        dataclasses.replace(bundle.manifest, files=files).write(bundle.folder)
        return open_bundle(bundle.folder)

    return add
