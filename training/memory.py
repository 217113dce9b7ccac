"""How much memory a training step needs, counted without a GPU: the step runs on tensors that have no data."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from training import losses
from training.network.config import HyperSegConfig
from training.network.model import HyperSeg
from training.recipe import Recipe


def step_memory(config: HyperSegConfig, recipe: Recipe) -> int:
    """Most bytes that tensors occupy at once in a float32 step on one GPU: weights, gradients, Adam and activations.

    A GPU needs more: cuDNN's workspaces, and what its allocator cannot fill; mixed precision needs less.
    """
    with _LiveBytes() as live, torch.device("meta"):
        model = HyperSeg(config).train()
        if recipe.recompute:
            model.recompute_in_backward()
        optimizer = torch.optim.Adam(model.parameters())
        images = torch.empty(recipe.batch_size, 3, *recipe.crop_size)
        labels = torch.empty(recipe.batch_size, *recipe.crop_size, dtype=torch.long)
        for _ in range(2):  # Adam's averages exist from the second step on
            optimizer.zero_grad()
            getattr(losses, recipe.loss)(model(images), labels).backward()
            optimizer.step()
    return live.peak


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages that operations make while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: weakref.WeakSet[UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._see(tensor.untyped_storage())
        return result

    def _see(self, storage: UntypedStorage) -> None:
        if storage not in self.seen:
            self.seen.add(storage)
            weakref.finalize(storage, self._free, storage.nbytes())
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)

    def _free(self, size: int) -> None:
        self.now -= size
