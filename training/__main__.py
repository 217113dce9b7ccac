"""``python -m training``: describe the networks, train one, import published weights, evaluate, compare."""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.arguments import image_size, positive_int
from runtime.data.catalogue import DATA_SETS
from runtime.errors import run_command

if TYPE_CHECKING:
    from training import HyperSeg
    from training.evaluate import Evaluation


def main() -> None:
    """Parse the command line and run one command."""
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Describe the networks, train one, import published weights, evaluate. See docs/training.md.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("describe", help="parameters, multiply-accumulates, theta sizes, legal sizes")
    command.add_argument("variants", nargs="*", metavar="VARIANT", help="all published ones by default")
    command.add_argument("--signal-offsets", choices=["zero", "cumulative"], default="cumulative")
    command.add_argument("--paper", action="store_true", help="compare with the paper's Tables 2, 3, 4 and 7 instead")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=run_describe)

    command = commands.add_parser("fit", help="train a variant")
    command.add_argument("--config", type=Path, required=True, help="a recipe, training/configs/NAME.yaml")
    command.add_argument("--variant", help="train this variant or ablation by the recipe instead of the recipe's own")
    add_data_root(command)
    command.add_argument(
        "--out",
        type=Path,
        help="folder for checkpoints and logs (default: the resumed one's, out/fit/VARIANT, or out/fit/VARIANT-tuned)",
    )
    command.add_argument("--resume", type=Path, metavar="CKPT", help="go on from a last.ckpt of the same recipe")
    command.add_argument("--start-from", type=Path, metavar="CKPT", help="begin with the weights of this checkpoint")
    command.add_argument(
        "--int8-recipe", type=Path, metavar="FILE", help="fine-tune for INT8 in the layers that this recipe names"
    )
    add_workers(command)
    command.add_argument("--precision", help="Lightning's name (default: 16-mixed on a GPU, 32-true on a CPU)")
    command.add_argument("--devices", default="auto", help="how many GPUs, or which (Lightning's notation)")
    command.add_argument("--num-nodes", type=positive_int, default=1, help="machines that train together")
    command.add_argument("--strategy", default="auto", help="Lightning's name, e.g. ddp")
    command.set_defaults(run=run_fit)

    command = commands.add_parser("bench", help="images per second of loader and training step, and memory")
    command.add_argument("--config", type=Path, required=True, help="a recipe, training/configs/NAME.yaml")
    add_data_root(command)
    add_workers(command)
    command.add_argument("--steps", type=positive_int, default=5, help="timed steps (default: %(default)s)")
    command.add_argument("--batch-size", type=positive_int, metavar="N", help="default: the recipe's")
    command.set_defaults(run=run_bench)

    command = commands.add_parser("import-official", help="make a checkpoint from a published .pth file")
    command.add_argument("file", type=Path)
    command.add_argument("--model", metavar="VARIANT", help="which variant it must be (default: recognised)")
    command.add_argument("--out", type=Path, required=True, metavar="CKPT")
    command.add_argument(
        "--normalisation",
        choices=["imagenet", "half"],
        default="imagenet",
        help="of the input; the published VOC test config takes mean = std = 0.5 (half), its training ImageNet's",
    )
    command.set_defaults(run=run_import_official)

    command = commands.add_parser("evaluate", help="per-class IoU and mIoU by the published protocol")
    command.add_argument("checkpoint", type=Path)
    command.add_argument("--data", choices=DATA_SETS, default="street", help="default: %(default)s")
    add_data_root(command)
    command.add_argument("--split", help="default: val; test for CamVid")
    command.add_argument("--images", type=positive_int, metavar="N", help="only the first N (default: all; street: 50)")
    command.add_argument("--size", type=image_size, metavar="HxW", help="default: the variant's published size")
    command.add_argument("--flip", action="store_true", help="take the mirrored image into account as well")
    command.add_argument(
        "--scales", type=scale_list, default=(1.0,), metavar="S,S", help="of the input, gathered (default: 1)"
    )
    command.add_argument("--save", type=Path, metavar="DIR", help="write colour maps, and label ids for Cityscapes")
    command.add_argument("--results", type=Path, metavar="FILE.json", help="measure FPS too and add all to this file")
    command.add_argument("--device", default="auto", help="torch's name (default: cuda if there is one)")
    command.set_defaults(run=run_evaluate)

    command = commands.add_parser("results", help="the table of a results file, and a plot of mIoU against FPS")
    command.add_argument("file", type=Path, metavar="FILE.json", help="written by `evaluate --results`")
    command.add_argument("--plot", type=Path, metavar="FILE.png", help="or .svg")
    command.add_argument("--data", choices=DATA_SETS, default="cityscapes", help="what to plot (default: %(default)s)")
    command.set_defaults(run=run_results)

    arguments = parser.parse_args()
    arguments.run(arguments)


def add_data_root(command: argparse.ArgumentParser) -> None:
    """Add --data-root."""
    command.add_argument("--data-root", type=Path, metavar="DIR", help="the data set's folder; street needs none")


def add_workers(command: argparse.ArgumentParser) -> None:
    """Add --workers."""
    default = min(8, len(os.sched_getaffinity(0)))
    command.add_argument(
        "--workers",
        type=worker_count,
        default=default,
        metavar="N",
        help="processes that load images (default: %(default)s)",
    )


def worker_count(text: str) -> int:
    """Read a whole number, 0 for loading in the training process itself."""
    return 0 if text == "0" else positive_int(text)


def scale_list(text: str) -> tuple[float, ...]:
    """Read numbers above 0 with commas between."""
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or min(scales) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of scales; write e.g. 0.75,1,1.25")
    return scales


