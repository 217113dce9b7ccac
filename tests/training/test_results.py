import json
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from PIL import Image

from runtime.errors import UserError
from training.results import Result, add_result, format_results, plot_results, read_results

RESULT = Result(
    model="cityscapes-m",
    data="Cityscapes fine, val",
    protocol="single scale, no flip",
    miou=76.123,
    iou={"road": 98.0, "car": 54.246},
    parameters=10_311_214,
    gmac=7.685,
    fps=36.94,
    fps_protocol="batch 1, median of 100",
    device="GTX 1080 Ti",
    checkpoint_sha256="ab" * 32,
    date="2026-11-21",
)
ON_CAMVID = replace(RESULT, model="camvid-s", data="CamVid test, 11 classes merged from 32", fps=None, fps_protocol="")


def test_results_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "new folder" / "results.json"
    add_result(path, RESULT)
    add_result(path, ON_CAMVID)
    assert read_results(path) == [RESULT, ON_CAMVID]
    assert isinstance(json.loads(path.read_text()), list)
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


def test_a_later_result_about_the_same_takes_the_earlier_one_s_place(tmp_path):
    path = tmp_path / "results.json"
    elsewhere = replace(RESULT, device="Jetson Orin NX")
    flipped = replace(RESULT, protocol="with flip")
    again = replace(RESULT, miou=77.0, date="2026-11-22")
    for result in (RESULT, elsewhere, flipped, again):
        add_result(path, result)
    assert read_results(path) == [elsewhere, flipped, again]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "cannot be read as results"),
        ('{"model": "x"}', "it is no list"),
        ('[{"model": "x"}]', "the field 'data' is missing"),
        ('["x"]', "a field has the wrong type"),
        (json.dumps([{**vars(RESULT), "iou": 3}]), "a field has the wrong type"),
        (json.dumps([{**vars(RESULT), "miou": "high"}]), "could not convert"),
        (json.dumps([{**vars(RESULT), "miou": float("nan")}]), "percent, from 0 to 100"),
        (json.dumps([{**vars(RESULT), "fps": 0}]), "0.0 frames per second"),
    ],
)
def test_a_damaged_file_is_a_message_and_stays_as_it_is(tmp_path, content, message):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_results(path)
    with pytest.raises(UserError, match=message):
        add_result(path, RESULT)
    assert path.read_text() == content


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="No such file"):
        read_results(tmp_path / "results.json")


def test_the_table():
    lines = format_results([RESULT, ON_CAMVID]).splitlines()
    head, first, second, _, gmac, *notes = (re.split(r"\s{2,}", line.strip()) for line in lines)
    assert head == ["model", "data", "mIoU %", "params M", "GMAC", "FPS", "device", "protocol"]
    assert first == ["cityscapes-m", "Cityscapes fine, val", "76.12", "10.31", "7.68", "36.9", "GTX 1080 Ti", "1"]
    assert second[5] == "-"
    assert gmac[0].startswith("GMAC: multiply-accumulates")
    assert notes[0] == ["1", "mIoU: single scale, no flip; FPS: batch 1, median of 100"]
    assert notes[1] == ["2", "mIoU: single scale, no flip"]


def test_the_plot_is_a_picture_with_our_points_in_colour(tmp_path):
    plot_results([RESULT, replace(RESULT, device="H200", fps=400.0)], "cityscapes", tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.format == "PNG"
        assert image.size == (1500, 975)
        rgb = np.asarray(image.convert("RGB"))
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):  # of the first and the second device
        assert (rgb == colour).all(-1).sum() > 2 * np.pi * 8**2  # two markers of more than 8 pixels' radius


def test_the_plot_as_svg(tmp_path):
    plot_results([RESULT], "cityscapes", tmp_path / "plot.svg")
    assert ElementTree.parse(tmp_path / "plot.svg").getroot().tag.endswith("svg")


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn."""
    figures = []

    def savefig(figure, path):
        Path(path).touch()
        figures.append(figure)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def test_no_label_covers_another_or_a_point(tmp_path, drawn):
    crowd = [
        replace(RESULT, model=f"network-{number}", fps=37.0 + number, miou=75.6 + 0.2 * number) for number in range(5)
    ]
    plot_results(crowd, "cityscapes", tmp_path / "plot.png")
    axes = drawn[0].axes[0]
    labels = [text for text in axes.texts if isinstance(text, Annotation)]
    assert len(labels) == 5 + 7  # ours, and each published network once
    boxes = [label.get_window_extent() for label in labels]
    assert not [
        (a.get_text(), b.get_text())
        for (a, box_a), (b, box_b) in combinations(zip(labels, boxes, strict=True), 2)
        if box_a.overlaps(box_b)
    ]
    points = [tuple(axes.transData.transform(at)) for marks in axes.collections for at in marks.get_offsets()]
    assert len(points) == 5 + 9  # HyperSeg was scored on two splits
    assert not [
        label.get_text() for label, box in zip(labels, boxes, strict=True) for at in points if box.contains(*at)
    ]
    assert all(axes.bbox.contains(*corner) for box in boxes for corner in box.corners())


def test_the_plot_tells_protocols_of_one_data_set_apart(tmp_path, drawn):
    merged = replace(ON_CAMVID, fps=50.0)
    twelve = replace(merged, data="CamVid test, 12 classes", miou=70.0)
    plot_results([RESULT, merged, twelve], "camvid-11", tmp_path / "plot.png")
    plot_results([RESULT, merged, twelve], "camvid", tmp_path / "plot.png")
    legends = [[text.get_text() for text in figure.legends[0].get_texts()] for figure in drawn]
    assert [sum("ours" in text for text in texts) for texts in legends] == [1, 2]
    assert all("published, test split: GTX 1080 Ti" in texts for texts in legends)


def test_a_plot_needs_a_known_ending(tmp_path):
    with pytest.raises(UserError, match=r"ends in \.png or \.svg"):
        plot_results([RESULT], "cityscapes", tmp_path / "plot.jpg")
    assert not list(tmp_path.iterdir())


def test_a_plot_needs_a_speed(tmp_path):
    with pytest.raises(UserError, match=r"no result on camvid has a speed.*these data: Cityscapes fine, val"):
        plot_results([RESULT, ON_CAMVID], "camvid", tmp_path / "plot.png")
    with pytest.raises(UserError, match="No result has one"):
        plot_results([ON_CAMVID], "camvid", tmp_path / "plot.png")
    assert not list(tmp_path.iterdir())
