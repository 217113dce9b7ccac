"""People and two-wheelers: upright figures that face the camera; x to the right, y up, in metres, feet at y = 0."""

import numpy as np

from runtime.street import colours
from runtime.street.classes import Label
from runtime.street.colours import RED_LAMP, RUBBER, choose
from runtime.street.solids import KEEP, Face, bar, disc, upright

SKINS = ((236, 200, 172), (205, 160, 125), (150, 105, 75), (92, 64, 48))
HAIRS = ((35, 28, 24), (90, 60, 35), (170, 130, 75), (150, 148, 145))


def angled(rng: np.random.Generator, faces: list[Face], narrowest: float = 0.65) -> list[Face]:
    """Narrow a figure as if it stood at an angle, and let half of them look to the left."""
    scale = np.array([rng.uniform(narrowest, 1.0), 1.0, 1.0])
    if rng.random() < 0.5:
        return [Face(face.points * scale, face.rgb, face.label) for face in faces]
    return [Face((face.points * scale * (-1.0, 1.0, 1.0))[::-1], face.rgb, face.label) for face in faces]


def person(rng: np.random.Generator, stride: float) -> list[Face]:
    """Build a pedestrian; stride from -1 to 1 is the phase of the step."""
    skin, hair = SKINS[rng.integers(len(SKINS))], HAIRS[rng.integers(len(HAIRS))]
    coat, trousers = choose(rng, colours.COATS), choose(rng, colours.COATS) * 0.7
    size, build, long_coat, bag = rng.uniform(0.88, 1.05), rng.uniform(0.23, 0.31), rng.random() < 0.3, rng.random()
    step, swing, hem = 0.24 * stride, 0.16 * stride, 0.55 if long_coat else 0.86
    label = Label.PERSON
    faces = [
        bar((-0.07, 0.9), (-0.09 - step, 0.04), 0.19, trousers * 0.85, label),
        bar((0.07, 0.9), (0.09 + step, 0.04), 0.19, trousers, label),
        bar((-0.17 - step, 0.04), (-0.02 - step, 0.04), 0.09, RUBBER, label),
        bar((0.02 + step, 0.04), (0.17 + step, 0.04), 0.09, RUBBER, label),
        bar((-build, 1.38), (-build - 0.06 + swing, 0.85), 0.13, coat * 0.8, label),
        bar((build, 1.38), (build + 0.06 + swing, 0.85), 0.13, coat * 0.8, label),
        upright([(-build, hem), (build, hem), (build, 1.36), (0.1, 1.48), (-0.1, 1.48), (-build, 1.36)], coat, label),
        disc(0.0, 1.6, 0.14, skin, label, 10, 0.85),
        upright([(-0.12, 1.62), (0.12, 1.62), (0.1, 1.75), (-0.1, 1.75)], hair, label),
    ]
    if bag < 0.35:
        faces.append(upright([(0.1, 0.8), (0.4, 0.8), (0.4, 1.15), (0.1, 1.15)], choose(rng, colours.COATS), label))
    return [Face(face.points * size, face.rgb, face.label) for face in faces]


def bicycle(rng: np.random.Generator) -> list[Face]:
    """Build a bicycle from the side; the label covers the whole wheel, spokes and what shines through them."""
    rgb, label = choose(rng, colours.BICYCLE_PAINTS), Label.BICYCLE
    see_through = np.array([54.0, 92.0, 104.0]) * rng.uniform(0.85, 1.1)
    faces = []
    for x in (-0.55, 0.55):
        faces += [disc(x, 0.36, 0.37, RUBBER, label, 14), disc(x, 0.36, 0.3, see_through, KEEP, 12)]
        faces += [bar((x - 0.2, 0.16), (x + 0.2, 0.56), 0.03, (70, 70, 72), KEEP)]
        faces += [bar((x - 0.2, 0.56), (x + 0.2, 0.16), 0.03, (70, 70, 72), KEEP)]
    tubes = [((-0.55, 0.36), (0.0, 0.36)), ((-0.55, 0.36), (-0.2, 0.85)), ((0.0, 0.36), (-0.22, 0.95))]
    tubes += [((0.0, 0.36), (0.4, 0.85)), ((-0.2, 0.82), (0.4, 0.85)), ((0.55, 0.36), (0.38, 1.02))]
    faces += [bar(a, b, 0.1, rgb, label) for a, b in tubes]
    faces += [
        bar((-0.36, 0.98), (-0.08, 0.98), 0.09, RUBBER, label),
        bar((0.3, 1.04), (0.52, 1.06), 0.07, RUBBER, label),
    ]
    return faces


def motorcycle(rng: np.random.Generator) -> list[Face]:
    """Build a motorcycle from the side: fat tyres, engine, tank and seat."""
    rgb, label = choose(rng, colours.MOTORCYCLE_PAINTS), Label.MOTORCYCLE
    return [
        disc(-0.68, 0.34, 0.35, RUBBER, label, 12),
        disc(0.72, 0.34, 0.35, RUBBER, label, 12),
        disc(-0.68, 0.34, 0.16, (140, 140, 142), KEEP, 8),
        disc(0.72, 0.34, 0.16, (140, 140, 142), KEEP, 8),
        bar((0.72, 0.34), (0.45, 1.05), 0.12, (120, 120, 124), label),
        upright([(-0.45, 0.22), (0.4, 0.22), (0.45, 0.62), (-0.5, 0.62)], (72, 73, 76), label),
        disc(0.02, 0.42, 0.17, (150, 151, 154), KEEP, 8),
        bar((-0.95, 0.3), (0.0, 0.28), 0.11, (165, 166, 168), label),
        upright([(-0.95, 0.66), (-0.6, 0.56), (0.05, 0.6), (0.05, 0.82), (-0.9, 0.86)], RUBBER, label),
        upright([(-0.02, 0.6), (0.5, 0.55), (0.6, 0.85), (0.4, 1.0), (0.0, 0.86)], rgb, label),
        upright([(0.5, 0.72), (0.78, 0.82), (0.62, 1.18), (0.48, 1.05)], rgb * 0.9, label),
        upright([(-1.0, 0.7), (-0.62, 0.7), (-0.66, 0.85), (-1.02, 0.88)], rgb, label),
        bar((-1.03, 0.78), (-0.93, 0.78), 0.1, RED_LAMP, KEEP),
    ]


