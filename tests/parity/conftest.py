import pytest

from runtime.parity import speed


@pytest.fixture(autouse=True)
def brief_timing(monkeypatch):
    """These tests judge accuracy; a frame is timed for the report to be whole."""
    monkeypatch.setattr(speed, "ROUNDS", 1)
    monkeypatch.setattr(speed, "FRAMES_A_TURN", 1)
    monkeypatch.setattr(speed, "_POWER_SECONDS", 0.0)
