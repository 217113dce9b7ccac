"""The built-in data set: synthetic street scenes with labels, rendered from a seed."""

from runtime.street.classes import CLASSES, IGNORE, PALETTE
from runtime.street.randomness import HELD_OUT_SEEDS
from runtime.street.render import render

__all__ = ["CLASSES", "HELD_OUT_SEEDS", "IGNORE", "PALETTE", "render"]
