"""Training with Lightning: Adam, the polynomial schedule, best and last checkpoint, resume."""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from timm.layers import convert_sync_batchnorm
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from runtime.data.data_set import IGNORE, LabelSet
from runtime.errors import UserError, writing
from runtime.metrics import iou_per_class
from training import losses
from training.checkpoint import describe_model, load_model, read_checkpoint
from training.fake_quantisation import FakeQuantisation
from training.int8_recipe import Int8Recipe
from training.loading import Batch, RecipeData
from training.network.config import HyperSegConfig, check_input_size
from training.network.model import HyperSeg, normalise
from training.network.variants import variant
from training.recipe import Recipe


class SegmentationTraining(lightning.LightningModule):
    """One HyperSeg and the recipe that trains it to predict ``labels``; ``data`` says what it is trained on.

    ``start`` is a checkpoint whose weights it begins with; UserError if that holds another network.
    """

    def __init__(self, recipe: Recipe, labels: LabelSet, data: str, start: Path | None = None) -> None:
        super().__init__()
        self.recipe = recipe
        config = replace(variant(recipe.variant, recipe.signal_offsets), labels=labels)
        self.model = HyperSeg(config, recipe.pretrained) if start is None else _start_from(start, config)
        self.model.training_data = data
        if recipe.recompute:
            self.model.recompute_in_backward()
        if recipe.sync_batchnorm:
            self.model = convert_sync_batchnorm(self.model)  # torch's own would lose the activation in timm's BatchNorm
        if recipe.channels_last:
            self.model.to(memory_format=torch.channels_last)
        if recipe.compile:
            self.model.compile()
        self.loss = getattr(losses, recipe.loss)
        self.confusion = MulticlassConfusionMatrix(config.num_classes, ignore_index=IGNORE)

    def on_train_epoch_start(self) -> None:
        """Start the clock."""
        self.epoch_start = time.perf_counter()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed what is random in the network, so that a step after an interruption is as it would have been without."""
        words = np.random.SeedSequence((self.recipe.seed, self.global_step, self.global_rank)).generate_state(1)
        torch.manual_seed(int(words[0]))

    def training_step(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, and log it."""
        loss = self.batch_loss(batch)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def batch_loss(self, batch: Batch) -> Tensor:
        """Return the recipe's loss on a batch."""
        loss: Tensor = self.loss(self._logits(batch[0]), batch[1].long())
        return loss

    def on_validation_epoch_start(self) -> None:
        """Log how fast the epoch was trained, loading included, and the most memory the GPU has held."""
        images = self.recipe.steps_per_epoch * self.recipe.batch_size
        self.log("train/images_per_second", images / (time.perf_counter() - self.epoch_start), prog_bar=True)
        if torch.cuda.is_available():
            self.log("train/gpu_memory_gib", torch.cuda.max_memory_allocated() / 2**30, prog_bar=True)

    def validation_step(self, batch: Batch) -> None:
        """Add a batch to the confusion matrix."""
        self.confusion.update(self._logits(batch[0]).argmax(1), batch[1].long())

    def on_validation_epoch_end(self) -> None:
        """Log the mean IoU over the whole set."""
        iou = iou_per_class(self.confusion.compute().cpu().numpy())
        self.log("val/miou", float(iou.mean()), prog_bar=True, sync_dist=True)
        self.confusion.reset()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Adam (0.5, 0.999); lr0 (1 - t/T)^p over optimizer steps or epochs."""
        recipe = self.recipe
        optimizer = torch.optim.Adam(self.parameters(), lr=recipe.learning_rate, betas=(0.5, 0.999))
        end = recipe.epochs * (recipe.steps_per_epoch if recipe.schedule == "step" else 1)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: max(0.0, 1 - t / end) ** recipe.power)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": recipe.schedule}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make Lightning's file a checkpoint of ours too."""
        checkpoint["hyperseg"] = describe_model(self.model) | {"recipe": asdict(self.recipe)}

    def _logits(self, images: Tensor) -> Tensor:
        x = normalise(images, self.model.config)
        return self.model(x.contiguous(memory_format=torch.channels_last) if self.recipe.channels_last else x)


