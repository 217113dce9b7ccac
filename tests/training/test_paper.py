import json
from dataclasses import asdict

import pytest

from training.network.variants import variant
from training.paper import PUBLISHED_POINTS, compare_with_paper, format_comparison, paper_gflops

# From the published implementation's own counter, and its parameter counts in millions; rounded as printed there.
COUNTED = {
    "voc-l": (39.680, 8.685),
    "cityscapes-m": (10.311, 7.630),
    "cityscapes-m-narrow": (10.099, 7.516),
    "cityscapes-s": (10.041, 16.819),
    "cityscapes-s-separate": (10.199, 17.001),
    "camvid-s": (9.949, 6.28),
    "camvid-l": (9.969, 11.33),
    "cityscapes-m-groups-1-2-4-4-8": (11.086, 18.047),
    "cityscapes-m-groups-2-4-8-8-16": (10.449, 17.313),
    "cityscapes-m-groups-4-8-16-16-32": (10.120, 16.934),
    "cityscapes-m-groups-8-16-32-32-64": (9.970, 16.761),
    "cityscapes-m-groups-16-32-64-64-128": (9.883, 16.661),
}


@pytest.fixture(scope="module")
def comparisons():
    return {row.variant: row for row in compare_with_paper()}


@pytest.mark.parametrize("name", COUNTED)
def test_the_published_counter_is_reproduced(comparisons, name):
    parameters, gflops = COUNTED[name]
    digits = 2 if name.startswith("camvid") else 3  # as many as are known
    assert round(comparisons[name].parameters / 1e6, 3) == parameters
    assert round(comparisons[name].gflops, digits) == gflops


def test_one_config_counted_alone():
    assert round(paper_gflops(variant("cityscapes-m-narrow")), 3) == 7.516


def test_voc_has_its_dynamic_convolutions_counted_twice(comparisons):
    voc = comparisons["voc-l"]
    assert round(voc.gflops - voc.dynamic_gmac, 3) == 8.321  # the published counter's figure, counting them once
    assert round(voc.dynamic_gmac, 3) == 0.364


def test_mappers_of_table_7(comparisons):
    mappers = [row.mapper_parameters / 1e6 for row in comparisons.values() if row.table.startswith("Table 7")]
    assert [round(millions, 3) for millions in mappers] == [1.262, 0.625, 0.296, 0.146, 0.059]


def test_without_dynamic_convolutions_the_modules_are_all_there_is(comparisons):
    # Two independent counts, by hooks on the modules and by the operators that ran, must then agree to the last MAC.
    assert comparisons["cityscapes-m-regular"].dynamic_gmac == 0
    assert comparisons["cityscapes-m-regular"].mapper_parameters == 0


def test_a_row_that_differs_from_the_paper_says_why(comparisons):
    for row in comparisons.values():
        pairs = (
            (row.parameters / 1e6, row.paper_parameters_m),
            (row.gflops, row.paper_gflops),
            (row.mapper_parameters / 1e6, row.paper_mapper_parameters_m),
        )
        # The paper prints one decimal: half a unit of it is rounding. 1e-9 covers 0.05 in binary.
        if any(paper is not None and abs(ours - paper) > 0.05 + 1e-9 for ours, paper in pairs):
            assert row.notes, row.variant


def test_the_table(comparisons):
    text = format_comparison(list(comparisons.values()))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 140
    assert "None" not in text
    assert "-0.00" not in text

    def cells(name):
        return next(line for line in lines if line.startswith(f"  {name} ")).split()

    assert cells("cityscapes-m")[1:9] == ["512x1024", "10.31", "10.1", "+0.21", "7.63", "7.5", "+0.13", "0.49"]
    assert cells("cityscapes-m-resnet18")[3] == "-"
    note = cells("camvid-l")[-1]
    assert any(line.strip().startswith(f"{note}  We know of no config") for line in lines)


def test_comparisons_become_json(comparisons):
    row = json.loads(json.dumps(asdict(comparisons["camvid-s"])))
    assert row["paper_parameters_m"] == 9.9
    assert row["paper_gflops"] is None


def test_every_published_point_names_its_source():
    assert all(point.source and 0 < point.miou < 100 and point.fps > 0 for point in PUBLISHED_POINTS)
