"""The recipes' augmentations: steps that change an image and its labels together, in the order a recipe lists them.

Every random number comes from the generator that a call is given, so a draw depends on nothing else. Images are
resampled with Pillow's bicubic filter, labels by nearest neighbour. What is added around an image by crop and pad is
black and not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageOps
from PIL.Image import Resampling
from torchvision.transforms import functional

from runtime.data.data_set import IGNORE
from runtime.errors import UserError

Pair = tuple[Image.Image, Image.Image]
"""An image, mode RGB, and its labels, mode L, of one size."""


class Step(Protocol):
    """One change of an image and its labels."""

    def __call__(self, image: Image.Image, labels: Image.Image, rng: np.random.Generator) -> Pair:
        """Return both, changed."""


@dataclass(frozen=True)
class Flip:
    """``flip: 0.5``: mirror left and right with this probability."""

    probability: float

    def __call__(self, image: Image.Image, labels: Image.Image, rng: np.random.Generator) -> Pair:
        """Mirror both or neither."""
        if rng.random() >= self.probability:
            return image, labels
        mirror = Image.Transpose.FLIP_LEFT_RIGHT
        return image.transpose(mirror), labels.transpose(mirror)


@dataclass(frozen=True)
class Resize:
    """``resize: [0.25, 2.0]``: with probability 0.5, resize by a factor drawn uniformly from this range."""

    low: float
    high: float

    def __call__(self, image: Image.Image, labels: Image.Image, rng: np.random.Generator) -> Pair:
        """Resize both or neither."""
        if rng.random() >= 0.5:
            return image, labels
        scale = rng.uniform(self.low, self.high)
        return _resized(image, labels, *(max(1, round(length * scale)) for length in image.size))


@dataclass(frozen=True)
class Crop:
    """``crop: [512, 1024]``: cut out this height and width at random.

    An image too low or narrow by d is first padded by d on both sides, so it may lie anywhere in the crop.
    """

    height: int
    width: int

    def __call__(self, image: Image.Image, labels: Image.Image, rng: np.random.Generator) -> Pair:
        """Pad both as far as needed, and crop both alike."""
        rows, columns = max(0, self.height - image.height), max(0, self.width - image.width)
        image, labels = _padded(image, labels, (columns, rows, columns, rows))
        top = int(rng.integers(image.height - self.height + 1))
        left = int(rng.integers(image.width - self.width + 1))
        window = (left, top, left + self.width, top + self.height)
        return image.crop(window), labels.crop(window)


@dataclass(frozen=True)
class ColourJitter:
    """``colour_jitter: 0.5``: change brightness, contrast, saturation and hue, in random order.

    As torchvision's ColorJitter does with this amount for all four: the first three by factors drawn uniformly from
    1 - amount to 1 + amount, the hue by -amount to amount of the colour circle.
    """

    amount: float

    def __call__(self, image: Image.Image, labels: Image.Image, rng: np.random.Generator) -> Pair:
        """Change the image's colours; the labels stay as they are."""
        for change in rng.permutation(4):
            drawn = float(rng.uniform(-self.amount, self.amount))
            if change == 0:
                image = functional.adjust_brightness(image, 1 + drawn)
            elif change == 1:
                image = functional.adjust_contrast(image, 1 + drawn)
            elif change == 2:
                image = functional.adjust_saturation(image, 1 + drawn)
            else:
                image = functional.adjust_hue(image, drawn)
        return image, labels


@dataclass(frozen=True)
class Rotate:
    """``rotate: 30``: rotate about the centre by at most this many degrees, at one size.

    What comes in from outside is black, and it is class 0 rather than not counted: that is how VOC-L was trained.
    """

    degrees: float

    def __call__(self, image: Image.Image, labels: Image.Image, rng: np.random.Generator) -> Pair:
        """Rotate both by one angle."""
        angle = rng.uniform(-self.degrees, self.degrees)
        return image.rotate(angle, Resampling.BICUBIC), labels.rotate(angle, Resampling.NEAREST)


