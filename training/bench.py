"""How fast a recipe trains: the loader alone against the training step alone, and the memory a step takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import lightning
import torch
from tqdm import tqdm

from training.fit import SegmentationTraining, default_precision, quieten
from training.loading import RecipeData
from training.memory import step_memory
from training.recipe import Recipe
from training.speed import describe_device

GIB = 2**30


@dataclass(frozen=True)
class Bench:
    """What ``bench`` measured, side by side in one run."""

    recipe: Recipe
    device: str
    precision: str
    workers: int
    loader_images_per_second: float
    step_images_per_second: float
    gpu_memory_gib: float | None  # the most that tensors have held; None without a GPU
    computed_memory_gib: float  # of a float32 step, see step_memory
    computed_recompute_gib: float  # and with the recipe's `recompute`


def bench(recipe: Recipe, data_root: Path | None, *, workers: int, steps: int, batch_size: int | None = None) -> Bench:
    """Time ``steps`` batches from each loading process, then as many optimizer steps on one batch, each warmed up.

    ``batch_size`` takes the place of the recipe's, for a machine that has not the memory. Raises UserError as ``fit``.
    """
    recipe = replace(recipe, batch_size=batch_size or recipe.batch_size, pretrained=False)
    ahead, timed = 1 + 2 * workers, steps * max(1, workers)  # every worker loads two batches ahead
    data = RecipeData(replace(recipe, images_per_epoch=(ahead + timed) * recipe.batch_size), data_root, workers)
    batches = iter(data.train_dataloader())
    batch = next(islice(batches, ahead - 1, None))
    start = time.perf_counter()
    for _ in tqdm(batches, "loading", timed, unit="batch", leave=False, disable=None):
        pass
    loading_s = time.perf_counter() - start
    del batches  # ends the workers, which would disturb the steps

    quieten()
    has_gpu = torch.cuda.is_available()
    fabric = lightning.Fabric(devices=1, precision=default_precision())
    training = SegmentationTraining(recipe, data.train.labels, data.train.name)
    module, optimizer = fabric.setup(training, training.configure_optimizers()["optimizer"])
    module.mark_forward_method("batch_loss")
    on_device = fabric.to_device(batch)

    def step() -> None:
        optimizer.zero_grad()
        fabric.backward(module.batch_loss(on_device))
        optimizer.step()

    stepping_s = _time(step, steps)
    config = training.model.config
    return Bench(
        recipe=recipe,
        device=describe_device("cuda" if has_gpu else "cpu"),
        precision=default_precision(),
        workers=workers,
        loader_images_per_second=timed * recipe.batch_size / loading_s,
        step_images_per_second=steps * recipe.batch_size / stepping_s,
        gpu_memory_gib=torch.cuda.max_memory_allocated() / GIB if has_gpu else None,
        computed_memory_gib=step_memory(config, replace(recipe, recompute=False)) / GIB,
        computed_recompute_gib=step_memory(config, replace(recipe, recompute=True)) / GIB,
    )


def _time(step: Callable[[], None], steps: int) -> float:
    step()
    _wait()
    start = time.perf_counter()
    for _ in tqdm(range(steps), "training", unit="step", leave=False, disable=None):
        step()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    """Wait for what the GPU still has to do."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def format_bench(result: Bench) -> str:
    """Lay the figures out for a terminal."""
    recipe = result.recipe
    height, width = recipe.crop_size
    ratio = result.loader_images_per_second / result.step_images_per_second
    verdict = "the loader keeps up" if ratio >= 1 else "the step waits for the loader; give more --workers"
    held = "not run, no GPU" if result.gpu_memory_gib is None else f"{result.gpu_memory_gib:.2f} GiB"
    rows = {
        "recipe": f"{recipe.variant} on {recipe.data}, {recipe.batch_size} images of {height}x{width}",
        "device": f"{result.device}, {result.precision}",
        "loader alone": f"{result.loader_images_per_second:.1f} images/s with {result.workers} workers",
        "step alone": f"{result.step_images_per_second:.1f} images/s",
        "loader / step": f"{ratio:.2f}: {verdict}",
        "memory of the GPU": held,
        "computed memory": f"{result.computed_memory_gib:.1f} GiB in float32, weights and Adam included",
        "with recompute: true": f"{result.computed_recompute_gib:.1f} GiB",
    }
    return "\n".join(f"{name:<22}{value}" for name, value in rows.items())