def rider(rng: np.random.Generator, saddle: float, lean: float, pedal: float) -> list[Face]:
    """Build a person who sits on a two-wheeler and looks towards +x; pedal is the height of the foot."""
    coat, trousers = choose(rng, colours.SAFETY_VESTS), choose(rng, colours.TROUSERS)
    helmet = choose(rng, colours.SAFETY_VESTS)
    skin, label = SKINS[rng.integers(len(SKINS))], Label.RIDER
    hip, neck, knee = (-0.22, saddle + 0.08), (-0.22 + lean, saddle + 0.66), (0.16, saddle - 0.12)
    head = (neck[0] + 0.08, neck[1] + 0.2)
    return [
        bar(hip, knee, 0.21, trousers, label),
        bar(knee, (0.0, pedal), 0.17, trousers, label),
        bar((-0.06, pedal - 0.02), (0.16, pedal - 0.02), 0.09, RUBBER, label),
        bar((hip[0], hip[1] - 0.06), neck, 0.38, coat, label),
        bar((neck[0], neck[1] - 0.1), (0.36, saddle + 0.14), 0.14, coat * 0.8, label),
        disc(head[0], head[1], 0.15, skin, label, 10, 0.9),
        upright(
            [(head[0] - 0.17, head[1]), (head[0] + 0.17, head[1] + 0.02), (head[0] + 0.1, head[1] + 0.17),
             (head[0] - 0.1, head[1] + 0.18)],
            helmet, label,
        ),
    ]  # fmt: skip


def from_behind(rng: np.random.Generator, label: Label, sway: float) -> list[Face]:
    """Build a rider on a bicycle or a motorcycle as a follower sees them; sway from -1 to 1 is the pedals' phase."""
    coat, trousers = choose(rng, colours.SAFETY_VESTS), choose(rng, colours.TROUSERS)
    helmet = choose(rng, colours.SAFETY_VESTS)
    motor = label is Label.MOTORCYCLE
    rgb = choose(rng, colours.MOTORCYCLE_PAINTS if motor else colours.BICYCLE_PAINTS)
    tyre, seat, lift = (0.2, 0.82, 0.0) if motor else (0.13, 0.95, 0.13 * sway)
    faces = [upright([(-tyre / 2, 0.0), (tyre / 2, 0.0), (tyre / 2, 0.72), (-tyre / 2, 0.72)], RUBBER, label)]
    if motor:
        faces += [
            upright([(-0.44, 0.34), (0.44, 0.34), (0.46, 0.74), (-0.46, 0.74)], rgb, label),
            upright(
                [(-0.24, 0.28), (0.24, 0.28), (0.28, 0.62), (0.2, 0.92), (-0.2, 0.92), (-0.28, 0.62)], rgb * 0.7, label
            ),
            upright([(-0.13, 0.5), (0.13, 0.5), (0.13, 0.64), (-0.13, 0.64)], (225, 225, 215), KEEP),
            upright([(-0.16, 0.68), (0.16, 0.68), (0.16, 0.8), (-0.16, 0.8)], RED_LAMP, KEEP),
            bar((-0.5, 1.12), (0.5, 1.12), 0.08, RUBBER, label),
        ]
    else:
        faces += [
            bar((-0.34, 1.08), (0.34, 1.08), 0.08, RUBBER, label),
            bar((0.0, 0.4), (0.0, 0.98), 0.09, rgb, label),
            upright([(-0.1, 0.62), (0.1, 0.62), (0.1, 0.74), (-0.1, 0.74)], RED_LAMP, label),
        ]
    foot = 0.32 if motor else 0.3
    hips = 0.24 if motor else 0.15
    rider_label = Label.RIDER
    return [
        *faces,
        bar((-0.12, seat + 0.05), (-hips - 0.06, foot + lift), 0.17, trousers, rider_label),
        bar((0.12, seat + 0.05), (hips + 0.06, foot - lift), 0.17, trousers, rider_label),
        bar((-0.25, seat + 0.55), (-0.42, seat + 0.2), 0.13, coat * 0.8, rider_label),
        bar((0.25, seat + 0.55), (0.42, seat + 0.2), 0.13, coat * 0.8, rider_label),
        upright([(-0.2, seat), (0.2, seat), (0.28, seat + 0.58), (-0.28, seat + 0.58)], coat, rider_label),
        disc(0.0, seat + 0.76, 0.16, helmet, rider_label, 10),
    ]


def cyclist(rng: np.random.Generator, pedalling: float) -> list[Face]:
    """Build a rider on a bicycle from the side."""
    return [*bicycle(rng), *rider(rng, 1.0, 0.3, 0.36 + 0.12 * pedalling)]


def motorcyclist(rng: np.random.Generator) -> list[Face]:
    """Build a rider on a motorcycle from the side."""
    return [*motorcycle(rng), *rider(rng, 0.84, 0.18, 0.34)]
