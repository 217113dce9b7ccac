"""The built-in data set `street` for training: rendered scenes with random resize, crop and flip."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from runtime import street
from training.losses import IGNORE_INDEX


class StreetScenes(Dataset[tuple[Tensor, Tensor]]):
    """Scenes of the given seeds, rendered once: pairs of image uint8 [3, H, W] RGB and labels uint8 [H, W]."""

    def __init__(self, seeds: range, height: int, width: int) -> None:
        rendered = tqdm(seeds, desc="rendering street scenes", unit="scene", leave=False, disable=None)
        self.scenes = [street.render(seed, height=height, width=width) for seed in rendered]

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, labels = self.scenes[index]
        return tensors_from_scene(image, labels)


class AugmentedStreetScenes(StreetScenes):
    """The same, each time resized (probability 0.5), cropped and flipped (probability 0.5) anew."""

    def __init__(
        self, seeds: range, height: int, width: int, crop_size: tuple[int, int], resize_scale: tuple[float, float]
    ) -> None:
        super().__init__(seeds, height, width)
        self.crop_size = crop_size
        self.resize_scale = resize_scale

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, labels = self.scenes[index]
        if _uniform() < 0.5:
            scale = _uniform(*self.resize_scale)
            size = (round(image.shape[1] * scale), round(image.shape[0] * scale))  # OpenCV's order: width, height
            smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
            image = np.asarray(cv2.resize(image, size, interpolation=smooth), np.uint8)
            labels = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8)
        image, labels = _pad_and_crop(image, labels, self.crop_size)
        if _uniform() < 0.5:
            image, labels = image[:, ::-1], labels[:, ::-1]
        return tensors_from_scene(image, labels)


def tensors_from_scene(image_rgb: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """[H, W, 3] and [H, W] arrays to [3, H, W] and [H, W] tensors, both uint8."""
    return torch.from_numpy(image_rgb.transpose(2, 0, 1).copy()), torch.from_numpy(labels.copy())


def _pad_and_crop(image: np.ndarray, labels: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Crop at random; an image too small by d is first padded by d on both sides, black and not counted."""
    rows, columns = (max(want - have, 0) for want, have in zip(size, labels.shape, strict=True))
    border = (rows, rows, columns, columns)
    image = cv2.copyMakeBorder(image, *border, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    labels = cv2.copyMakeBorder(labels, *border, cv2.BORDER_CONSTANT, value=(IGNORE_INDEX,))
    top, left = (int(_uniform(0, have - want + 1)) for want, have in zip(size, labels.shape, strict=True))
    window = np.s_[top : top + size[0], left : left + size[1]]
    return image[window], labels[window]


def _uniform(low: float = 0.0, high: float = 1.0) -> float:
    # torch's generator: Lightning seeds it, and the loader gives each worker its own.
    return low + (high - low) * torch.rand(()).item()
