import dataclasses
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from calibration.search.files import write_report
from calibration.search.markdown import as_markdown
from calibration.search.page import as_html
from calibration.search.plots import accuracy_plot
from calibration.search.report import SearchReport, as_json, rank_correlation
from training.int8_recipe import read_int8_recipe


def test_shares_are_those_of_the_whole_network(report: SearchReport):
    assert (report.total_macs, report.quantisable_macs) == (1000, 800)
    assert report.fp32_miou == pytest.approx(0.8)
    assert report.chosen is not None
    assert report.share(report.chosen.macs) == 0.7


@pytest.mark.parametrize(("macs", "much"), [(400, False), (399, True)])
def test_less_than_half_of_what_can_be_int8_is_little(report: SearchReport, macs: int, much: bool):
    assert report.chosen is not None
    assert dataclasses.replace(report, chosen=dataclasses.replace(report.chosen, macs=macs)).gives_up_much is much


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ([1, 2, 3], [10, 100, 1000], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        # 1 - 6 * sum(d^2) / (n * (n^2 - 1)) = 1 - 6 * 8 / 120, without equal values
        ([1, 2, 3, 4, 5], [2, 1, 4, 5, 3], 0.6),
        # ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5
        ([0, 7, 7, 9], [1, 2, 3, 4], 4.5 / np.sqrt(4.5 * 5)),
        ([1, 1, 1], [1, 2, 3], None),
        ([1], [1], None),
        ([], [], None),
    ],
)
def test_rank_correlation(x: list[float], y: list[float], expected: float | None):
    assert rank_correlation(x, y) == (expected if expected is None else pytest.approx(expected))


def test_how_well_single_layers_predict(report: SearchReport):
    # Layers change 0.012, 0.003, 0.005 of the labels and lose 0.5, 0.1, 0.2; the sets' sums are 0.02, 0.008, 0.
    assert report.prediction == pytest.approx(
        {"miou_loss_of_layers": 1.0, "changed_labels_of_sets": 1.0, "miou_loss_of_sets": 1.0}
    )
    gaining = dataclasses.replace(report.points[0], score=dataclasses.replace(report.points[0].score, loss_points=-1.0))
    # Ranks 3, 2, 1 against 1, 3, 2: covariance -0.5, variances 1.
    other = dataclasses.replace(report, points=(gaining, *report.points[1:]))
    assert other.prediction["miou_loss_of_sets"] == pytest.approx(-0.5)


def test_json_holds_all_that_was_measured(report: SearchReport):
    fields = json.loads(as_json(report))
    assert fields["fp32_miou"] == pytest.approx(0.8)
    assert fields["macs"] == {"network": 1000, "quantisable": 800}
    assert [point["share_of_macs"] for point in fields["points"]] == [0.8, 0.7, 0.0]
    assert fields["chosen"]["layers"] == ["trunk.<middle>", "mapper"]
    assert [one["layer"] for one in fields["sensitivity"]] == ["stem", "mapper", "trunk.<middle>"]
    assert fields["methods"]["mse"]["loss_points"] == 1.2


def test_a_report_without_a_recipe_says_what_to_do(not_found: SearchReport):
    assert json.loads(as_json(not_found))["chosen"] is None
    for text in (as_markdown(not_found), as_html(not_found)):
        assert "No set of layers keeps the budget of 0.5 points" in text
        assert "python -m training fit" in text
        assert "tiny.int8.all-layers.recipe.json" in text
        assert "docs/precision.md" in text


def test_where_fp16_is_to_blame_no_fine_tuning_is_advised(not_found: SearchReport):
    fp16 = not_found.points[1]
    worse = dataclasses.replace(fp16, score=dataclasses.replace(fp16.score, loss_points=0.7))
    text = as_markdown(dataclasses.replace(not_found, points=(not_found.points[0], worse)))
    assert "FP16 is what to look at first" in text
    assert "training fit" not in text


def test_a_report_with_a_good_recipe_advises_nothing(report: SearchReport):
    text = as_markdown(report)
    assert "2 of 3 layers run in INT8: 70.0 % of the network's multiply-accumulates, of 80.0 % that could be" in text
    assert "loses 0.40 ± 0.07 points of mIoU (80.00 % to 79.60 %)" in text
    assert "training fit" not in text


def test_a_higher_miou_is_no_loss(report: SearchReport):
    assert report.chosen is not None
    chosen = dataclasses.replace(report.chosen, score=dataclasses.replace(report.chosen.score, loss_points=-0.1))
    assert "That loses nothing of mIoU" in as_markdown(dataclasses.replace(report, chosen=chosen))


def test_the_tables_rows_are_whole(report: SearchReport):
    rows = [line for line in as_markdown(report).splitlines() if line.startswith("|")]
    assert any(row.split()[1::2] == ["stem", "0.00", "1.200", "0.500", "fp16"] for row in rows)
    assert any("2 (chosen)" in row and " 70.0 " in row and " 0.400 " in row for row in rows)


def test_the_page_needs_nothing_else_and_escapes_names(report: SearchReport):
    page = as_html(report)
    assert "http" not in page.replace("http-equiv", "")
    assert "src=" not in page
    assert "trunk.&lt;middle&gt;" in page
    assert "<middle>" not in page


def circles(svg: str) -> list[ElementTree.Element]:
    return [one for one in ElementTree.fromstring(svg).iter("circle") if one.get("class") in ("on-path", "put-back")]


def test_every_measured_set_is_in_the_plot(report: SearchReport):
    svg = accuracy_plot(report)
    root = ElementTree.fromstring(svg)
    drawn = circles(svg)
    assert [one.get("cx") for one in drawn] == ["80.00%", "70.00%", "0.00%"]
    (budget,) = (line for line in root.iter("line") if line.get("class") == "budget")
    over, within, fp16 = (float(one.get("cy", "")) for one in drawn)
    assert over > float(budget.get("y1", "")) > within > fp16  # loss goes downwards
    (chosen,) = (one for one in root.iter("circle") if one.get("class") == "chosen")
    assert (chosen.get("cx"), chosen.get("cy")) == (drawn[1].get("cx"), drawn[1].get("cy"))


def test_a_loss_beyond_the_axis_lies_at_its_end(report: SearchReport):
    far = dataclasses.replace(report.points[0].score, loss_points=60.0)
    lost = dataclasses.replace(report, points=(dataclasses.replace(report.points[0], score=far), *report.points[1:]))
    drawn = [float(one.get("cy", "")) for one in circles(accuracy_plot(lost))]
    assert drawn[0] == max(drawn) < 260
    assert drawn[1] - drawn[2] > 20  # and leaves room to tell the others apart


def test_the_files_of_a_search(report: SearchReport, not_found: SearchReport, tmp_path: Path):
    first, *others = write_report(report, tmp_path)
    recipe = read_int8_recipe(first)
    assert (recipe.model, recipe.method) == ("tiny", "minmax")
    assert recipe.layers == ("trunk.<middle>", "mapper")
    assert sorted(path.name for path in others) == ["search.html", "search.json", "search.md"]

    # The recipe of before does not hold any more; there is one to fine-tune for.
    paths = write_report(not_found, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}
    assert not first.exists()
    assert read_int8_recipe(tmp_path / "tiny.int8.all-layers.recipe.json").layers == (
        "stem",
        "trunk.<middle>",
        "mapper",
    )
