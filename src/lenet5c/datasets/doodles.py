"""Doodles that are not characters: spirals, hearts, faces, arrows, stars, flowers, houses, loops.

Each shape is a function that takes a number of images n and a random generator and returns strokes
for n images. Plain circles, upright strokes, and spirals of less than two turns are excluded, since
they look like digits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.datasets.scribbles import draw_paths
from lenet5c.datasets.strokes import Floats, Strokes, Writers, bell

Images = NDArray[np.uint8]


def draw_doodles(count: int, writers: Writers, rng: np.random.Generator) -> Images:
    """Draw about `count` doodles, equally many of each of `SHAPES`, in the format of MNIST.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets.doodles import SHAPES, draw_doodles
    >>> from lenet5c.datasets.strokes import Writers
    >>> rng = np.random.default_rng(0)
    >>> draw_doodles(2 * len(SHAPES), Writers.draw(rng, 5), rng).shape == (2 * len(SHAPES), 28, 28)
    True
    """
    each = max(1, round(count / len(SHAPES)))
    parts = [
        draw_paths(
            lambda some, shape=shape: shape(some, rng),  # type: ignore[misc]
            each,
            writers,
            rng,
            width=(0.035, 0.14),
            aspect=(0.75, 1.3),
            turn=0.2,
        )
        for shape in SHAPES.values()
    ]
    return np.concatenate(parts)


def _spiral(some: int, rng: np.random.Generator) -> Strokes:
    turns = 2.1 + 2.6 * rng.random()
    t = np.linspace(0.04, 1, round(14 * turns))
    angle = 2 * np.pi * (rng.random((some, 1)) + (turns if rng.random() < 0.5 else -turns) * t)
    far = t ** (0.7 + 0.5 * rng.random((some, 1)))
    return [(True, _polar(angle, far))]


def _square_spiral(some: int, rng: np.random.Generator) -> Strokes:
    corners = 8 + int(5 * rng.random())
    sides = np.arange(2, corners + 2) // 2 * (1 if rng.random() < 0.5 else -1)
    way = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])[np.arange(corners) % 4]
    path = np.concatenate([[(0, 0)], np.cumsum(sides[:, None] * way, axis=0)]) / corners
    return [_lines(path, some)]


def _heart(some: int, rng: np.random.Generator) -> Strokes:
    dip, side = 0.15 + 0.2 * rng.random(), 0.2 + 0.15 * rng.random()
    half = np.array([(0, dip), (0.12, 0.04), (0.28, 0), (0.46, side), (0.36, 0.6), (0, 1)])
    strokes = [(True, _repeat(half, some)), (True, _repeat(half * [-1, 1], some))]
    if rng.random() < 0.5:  # in one stroke
        path = np.concatenate([half, (half * [-1, 1])[-2::-1]])
        strokes = [(True, _repeat(path, some))]
    if rng.random() < 0.25:
        crack = np.array([(0, dip), (-0.1, 0.4), (0.08, 0.5), (-0.06, 0.7), (0, 1)])
        strokes.append(_lines(crack, some))
    return strokes


def _face(some: int, rng: np.random.Generator) -> Strokes:
    strokes = [_ring(some, rng, 0.5)]
    high, kind = -0.08 - 0.14 * rng.random(), rng.random()
    for x in (-0.18, 0.18):
        if kind < 0.35:
            strokes.append(_ring(some, rng, 0.04 + 0.04 * rng.random(), (x, high), points=8))
        elif kind < 0.75:
            strokes.append(_lines([(x, high - 0.07), (x, high + 0.05)], some))
        else:
            strokes.append(_smooth([(x - 0.07, high), (x, high - 0.08), (x + 0.07, high)], some))
    glad = 0.2 * (2 * rng.random() - 0.6)
    mouth = [(-0.24, 0.16), (-0.1, 0.16 + glad), (0.1, 0.16 + glad), (0.24, 0.16)]
    strokes.append(_smooth(mouth, some))
    return strokes


def _arrow(some: int, rng: np.random.Generator) -> Strokes:
    size, bow = 0.16 + 0.2 * rng.random(), 0.5 * (rng.random() - 0.5) * (rng.random() < 0.5)
    t = np.linspace(0, 1, 7)
    shaft = np.stack([t, bow * np.sin(np.pi * t)], axis=1)
    # The head points along the end of the shaft.
    way = shaft[-1] - shaft[-2]
    way /= np.hypot(*way)
    aside = 0.8 * size * np.array([-way[1], way[0]])
    head = np.stack([shaft[-1] - size * way + aside, shaft[-1], shaft[-1] - size * way - aside])
    strokes = [_smooth(shaft, some), _lines(head, some)]
    if rng.random() < 0.25:
        strokes.append(_lines(head[[0, 2]], some))
    elif rng.random() < 0.25 and bow == 0:
        strokes.append(_lines(head * [-1, 1] + [1, 0], some))
    elif rng.random() < 0.2:
        strokes.append(_lines([(0, 0), (0, 0.3 + 0.4 * rng.random())], some))
    return _turn(strokes, rng)


def _star(some: int, rng: np.random.Generator) -> Strokes:
    start = -np.pi / 2 + 0.2 * bell(rng, some, 1)
    if rng.random() < 0.5:  # in one stroke
        angle = start + 4 * np.pi / 5 * np.arange(6)
        return [(False, _polar(angle, np.ones(6)))]
    points = 4 + int(5 * rng.random())
    angle = start + np.pi / points * np.arange(2 * points + 1)
    near = 0.3 + 0.25 * rng.random()
    return [(False, _polar(angle, np.where(np.arange(2 * points + 1) % 2, near, 1.0)))]


def _rays(some: int, rng: np.random.Generator) -> Strokes:
    rays, ring = 5 + int(7 * rng.random()), 0.25 + 0.2 * rng.random()
    strokes = [_ring(some, rng, ring)]
    for k in range(rays):
        way = np.array([np.cos(2 * np.pi * k / rays), np.sin(2 * np.pi * k / rays)])
        strokes.append(_lines([way * ring * 1.25, way * (0.7 + 0.3 * rng.random())], some))
    return strokes


def _flower(some: int, rng: np.random.Generator) -> Strokes:
    petals = 4 + int(5 * rng.random())
    t = np.linspace(0, 2 * np.pi, 8 * petals + 1)
    deep = 0.2 + 0.25 * rng.random()
    strokes = [(True, _polar(t + rng.random((some, 1)), 1 - deep + deep * np.cos(petals * t)))]
    if rng.random() < 0.7:
        strokes.append(_ring(some, rng, 0.12 + 0.15 * rng.random(), points=9))
    if rng.random() < 0.4:
        strokes.append(_smooth([(0, 1), (0.1, 1.6), (0, 2.2 + rng.random())], some))
    return strokes


def _house(some: int, rng: np.random.Generator) -> Strokes:
    eaves = 0.3 + 0.25 * rng.random()
    strokes = [_lines([(0, 1), (0, eaves), (1, eaves), (1, 1), (0, 1)], some)]
    strokes.append(_lines([(-0.05, eaves), (0.5, 0), (1.05, eaves)], some))
    if rng.random() < 0.5:
        strokes.append(_lines([(0.4, 1), (0.4, 0.7), (0.62, 0.7), (0.62, 1)], some))
    elif rng.random() < 0.3:  # without lifting the pen
        path = [(0, 1), (1, eaves), (0, eaves), (0.5, 0), (1, eaves), (1, 1), (0, eaves), (0, 1)]
        strokes = [_lines([*path, (1, 1)], some)]
    return strokes


def _zigzag(some: int, rng: np.random.Generator) -> Strokes:
    corners = 6 + int(9 * rng.random())
    x = (0.6 + 1.6 * rng.random()) * np.linspace(0, 1, corners)
    path = np.stack([x, np.arange(corners) % 2 * (0.25 + 0.5 * rng.random())], axis=1)
    return [(bool(rng.random() < 0.4), _repeat(path, some) + 0.03 * bell(rng, some, corners, 2))]


def _check_mark(some: int, rng: np.random.Generator) -> Strokes:
    low = 0.2 + 0.25 * rng.random()
    path = [(0, 0.45 + 0.25 * rng.random()), (low, 1), (0.8 + 0.4 * rng.random(), 0)]
    return [(bool(rng.random() < 0.2), _repeat(path, some))]


def _loops(some: int, rng: np.random.Generator) -> Strokes:
    turns = 3 + int(5 * rng.random())
    t = np.linspace(0, 2 * np.pi * turns, 9 * turns)
    step, wide = 0.12 + 0.3 * rng.random(), 0.08 + 0.2 * rng.random((some, 1))
    high = 0.2 + 0.4 * rng.random((some, 1))
    x = step * t / 2 / np.pi + wide * np.cos(t)
    return [(True, np.stack([x, high * np.sin(t)], axis=-1))]


def _signature(some: int, rng: np.random.Generator) -> Strokes:
    parts, x = [], 0.0
    for _ in range(4 + int(6 * rng.random())):
        wide, high, loop = rng.random(3) * [0.3, 0.8, 0.16] + [0.1, 0.12, 0]
        t = np.linspace(0, 2 * np.pi, 7)[:-1]
        rise = high * (1 - np.cos(t)) / 2
        parts.append(np.stack([x + wide * t / 2 / np.pi + loop * np.sin(t), -rise], axis=1))
        x += wide
    strokes = [_smooth(np.concatenate([*parts, [(x + 0.2, -0.1)]]), some)]
    if rng.random() < 0.4:
        strokes.append(_smooth([(x, 0.1), (0.4 * x, 0.22), (0, 0.15), (1.1 * x, 0.12)], some))
    return strokes


def _polygon(some: int, rng: np.random.Generator) -> Strokes:
    corners = 3 + int(2 * rng.random())  # more corners would look like a ring
    start = np.pi / 4 if corners == 4 else -np.pi / 2
    angle = start + 0.15 * bell(rng, some, 1) + 2 * np.pi / corners * np.arange(corners + 1)
    path = _polar(angle, np.ones(corners + 1)) + 0.06 * bell(rng, some, corners + 1, 2)
    path[:, -1] = path[:, 0]
    return [(False, path)]


def _cube(some: int, rng: np.random.Generator) -> Strokes:
    d = 0.2 + 0.2 * rng.random()
    front = np.array([(0, d), (0.7, d), (0.7, 1), (0, 1), (0, d)])
    strokes = [_lines(front, some), _lines([(d, 0), (0.7 + d, 0), (0.7 + d, 1 - d)], some)]
    return strokes + [_lines([front[k], front[k] + [d, -d]], some) for k in range(3)]


def _bolt(some: int, rng: np.random.Generator) -> Strokes:
    a, b = 0.4 + 0.2 * rng.random(), 0.1 + 0.1 * rng.random()
    path = [(0.6, 0), (0.1, a), (0.5, a), (0.3, 1), (0.95, a - b), (0.5, a - b), (0.6, 0)]
    return [_lines(path if rng.random() < 0.6 else path[:-1], some)]


def _moon(some: int, rng: np.random.Generator) -> Strokes:
    open_, thin = 0.7 + 0.4 * rng.random(), 0.25 + 0.3 * rng.random()
    angle = np.linspace(open_, 2 * np.pi - open_, 14)
    outer = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    # The inner arc is a flattened copy of the outer one.
    tip = outer[0, 0]
    inner = np.stack([tip + (outer[:, 0] - tip) * (1 - thin), outer[:, 1] * 0.9], axis=1)
    inner[[0, -1]] = outer[[0, -1]]
    return [_smooth(outer, some), _smooth(inner, some)]


def _hash_mark(some: int, rng: np.random.Generator) -> Strokes:
    strokes = []
    for at in (0.3 + 0.08 * rng.random(), 0.62 + 0.1 * rng.random()):
        strokes += [_lines([(0, at), (1, at)], some), _lines([(at, 0), (at, 1)], some)]
    if rng.random() < 0.4:
        middle = rng.choice([0.17, 0.5, 0.83], 2)
        strokes.append(_ring(some, rng, 0.09, (middle[0], middle[1]), points=9))
    return strokes


def _scrawl(some: int, rng: np.random.Generator) -> Strokes:
    points = 9 + int(9 * rng.random())
    return [(True, rng.random((some, points, 2)) * [1 + rng.random(), 1])]


#: Shapes by name.
SHAPES: dict[str, Callable[[int, np.random.Generator], Strokes]] = {
    "spiral": _spiral,
    "square spiral": _square_spiral,
    "heart": _heart,
    "face": _face,
    "arrow": _arrow,
    "star": _star,
    "rays": _rays,
    "flower": _flower,
    "house": _house,
    "zigzag": _zigzag,
    "check mark": _check_mark,
    "loops": _loops,
    "signature": _signature,
    "polygon": _polygon,
    "cube": _cube,
    "bolt": _bolt,
    "moon": _moon,
    "hash mark": _hash_mark,
    "scrawl": _scrawl,
}


def _polar(angle: Floats, far: Floats) -> Floats:
    """Convert angles and distances from the center to points."""
    return np.stack([far * np.cos(angle), far * np.sin(angle)], axis=-1)


def _repeat(points: ArrayLike, some: int) -> Floats:
    return np.repeat(np.asarray(points, float)[None], some, axis=0)


def _lines(points: ArrayLike, some: int) -> tuple[bool, Floats]:
    return False, _repeat(points, some)


def _smooth(points: ArrayLike, some: int) -> tuple[bool, Floats]:
    return True, _repeat(points, some)


def _ring(
    some: int,
    rng: np.random.Generator,
    size: float,
    middle: tuple[float, float] = (0.0, 0.0),
    points: int = 14,
) -> tuple[bool, Floats]:
    """Return rings that start at a random angle and end slightly before or after it."""
    turn = 2 * np.pi * (0.97 + 0.1 * rng.random((some, 1)))
    angle = 2 * np.pi * rng.random((some, 1)) + turn * np.linspace(0, 1, points)
    return True, np.asarray(middle) + size * _polar(angle, np.ones(points))


def _turn(strokes: Strokes, rng: np.random.Generator) -> Strokes:
    """Rotate strokes by a random angle."""
    angle = 2 * np.pi * rng.random()
    c, s = np.cos(angle), np.sin(angle)
    return [(smooth, points @ np.array([[c, s], [-s, c]])) for smooth, points in strokes]
