"""The command line of training/: what a user sees."""

import json
import subprocess
import sys

import pytest

from tests.commands import run_here
from training import create_model, load_model, save_model
from training.__main__ import main


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "training", *map(str, arguments)], capture_output=True, text=True)


def test_describe_prints_every_variant_as_json():
    result = run("describe", "--json")
    assert result.returncode == 0, result.stderr
    described = json.loads(result.stdout)
    assert described["voc-l"]["parameters"] == 39_680_458
    assert described["cityscapes-m"]["signal_split"] == [416, 224, 128, 192, 320]
    assert described["cityscapes-m"]["signal_offsets"] == [0, 416, 640, 768, 960]


def test_describe_prints_text():
    result = run("describe", "camvid-s", "--signal-offsets", "zero")
    assert result.returncode == 0, result.stderr
    assert "9,949,064" in result.stdout
    assert "multiples of 64, and not 64x64" in result.stdout
    assert "0 0 0 0 0 (zero)" in result.stdout


def test_describe_compares_with_the_paper():
    result = run("describe", "--paper", "--json")
    assert result.returncode == 0, result.stderr
    rows = {row["variant"]: row for row in json.loads(result.stdout)}
    assert rows["cityscapes-s-separate"]["paper_gflops"] == 17.0
    assert round(rows["cityscapes-s-separate"]["gflops"], 1) == 17.0


def test_evaluate_adds_to_the_results_and_they_are_plotted(tmp_path):
    save_model(create_model("street-tiny"), tmp_path / "model.ckpt")
    results = tmp_path / "results.json"
    result = run(
        "evaluate", tmp_path / "model.ckpt", "--images", 1, "--size", "64x128", "--save", tmp_path / "saved",
        "--results", results,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert " FPS, on " in result.stdout
    assert len(list((tmp_path / "saved" / "colour").glob("*.png"))) == 1
    multiple = run(
        "evaluate", tmp_path / "model.ckpt", "--images", 1, "--size", "64x128", "--flip", "--scales", "1,2",
        "--results", results,
    )  # fmt: skip
    assert multiple.returncode == 0, multiple.stderr
    assert "maximum with the mirror image" in multiple.stdout
    single, several = json.loads(results.read_text())
    assert single["parameters"] == several["parameters"] == 381_058
    assert single["fps"] > 0
    assert several["fps"] is None, "the network's speed is not that of four runs"
    result = run("results", results, "--data", "street", "--plot", tmp_path / "plot.png")
    assert result.returncode == 0, result.stderr
    assert "street-tiny" in result.stdout
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_fit_trains_an_ablation_by_another_ones_recipe(tmp_path):
    config = tmp_path / "recipe.yaml"
    config.write_text(
        "{variant: street-tiny, data: street, train_scenes: 2, val_scenes: 1, scene_size: [64, 128], "
        "train_split: train, val_split: val, augmentation: [{crop: [64, 128]}], batch_size: 2, images_per_epoch: 2, "
        "epochs: 1, learning_rate: 0.01, power: 0.9, loss: cross_entropy}"
    )
    result = run("fit", "--config", config, "--variant", "cityscapes-m-regular", "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert load_model(tmp_path / "out" / "best.ckpt").config.name == "cityscapes-m-regular"


def test_evaluate_prints_iou_of_each_class_and_its_protocol(tmp_path):
    save_model(create_model("street-tiny"), tmp_path / "model.ckpt")
    result = run("evaluate", tmp_path / "model.ckpt", "--images", 1, "--size", "64x128")
    assert result.returncode == 0, result.stderr
    assert "single scale, no flip" in result.stdout
    assert "traffic light" in result.stdout
    assert "mIoU" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["describe", "hyperseg-x"], "there is no variant"),
        (["fit", "--config", "none.yaml"], "cannot read"),
        (["fit", "--config", "training/configs/street-tiny.yaml", "--resume", "none.ckpt"], "does not exist"),
        (["fit", "--config", "training/configs/street-tiny.yaml", "--out", "/proc/nowhere"], "cannot write"),
        (["evaluate", "none.ckpt"], "does not exist"),
        (["evaluate", "LICENSE"], "cannot be read as a checkpoint"),
        (["evaluate", "x.ckpt", "--images", "0"], "no whole number above 0"),
        (["evaluate", "x.ckpt", "--scales", "1,no"], "no list of scales"),
        (["import-official", "none.pth", "--out", "x.ckpt"], "none.pth"),
        (["import-official", "LICENSE", "--out", "x.ckpt"], "LICENSE"),
        (["results", "none.json"], "cannot read"),
        (["bench", "--config", "training/configs/cityscapes-m.yaml"], "no folder is given"),
        (["bench", "--config", "training/configs/cityscapes-m.yaml", "--data-root", "tests"], "leftImg8bit"),
        (["bench", "--config", "training/configs/street-tiny.yaml", "--workers", "-1"], "whole number"),
        ([], "required"),
    ],
)
def test_bad_input_exits_with_2_and_a_message(arguments, message):
    result = run_here(main, *arguments)
    assert result.returncode == 2
    assert message in result.stderr


def test_a_message_comes_without_a_traceback():
    result = run("describe", "hyperseg-x")
    assert result.returncode == 2
    assert "there is no variant" in result.stderr
    assert "Traceback" not in result.stderr
