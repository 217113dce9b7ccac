"""Random numbers that depend on what they are for, never on when they are drawn."""

import zlib
from collections.abc import Mapping

import numpy as np

HELD_OUT_SEEDS = range(1_000_000, 2_000_000)
"""Seeds that no training uses: scenes to validate and compare on."""


def rng_for(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """Return the generator of one purpose of one scene; the same arguments always give the same numbers.

    Negative indices are welcome: a slot of traffic may lie behind the street's origin.
    """
    key = (seed, zlib.crc32(purpose.encode()), *(i & 0xFFFFFFFF for i in index))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def pick(rng: np.random.Generator, shares: Mapping[str, float]) -> str:
    """Choose one of the keys; their values are proportional to how often each is chosen."""
    rest = rng.random() * sum(shares.values())
    for key, share in shares.items():
        rest -= share
        if rest < 0.0:
            return key
    return key
