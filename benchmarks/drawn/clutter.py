"""Pictures without digits: letters, scribbles, empty ruled pages, tables and forms.

Each function returns the picture and the number of objects that might be mistaken for digits.
"""

import numpy as np
from drawn.doodles import doodle
from drawn.papers import Page, wobble
from drawn.pens import densify, draw

#: Letters as a hand writes them, in a box of 1 by 1 (small ones in the lower part). Those that
#: are written as digits are, such as O, I, S, Z, B, b, g, q, D, l and i, are left out.
LETTERS = {
    "A": [[(0, 1), (0.4, 0), (0.8, 1)], [(0.15, 0.62), (0.65, 0.62)]],
    "E": [[(0.6, 0), (0, 0), (0, 1), (0.6, 1)], [(0, 0.5), (0.5, 0.5)]],
    "F": [[(0.6, 0), (0, 0), (0, 1)], [(0, 0.48), (0.5, 0.48)]],
    "H": [[(0, 0), (0, 1)], [(0.65, 0), (0.65, 1)], [(0, 0.5), (0.65, 0.5)]],
    "K": [[(0, 0), (0, 1)], [(0.6, 0), (0.02, 0.55), (0.65, 1)]],
    "M": [[(0, 1), (0.05, 0), (0.4, 0.7), (0.75, 0), (0.8, 1)]],
    "N": [[(0, 1), (0, 0), (0.6, 1), (0.6, 0)]],
    "P": [
        [(0, 0), (0, 1)],
        [(0, 0.02), (0.35, 0), (0.52, 0.14), (0.5, 0.35), (0.3, 0.5), (0, 0.5)],
    ],
    "R": [[(0, 1), (0, 0), (0.38, 0.02), (0.52, 0.2), (0.4, 0.44), (0, 0.5), (0.6, 1)]],
    "T": [[(0, 0), (0.8, 0)], [(0.4, 0), (0.4, 1)]],
    "V": [[(0, 0), (0.35, 1), (0.7, 0)]],
    "W": [[(0, 0), (0.2, 1), (0.45, 0.3), (0.7, 1), (0.9, 0)]],
    "X": [[(0, 0), (0.65, 1)], [(0.65, 0), (0, 1)]],
    "Y": [[(0, 0), (0.35, 0.5)], [(0.7, 0), (0.35, 0.5), (0.35, 1)]],
    "a": [
        [(0.5, 0.5), (0.3, 0.42), (0.1, 0.5), (0.05, 0.75), (0.15, 0.97), (0.35, 0.92), (0.5, 0.7)],
        [(0.52, 0.45), (0.52, 0.9), (0.65, 1)],
    ],
    "e": [
        [
            (0.05, 0.72),
            (0.5, 0.66),
            (0.45, 0.46),
            (0.25, 0.4),
            (0.05, 0.6),
            (0.08, 0.88),
            (0.3, 1),
            (0.55, 0.92),
        ]
    ],
    "f": [[(0.5, 0.1), (0.35, 0), (0.22, 0.15), (0.2, 1)], [(0, 0.42), (0.45, 0.42)]],
    "h": [[(0, 0), (0, 1)], [(0, 0.65), (0.2, 0.43), (0.42, 0.5), (0.45, 1)]],
    "k": [[(0, 0), (0, 1)], [(0.4, 0.42), (0.03, 0.7), (0.45, 1)]],
    "m": [
        [(0, 0.42), (0, 1)],
        [(0, 0.6), (0.18, 0.42), (0.32, 0.55), (0.32, 1)],
        [(0.32, 0.6), (0.5, 0.42), (0.65, 0.55), (0.65, 1)],
    ],
    "n": [[(0, 0.42), (0, 1)], [(0, 0.62), (0.22, 0.43), (0.42, 0.55), (0.44, 1)]],
    "p": [[(0, 0.42), (0, 1.35)], [(0, 0.5), (0.3, 0.42), (0.48, 0.68), (0.3, 0.95), (0, 0.9)]],
    "r": [[(0, 0.42), (0, 1)], [(0, 0.68), (0.18, 0.45), (0.4, 0.48)]],
    "t": [[(0.2, 0.1), (0.2, 0.85), (0.35, 1), (0.5, 0.92)], [(0, 0.38), (0.45, 0.38)]],
    "u": [[(0, 0.42), (0.02, 0.85), (0.2, 1), (0.42, 0.85)], [(0.45, 0.42), (0.45, 1)]],
    "v": [[(0, 0.42), (0.22, 1), (0.45, 0.42)]],
    "w": [[(0, 0.42), (0.15, 1), (0.32, 0.55), (0.5, 1), (0.65, 0.42)]],
    "x": [[(0, 0.42), (0.45, 1)], [(0.45, 0.42), (0, 1)]],
    "Ä": [
        [(0, 1), (0.4, 0.15), (0.8, 1)],
        [(0.15, 0.68), (0.65, 0.68)],
        [(0.2, 0), (0.2, 0.03)],
        [(0.6, 0), (0.6, 0.03)],
    ],
    "&": [
        [(0.7, 0.95), (0.2, 0.3), (0.3, 0.03), (0.5, 0.2), (0.08, 0.7), (0.25, 0.98), (0.7, 0.55)]
    ],
    "?": [
        [(0.02, 0.2), (0.22, 0), (0.48, 0.12), (0.42, 0.38), (0.25, 0.52), (0.25, 0.72)],
        [(0.25, 0.97), (0.25, 1)],
    ],
    "#": [
        [(0.25, 0), (0.15, 1)],
        [(0.6, 0), (0.5, 1)],
        [(0, 0.33), (0.75, 0.33)],
        [(0, 0.68), (0.75, 0.68)],
    ],
}