def run_describe(arguments: argparse.Namespace) -> None:
    """Print what the variants cost, or how that compares with the paper."""
    from training.describe import describe, format_description
    from training.network.variants import VARIANTS, variant
    from training.paper import compare_with_paper, format_comparison

    if arguments.paper:
        rows = compare_with_paper()
        print(json.dumps([asdict(row) for row in rows], indent=2) if arguments.json else format_comparison(rows))
        return
    names = arguments.variants or list(VARIANTS)
    descriptions = [describe(variant(name, arguments.signal_offsets)) for name in names]
    if arguments.json:
        print(json.dumps({description.name: asdict(description) for description in descriptions}, indent=2))
    else:
        print("\n\n".join(map(format_description, descriptions)))


def run_fit(arguments: argparse.Namespace) -> None:
    """Train, then say where the checkpoint is."""
    from lightning.pytorch.utilities import rank_zero_only

    from training.fit import fit
    from training.int8_recipe import read_int8_recipe
    from training.network.variants import variant
    from training.recipe import read_recipe

    recipe = read_recipe(arguments.config)
    if arguments.variant:
        recipe = replace(recipe, variant=variant(arguments.variant).name)
    folder = Path("out/fit") / (f"{recipe.variant}-tuned" if arguments.start_from else recipe.variant)
    best = fit(
        recipe,
        arguments.out or (arguments.resume.parent if arguments.resume else folder),
        data_root=arguments.data_root,
        workers=arguments.workers,
        resume=arguments.resume,
        start_from=arguments.start_from,
        int8_recipe=read_int8_recipe(arguments.int8_recipe) if arguments.int8_recipe else None,
        precision=arguments.precision,
        devices=arguments.devices,
        num_nodes=arguments.num_nodes,
        strategy=arguments.strategy,
    )
    rank_zero_only(print)(f"best checkpoint: {best}")


def run_bench(arguments: argparse.Namespace) -> None:
    """Print how fast images are loaded and trained on, and the memory that takes."""
    from training.bench import bench, format_bench
    from training.recipe import read_recipe

    recipe = read_recipe(arguments.config)
    result = bench(
        recipe,
        arguments.data_root,
        workers=arguments.workers,
        steps=arguments.steps,
        batch_size=arguments.batch_size,
    )
    print(format_bench(result))


def run_import_official(arguments: argparse.Namespace) -> None:
    """Import, save, and report what was found."""
    from training.checkpoint import save_model
    from training.official import import_official

    imported = import_official(arguments.file, arguments.model, arguments.normalisation)
    save_model(imported.model, arguments.out)
    for sentence in imported.report:
        print(sentence)
    print(f"checkpoint: {arguments.out}")


def run_evaluate(arguments: argparse.Namespace) -> None:
    """Print the IoU table and the protocol it follows."""
    import torch

    from runtime.data.catalogue import open_data_set
    from training.checkpoint import load_model
    from training.evaluate import evaluate, format_iou

    model = load_model(arguments.checkpoint)
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    size = arguments.size or model.config.input_size
    split = arguments.split or ("test" if arguments.data.startswith("camvid") else "val")
    data = open_data_set(arguments.data, arguments.data_root, split, scenes=arguments.images or 50, size=size)
    evaluation = evaluate(
        model,
        data,
        size=size,
        flip=arguments.flip,
        scales=arguments.scales,
        limit=arguments.images,
        save=arguments.save,
        device=device,
    )
    print(f"{arguments.checkpoint}: {model.config.name} on {evaluation.images} images of {evaluation.data}")
    print(f"protocol: {evaluation.protocol}")
    print(format_iou(evaluation.classes, evaluation.iou))
    if arguments.results:
        add_to_results(arguments, model, evaluation, size, device)


def add_to_results(
    arguments: argparse.Namespace, model: HyperSeg, evaluation: Evaluation, size: tuple[int, int], device: str
) -> None:
    """Add the network's accuracy, size and speed to the results file; no speed where an image is run several times."""
    from runtime.files import sha256_of
    from training.describe import describe
    from training.results import Result, add_result
    from training.speed import SPEED_PROTOCOL, describe_device, measure_latency

    description = describe(replace(model.config, input_size=size))
    once = not arguments.flip and arguments.scales == (1.0,)
    fps = measure_latency(model, size=size, device=device).fps if once else None
    result = Result(
        model=model.config.name,
        data=evaluation.data,
        protocol=evaluation.protocol,
        miou=100 * evaluation.miou,
        iou={name: 100 * float(iou) for name, iou in zip(evaluation.classes, evaluation.iou, strict=True)},
        parameters=description.parameters,
        gmac=description.multiply_accumulates / 1e9,
        fps=fps,
        fps_protocol=SPEED_PROTOCOL if once else "",
        device=describe_device(device),
        checkpoint_sha256=sha256_of(arguments.checkpoint),
        date=datetime.now(UTC).date().isoformat(),
    )
    add_result(arguments.results, result)
    speed = "speed not measured, since an image is run several times" if fps is None else f"{fps:.1f} FPS"
    print(f"added to {arguments.results}: {speed}, on {result.device}")


def run_results(arguments: argparse.Namespace) -> None:
    """Print the table, and draw the plot."""
    from training.results import format_results, plot_results, read_results

    results = read_results(arguments.file)
    print(format_results(results))
    if arguments.plot:
        plot_results(results, arguments.data, arguments.plot)
        print(f"plot: {arguments.plot}")


if __name__ == "__main__":
    sys.exit(run_command(main))
