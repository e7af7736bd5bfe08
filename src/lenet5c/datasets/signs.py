"""MNIST digits together with drawn signs of arithmetic and images that are neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets import type_shapes
from lenet5c.datasets.dataset import Dataset
from lenet5c.datasets.digit_pieces import (
    cross_out,
    draw_nearly_whole,
    draw_neighbors,
    draw_parts_of,
    draw_pens,
    draw_several,
    draw_strings,
)
from lenet5c.datasets.doodles import draw_doodles
from lenet5c.datasets.mnist import mnist
from lenet5c.datasets.scribbles import (
    draw_coils,
    draw_glyphs,
    draw_hatchings,
    draw_tangles,
    draw_walks,
    draw_words,
)
from lenet5c.datasets.sign_names import CLASS_NAMES, NONE, SEVERAL
from lenet5c.datasets.stroke_shapes import DIGITS, LETTERS, MARKS, SCRIPTS, SIGNS
from lenet5c.datasets.strokes import Strokes, Writers, bell, draw_strokes, draw_texts, repeat_shape

Images = NDArray[np.uint8]

#: Ranges of pen width relative to the longer side, of width and of rotation of the signs.
_FORMS = {
    "+": ((0.085, 0.3), (0.65, 1.5), 0.12),
    "-": ((0.085, 0.36), (1.0, 1.0), 0.22),
    "x": ((0.085, 0.3), (0.65, 1.5), 0.1),
    "/": ((0.085, 0.24), (0.7, 1.7), 0.0),
    "=": ((0.085, 0.2), (0.7, 2.2), 0.15),
    "(": ((0.085, 0.2), (0.4, 1.3), 0.05),
}


def signs(seed: int = 0, share: float = 1.0) -> tuple[Dataset, Dataset]:
    """Return MNIST with drawn arithmetic signs, and with images that are neither.

    Signs are classified by shape only, in the framing of MNIST's digits: '.' is any dot, '-' is
    also a fraction bar, '/' is also a comma. 'none' has letters, other marks, scribbles and pieces
    of digits; 'several' has several digits. Nothing is downloaded: the images are drawn
    (`lenet5c.datasets.strokes`) and determined by the seed. Simulated writers and digits of the
    test images do not occur in the training images.

    Parameters
    ----------
    seed : int, optional
    share : float, optional
        Fraction of the images to draw and to take from MNIST, for quick tests.

    Returns
    -------
    train, test : Dataset
        Images uint8 (N, 1, 28, 28), labels int32 (N,), class names `CLASS_NAMES`.

    Examples
    --------
    >>> from lenet5c.datasets.signs import signs
    >>> train, test = signs(share=0.01)
    >>> train.class_names[10:]
    ('+', '-', 'x', '/', '=', '(', ')', '.', 'none', 'several')
    """
    parts = []
    for part, (digits, size) in enumerate(zip(mnist(), (1.0, 0.15), strict=True)):
        rng = np.random.default_rng([seed, part])
        digits = digits.take(np.arange(max(100, round(share * len(digits)))))
        images, labels = digits.images[:, 0].copy(), digits.labels
        if part == 0:
            # Some training digits are cut, or have another stroke width.
            chance = rng.random(len(digits))
            for low, high, change in ((0, 0.2, draw_nearly_whole), (0.2, 0.32, draw_pens)):
                some = (low <= chance) & (chance < high)
                images[some] = change(images[some], rng)
        drawn = [(name, each) for name, each in draw_parts(digits, rng, share * size)]
        labels = np.concatenate(
            [labels, *(np.full(len(each), CLASS_NAMES.index(name)) for name, each in drawn)]
        )
        stacked = np.concatenate([images, *(each for _, each in drawn)])[:, np.newaxis]
        parts.append(Dataset(stacked, labels, len(CLASS_NAMES), "signs", CLASS_NAMES))
    return parts[0], parts[1]


def draw_parts(
    digits: Dataset, rng: np.random.Generator, share: float
) -> Iterator[tuple[str, Images]]:
    """Yield class names with their images, drawn or made from digits."""
    writers, number = Writers.draw(rng, max(4, round(1500 * share))), max(4, round(600 * share))
    printers = Writers.draw_type(rng, number)

    def count(number: int) -> int:
        return max(4, round(number * share))

    for name in (*SIGNS, ")", "."):
        # A slash may look like a one.
        usual = 900 if name == "/" else 1500
        yield name, draw_sign(name, count(usual), writers, rng)
        yield name, draw_sign(name, count(usual // 2), printers, rng, type_shapes.SIGNS)
    images, labels = digits.images[:, 0], digits.labels
    drawn = []
    for name, texts in DIGITS.items():
        # A one with an upstroke looks like a seven.
        more = 2 if name in "17" else 1
        written = draw_texts(texts, count(400 * more), writers, rng, aspect=(0.75, 1.15))
        yield name, written
        printed = draw_texts(
            type_shapes.DIGITS[name], count(700 * more), printers, rng, aspect=(0.55, 1.0)
        )
        yield name, printed
        drawn += [written[: count(60)], printed[: count(60)]]
    yield from ((NONE, each) for each in _draw_letters(count, writers, printers, rng))
    for texts in MARKS.values():
        yield NONE, draw_texts(texts, count(70), writers, rng, aspect=(0.7, 1.4), turn=0.15)
    for draw, number in (
        (draw_scribbles, 600),
        (draw_zigzags, 600),
        (draw_blots, 600),
        (draw_coils, 900),
        (draw_tangles, 600),
        (draw_walks, 900),
        (draw_hatchings, 600),
        (draw_glyphs, 2500),
        (draw_doodles, 5000),
    ):
        yield NONE, draw(count(number), writers, rng)
    yield NONE, draw_parts_of(images, labels, rng, count(1000))
    some = images[(len(images) * rng.random(count(500))).astype(int)]
    yield NONE, cross_out(some, draw_zigzags(len(some), writers, rng))
    pool = np.concatenate([images, *drawn])
    yield SEVERAL, draw_several(pool, rng, count(3000))
    yield SEVERAL, draw_strings(pool, rng, count(2500))
    yield SEVERAL, draw_neighbors(images, rng, count(1000))


def _draw_letters(
    count: Callable[[int], int], writers: Writers, printers: Writers, rng: np.random.Generator
) -> Iterator[Images]:
    """Yield letters, parts of them, and words."""
    letters = [
        draw_texts(texts, count(140), writers, rng, aspect=(0.6, 1.2)) for texts in LETTERS.values()
    ]
    letters += [
        draw_texts(texts, count(50), printers, rng, aspect=(0.6, 1.1)) for texts in LETTERS.values()
    ]
    letters += [
        draw_texts(texts, count(70), writers, rng, aspect=(0.6, 1.2)) for texts in SCRIPTS.values()
    ]
    yield from letters
    cut = np.concatenate(letters)
    yield draw_parts_of(cut, np.full(len(cut), -1), rng, count(300))
    texts = [text for of_letter in (LETTERS | SCRIPTS).values() for text in of_letter]
    for each, number in ((writers, 3500), (printers, 700)):
        yield draw_words(texts, (2, 4), count(number), each, rng)
    small = [text for name in LETTERS if name.islower() for text in LETTERS[name]]
    yield draw_words(small, (3, 7), count(1000), writers, rng)


def draw_sign(
    name: str,
    count: int,
    writers: Writers,
    rng: np.random.Generator,
    shapes: Mapping[str, Sequence[str]] = SIGNS,
) -> Images:
    """Draw `count` images of a sign from `CLASS_NAMES`, each by a random writer."""
    if name == ".":
        return draw_dots(count, writers, rng)
    width, aspect, turn = _FORMS["(" if name == ")" else name]
    texts = shapes["(" if name == ")" else name]
    return draw_texts(
        texts, count, writers, rng, mirrored=name == ")", width=width, aspect=aspect, turn=turn
    )


def draw_dots(count: int, writers: Writers, rng: np.random.Generator) -> Images:
    """Draw dots: round, elongated, angular, square, or small rings."""
    some = _choose(writers, count, rng)
    points = (rng.random((count, 3, 2)) - 0.5) * [1.0, 0.6]
    ring = repeat_shape("s .5,0 .1,.3 .15,.8 .5,1 .85,.8 .9,.3 .5,0", count)
    square = repeat_shape("l 0,0 1,0 1,1 0,1 0,0 | l .3,.3 .7,.3 .7,.7 .3,.7 .3,.3", count)
    kinds: list[tuple[float, Strokes, tuple[float, float]]] = [
        (0.5, [(False, points[:, :2])], (0.6, 0.98)),
        (0.15, square, (0.25, 0.5)),
        (0.1, [(False, points[:, :2])], (0.42, 0.6)),
        (0.2, [(True, points)], (0.45, 0.8)),
        (0.05, ring, (0.36, 0.45)),
    ]
    ends = np.rint(count * np.cumsum([0, *(each for each, *_ in kinds)])).astype(int)
    parts = []
    for (_, strokes, width), low, high in zip(kinds, ends[:-1], ends[1:], strict=True):
        part = [(smooth, each[low:high]) for smooth, each in strokes]
        own = some.take(np.arange(low, high))
        parts.append(draw_strokes(part, own, rng, width=width, turn=1.0))
    return np.concatenate(parts)


def draw_scribbles(count: int, writers: Writers, rng: np.random.Generator) -> Images:
    """Draw random curves."""
    parts = []
    for points, part in zip((4, 5, 7, 10), _divide(count, 4), strict=True):
        some = _choose(writers, part, rng)
        path = rng.random((part, points, 2))
        # Half of them proceed from left to right.
        path[::2, :, 0] = 0.35 * path[::2, :, 0] + np.linspace(0, 1, points)
        parts.append(draw_strokes([(True, path)], some, rng, aspect=(0.6, 1.6)))
    return np.concatenate(parts)


def draw_zigzags(count: int, writers: Writers, rng: np.random.Generator) -> Images:
    """Draw strokes back and forth, as when crossing something out."""
    parts = []
    for points, part in zip((6, 9, 12, 16), _divide(count, 4), strict=True):
        some = _choose(writers, part, rng)
        path = np.empty((part, points, 2))
        path[..., 0] = np.linspace(0, 1, points) + 0.05 * bell(rng, part, points)
        path[..., 1] = np.arange(points) % 2 + 0.15 * bell(rng, part, points)
        smooth = bool(rng.random() < 0.5)
        parts.append(draw_strokes([(smooth, path)], some, rng, width=(0.07, 0.14), turn=np.pi / 2))
    return np.concatenate(parts)


def draw_blots(count: int, writers: Writers, rng: np.random.Generator) -> Images:
    """Draw blots with several lobes, as random curves of a thick pen."""
    parts = []
    for points, part in zip((3, 4, 5, 6), _divide(count, 4), strict=True):
        some = _choose(writers, part, rng)
        path = rng.random((part, points, 2))
        parts.append(draw_strokes([(True, path)], some, rng, width=(0.26, 0.42)))
    return np.concatenate(parts)


def _choose(writers: Writers, count: int, rng: np.random.Generator) -> Writers:
    return writers.take((len(writers) * rng.random(count)).astype(int))


def _divide(count: int, parts: int) -> list[int]:
    """Divide a number of images into nearly equal parts."""
    return [count * (k + 1) // parts - count * k // parts for k in range(parts)]
