"""The built-in data set: synthetic street scenes, rendered when the data set is opened."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from runtime import street
from runtime.data.data_set import LabelSet
from runtime.data.label_sets import CITYSCAPES


class StreetScenes:
    """A DataSet of the scenes of the given seeds, each rendered once; sizes in pixels.

    Raises ValueError for a negative seed and for sizes below 32 pixels.
    """

    labels: LabelSet = CITYSCAPES

    def __init__(self, seeds: Sequence[int], height: int, width: int) -> None:
        held_out = "held-out " if all(seed in street.HELD_OUT_SEEDS for seed in seeds) else ""
        self.name = f"street, {len(seeds)} {held_out}scene{'s' * (len(seeds) != 1)}"
        self._seeds = tuple(seeds)
        rendered = tqdm(self._seeds, desc="rendering street scenes", unit="scene", leave=False, disable=None)
        self._scenes = [street.render(seed, height=height, width=width) for seed in rendered]

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        image_rgb, labels = self._scenes[index]
        return image_rgb.copy(), labels.copy()

    def stem(self, index: int) -> str:
        """Return ``street_SEED``."""
        return f"street_{self._seeds[index]}"
