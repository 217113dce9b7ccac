"""Colours of made and grown things. They overlap on purpose: no class can be told by its colour alone."""

import numpy as np

from runtime.street.camera import FloatArray

GLASS = (52, 62, 72)
RUBBER = (26, 26, 28)
RED_LAMP = (190, 25, 25)
WHITE_LAMP = (250, 248, 225)

CAR_PAINTS = ((222, 223, 226), (38, 39, 42), (118, 121, 126), (160, 164, 168), (176, 32, 34), (150, 26, 30))
CARGO_PAINTS = ((176, 192, 208), (150, 178, 200), (198, 206, 214))
CAB_PAINTS = ((52, 132, 84), (218, 120, 40), (222, 222, 218))
BUS_PAINTS = ((230, 178, 40), (222, 146, 36), (206, 196, 60))
TRAM_PAINTS = ((36, 96, 92), (124, 30, 44), (40, 70, 130))
COATS = ((160, 50, 112), (104, 60, 150), (190, 70, 104), (132, 44, 76), (84, 60, 110))
TROUSERS = ((46, 50, 60), (58, 58, 62), (36, 40, 52))
SAFETY_VESTS = ((226, 118, 36), (204, 222, 62), (236, 84, 50))
MOTORCYCLE_PAINTS = ((34, 54, 176), (40, 84, 190), (60, 44, 150))
BICYCLE_PAINTS = ((40, 164, 172), (66, 180, 160), (216, 222, 220))
FENCE_PAINTS = ((198, 130, 62), (178, 112, 52), (206, 146, 84))
METALS = ((84, 104, 106), (66, 84, 88), (104, 122, 124), (58, 80, 72))
SHOP_PAINTS = ((104, 64, 60), (62, 74, 96), (142, 118, 84), (72, 88, 78), (60, 62, 66), (120, 132, 142))
PLASTERS = (
    (216, 204, 176), (196, 180, 150), (226, 222, 214), (168, 170, 174), (134, 136, 140), (206, 186, 138),
    (172, 188, 204), (170, 182, 164), (208, 178, 168), (202, 212, 222),
)  # fmt: skip
MASONRY = ((158, 74, 58), (136, 66, 60), (170, 94, 70))
TILES = ((124, 64, 50), (84, 78, 78), (98, 72, 60), (68, 72, 80))
FOLIAGES = ((70, 104, 42), (56, 90, 48), (88, 118, 50), (52, 76, 46), (128, 122, 52))
MEADOWS = ((138, 150, 72), (152, 152, 88), (162, 146, 92), (128, 146, 62))


def choose(rng: np.random.Generator, colours: tuple[tuple[int, int, int], ...]) -> FloatArray:
    """Choose one of some colours and vary it a little."""
    return np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.88, 1.12) + rng.uniform(-6.0, 6.0, 3)