@dataclass(frozen=True)
class Pad:
    """``pad: [512, 512]``: extend to this height and width, to the right and below. Larger images are a UserError."""

    height: int
    width: int

    def __call__(self, image: Image.Image, labels: Image.Image, rng: np.random.Generator) -> Pair:
        """Pad both."""
        rows, columns = self.height - image.height, self.width - image.width
        if rows < 0 or columns < 0:
            raise UserError(
                f"an image of {image.height}x{image.width} is larger than the recipe's pad: "
                f"[{self.height}, {self.width}]. Pad to a larger size, or resize or crop before."
            )
        return _padded(image, labels, (0, 0, columns, rows))


@dataclass(frozen=True)
class ResizeTo:
    """``resize_to: [576, 768]``: resize to this height and width, whatever the image's proportions."""

    height: int
    width: int

    def __call__(self, image: Image.Image, labels: Image.Image, rng: np.random.Generator) -> Pair:
        """Resize both."""
        return _resized(image, labels, self.width, self.height)


@dataclass(frozen=True)
class Augmentation:
    """Steps, one after the other."""

    steps: tuple[Step, ...]

    def __call__(
        self, image_rgb: np.ndarray, labels: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Change an image, uint8 RGB [H, W, 3], and its labels, uint8 [H, W], into new arrays of both kinds."""
        image, classes = Image.fromarray(image_rgb), Image.fromarray(labels)
        for step in self.steps:
            image, classes = step(image, classes, rng)
        return np.array(image), np.array(classes)

    @property
    def size(self) -> tuple[int, int] | None:
        """The height and width of every result, None where they depend on the image or the draw."""
        size = None
        for step in self.steps:
            if isinstance(step, Crop | Pad | ResizeTo):
                size = (step.height, step.width)
            elif isinstance(step, Resize):
                size = None
        return size


def augmentation_from(steps: Sequence[Mapping[str, Any]]) -> Augmentation:
    """Check the steps of a recipe, mappings of one entry each such as ``{"flip": 0.5}``.

    Raises UserError naming the step that is unknown or has a wrong value, and what it takes.
    """
    if not isinstance(steps, Sequence) or isinstance(steps, str):
        raise UserError(f"an augmentation is a list of steps such as `- flip: 0.5`, not {steps!r}.")
    return Augmentation(tuple(_step_from(step) for step in steps))


def _step_from(entry: Any) -> Step:
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise UserError(f"a step of an augmentation is one entry such as `- flip: 0.5`, not {entry!r}.")
    ((name, value),) = entry.items()
    match name:
        case "flip" if _is_number(value) and 0 <= value <= 1:
            return Flip(value)
        case "resize" if _is_pair(value) and all(map(_is_number, value)) and 0 < value[0] <= value[1]:
            return Resize(*value)
        case "crop" if _is_size(value):
            return Crop(*value)
        case "colour_jitter" if _is_number(value) and 0 < value <= 0.5:
            return ColourJitter(value)
        case "rotate" if _is_number(value) and 0 < value <= 180:
            return Rotate(value)
        case "pad" if _is_size(value):
            return Pad(*value)
        case "resize_to" if _is_size(value):
            return ResizeTo(*value)
    if name not in _TAKES:
        raise UserError(f"there is no augmentation step {name!r}. The steps are {', '.join(_TAKES)}.")
    raise UserError(f"the augmentation step {name} takes {_TAKES[name]}, not {value!r}.")


_TAKES = {
    "flip": "a probability from 0 to 1, e.g. 0.5",
    "resize": "the smallest and the largest factor, above 0, e.g. [0.5, 2.0]",
    "crop": "height and width in whole pixels, e.g. [512, 1024]",
    "colour_jitter": "an amount above 0, at most 0.5, e.g. 0.25",
    "rotate": "the largest angle in degrees, above 0, at most 180, e.g. 30",
    "pad": "height and width in whole pixels, e.g. [512, 512]",
    "resize_to": "height and width in whole pixels, e.g. [576, 768]",
}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2


def _is_size(value: Any) -> bool:
    return _is_pair(value) and all(isinstance(item, int) and not isinstance(item, bool) and item > 0 for item in value)


def _resized(image: Image.Image, labels: Image.Image, width: int, height: int) -> Pair:
    return image.resize((width, height), Resampling.BICUBIC), labels.resize((width, height), Resampling.NEAREST)


def _padded(image: Image.Image, labels: Image.Image, border: tuple[int, int, int, int]) -> Pair:
    """Add columns and rows on the left, top, right and bottom: black, and not counted."""
    return ImageOps.expand(image, border, 0), ImageOps.expand(labels, border, IGNORE)
