import numpy as np
import pytest

from runtime.video.overlay import Overlay, colour_table, panel, text_height
from tests.runtime.tiny_models import COLOUR_INFO, colour_frame

LABELS = np.repeat([[0, 1, 2]], 270, axis=0).repeat(160, axis=1).astype(np.uint8)
FRAME = colour_frame(*LABELS.shape)


def overlay(**options) -> Overlay:
    return Overlay(COLOUR_INFO.classes, COLOUR_INFO.palette, **options)


@pytest.mark.parametrize(("opacity", "expected"), [(0, FRAME), (1, colour_table(COLOUR_INFO.palette)[LABELS])])
def test_opacity_goes_from_frame_to_colours(opacity: float, expected: np.ndarray):
    painted = overlay(opacity=opacity, legend="none").paint(FRAME, LABELS)
    assert np.array_equal(painted, expected)


def test_opacity_may_change_between_frames():
    changing = overlay(opacity=1)
    changing.opacity = 0
    assert np.array_equal(changing.blend(FRAME, LABELS), FRAME)
    assert (changing.paint(FRAME, LABELS) != FRAME).any()  # the legend


def test_the_frame_itself_stays_untouched():
    frame = FRAME.copy()
    painted = overlay().paint(frame, LABELS, "25 FPS")
    assert np.array_equal(frame, FRAME)
    assert painted.shape == FRAME.shape
    assert painted.dtype == np.uint8


def test_caption_and_legend_take_the_upper_corners():
    plain = overlay(legend="none").paint(FRAME, LABELS)
    changed = (overlay().paint(FRAME, LABELS, "25 FPS") != plain).any(axis=-1)
    assert changed[:40, :100].any()
    assert changed[:80, -100:].any()
    assert not changed[100:].any()
    assert not changed[:, 200:300].any()


def test_legend_names_what_is_there():
    def rows(labels: np.ndarray, legend: str) -> list[str]:
        return [name for _, name in overlay(legend=legend).legend_rows(labels)]

    specks = np.zeros((100, 100), np.uint8)
    specks[0, :2] = 2  # too few pixels to count
    specks[50:, :] = 1
    assert rows(specks, "present") == ["red", "green"]
    assert rows(specks, "all") == ["red", "green", "blue"]
    assert rows(specks, "none") == []


def test_labels_beyond_the_classes_are_black():
    labels = np.full((64, 128), 255, np.uint8)
    assert not overlay(opacity=1).paint(np.full((64, 128, 3), 255, np.uint8), labels).any()


def test_a_tiny_frame_goes_without_panels():
    frame, labels = colour_frame(12, 16), np.zeros((12, 16), np.uint8)
    assert np.array_equal(overlay().paint(frame, labels, "25 FPS"), overlay(legend="none").paint(frame, labels))


def test_text_grows_with_the_frame():
    assert [text_height(*size) for size in [(256, 512), (512, 1024), (1080, 1920)]] == [7, 8, 17]


def test_a_long_legend_continues_in_even_columns():
    rows = [((0, 0, 0), f"class {index}") for index in range(19)]
    one_column, several = panel(rows, 8), panel(rows, 8, max_height=200)
    assert several.shape[0] <= 200 < one_column.shape[0]
    assert several.shape[0] == (2 * 10 + 1) * 8
    assert several.shape[1] > one_column.shape[1]
