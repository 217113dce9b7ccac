"""What every data set offers: labelled images at their own sizes, and the classes they are labelled with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

IGNORE = 255
"""Label of pixels that do not count."""


@dataclass(frozen=True)
class LabelSet:
    """Class names and RGB colours, by class index."""

    name: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]


class DataSet(Protocol):
    """The labelled images of one split."""

    @property
    def name(self) -> str:
        """Data set, split and protocol in words, as a report prints them."""

    @property
    def labels(self) -> LabelSet:
        """The classes of the labels."""

    def __len__(self) -> int:
        """Count the images."""

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return an image, uint8 RGB [H, W, 3], and its labels, uint8 [H, W]: class indices, or IGNORE.

        Both are the caller's to write on. Raises UserError for a file that cannot be read.
        """

    def stem(self, index: int) -> str:
        """Return the image's name without folder and ending, for files made from it."""
