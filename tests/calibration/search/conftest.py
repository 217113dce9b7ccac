import dataclasses

import pytest

from calibration.layers import Layer
from calibration.search.report import Point, SearchReport, Sensitivity
from calibration.search.scoring import Score
from runtime.bundle import ModelInfo


def layer(name: str, macs: int, op_type: str = "Conv") -> Layer:
    return Layer(name, f"node_{name}", op_type, macs, f"{name}_in", f"{name}_out")


def score(loss_points: float, changed_labels: float) -> Score:
    return Score(0.8 - loss_points / 100, loss_points, 0.07, changed_labels)


@pytest.fixture
def report() -> SearchReport:
    """Of 1000 multiply-accumulates, 800 can be INT8; the stem had to be given up."""
    stem, middle, mapper = layer("stem", 100), layer("trunk.<middle>", 500), layer("mapper", 200)
    names = (stem.name, middle.name, mapper.name)
    path = [
        Point(names, 800, score(0.9, 0.02), "path"),
        Point(names[1:], 700, score(0.4, 0.008), "path"),
        Point((), 0, score(0.01, 0.0002), "path"),
    ]
    return SearchReport(
        info=ModelInfo(
            name="tiny", variant="street-tiny", classes=("road", "sky"), palette=((0, 0, 0), (1, 1, 1)),
            mean=(0.5,) * 3, std=(0.2,) * 3, height=32, width=64, operator_version=1,
        ),
        onnx_sha256="ab" * 32,
        calibrated_on="street, 128 images",
        data="street, 50 held-out scenes",
        protocol="rendered at 32x64",
        scenes=50,
        budget_points=0.5,
        layers=(stem, middle, mapper, layer("decoder.levels.0", 200, "DPWConv")),
        methods={"minmax": score(0.9, 0.02), "mse": score(1.2, 0.03)},
        method="minmax",
        sensitivities=(
            Sensitivity(stem, score(0.5, 0.012)),
            Sensitivity(mapper, score(0.1, 0.003)),
            Sensitivity(middle, score(0.2, 0.005)),
        ),
        points=tuple(path),
        chosen=path[1],
        date="2026-01-02T03:04:05+00:00",
        versions={"python": "3.11.9", "onnxruntime": "1.31.0"},
    )  # fmt: skip


@pytest.fixture
def not_found(report: SearchReport) -> SearchReport:
    """Only the file without INT8 keeps the budget."""
    return dataclasses.replace(report, points=(report.points[0], report.points[2]), chosen=None)
