"""Cars, trucks, buses and trams. They stand at the origin and drive towards +z; sizes in metres.

A prism's profile runs up at the front and down at the back, so an inlay's t = 0 is below in front, above behind.
"""

import numpy as np

from runtime.street import colours
from runtime.street.camera import FloatArray
from runtime.street.classes import Label
from runtime.street.colours import GLASS, RED_LAMP, RUBBER, WHITE_LAMP, choose
from runtime.street.solids import KEEP, Face, Prism, box, inlay, on_sides, straight_prism, wheel

PLATE = (225, 225, 215)


def car(rng: np.random.Generator) -> list[Face]:
    """Build a saloon, a hatchback or an off-roader."""
    rgb = choose(rng, colours.CAR_PAINTS)
    length, width = rng.uniform(4.0, 4.8), rng.uniform(0.86, 0.95)
    waist, roof = rng.uniform(0.88, 1.08), rng.uniform(1.42, 1.75)
    back, front = -length / 2, length / 2
    bonnet = front - rng.uniform(0.9, 1.25)
    tail = back + rng.choice([0.1, 0.15, 0.75])
    body = straight_prism([(back, 0.3), (front, 0.3), (front, 0.72), (bonnet, waist), (back, waist)], width)
    top = width * 0.78
    cabin = Prism(
        [(tail, waist), (bonnet, waist), (bonnet - 0.75, roof), (tail + 0.45, roof)],
        [width * 0.96, width * 0.96, top, top],
    )
    rear, nose = body.edge(4, rgb, Label.CAR), body.edge(1, rgb, Label.CAR)
    rear_window, windscreen = cabin.edge(3, rgb, Label.CAR), cabin.edge(1, rgb, Label.CAR)
    pillar = (tail + bonnet - 0.3) / 2
    y0, y1, x = waist + 0.04, roof - 0.1, width * 0.89
    return [
        *box(width * 0.85, 0.0, 0.32, back + 0.35, front - 0.35).faces(RUBBER, Label.CAR),
        *body.faces(rgb, Label.CAR),
        *wheel(back + 0.8, 0.34, width + 0.01, Label.CAR),
        *wheel(front - 0.8, 0.34, width + 0.01, Label.CAR),
        inlay(rear, 0.03, 0.18, 0.2, 0.45, RED_LAMP),
        inlay(rear, 0.8, 0.18, 0.97, 0.45, RED_LAMP),
        inlay(rear, 0.36, 0.5, 0.64, 0.7, PLATE),
        inlay(rear, 0.02, 0.82, 0.98, 1.0, RUBBER),
        inlay(nose, 0.02, 0.55, 0.22, 0.95, WHITE_LAMP),
        inlay(nose, 0.78, 0.55, 0.98, 0.95, WHITE_LAMP),
        inlay(nose, 0.28, 0.3, 0.72, 0.85, RUBBER),
        *cabin.faces(rgb, Label.CAR),
        inlay(rear_window, 0.08, 0.12, 0.92, 0.9, GLASS),
        inlay(windscreen, 0.06, 0.08, 0.94, 0.95, GLASS),
        *on_sides([(tail + 0.25, y0), (pillar, y0), (pillar, y1), (tail + 0.55, y1)], x, GLASS),
        *on_sides([(pillar + 0.1, y0), (bonnet - 0.15, y0), (bonnet - 0.8, y1), (pillar + 0.1, y1)], x, GLASS),
    ]


