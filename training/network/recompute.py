"""Trade time for memory: a module's activations are not kept for the backward pass, but computed again there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def call(module: nn.Module, *inputs: Any, recompute: bool) -> Any:
    """Call a module; with ``recompute`` only its inputs are kept, and the backward pass runs it again.

    The second run gives the same gradients and leaves the BatchNorms' running statistics alone.
    """
    if not recompute:
        return module(*inputs)
    return checkpoint(
        module, *inputs, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_untouched(module))
    )


@contextmanager
def _statistics_untouched(module: nn.Module) -> Iterator[None]:
    norms = [
        (norm, norm.momentum, norm.num_batches_tracked) for norm in module.modules() if isinstance(norm, _BatchNorm)
    ]
    for norm, _, _ in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, torch.tensor(0)
    try:
        yield
    finally:
        for norm, momentum, batches in norms:
            norm.momentum, norm.num_batches_tracked = momentum, batches
