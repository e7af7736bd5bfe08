"""Digits as cut from a line of digits: whole, with a piece of a neighbor, or in parts.

Each function makes n images, uint8 (n, 28, 28), from digits (N, 28, 28), framed after the cut.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets.centering import center, crop_ink
from lenet5c.datasets.resampling import resize

Images = NDArray[np.uint8]
Labels = NDArray[np.integer]
#: Minimum ink of a part that makes an image.
MINIMUM = 128


def draw_pens(images: Images, rng: np.random.Generator) -> Images:
    """Return the digits with thinner or thicker strokes."""
    fine = resize(images, (56, 56))
    steps = (5 * rng.random(len(fine))).astype(int) - 2  # in half pixels
    for step in (-2, -1, 1, 2):
        chosen = np.flatnonzero(steps == step)
        planes = fine[chosen]
        for _ in range(abs(step)):
            planes = _spread(planes) if step > 0 else 255 - _spread(255 - planes)
        # Thin strokes may have disappeared.
        left = planes.reshape(len(planes), -1).max(axis=1, initial=0) >= 200
        fine[chosen[left]] = planes[left]
    return np.stack([center(plane) for plane in fine])


def draw_several(images: Images, rng: np.random.Generator, count: int) -> Images:
    """Return two, rarely three, digits that are close, touch or overlap."""

    def draw() -> Images:
        row = _pick(images, rng)
        for _ in range(1 + (rng.random() < 0.2)):
            row = _beside(row, _pick(images, rng), rng).max(axis=0)
        return row

    return _draw(draw, rng, count, (1.0, 2.4))


def draw_strings(images: Images, rng: np.random.Generator, count: int) -> Images:
    """Return three to eight digits that are close, touch or overlap."""

    def draw() -> Images:
        row = _pick(images, rng)
        for _ in range(2 + int(6 * rng.random() ** 1.5)):
            row = _beside(row, _pick(images, rng), rng).max(axis=0)
        return row

    return _draw(draw, rng, count, (1.2, 3.0))


def draw_parts_of(images: Images, labels: Labels, rng: np.random.Generator, count: int) -> Images:
    """Return parts of a third to two thirds of a digit, except 0 and 1.

    Halves of 0 and 1 look like brackets and other digits.
    """
    chosen = images[(labels != 0) & (labels != 1)]

    def draw() -> Images:
        crop = _pick(chosen, rng)
        if rng.random() < 0.2:
            return _cut(crop.T, _between(rng, 0.35, 0.65), rng).T
        return _cut(crop, _between(rng, 0.3, 0.7), rng)

    return _draw(draw, rng, count, (1.0, 1.3), thinner=90)


def draw_neighbors(images: Images, rng: np.random.Generator, count: int) -> Images:
    """Return digits with a quarter to three fifths of the width of the next digit."""

    def draw() -> Images:
        digit, other = _pick(images, rng), _pick(images, rng)
        return _with_bit(digit, other, _between(rng, 0.25, 0.6), rng)

    return _draw(draw, rng, count, (1.0, 1.8))


def draw_nearly_whole(images: Images, rng: np.random.Generator) -> Images:
    """Return the digits with a small piece of a neighbor, or with a piece missing on one side."""

    def change(digit: Images) -> Images:
        crop = crop_ink(digit)
        chance = rng.random()
        if chance < 0.6:
            crop = _with_bit(crop, _pick(images, rng), _between(rng, 0.0, 0.12), rng)
        elif chance < 0.82:
            crop = _cut(crop, _between(rng, 0.9, 1.0), rng)
        else:  # a gap where another stroke was removed
            row = int(len(crop) * _between(rng, 0.15, 0.85))
            crop = crop.copy()
            crop[row : row + 1 + (rng.random() < 0.4)] //= 4
        return _harden(center(crop), rng, (1.0, 1.2))

    return np.stack([change(image) for image in images])


def cross_out(images: Images, scribbles: Images) -> Images:
    """Return the digits under scribbles (N, 28, 28)."""
    return np.stack([center(each) for each in np.maximum(images, scribbles)])


def _draw(
    draw: Callable[[], Images],
    rng: np.random.Generator,
    count: int,
    gain: tuple[float, float],
    thinner: float = 0.0,
) -> Images:
    """Return `count` images of the ink planes returned by `draw`, without faint ones."""
    made: list[Images] = []
    while len(made) < count:
        plane = draw()
        if plane.max(initial=0) >= MINIMUM:
            made.append(_harden(center(plane), rng, gain, thinner))
    return np.stack(made)


def _pick(images: Images, rng: np.random.Generator) -> Images:
    """Return the ink of a random digit, with random size and proportions."""
    crop = crop_ink(images[int(len(images) * rng.random())])
    high, wide = (max(4, round(n * _between(rng, 0.85, 1.2))) for n in crop.shape)
    return resize(crop, (high, wide))


def _beside(left: Images, right: Images, rng: np.random.Generator) -> Images:
    """Return the planes (2, H, W) of two digits side by side: apart, touching or overlapping."""
    high = max(len(left), len(right))
    start = max(1, left.shape[1] + round(_between(rng, -0.2, 0.1) * high))
    # Both have the same baseline, with some deviation.
    tops = [high - len(left), high - len(right) + round(_between(rng, -0.15, 0.15) * high)]
    tops = [top - min(tops) for top in tops]
    rows = max(tops[0] + len(left), tops[1] + len(right))
    planes = np.zeros((2, rows, max(left.shape[1], start + right.shape[1])), np.uint8)
    planes[0, tops[0] : tops[0] + len(left), : left.shape[1]] = left
    planes[1, tops[1] : tops[1] + len(right), start : start + right.shape[1]] = right
    return planes


def _with_bit(digit: Images, other: Images, share: float, rng: np.random.Generator) -> Images:
    """Return a digit with this fraction of the width of another one at its left or right."""
    if rng.random() < 0.5:
        return _with_bit_right(digit, other, share, rng)
    # Mirroring twice has no effect.
    return _with_bit_right(digit[:, ::-1], other[:, ::-1], share, rng)[:, ::-1]


def _with_bit_right(digit: Images, other: Images, share: float, rng: np.random.Generator) -> Images:
    own, bit = _beside(digit, other, rng)
    start = own.shape[1] - other.shape[1]
    return np.maximum(own, bit * _mask_left(bit.shape, start + share * other.shape[1], rng))


def _cut(crop: Images, share: float, rng: np.random.Generator) -> Images:
    """Return the ink of a fraction of the width, to the left or right of a slanted line."""
    if rng.random() < 0.5:
        return crop * _mask_left(crop.shape, share * crop.shape[1], rng)
    return crop * ~_mask_left(crop.shape, (1 - share) * crop.shape[1], rng)


def _mask_left(
    shape: tuple[int, ...], column: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Return the pixels to the left of a slanted line through a column at half height."""
    high, wide = shape
    slant = _between(rng, -0.4, 0.4)
    rows = (high / 2 - np.arange(high))[:, np.newaxis]
    return np.arange(wide) + 0.5 < column + slant * rows


def _harden(
    image: Images, rng: np.random.Generator, gain: tuple[float, float], thinner: float = 0.0
) -> Images:
    """Return ink with sharper edges, which makes strokes thicker or thinner."""
    less = thinner * rng.random()
    levels = np.clip((image - less) * _between(rng, *gain) * 255 / (255 - less), 0, 255)
    return (levels + 0.5).astype(np.uint8)


def _spread(planes: Images) -> Images:
    """Return the maximum over each pixel and its four neighbors, (n, H, W)."""
    wider = planes.copy()
    np.maximum(wider[:, 1:], planes[:, :-1], out=wider[:, 1:])
    np.maximum(wider[:, :-1], planes[:, 1:], out=wider[:, :-1])
    np.maximum(wider[..., 1:], planes[..., :-1], out=wider[..., 1:])
    np.maximum(wider[..., :-1], planes[..., 1:], out=wider[..., :-1])
    return wider


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(low + (high - low) * rng.random())