def fit(
    recipe: Recipe,
    out: Path,
    *,
    data_root: Path | None = None,
    workers: int = 0,
    resume: Path | None = None,
    start_from: Path | None = None,
    int8_recipe: Int8Recipe | None = None,
    precision: str | None = None,
    devices: str = "auto",
    num_nodes: int = 1,
    strategy: str = "auto",
) -> Path:
    """Train and return the best checkpoint, ``out/best.ckpt``; ``out`` also gets last.ckpt and TensorBoard logs.

    ``data_root`` is the data set's folder and ``workers`` the processes that load it. ``resume`` goes on from a
    last.ckpt of the same recipe; on one kind of machine the weights come out as without the interruption.
    ``start_from`` begins with a checkpoint's weights, and ``int8_recipe`` fine-tunes them for the rounding of INT8.
    ``precision``, ``devices``, ``num_nodes`` and ``strategy`` are Lightning's; mixed FP16 is the default on a GPU.
    """
    check_input_size(variant(recipe.variant), *recipe.crop_size)
    _check_beginning(out, resume, start_from, int8_recipe)
    if resume is not None:
        _check_same_recipe(read_checkpoint(resume), recipe, int8_recipe, resume)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    data = RecipeData(recipe, data_root, workers)
    quieten()
    torch.manual_seed(recipe.seed)
    training = SegmentationTraining(recipe, data.train.labels, data.train.name, resume or start_from)
    best = ModelCheckpoint(out, "best", monitor="val/miou", mode="max", enable_version_counter=False)
    last = ModelCheckpoint(out, "last", enable_version_counter=False)
    callbacks: list[Callback] = [best, last, LearningRateMonitor(recipe.schedule)]
    if recipe.ema_decay is not None:
        callbacks.append(EMAWeightAveraging(decay=recipe.ema_decay))
    if int8_recipe is not None:
        callbacks.append(FakeQuantisation(training.model, int8_recipe))
    trainer = lightning.Trainer(
        max_epochs=recipe.epochs,
        precision=precision or default_precision(),  # type: ignore[arg-type]
        devices=devices,
        num_nodes=num_nodes,
        strategy=strategy,
        callbacks=callbacks,
        logger=TensorBoardLogger(out, name="logs", version=""),
        log_every_n_steps=10,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        benchmark=torch.cuda.is_available(),
        use_distributed_sampler=False,  # RecipeData shares the images out itself
    )
    try:
        with writing(out):
            trainer.fit(training, data, ckpt_path=resume, weights_only=True)
    except SystemExit as stopped:  # how Lightning ends on Ctrl-C
        raise KeyboardInterrupt from stopped
    return Path(best.best_model_path)


def default_precision() -> Literal["16-mixed", "32-true"]:
    """Mixed FP16 on a GPU, float32 on a CPU, by Lightning's names."""
    return "16-mixed" if torch.cuda.is_available() else "32-true"


def _start_from(path: Path, config: HyperSegConfig) -> HyperSeg:
    model = load_model(path).train()
    # An imported network may have a normalisation of its own, which stays.
    expected = replace(config, mean=model.config.mean, std=model.config.std)
    names = [field.name for field in fields(config)]
    differing = [name for name in names if getattr(model.config, name) != getattr(expected, name)]
    if differing:
        raise UserError(
            f"{path} holds a {model.config.name}; it differs from the {config.name} that the config trains in "
            f"{', '.join(differing)}. Choose a checkpoint and a config of the same network and classes."
        )
    return model


def _check_beginning(out: Path, resume: Path | None, start_from: Path | None, int8_recipe: Int8Recipe | None) -> None:
    if resume is not None and start_from is not None:
        raise UserError("--resume goes on with the weights of its own checkpoint; leave --start-from out.")
    if int8_recipe is not None and resume is None and start_from is None:
        raise UserError("--int8-recipe fine-tunes a trained network; name its checkpoint with --start-from.")
    written = [(out / name).resolve() for name in ("best.ckpt", "last.ckpt")]
    if start_from is not None and start_from.resolve() in written:
        raise UserError(f"this training would overwrite {start_from}, which it starts from. Choose another --out.")


def _check_same_recipe(checkpoint: dict[str, Any], recipe: Recipe, int8_recipe: Int8Recipe | None, path: Path) -> None:
    theirs = checkpoint["hyperseg"].get("recipe")
    if theirs is None:
        raise UserError(f"{path} holds a model, but not the state of a training. Resume from a last.ckpt of `fit`.")
    ours = asdict(recipe)
    if differing := sorted(name for name in ours if theirs.get(name) != ours[name]):
        changes = ", ".join(f"{name} {theirs.get(name)!r} -> {ours[name]!r}" for name in differing)
        raise UserError(
            f"{path} was trained with another config ({changes}). Resume with its own config, or train anew."
        )
    layers = FakeQuantisation.layers_of(checkpoint)
    if differing := sorted(layers.symmetric_difference(int8_recipe.layers if int8_recipe else ())):
        raise UserError(
            f"{path} was trained with another --int8-recipe, or one of the two has none: they differ in "
            f"{', '.join(differing[:3])}{', ...' if len(differing) > 3 else ''}. Resume with its own, or train anew."
        )


def quieten() -> None:
    """Keep Lightning's banners and tips out of a terminal that has a progress bar."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", ".*treespec, LeafSpec.* is deprecated")
