"""Small image files for the trees that the readers' tests build."""

from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 32, 64


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def grey(value: int = 0) -> np.ndarray:
    return np.full((HEIGHT, WIDTH), value, np.uint8)


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path