def smooth(points):
    """Round the corners of a polyline: Chaikin, 1974."""
    points = np.asarray(points, float)
    for _ in range(3):
        if len(points) < 3:
            return points
        near, far = 0.75 * points[:-1] + 0.25 * points[1:], 0.25 * points[:-1] + 0.75 * points[1:]
        middle = np.stack([near, far], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], middle[1:-1], points[-1:]])
    return points


def handwrite(strokes, size, width, rng, slant=0.0):
    """Draw strokes in a unit box with deviations of handwriting: uint8, cropped."""
    round_off = rng.random() < 0.5
    angle, drawn = rng.normal(0, 0.05), []
    squeeze = rng.uniform(0.8, 1.2)
    bend = rng.normal(0, 0.035, 4)
    for stroke in strokes:
        points = densify(stroke, 0.08) if not round_off else smooth(stroke)
        points = points + rng.normal(0, 0.02, 2)
        x, y = points.T * np.array([[squeeze], [1.0]])
        x = x + slant * (0.5 - y) + bend[0] * np.sin(3 * y + 6 * bend[1])
        y = y + bend[2] * np.sin(3 * x + 6 * bend[3])
        turned = np.stack(
            [x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], 1
        )
        drawn.append(turned * size)
    return draw(drawn, width, 0.35, rng)


def letters(rng):
    """Draw single letters apart from each other, in rows."""
    size = int(rng.integers(36, 90))
    rows, columns = int(rng.integers(1, 4)), int(rng.integers(3, 8))
    page = Page(round(size * (2 * rows + 1)), round(size * (1.7 * columns + 1)))
    width, slant, names = size * rng.uniform(0.05, 0.12), rng.uniform(-0.1, 0.3), list(LETTERS)
    for row in range(rows):
        for column in range(columns):
            ink = handwrite(LETTERS[names[rng.integers(len(names))]], size, width, rng, slant)
            page.put(
                ink, size * (0.7 + 2 * row + rng.uniform(-0.1, 0.1)), size * (0.6 + 1.7 * column)
            )
    return page.take(rng), rows * columns