def truck(rng: np.random.Generator) -> list[list[Face]]:
    """Build a lorry: its cab and its cargo box."""
    rgb, cargo_rgb = choose(rng, colours.CAB_PAINTS), choose(rng, colours.CARGO_PAINTS)
    width, top, back = rng.uniform(1.15, 1.3), rng.uniform(3.0, 3.7), -rng.uniform(2.8, 4.2)
    cargo = box(width, 0.95, top, back, 1.7)
    doors = cargo.edge(3, cargo_rgb, Label.TRUCK)
    bumper = box(width, 0.62, 0.95, back, back + 0.2)
    beam, stripe = bumper.edge(3, RUBBER, Label.TRUCK), choose(rng, colours.CAB_PAINTS)
    low, high = 0.95 + 0.35 * (top - 0.95), 0.95 + 0.6 * (top - 0.95)
    load = [
        *box(width * 0.8, 0.0, 0.95, back + 0.3, 1.6).faces(RUBBER, Label.TRUCK),
        *cargo.faces(cargo_rgb, Label.TRUCK),
        *on_sides([(back + 0.5, low), (1.2, low), (1.2, high), (back + 0.5, high)], width + 0.01, stripe),
        inlay(doors, 0.49, 0.0, 0.51, 1.0, cargo_rgb * 0.5),
        inlay(doors, 0.06, 0.05, 0.09, 0.95, cargo_rgb * 0.7),
        inlay(doors, 0.91, 0.05, 0.94, 0.95, cargo_rgb * 0.7),
        *bumper.faces((60, 60, 62), Label.TRUCK),
        inlay(beam, 0.02, 0.2, 0.18, 0.8, RED_LAMP),
        inlay(beam, 0.82, 0.2, 0.98, 0.8, RED_LAMP),
        *wheel(back + 0.8, 0.5, width, Label.TRUCK),
        *wheel(back + 1.95, 0.5, width, Label.TRUCK),
    ]
    cab = straight_prism([(1.8, 0.5), (3.6, 0.5), (3.6, 1.5), (3.35, 2.75), (1.8, 2.75)], width * 0.97)
    grille, windscreen = cab.edge(1, rgb, Label.TRUCK), cab.edge(2, rgb, Label.TRUCK)
    driver = [
        *box(width * 0.8, 0.0, 0.5, 2.0, 3.4).faces(RUBBER, Label.TRUCK),
        *cab.faces(rgb, Label.TRUCK),
        inlay(windscreen, 0.05, 0.12, 0.95, 0.95, GLASS),
        inlay(grille, 0.25, 0.1, 0.75, 0.7, RUBBER),
        inlay(grille, 0.03, 0.6, 0.2, 0.85, WHITE_LAMP),
        inlay(grille, 0.8, 0.6, 0.97, 0.85, WHITE_LAMP),
        *on_sides([(2.3, 1.6), (3.35, 1.6), (3.2, 2.5), (2.3, 2.5)], width * 0.98, GLASS),
        *wheel(2.7, 0.5, width, Label.TRUCK),
    ]
    return [driver, load]


def bus(rng: np.random.Generator) -> list[Face]:
    """Build a city bus: one long box on wheels with a window band and a lit destination board."""
    rgb = choose(rng, colours.BUS_PAINTS)
    half, width, roof = rng.uniform(4.4, 5.8), 1.27, rng.uniform(2.95, 3.2)
    body = straight_prism([(-half, 0.35), (half, 0.35), (half, roof), (-half, roof)], width)
    front, rear = body.edge(1, rgb, Label.BUS), body.edge(3, rgb, Label.BUS)
    board = (255, 165, 40)
    faces = [
        *box(width * 0.85, 0.0, 0.4, -half + 0.6, half - 0.6).faces(RUBBER, Label.BUS),
        *body.faces(rgb, Label.BUS),
        inlay(rear, 0.1, 0.16, 0.9, 0.45, GLASS),
        inlay(rear, 0.25, 0.04, 0.75, 0.13, board),
        inlay(rear, 0.02, 0.62, 0.1, 0.85, RED_LAMP),
        inlay(rear, 0.9, 0.62, 0.98, 0.85, RED_LAMP),
        inlay(rear, 0.2, 0.6, 0.8, 0.88, rgb * 0.6),
        inlay(front, 0.04, 0.33, 0.96, 0.84, GLASS),
        inlay(front, 0.15, 0.87, 0.85, 0.97, board),
        inlay(front, 0.05, 0.08, 0.2, 0.18, WHITE_LAMP),
        inlay(front, 0.8, 0.08, 0.95, 0.18, WHITE_LAMP),
        *wheel(-half + 2.4, 0.48, width + 0.01, Label.BUS),
        *wheel(half - 2.4, 0.48, width + 0.01, Label.BUS),
    ]
    pane = (2 * half - 0.8) / 6
    for z in -half + 0.4 + pane * np.arange(6):
        outline = [(z + 0.08, 1.45), (z + pane - 0.08, 1.45), (z + pane - 0.08, 2.5), (z + 0.08, 2.5)]
        faces += on_sides(outline, width + 0.01, GLASS)
    for z in (-half + 0.4, half - 1.7):
        faces += on_sides([(z, 0.45), (z + 1.2, 0.45), (z + 1.2, 2.5), (z, 2.5)], width + 0.012, (75, 88, 98))
    return faces


