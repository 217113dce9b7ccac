"""The unfolded PyTorch network of a bundle (``model.pt2``), the reference that others are measured against."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime.backends.backend import Backend, CpuSlot
from runtime.bundle import ModelInfo
from runtime.errors import UserError

if TYPE_CHECKING:
    import torch


class TorchBackend(Backend):
    """Runs ``model.pt2`` on the CPU. ``threads`` sets torch's threads for the whole process; None leaves them.

    Raises UserError if torch is not installed or the file cannot be loaded.
    """

    name = "torch"
    precision = "fp32"
    has_logits = True

    def __init__(self, path: Path, info: ModelInfo, *, threads: int | None = None) -> None:
        self.path = path
        self.info = info
        self._network = _load(path)
        self.slots = (CpuSlot(info, self.labels),)
        if threads is not None:
            import torch

            torch.set_num_threads(threads)

    def labels(self, image_nhwc: np.ndarray) -> np.ndarray:
        """Classify images, uint8 RGB [N, H, W, 3], into uint8 labels [N, H, W]."""
        # On a CPU, max is more than twice as fast as argmax, and the reference must not be slow without need.
        return self._run(image_nhwc).max(dim=1).indices.byte().numpy()

    def logits(self, image_nhwc: np.ndarray) -> np.ndarray:
        """Scores of every class, float32 [N, K, H, W]."""
        return self._run(image_nhwc).numpy()

    def _run(self, image_nhwc: np.ndarray) -> torch.Tensor:
        """Normalise as training does, (x / 255 - mean) / std, and run one image at a time."""
        import torch

        mean = torch.tensor(self.info.mean).view(1, 3, 1, 1)
        std = torch.tensor(self.info.std).view(1, 3, 1, 1)
        with torch.inference_mode():
            image_nchw = torch.from_numpy(image_nhwc).permute(0, 3, 1, 2).contiguous()
            x_nchw = (image_nchw.float() / 255 - mean) / std
            return torch.cat([self._network(x_chw[None]) for x_chw in x_nchw])


def _load(path: Path) -> torch.nn.Module:
    try:
        import torch
    except ImportError:
        raise UserError(
            "the torch backend needs PyTorch, which is not installed. Run this where networks are exported."
        ) from None
    if not path.is_file():
        raise UserError(f"{path} does not exist. Give a bundle that scripts/export.sh wrote.")
    try:
        return torch.export.load(path).module()
    except Exception as error:  # whatever unpickling or unzipping a foreign file runs into
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"PyTorch {torch.__version__} cannot load {path}. It is broken, incomplete, or not a network that "
            f"torch.export saved. Export the checkpoint again with scripts/export.sh. ({reason})"
        ) from error
