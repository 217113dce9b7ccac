"""Colours of made and grown things. They overlap on purpose: no class can be told by its colour alone."""

import numpy as np

from runtime.street.camera import FloatArray

GLASS = (52, 62, 72)
RUBBER = (26, 26, 28)
RED_LAMP = (190, 25, 25)
WHITE_LAMP = (250, 248, 225)

PAINTS = (
    (225, 226, 228), (30, 31, 34), (120, 123, 127), (165, 168, 172), (92, 95, 98), (150, 28, 30), (35, 60, 120),
    (70, 110, 70), (55, 75, 45), (190, 175, 150), (110, 75, 50), (205, 160, 50), (120, 160, 195), (60, 70, 80),
)  # fmt: skip
"""Cars, clothes, fences, doors and shop fronts: most of it also occurs in roads, trees, houses and skies."""

PLASTERS = (
    (214, 200, 170), (190, 170, 140), (225, 221, 212), (160, 162, 165), (118, 120, 124), (178, 132, 104),
    (150, 82, 66), (122, 70, 58), (205, 175, 120), (165, 182, 198), (150, 170, 140), (205, 165, 155), (96, 98, 104),
    (200, 210, 222), (140, 124, 108),
)  # fmt: skip
"""Houses and walls, from brick to the blue of a sky and the grey of a road."""

FOLIAGES = ((74, 104, 44), (58, 92, 50), (98, 122, 52), (52, 74, 48), (122, 124, 58), (150, 112, 50), (112, 70, 44))
"""Leaves, from spring to autumn."""

MEADOWS = ((96, 122, 58), (122, 128, 70), (140, 124, 88), (112, 98, 74), (150, 142, 112))
"""Grass, from fresh to dry, and bare soil."""


def paint(rng: np.random.Generator) -> FloatArray:
    """Choose a paint and vary it a little."""
    return (np.asarray(PAINTS[rng.integers(len(PAINTS))]) * rng.uniform(0.85, 1.15)).clip(12, 240)


def plaster(rng: np.random.Generator) -> FloatArray:
    """Choose the colour of a house or a wall."""
    return (np.asarray(PLASTERS[rng.integers(len(PLASTERS))]) + rng.uniform(-14, 14, 3)).clip(30, 240)


def foliage(rng: np.random.Generator) -> FloatArray:
    """Choose the colour of a tree or a hedge."""
    return (np.asarray(FOLIAGES[rng.integers(len(FOLIAGES))]) * rng.uniform(0.8, 1.35)).clip(20, 230)


def meadow(rng: np.random.Generator) -> FloatArray:
    """Choose the colour of grass or soil."""
    return np.asarray(MEADOWS[rng.integers(len(MEADOWS))]) * rng.uniform(0.85, 1.15)