def words(rng):
    """Draw words whose letters stand close, some touching."""
    size = int(rng.integers(36, 80))
    rows, columns = int(rng.integers(1, 4)), int(rng.integers(4, 9))
    page = Page(round(size * (2 * rows + 1)), round(size * (0.95 * columns + 1.5)))
    width, slant = size * rng.uniform(0.05, 0.11), rng.uniform(-0.1, 0.3)
    names = [name for name in LETTERS if name.islower()]
    for row in range(rows):
        left = size * rng.uniform(0.5, 0.9)
        for _ in range(columns):
            name = names[rng.integers(len(names))]
            ink = handwrite(LETTERS[name], size, width, rng, slant)
            base = size * (1.7 + 2 * row + 0.35 * (name == "p"))
            page.put(ink, base - ink.shape[0], left)
            left += ink.shape[1] + size * rng.uniform(-0.02, 0.25)
    return page.take(rng), rows * columns


def scribbles(rng):
    """Draw loops and zigzags, as when trying out a pen, ticks and crosses."""
    size, count = int(rng.integers(40, 110)), int(rng.integers(1, 7))
    page = Page(round(size * 3), round(size * (2 * count + 1)))
    for k in range(count):
        n = int(rng.integers(7, 22))
        kind = rng.integers(3)
        if kind == 0:
            path = smooth(rng.random((n, 2)))
        elif kind == 1:
            path = np.stack([np.linspace(0, 1.2, n), np.arange(n) % 2 + rng.normal(0, 0.12, n)], 1)
        else:
            t = np.linspace(0, 2 * np.pi * rng.uniform(3, 6), 120)
            path = np.stack([0.5 + 0.3 * np.cos(t) + t / 25, 0.5 + 0.45 * np.sin(t)], 1)
        ink = draw([np.asarray(path) * size], size * rng.uniform(0.03, 0.09), 0.3, rng)
        page.put(ink, size * rng.uniform(0.6, 1), size * (0.6 + 2 * k))
    return page.take(rng), count


def ruled(rng):
    """Draw a blank page of ruled or squared paper, with or without a margin."""
    height, across = (int(side) for side in rng.integers(300, 1200, 2))
    page = Page(height, across)
    distance = rng.uniform(18, 70)
    page.rule(
        str(rng.choice(["ruled", "squared"])),
        distance,
        max(1.0, distance * rng.uniform(0.02, 0.06)),
        rng,
    )
    if rng.random() < 0.4:
        x = across * rng.uniform(0.06, 0.2)
        page.line([(x, -1), (x, height + 1)], max(1.5, 0.05 * distance), printed=True)
    return page.take(rng), 1


def table(rng):
    """Draw an empty table, form, or axes, printed or drawn by hand."""
    rows, columns = int(rng.integers(2, 9)), int(rng.integers(2, 8))
    high, wide = rng.uniform(28, 90), rng.uniform(40, 160)
    page = Page(round(high * rows + 80), round(wide * columns + 80))
    printed, width = rng.random() < 0.5, rng.uniform(1.0, 4.0)
    lines = []
    if rng.random() < 0.75:
        lines += [
            ((40, 40 + k * high), (40 + columns * wide, 40 + k * high)) for k in range(rows + 1)
        ]
        lines += [
            ((40 + k * wide, 40), (40 + k * wide, 40 + rows * high)) for k in range(columns + 1)
        ]
    else:  # boxes apart
        for i in range(rows):
            for j in range(columns):
                a, b = 40 + j * wide, 40 + i * high
                c, d = a + 0.8 * wide, b + 0.75 * high
                lines += [((a, b), (c, b)), ((c, b), (c, d)), ((c, d), (a, d)), ((a, d), (a, b))]
    for start, end in lines:
        page.line([start, end] if printed else wobble(start, end, rng, 1.5), width, printed=printed)
    return page.take(rng), 1


CLUTTER = {
    "letters": letters,
    "words": words,
    "scribbles": scribbles,
    "blank ruled or squared pages": ruled,
    "empty tables and forms": table,
    "doodles": doodle,
}
