"""How an image comes to a network's size: as ``training evaluate`` brings it there."""

from __future__ import annotations

import numpy as np
from PIL import Image

from runtime.bundle import ModelInfo
from runtime.errors import UserError


def resized(image_rgb: np.ndarray, info: ModelInfo) -> np.ndarray:
    """Resize uint8 [H, W, 3] bilinearly to the network's size; the aspect ratio is not kept."""
    image = Image.fromarray(image_rgb).resize((info.width, info.height), Image.Resampling.BILINEAR)
    return np.array(image)


def padded(image_rgb: np.ndarray, info: ModelInfo, name: str) -> np.ndarray:
    """Pad uint8 [H, W, 3] right and below with black to the network's size, as VOC's images are.

    Raises UserError for an image that is larger; ``name`` tells the user which.
    """
    height, width = image_rgb.shape[:2]
    if height > info.height or width > info.width:
        raise UserError(
            f"the image {name} is {height}x{width}, larger than the {info.height}x{info.width} to which VOC's images "
            "are padded, not resized. Export the checkpoint with a larger --size."
        )
    return np.pad(image_rgb, ((0, info.height - height), (0, info.width - width), (0, 0)))
