"""Ink that is not a character: coils, waves, tangles, hatching and random strokes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.strokes import (
    Floats,
    Strokes,
    Writers,
    bell,
    draw_strokes,
    read_shape,
    repeat_shape,
)

Images = NDArray[np.uint8]
#: Number of points of a path defined by a formula.
_POINTS = 40
#: Number of images that share the number of turns of a path, or the strokes of a shape.
_GROUP = 16


def draw_coils(count: int, writers: Writers, rng: np.random.Generator) -> Images:
    """Draw coils, from waves to overlapping circles."""

    def trace(some: int) -> Strokes:
        turns = 1.5 + 6.5 * rng.random()
        t = turns * np.linspace(0, 2 * np.pi, _POINTS) + 2 * np.pi * rng.random((some, 1))
        wide, high = 0.1 + 0.5 * rng.random((2, some, 1))
        # Overlapping circles would look like a zero.
        step = wide * (0.35 + 1.6 * rng.random((some, 1)))
        swell = 1 + 0.5 * (rng.random((some, 1)) - 0.5) * t / t.max()
        x = wide * np.cos(t) * swell + step * t / 2 / np.pi
        y = (0.2 + high) * np.sin(t + 0.8 * rng.random((some, 1))) * swell
        return [(True, np.stack([x, y], axis=-1))]

    return draw_paths(trace, count, writers, rng, width=(0.045, 0.1), turn=0.5)


def draw_tangles(count: int, writers: Writers, rng: np.random.Generator) -> Images:
    """Draw closed curves and tangles, which are sums of a few waves around a center."""

    def trace(some: int) -> Strokes:
        t = np.linspace(0, 2 * np.pi * (1 + 2 * rng.random()), _POINTS)
        path = np.zeros((some, _POINTS, 2))
        for k in (1, 2, 3, 5):
            size, phase = 0.3 + 0.7 * rng.random((some, 1, 2)), rng.random((some, 1, 2))
            path += size / k**0.5 * np.sin(k * t[:, None] + 2 * np.pi * phase)
        return [(True, path)]

    return draw_paths(trace, count, writers, rng, width=(0.06, 0.17), turn=0.3)


def draw_walks(count: int, writers: Writers, rng: np.random.Generator) -> Images:
    """Draw random polylines of one to three strokes."""

    def trace(some: int) -> Strokes:
        smooth = bool(rng.random() < 0.6)
        strokes = 1 + int(3 * rng.random())
        points = max(2, round((4 + 16 * rng.random()) / strokes))
        return [(smooth, rng.random((some, points, 2))) for _ in range(strokes)]

    return draw_paths(trace, count, writers, rng, width=(0.06, 0.17))


def draw_hatchings(count: int, writers: Writers, rng: np.random.Generator) -> Images:
    """Draw hatching in one or two directions, connected or not."""

    def trace(some: int) -> Strokes:
        strokes: Strokes = []
        for direction in range(1 + (rng.random() < 0.4)):
            lines = 3 + int(6 * rng.random())
            x = np.linspace(0, 1, lines) + 0.12 / lines * bell(rng, some, lines)
            top, bottom = (
                end + 0.12 * bell(rng, some, lines) for end in np.array([[[0.0]], [[1.0]]])
            )
            ends = np.stack([np.stack([x, top], -1), np.stack([x, bottom], -1)], axis=2)
            ends = ends[..., ::-1] if direction else ends
            if rng.random() < 0.5:
                strokes += [(False, ends[:, k]) for k in range(lines)]
            else:
                strokes.append((False, ends.reshape(some, 2 * lines, 2)))
        return strokes

    return draw_paths(trace, count, writers, rng, turn=0.8)


def draw_glyphs(count: int, writers: Writers, rng: np.random.Generator) -> Images:
    """Draw imaginary characters: random combinations of three to six strokes and rings."""

    def trace(some: int) -> Strokes:
        strokes: Strokes = []
        grid, circle = np.array([0.0, 0.33, 0.67, 1.0]), np.linspace(0, 2.1 * np.pi, 12)
        for _ in range(3 + int(4 * rng.random())):
            ends = grid[(4 * rng.random((2, 2))).astype(int)]
            if np.abs(ends[0] - ends[1]).max() < 0.3:
                ends[1] = (ends[0] + 0.67) % 1.0
            kind = rng.random()
            if kind < 0.6:
                path = ends
            elif kind < 0.7:  # a ring
                middle, size = rng.random(2), 0.1 + 0.4 * rng.random(2)
                path = middle + size * np.stack([np.cos(circle), np.sin(circle)], axis=1)
            else:  # an arc
                aside = (ends[1] - ends[0])[::-1] * [-0.4, 0.4] * rng.choice([-1, 1])
                path = np.stack([ends[0], ends.mean(axis=0) + aside, ends[1]])
            strokes.append((True, np.repeat(path[None], some, axis=0)))
        return strokes

    return draw_paths(trace, count, writers, rng)


def draw_words(
    texts: Sequence[str],
    letters: tuple[int, int],
    count: int,
    writers: Writers,
    rng: np.random.Generator,
) -> Images:
    """Draw words with a number of letters in a range, close together or joined."""

    def trace(some: int) -> Strokes:
        strokes: Strokes = []
        right, end = 0.0, None
        joined = rng.random() < 0.3
        low, high = letters
        for _ in range(low + int((high - low + 1) * rng.random())):
            text = texts[int(len(texts) * rng.random())]
            width, drop = 0.4 + 0.4 * rng.random(), 0.15 * rng.random()
            points = [table for _, table in read_shape(text)]
            for smooth, stroke in repeat_shape(text, some):
                strokes.append((smooth, stroke * [width, 1] + [right, drop]))
            start = points[0][0] * [width, 1] + [right, drop]
            if joined and end is not None:
                strokes.append((True, np.repeat(np.stack([end, start])[None], some, axis=0)))
            end = points[-1][-1] * [width, 1] + [right, drop]
            right += width * (0.85 + 0.5 * rng.random())
        return strokes

    return draw_paths(trace, count, writers, rng, width=(0.05, 0.15), aspect=(0.7, 1.2))


def draw_paths(
    trace: Callable[[int], Strokes],
    count: int,
    writers: Writers,
    rng: np.random.Generator,
    *,
    width: tuple[float, float] | None = None,
    aspect: tuple[float, float] = (0.6, 1.6),
    turn: float = 0.0,
) -> Images:
    """Draw images of paths, groups of which share the random draws of `trace`."""

    def parts() -> Iterator[Images]:
        for first in range(0, count, _GROUP):
            some = writers.take((len(writers) * rng.random(min(_GROUP, count - first))).astype(int))
            strokes: list[tuple[bool, Floats]] = trace(len(some))
            yield draw_strokes(strokes, some, rng, width=width, aspect=aspect, turn=turn)

    return np.concatenate(list(parts()))
