"""Random numbers that depend on what they are for, never on when they are drawn."""

import zlib

import numpy as np


def rng_for(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """Return the generator of one purpose of one scene; the same arguments always give the same numbers.

    Negative indices are welcome: a slot of traffic may lie behind the street's origin.
    """
    key = (seed, zlib.crc32(purpose.encode()), *(i & 0xFFFFFFFF for i in index))
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
