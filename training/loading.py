"""From data sets to batches: every draw of a training depends on the recipe's seed and on nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from runtime.data.catalogue import open_data_set
from runtime.data.data_set import DataSet
from runtime.errors import UserError
from training.augment import Augmentation, augmentation_from
from training.recipe import Recipe

Batch = tuple[Tensor, Tensor]  # images uint8 RGB [N, 3, H, W], labels uint8 [N, H, W]


class Draws(Dataset[Batch]):
    """The training images of all epochs as one endless sequence, drawn with replacement and augmented.

    Draw k has a random generator of its own, so it is the same in any process, after any interruption.
    """

    def __init__(self, images: DataSet, augmentation: Augmentation, seed: int) -> None:
        self.images = images
        self.augmentation = augmentation
        self.seed = seed

    def __getitem__(self, draw: int) -> Batch:
        rng = np.random.default_rng((self.seed, draw))
        image, labels = self.images[int(rng.integers(len(self.images)))]
        return tensors_from_image(*self.augmentation(image, labels, rng))


class EpochShare(Sampler[int]):
    """One process's share of an epoch's draws: its part of each batch, so that many take the steps that one would.

    ``steps_done`` is asked at each epoch's beginning. (Lightning's own word for the epoch comes too late after a
    resume: workers have loaded ahead by then.)
    """

    def __init__(self, recipe: Recipe, process: int, processes: int, steps_done: Callable[[], int]) -> None:
        self.recipe = recipe
        self.share = recipe.batch_size // processes
        self.first = process * self.share
        self.steps_done = steps_done

    def __len__(self) -> int:
        return self.recipe.steps_per_epoch * self.share

    def __iter__(self) -> Iterator[int]:
        epoch = self.steps_done() // self.recipe.steps_per_epoch
        for step in range(self.recipe.steps_per_epoch):
            start = epoch * self.recipe.images_per_epoch + step * self.recipe.batch_size + self.first
            yield from range(start, start + self.share)


class Held(Dataset[Batch]):
    """The validation images, each once, brought to one size."""

    def __init__(self, images: DataSet, resizing: Augmentation) -> None:
        self.images = images
        self.resizing = resizing

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Batch:
        return tensors_from_image(*self.resizing(*self.images[index], np.random.default_rng(0)))


class RecipeData(lightning.LightningDataModule):
    """The loaders of a recipe. ``root`` is the data set's folder, ``workers`` how many processes load it.

    Raises UserError for data that is not there, and for a batch that the GPUs cannot share equally.
    """

    def __init__(self, recipe: Recipe, root: Path | None, workers: int) -> None:
        super().__init__()
        self.recipe = recipe
        self.workers = workers
        self.train = _open(recipe, root, recipe.train_split, recipe.train_scenes)
        self.val = _open(recipe, root, recipe.val_split, recipe.val_scenes)

    def train_dataloader(self) -> DataLoader[Batch]:
        """The batches of one epoch, or this process's share of each."""
        sampler = EpochShare(self.recipe, *self._place(), lambda: self.trainer.global_step if self.trainer else 0)
        draws = Draws(self.train, augmentation_from(self.recipe.augmentation), self.recipe.seed)
        return self._loader(draws, sampler)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation images, or this process's share of them."""
        process, processes = self._place()
        held = Held(self.val, augmentation_from(self.recipe.validation))
        return self._loader(Subset(held, range(process, len(held), processes)), None)

    def _loader(self, data: Dataset[Batch], sampler: Sampler[int] | None) -> DataLoader[Batch]:
        return DataLoader(
            data,
            self.recipe.batch_size // self._place()[1],
            sampler=sampler,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def _place(self) -> tuple[int, int]:
        """Which process this is, of how many."""
        processes = self.trainer.world_size if self.trainer else 1
        if self.recipe.batch_size % processes:
            raise UserError(
                f"a batch of {self.recipe.batch_size} images cannot be shared equally by {processes} devices. "
                "Choose a number that divides it, or another batch_size."
            )
        return (self.trainer.global_rank if self.trainer else 0), processes


def _open(recipe: Recipe, root: Path | None, split: str, scenes: int | None) -> DataSet:
    if scenes is None or recipe.scene_size is None:
        return open_data_set(recipe.data, root, split)
    return open_data_set(recipe.data, root, split, scenes=scenes, size=recipe.scene_size)


def tensors_from_image(image_rgb: np.ndarray, labels: np.ndarray) -> Batch:
    """[H, W, 3] and [H, W] arrays to [3, H, W] and [H, W] tensors, both uint8."""
    return torch.from_numpy(image_rgb.transpose(2, 0, 1).copy()), torch.from_numpy(labels.copy())
