"""Training with Lightning: Adam, the polynomial schedule, best and last checkpoint, resume."""

from __future__ import annotations

import logging
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.utils.data import DataLoader, WeightedRandomSampler
from torchmetrics.classification import MulticlassConfusionMatrix

from runtime.errors import UserError, writing
from runtime.metrics import iou_per_class
from runtime.street import HELD_OUT_SEEDS
from training import losses
from training.checkpoint import describe_model, read_checkpoint
from training.model import create_model, normalise
from training.recipe import Recipe
from training.street_data import AugmentedStreetScenes, StreetScenes
from training.variants import check_input_size, variant


class SegmentationTraining(lightning.LightningModule):
    """One HyperSeg and the recipe that trains it; batches are uint8 images [N, 3, H, W] and labels [N, H, W]."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.model = create_model(recipe.variant, signal_offsets=recipe.signal_offsets, pretrained=recipe.pretrained)
        self.model.training_data = f"street, {recipe.train_scenes} scenes"
        self.loss = getattr(losses, recipe.loss)
        self.confusion = MulticlassConfusionMatrix(self.model.config.num_classes, ignore_index=losses.IGNORE_INDEX)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of a batch."""
        loss = self.loss(self._logits(batch[0]), batch[1].long())
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Add a batch to the confusion matrix."""
        self.confusion.update(self._logits(batch[0]).argmax(1), batch[1].long())

    def on_validation_epoch_end(self) -> None:
        """Log the mean IoU over the whole set."""
        iou = iou_per_class(self.confusion.compute().cpu().numpy())
        self.log("val/miou", float(iou.mean()), prog_bar=True, sync_dist=True)
        self.confusion.reset()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Adam (0.5, 0.999); lr0 (1 - t/T)^p over the optimizer steps."""
        optimizer = torch.optim.Adam(self.parameters(), lr=self.recipe.learning_rate, betas=(0.5, 0.999))
        steps = self.trainer.estimated_stepping_batches  # fewer than the recipe's where several GPUs share an epoch
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: max(0.0, 1 - step / steps) ** self.recipe.power
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Make Lightning's file a checkpoint of ours too."""
        checkpoint["hyperseg"] = describe_model(self.model) | {"recipe": asdict(self.recipe)}

    def _logits(self, images: Tensor) -> Tensor:
        return self.model(normalise(images, self.model.config))


def fit(
    recipe: Recipe,
    out: Path,
    *,
    resume: Path | None = None,
    precision: str | None = None,
    devices: str = "auto",
    num_nodes: int = 1,
    strategy: str = "auto",
) -> Path:
    """Train and return the best checkpoint, ``out/best.ckpt``; ``out`` also gets last.ckpt and TensorBoard logs.

    ``resume`` goes on from a last.ckpt of the same recipe. ``precision``, ``devices``, ``num_nodes`` and ``strategy``
    are Lightning's; mixed FP16 is the default on a GPU.
    """
    for size in (recipe.crop_size, recipe.scene_size):
        check_input_size(variant(recipe.variant), *size)
    if resume is not None:
        _check_same_recipe(read_checkpoint(resume), recipe, resume)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    _quieten()
    lightning.seed_everything(recipe.seed, workers=True, verbose=False)
    training = SegmentationTraining(recipe)
    best = ModelCheckpoint(out, "best", monitor="val/miou", mode="max", enable_version_counter=False)
    last = ModelCheckpoint(out, "last", enable_version_counter=False)
    has_gpu = torch.cuda.is_available()
    trainer = lightning.Trainer(
        max_epochs=recipe.epochs,
        precision=precision or ("16-mixed" if has_gpu else "32-true"),  # type: ignore[arg-type]
        devices=devices,
        num_nodes=num_nodes,
        strategy=strategy,
        callbacks=[best, last, LearningRateMonitor("step")],
        logger=TensorBoardLogger(out, name="logs", version=""),
        log_every_n_steps=10,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        benchmark=has_gpu,
    )
    try:
        with writing(out):
            trainer.fit(training, *_loaders(recipe), ckpt_path=resume, weights_only=True)
    except SystemExit as stopped:  # how Lightning ends on Ctrl-C
        raise KeyboardInterrupt from stopped
    return Path(best.best_model_path)


def _loaders(recipe: Recipe) -> tuple[DataLoader[tuple[Tensor, Tensor]], DataLoader[tuple[Tensor, Tensor]]]:
    train = AugmentedStreetScenes(range(recipe.train_scenes), *recipe.scene_size, recipe.crop_size, recipe.resize_scale)
    held_out = StreetScenes(HELD_OUT_SEEDS[: recipe.val_scenes], *recipe.scene_size)
    # Lightning divides any sampler among several GPUs, but puts one without replacement in RandomSampler's place.
    with_replacement = WeightedRandomSampler([1.0] * len(train), recipe.images_per_epoch)
    return (
        DataLoader(train, recipe.batch_size, sampler=with_replacement, drop_last=True),
        DataLoader(held_out, recipe.batch_size),
    )


def _check_same_recipe(checkpoint: dict[str, Any], recipe: Recipe, path: Path) -> None:
    theirs = checkpoint["hyperseg"].get("recipe")
    if theirs is None:
        raise UserError(f"{path} holds a model, but not the state of a training. Resume from a last.ckpt of `fit`.")
    ours = asdict(recipe)
    if differing := sorted(name for name in ours if theirs.get(name) != ours[name]):
        changes = ", ".join(f"{name} {theirs.get(name)!r} -> {ours[name]!r}" for name in differing)
        raise UserError(
            f"{path} was trained with another config ({changes}). Resume with its own config, or train anew."
        )


def _quieten() -> None:
    """Keep Lightning's banners and tips out of a terminal that has a progress bar."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", "Checkpoint directory .* exists and is not empty")
    warnings.filterwarnings("ignore", ".*treespec, LeafSpec.* is deprecated")