def tram_section(rgb: FloatArray, cream: FloatArray, length: float, nose: int) -> list[Face]:
    """Build one section of a tram; nose is 1 or -1 where it tapers to a driver's cab, 0 in the middle."""
    half, width = length / 2, 1.3
    front, back = (half - 0.9, -half) if nose > 0 else (half, -half + 0.9) if nose < 0 else (half, -half)
    body = straight_prism([(-half, 0.12), (half, 0.12), (half, 1.3), (front, 3.3), (back, 3.3), (-half, 1.3)], width)
    ahead, behind = body.edge(2, cream, Label.TRAIN), body.edge(4, cream, Label.TRAIN)
    band = [(-half, 0.12), (half, 0.12), (half, 1.3), (-half, 1.3)]
    faces = [
        *box(0.5, 3.3, 3.55, -half * 0.6, half * 0.6).faces((110, 112, 115), Label.TRAIN),
        *body.faces(cream, Label.TRAIN),
        *on_sides(band, width + 0.005, rgb),
        *on_sides([(-half, 0.12), (half, 0.12), (half, 0.4), (-half, 0.4)], width + 0.008, (45, 45, 48)),
        inlay(body.edge(1, rgb, KEEP), 0.0, 0.0, 1.0, 1.0, rgb),
        inlay(body.edge(5, rgb, KEEP), 0.0, 0.0, 1.0, 1.0, rgb),
        inlay(ahead, 0.08, 0.08, 0.92, 0.78, GLASS),
        inlay(behind, 0.08, 0.22, 0.92, 0.92, GLASS),
        inlay(body.edge(1, rgb, KEEP), 0.42, 0.6, 0.58, 0.85, WHITE_LAMP),
        inlay(body.edge(5, rgb, KEEP), 0.06, 0.2, 0.16, 0.4, RED_LAMP),
        inlay(body.edge(5, rgb, KEEP), 0.84, 0.2, 0.94, 0.4, RED_LAMP),
    ]
    pane = (front - back - 0.4) / 4
    for z in back + 0.2 + pane * np.arange(4):
        outline = [(z + 0.1, 1.55), (z + pane - 0.1, 1.55), (z + pane - 0.1, 2.85), (z + 0.1, 2.85)]
        faces += on_sides(outline, width + 0.01, GLASS)
    return faces


def tram(rng: np.random.Generator) -> list[list[Face]]:
    """Build a tram of three sections: no wheels to be seen, a coloured skirt, tapered ends."""
    rgb, cream = choose(rng, colours.TRAM_PAINTS), choose(rng, ((234, 214, 166),))
    lengths = rng.uniform([5.5, 4.5, 5.5], [7.5, 6.5, 7.5])
    sections, front = [], lengths.sum() / 2
    for length, nose in zip(lengths, (1, 0, -1), strict=True):
        centre = np.array([0.0, 0.0, front - length / 2])
        faces = tram_section(rgb, cream, length - 0.4, nose)
        sections.append([Face(face.points + centre, face.rgb, face.label) for face in faces])
        front -= length
    return sections
