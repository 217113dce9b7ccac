import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from runtime import contact_sheet, street
from runtime.errors import run_command


def run_contact_sheet(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["contact_sheet", *map(str, words)])
    return run_command(contact_sheet.main)


def test_sheet_shows_image_prediction_and_truth(street_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "sheet.png"
    assert run_contact_sheet(monkeypatch, "--model", street_bundle, "--out", out, "--scenes", 2) == 0
    sheet_rgb = cv2.imread(str(out))[..., ::-1]
    assert sheet_rgb.shape[1] == 3 * (512 + 22)
    image_rgb, truth = street.render(street.HELD_OUT_SEEDS[0], height=64, width=128)
    row = slice(33, 33 + 256)
    # Pictures are enlarged four times; their middles tell what they are.
    shown = cv2.resize(np.ascontiguousarray(sheet_rgb[row, 11 : 11 + 512]), (128, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(shown.astype(int) - image_rgb).mean() < 2
    colours = np.zeros((256, 3), np.uint8)
    colours[:19] = street.PALETTE
    shown_truth = sheet_rgb[row, 2 * 534 + 11 : 2 * 534 + 11 + 512][2::4, 2::4]
    assert np.mean((shown_truth == colours[truth]).all(axis=-1)) > 0.8


def test_model_of_other_classes(
    colour_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    assert run_contact_sheet(monkeypatch, "--model", colour_bundle, "--out", tmp_path / "sheet.png") == 2
    assert "other classes" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_only_png(street_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert run_contact_sheet(monkeypatch, "--model", street_bundle, "--out", "sheet.jpg") == 2
    assert "ends in .png" in capsys.readouterr().err
