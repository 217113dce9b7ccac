import argparse
import dataclasses
import shutil
from collections import Counter
from pathlib import Path

import onnx
import pytest

from calibration.bundle import calibration_path
from calibration.cache import Calibration, TensorRange, read_calibration
from calibration.layers import default_int8_layers, weighted_layers
from calibration.quantise import int8_model
from calibration.search import command
from calibration.search.files import write_report
from calibration.search.scoring import Score, Scorer
from calibration.search.search import SKIPPED_SCENES, Request, best_method, in_order, search
from export.operators import strip_functions
from runtime.bundle import Bundle
from runtime.errors import UserError
from runtime.files import sha256_of
from runtime.parity.scenes import open_scenes
from training.int8_recipe import read_int8_recipe


def parsed(*options) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([str(option) for option in options])


def unmeasured(bundle: Bundle) -> Calibration:
    """A calibration that fits the bundle's file, without ranges."""
    return Calibration(bundle.info.name, sha256_of(bundle.onnx()), "nothing", 0, (), {})


def test_of_the_methods_within_the_budget_the_one_that_changes_fewest_labels():
    scores = {
        "minmax": Score(0.8, -0.1, 0.1, 0.02),
        "mse": Score(0.8, 0.3, 0.1, 0.01),
        "entropy": Score(0.7, 5, 0.1, 0.005),
    }
    assert best_method(scores, 0.5) == "mse"
    assert best_method(scores, 0.2) == "minmax"
    assert best_method({name: scores[name] for name in ("mse", "entropy")}, 0.1) == "mse"


def test_a_recipe_is_in_the_graphs_order():
    assert in_order(["a", "b", "c", "d"], frozenset("dbc")) == ("b", "c", "d")


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan")])
def test_a_budget_must_be_above_0(random_bundle, budget: float):
    bundle = random_bundle("street-tiny")
    with pytest.raises(UserError, match="must be above 0"):
        search(bundle, unmeasured(bundle), Request(budget_points=budget))


def test_another_models_calibration_is_refused(random_bundle):
    bundle = random_bundle("street-tiny")
    other = dataclasses.replace(unmeasured(bundle), onnx_sha256="0" * 64)
    with pytest.raises(UserError, match="sha256"):
        search(bundle, other, Request())


def test_data_without_truth_are_refused(random_bundle, tmp_path: Path):
    from PIL import Image

    bundle = random_bundle("street-tiny")
    for number in range(60):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    with pytest.raises(UserError, match=r"accuracy cannot be measured on .*: a folder of images has no truth"):
        search(bundle, unmeasured(bundle), Request(data=str(tmp_path)))


def test_data_with_other_classes_are_refused(random_bundle):
    bundle = random_bundle("street-tiny")
    info = dataclasses.replace(bundle.info, classes=tuple(f"class {index}" for index in range(19)))
    other = dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, info=info))
    with pytest.raises(UserError, match="the street scenes have other classes than the model"):
        search(other, unmeasured(bundle), Request(data="street"))


def test_a_bundle_without_calibration_names_the_command(random_bundle, tmp_path: Path):
    bundle = random_bundle("street-tiny")
    with pytest.raises(UserError, match=r"--precision int8 --calibration-data"):
        command.main(parsed(bundle.folder, "--out", tmp_path / "out"))


def test_a_folder_that_cannot_be_written_is_found_out_first(random_bundle, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file" / "out", Path("/proc")):  # nobody can write to /proc, not even root
        with pytest.raises(UserError, match="cannot write"):
            command.main(parsed(random_bundle("street-tiny").folder, "--out", folder))


def test_the_exit_code_says_whether_there_is_a_recipe(random_bundle, report, not_found, tmp_path: Path, monkeypatch):
    bundle = random_bundle("street-tiny")
    folder = shutil.copytree(bundle.folder, tmp_path / "bundle")
    unmeasured(bundle).write(folder / f"{bundle.info.name}.calibration.json")
    for found, code in ((report, 0), (not_found, 1)):
        monkeypatch.setattr("calibration.search.search.search", lambda *asked, found=found: found)
        assert command.main(parsed(folder, "--out", tmp_path / "out")) == code


def with_coarse_steps(calibration: Calibration, bundle: Bundle, names: list[str]) -> Calibration:
    """Spoil what these layers, and no other of the default ones, read: 8 bits become about 2."""
    bare = strip_functions(onnx.load(bundle.onnx()))
    inputs = {layer.name: layer.input for layer in weighted_layers(bare)}
    tensors = dict(calibration.tensors)
    for name in names:
        old = tensors[inputs[name]]
        coarse = {method: 64 * threshold for method, threshold in old.thresholds.items()}
        tensors[inputs[name]] = TensorRange(old.largest, coarse, old.layers)
    return dataclasses.replace(calibration, tensors=tensors)


@pytest.mark.slow
def test_layers_that_cannot_be_quantised_are_found_and_given_up(street_bundle: Bundle, tmp_path: Path):
    bundle = street_bundle
    calibration = read_calibration(calibration_path(bundle.folder, bundle.info))
    bare = strip_functions(onnx.load(bundle.onnx()))
    default = default_int8_layers(bare)
    readers = Counter(layer.input for layer in weighted_layers(bare) if layer.name in default)
    inputs = {layer.name: layer.input for layer in weighted_layers(bare)}
    spoiled = [name for name in default if readers[inputs[name]] == 1][2:4]
    spoiled_calibration = with_coarse_steps(calibration, bundle, spoiled)
    report = search(bundle, spoiled_calibration, Request(budget_points=0.5, scenes=10, threads=1))
    assert {one.layer.name for one in report.sensitivities} == set(default)
    changed = {one.layer.name: one.score.changed_labels for one in report.sensitivities}
    assert sorted(changed, key=changed.__getitem__)[-2:] == sorted(spoiled, key=changed.__getitem__)
    assert report.chosen is not None
    assert report.chosen.score.loss_points <= 0.5
    assert not set(spoiled) & set(report.chosen.layers)
    assert "1000050" in report.data  # behind those on which the parity report judges

    # The recipe gives the very file that was scored.
    replayed = int8_model(bare, spoiled_calibration, read_int8_recipe(write_report(report, tmp_path)[0]))
    scenes = open_scenes("street", None, bundle.info, 10, skip=SKIPPED_SCENES)
    assert Scorer(bundle.onnx(), scenes, threads=1).score(replayed) == report.chosen.score


@pytest.mark.slow
def test_the_command(street_bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert (
        command.main(parsed(street_bundle.folder, "--scenes", 5, "--threads", 1, "--budget", 90, "--out", tmp_path))
        == 0
    )
    printed = capsys.readouterr().out
    assert "# INT8 search of street-tiny: found" in printed
    assert f"--int8-recipe {tmp_path / 'street-tiny.int8.recipe.json'}" in printed
