"""``python -m training``: describe the variants, train one, evaluate a checkpoint."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from runtime.arguments import image_size, positive_int
from runtime.errors import run_command


def main() -> None:
    """Parse the command line and run one command."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("describe", help="parameters, multiply-accumulates, theta sizes, legal sizes")
    command.add_argument("variants", nargs="*", metavar="VARIANT", help="all by default")
    command.add_argument("--signal-offsets", choices=["zero", "cumulative"], default="cumulative")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=run_describe)

    command = commands.add_parser("fit", help="train a variant")
    command.add_argument("--config", type=Path, required=True, help="a recipe, training/configs/NAME.yaml")
    command.add_argument("--out", type=Path, help="folder for checkpoints and logs (default: out/fit/VARIANT)")
    command.add_argument("--resume", type=Path, metavar="CKPT", help="go on from a last.ckpt of the same recipe")
    command.add_argument("--precision", help="Lightning's name (default: 16-mixed on a GPU, 32-true on a CPU)")
    command.add_argument("--devices", default="auto", help="how many GPUs, or which (Lightning's notation)")
    command.add_argument("--num-nodes", type=positive_int, default=1, help="machines that train together")
    command.add_argument("--strategy", default="auto", help="Lightning's name, e.g. ddp")
    command.set_defaults(run=run_fit)

    command = commands.add_parser("evaluate", help="per-class IoU and mIoU on held-out data")
    command.add_argument("checkpoint", type=Path)
    command.add_argument("--data", choices=["street"], default="street")
    command.add_argument("--scenes", type=positive_int, default=50, help="how many held-out scenes (default: 50)")
    command.add_argument("--size", type=image_size, metavar="HxW", help="default: the variant's published size")
    command.set_defaults(run=run_evaluate)

    arguments = parser.parse_args()
    arguments.run(arguments)


def run_describe(arguments: argparse.Namespace) -> None:
    """Print what the variants cost."""
    from training.describe import describe, format_description
    from training.variants import VARIANTS, variant

    names = arguments.variants or list(VARIANTS)
    descriptions = [describe(variant(name, arguments.signal_offsets)) for name in names]
    if arguments.json:
        print(json.dumps({description.name: asdict(description) for description in descriptions}, indent=2))
    else:
        print("\n\n".join(map(format_description, descriptions)))


def run_fit(arguments: argparse.Namespace) -> None:
    """Train, then say where the checkpoint is."""
    from training.fit import fit
    from training.recipe import read_recipe

    recipe = read_recipe(arguments.config)
    best = fit(
        recipe,
        arguments.out or Path("out/fit") / recipe.variant,
        resume=arguments.resume,
        precision=arguments.precision,
        devices=arguments.devices,
        num_nodes=arguments.num_nodes,
        strategy=arguments.strategy,
    )
    print(f"best checkpoint: {best}")


def run_evaluate(arguments: argparse.Namespace) -> None:
    """Print the IoU table and the protocol it follows."""
    from training.checkpoint import load_model
    from training.evaluate import evaluate_on_street, format_iou

    model = load_model(arguments.checkpoint)
    iou = evaluate_on_street(model, scenes=arguments.scenes, size=arguments.size)
    height, width = arguments.size or model.config.input_size
    print(f"{arguments.checkpoint}: {model.config.name} on {arguments.scenes} held-out street scenes, {height}x{width}")
    print("protocol: single scale, no flip, logits resized to the labels' size; every class counts")
    print(format_iou(model.config.labels.classes, iou))


if __name__ == "__main__":
    sys.exit(run_command(main))
