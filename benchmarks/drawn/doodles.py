"""Doodles unlike any digit: spirals, hearts, faces, arrows, stars, waves, crosses, loops.

Each shape is a function of a random generator that returns polylines in a unit box. Circles,
upright strokes and spirals of fewer than two turns are excluded, because they look like digits.
"""

from itertools import pairwise

import numpy as np
from drawn.papers import Page
from drawn.pens import draw


def arc(x, y, rx, ry, start, turn, n=40):
    """Return points of an ellipse from an angle on, over a turn; in radians."""
    t = start + np.linspace(0, turn, n)
    return np.stack([x + rx * np.cos(t), y + ry * np.sin(t)], axis=1)


def spiral(rng):
    turns = rng.uniform(2.2, 4.5)
    t = np.linspace(0.05, 1, 120)
    angle = rng.uniform(0, 2 * np.pi) + rng.choice([-1, 1]) * 2 * np.pi * turns * t
    return [np.stack([0.5 + 0.5 * t * np.cos(angle), 0.5 + 0.5 * t * np.sin(angle)], 1)]


def square_spiral(rng):
    path, x, y, step = [(0.5, 0.5)], 0.5, 0.5, 0.12
    for k in range(int(rng.integers(8, 12))):
        dx, dy = ((1, 0), (0, 1), (-1, 0), (0, -1))[k % 4]
        x, y = x + dx * step * (k // 2 + 1), y + dy * step * (k // 2 + 1)
        path.append((x, y))
    return [np.array(path)]


def heart(rng):
    t = np.linspace(0, 2 * np.pi, 60) + rng.uniform(-0.1, 0.1)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return [np.stack([0.5 + x / 34, 0.5 + y / 34 * rng.uniform(0.85, 1.15)], 1)]


def broken_heart(rng):
    crack = np.array([(0.5, 0.22), (0.42, 0.42), (0.56, 0.55), (0.46, 0.7), (0.5, 0.95)])
    return [*heart(rng), crack]


def face(rng):
    strokes = [arc(0.5, 0.5, 0.5, 0.5, rng.uniform(0, 6), 2 * np.pi * rng.uniform(0.98, 1.05))]
    high = rng.uniform(0.3, 0.42)
    for x in (0.32, 0.68):
        kind = rng.integers(3)
        if kind == 0:
            strokes.append(arc(x, high, 0.04, 0.04, 0, 2 * np.pi, 10))
        elif kind == 1:
            strokes.append(np.array([(x, high - 0.06), (x, high + 0.06)]))
        else:
            strokes.append(arc(x, high + 0.04, 0.07, 0.08, np.pi, np.pi, 12))
    if rng.random() < 0.7:
        strokes.append(arc(0.5, 0.58, 0.26, rng.uniform(0.12, 0.24), 0.15, np.pi - 0.3))
    else:
        strokes.append(arc(0.5, 0.82, 0.22, 0.16, np.pi + 0.2, np.pi - 0.4))
    return strokes


def arrow(rng):
    kind, size = rng.integers(4), rng.uniform(0.18, 0.34)
    if kind < 2:
        shaft = np.array([(0, 0.5), (1, 0.5)])
    elif kind == 2:  # bent
        shaft = np.array([(0, 1), (0, 0.5), (1, 0.5)])
    else:  # curved
        shaft = np.stack(
            [np.linspace(0, 1, 20), 0.5 + rng.uniform(0.2, 0.5) * np.linspace(1, 0, 20) ** 2], 1
        )
    head = np.array([(1 - size, 0.5 - size * 0.8), (1, 0.5), (1 - size, 0.5 + size * 0.8)])
    strokes = [shaft, head]
    if kind == 1:
        strokes.append(head * [-1, 1] + [1, 0])
    if rng.random() < 0.25:  # closed head
        strokes.append(head[[0, 2]])
    return turn(strokes, rng.choice([0, 0.5, 1, 1.5]) * np.pi + rng.uniform(-0.8, 0.8))


def star(rng):
    points = int(rng.choice([5, 5, 5, 6, 8]))
    if rng.random() < 0.6 and points == 5:
        angle = -np.pi / 2 + 4 * np.pi / 5 * np.arange(6) + rng.uniform(-0.1, 0.1)
        return [0.5 + 0.5 * np.stack([np.cos(angle), np.sin(angle)], 1)]
    angle = -np.pi / 2 + np.pi / points * np.arange(2 * points + 1)
    radius = np.where(np.arange(2 * points + 1) % 2, rng.uniform(0.18, 0.28), 0.5)[:, None]
    return [0.5 + radius * np.stack([np.cos(angle), np.sin(angle)], 1)]


def zigzag(rng):
    n = int(rng.integers(6, 14))
    x = np.linspace(0, rng.uniform(1, 2.2), n) + rng.normal(0, 0.015, n)
    return [np.stack([x, np.arange(n) % 2 * rng.uniform(0.3, 0.7) + rng.normal(0, 0.03, n)], 1)]


def wave(rng):
    t = np.linspace(0, 1, 80)
    turns = rng.uniform(2.5, 5)
    y = 0.5 + rng.uniform(0.15, 0.3) * np.sin(2 * np.pi * turns * t + rng.uniform(0, 6))
    return [np.stack([t * rng.uniform(1.2, 2.2), y], 1)]


def check_mark(rng):
    low = rng.uniform(0.25, 0.4)
    return [np.array([(0, rng.uniform(0.5, 0.7)), (low, 1), (1, rng.uniform(-0.1, 0.15))])]


def cross(rng):
    a, b = rng.uniform(0, 0.1, 2)
    kind = rng.random()
    if kind < 0.5:
        return [np.array([(a, 0), (1 - b, 1)]), np.array([(1 - a, b), (0, 1 - a)])]
    if kind < 0.75:
        high = rng.uniform(0.25, 0.4)
        return [np.array([(0.5, 0), (0.5, 1)]), np.array([(0.15, high), (0.85, high)])]
    return [np.array([(0.1, 0.5), (0.9, 0.5)]), np.array([(0.5, 0.1), (0.5, 0.9)])]


def house(rng):
    strokes = [
        np.array([(0.05, 1), (0.05, 0.45), (0.95, 0.45), (0.95, 1), (0.05, 1)]),
        np.array([(0, 0.47), (0.5, 0), (1, 0.47)]),
    ]
    if rng.random() < 0.6:
        strokes.append(np.array([(0.4, 1), (0.4, 0.7), (0.6, 0.7), (0.6, 1)]))
    return strokes


def signature(rng):
    parts, x = [], 0.0
    for _ in range(int(rng.integers(4, 9))):
        wide, high = rng.uniform(0.15, 0.4), rng.uniform(0.15, 0.9)
        t = np.linspace(0, 2 * np.pi, 16)
        loop = rng.uniform(0.2, 1.2)
        parts.append(
            np.stack(
                [x + wide * t / 6.28 + 0.12 * loop * np.sin(t), 0.6 - high * (1 - np.cos(t)) / 2], 1
            )
        )
        x += wide
    strokes = [np.concatenate(parts)]
    if rng.random() < 0.5:
        tail = np.array([(x, 0.6), (x * 0.5, 0.85), (0, 0.8), (x * 0.6, 0.75), (x * 1.1, 0.7)])
        strokes.append(tail)
    return strokes


def loops(rng):
    turns = int(rng.integers(3, 7))
    t = np.linspace(0, 2 * np.pi * turns, 30 * turns)
    step = rng.uniform(0.18, 0.35)
    x = step * t / 2 / np.pi + rng.uniform(0.12, 0.22) * np.cos(t)
    return [np.stack([x, 0.5 + rng.uniform(0.25, 0.5) * np.sin(t)], 1)]


def flower(rng):
    petals = int(rng.integers(4, 8))
    t = np.linspace(0, 2 * np.pi, 120)
    radius = 0.33 + 0.16 * np.cos(petals * t)
    strokes = [np.stack([0.5 + radius * np.cos(t), 0.5 + radius * np.sin(t)], 1)]
    strokes.append(arc(0.5, 0.5, 0.1, 0.1, 0, 2 * np.pi, 16))
    if rng.random() < 0.4:
        strokes.append(np.array([(0.5, 1.0), (0.52, 1.3), (0.48, 1.6)]))
    return strokes


def sun(rng):
    strokes, rays = [arc(0.5, 0.5, 0.25, 0.25, 0, 2 * np.pi)], int(rng.integers(6, 11))
    for k in range(rays):
        way = np.array([np.cos(2 * np.pi * k / rays), np.sin(2 * np.pi * k / rays)])
        strokes.append(np.stack([0.5 + 0.33 * way, 0.5 + rng.uniform(0.45, 0.55) * way]))
    return strokes


def polygon(rng):
    corners = int(rng.choice([3, 4]))
    angle = rng.uniform(-0.2, 0.2) - np.pi / 2 + 2 * np.pi * np.arange(corners + 1) / corners
    angle += np.pi / 4 * (corners == 4)
    path = 0.5 + 0.5 * np.stack([np.cos(angle), np.sin(angle)], 1)
    path[:-1] += rng.normal(0, 0.03, (corners, 2))
    path[-1] = path[0]
    return [path]


def cube(rng):
    d = rng.uniform(0.2, 0.35)
    front = np.array([(0, d), (0.7, d), (0.7, 1), (0, 1), (0, d)])
    edges = [np.stack([front[k], front[k] + [d, -d]]) for k in range(3)]
    return [front, *edges, np.array([(d, 0), (0.7 + d, 0), (0.7 + d, 1 - d)])]


def bolt(rng):
    a = rng.uniform(0.4, 0.55)
    return [np.array([(0.6, 0), (0.1, a), (0.5, a), (0.3, 1), (0.95, a - 0.15), (0.5, a - 0.15)])]


def moon(rng):
    outer = arc(0.5, 0.5, 0.45, 0.5, 0.9, 2 * np.pi - 1.8)
    inner = arc(0.72, 0.5, 0.36, 0.4, 0.95, 2 * np.pi - 1.9)
    return [np.concatenate([outer, inner[::-1]])]


def scrawl(rng):
    path = rng.random((int(rng.integers(8, 16)), 2)) * [rng.uniform(1, 1.8), 1]
    return [soften(path)]


def hash_mark(rng):
    kind = rng.random()
    a, b = rng.uniform(0.28, 0.38), rng.uniform(0.62, 0.72)
    strokes = [np.array([(0, a), (1, a)]), np.array([(0, b), (1, b)])]
    strokes += [np.array([(a, 0), (a, 1)]), np.array([(b, 0), (b, 1)])]
    if kind < 0.3:  # tic-tac-toe, with a mark
        strokes.append(arc(0.5, 0.5, 0.09, 0.09, 0, 2 * np.pi, 12))
    return strokes


SHAPES = {
    "spirals": spiral,
    "square spirals": square_spiral,
    "hearts": heart,
    "broken hearts": broken_heart,
    "faces": face,
    "arrows": arrow,
    "stars": star,
    "zigzags": zigzag,
    "waves": wave,
    "check marks": check_mark,
    "crosses": cross,
    "houses": house,
    "signatures": signature,
    "loops": loops,
    "flowers": flower,
    "suns": sun,
    "polygons": polygon,
    "cubes": cube,
    "bolts": bolt,
    "moons": moon,
    "scrawls": scrawl,
    "hash marks": hash_mark,
}


def soften(path):
    """Return a polyline with rounded corners, through a uniform cubic B-spline."""
    path = np.concatenate([path[:1], path[:1], path, path[-1:], path[-1:]])
    t = np.linspace(0, 1, 8, endpoint=False)[:, None]
    a, b, c, d = path[:-3], path[1:-2], path[2:-1], path[3:]
    return np.concatenate(
        [
            (
                (1 - t) ** 3 * p
                + (3 * t**3 - 6 * t**2 + 4) * q
                + (-3 * t**3 + 3 * t**2 + 3 * t + 1) * r
                + t**3 * s
            )
            / 6
            for p, q, r, s in zip(a, b, c, d, strict=True)
        ]
    )


def turn(strokes, angle):
    """Return strokes turned about the middle of the box."""
    c, s = np.cos(angle), np.sin(angle)
    return [(np.asarray(each, float) - 0.5) @ np.array([[c, s], [-s, c]]) + 0.5 for each in strokes]


def sketch(name, size, width, rng):
    """Draw a shape with a pen and deviations of handwriting: uint8, cropped."""
    strokes = turn(SHAPES[name](rng), rng.normal(0, 0.1))
    wide, amount = rng.uniform(0.8, 1.25), rng.uniform(0.0, 0.03)
    phase, often = rng.uniform(0, 6, 4), rng.uniform(2, 6, 2)
    drawn = []
    for stroke in strokes:
        fine = np.concatenate(
            [
                p + (q - p) * np.linspace(0, 1, 6, endpoint=False)[:, None]
                for p, q in pairwise(stroke)
            ]
            + [stroke[-1:]]
        )
        x, y = fine.T
        x = x + amount * (np.sin(often[0] * y * 3 + phase[0]) + np.sin(often[1] * x * 2 + phase[1]))
        y = y + amount * (np.sin(often[0] * x * 3 + phase[2]) + np.sin(often[1] * y * 2 + phase[3]))
        drawn.append(np.stack([x * wide, y], 1) * size)
    return draw(drawn, width, rng.uniform(0, 0.4), rng)


def doodle(rng):
    """Draw one to six doodles on a page, one below the other or side by side."""
    size = int(rng.integers(40, 130))
    rows, columns = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    page = Page(round(size * (2.2 * rows + 0.8)), round(size * (3 * columns + 0.8)))
    names, width = list(SHAPES), size * rng.uniform(0.03, 0.11)
    for row in range(rows):
        for column in range(columns):
            ink = sketch(names[rng.integers(len(names))], size, width, rng)
            page.put(
                ink,
                size * (0.6 + 2.2 * row + rng.uniform(0, 0.2)),
                size * (0.5 + 3 * column + rng.uniform(0, 0.3)),
            )
    return page.take(rng), rows * columns


def single_doodle(rng, side):
    """Draw one doodle of about a third of `side` pixels alone on a page."""
    size = side // 3
    name = list(SHAPES)[rng.integers(len(SHAPES))]
    ink = sketch(name, size, size * rng.uniform(0.03, 0.11), rng)
    page = Page(*(round(n + size * rng.uniform(0.6, 2)) for n in ink.shape))
    page.put(
        ink, *((a - b) * rng.uniform(0.2, 0.8) for a, b in zip(page.shape, ink.shape, strict=True))
    )
    return page.take(rng)
