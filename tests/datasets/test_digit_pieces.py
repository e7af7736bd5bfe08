"""Cut digits: whole, with part of a neighbor, or in parts."""

import numpy as np
import pytest

from lenet5c.datasets import mnist
from lenet5c.datasets.digit_pieces import (
    cross_out,
    draw_nearly_whole,
    draw_neighbors,
    draw_parts_of,
    draw_pens,
    draw_several,
    draw_strings,
)


@pytest.fixture(scope="module")
def digits():
    train, _ = mnist()
    return train.images[:300, 0], train.labels[:300]


def check(images, count):
    assert images.dtype == np.uint8 and images.shape == (count, 28, 28)
    assert (images.reshape(count, -1).max(axis=1) >= 100).all()


def correlate(one, other):
    return np.array(
        [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(one, other, strict=True)]
    )


def test_other_pens_write_the_same_digits(digits):
    images, _ = digits
    changed = draw_pens(images, np.random.default_rng(0))
    check(changed, 300)
    ink = changed.sum(axis=(1, 2)) / images.sum(axis=(1, 2))
    assert (ink < 0.8).sum() > 20 and (ink > 1.2).sum() > 20
    assert np.median(correlate(images, changed)) > 0.85


def test_a_digit_that_is_nearly_whole_keeps_its_shape(digits):
    images, _ = digits
    changed = draw_nearly_whole(images, np.random.default_rng(1))
    check(changed, 300)
    assert np.median(correlate(images, changed)) > 0.7


def test_several_digits_are_wider_and_parts_are_other_shapes(digits):
    images, labels = digits
    rng = np.random.default_rng(2)
    several = draw_several(images, rng, 100)
    check(several, 100)
    wide = (several >= 76).any(axis=1).sum(axis=1) / (several >= 76).any(axis=2).sum(axis=1)
    assert np.median(wide) > 1.2
    strings = draw_strings(images, rng, 100)
    check(strings, 100)
    longer = (strings >= 76).any(axis=1).sum(axis=1) / (strings >= 76).any(axis=2).sum(axis=1)
    assert np.median(longer) > 1.3 * np.median(wide)
    check(draw_neighbors(images, rng, 50), 50)
    check(draw_parts_of(images, labels, rng, 50), 50)
    scribbles = np.zeros((50, 28, 28), np.uint8)
    scribbles[:, 13:16, 4:24] = 255
    check(cross_out(images[:50], scribbles), 50)


def test_the_same_seed_gives_the_same_bytes(digits):
    images, labels = digits
    for draw in (
        lambda rng: draw_parts_of(images, labels, rng, 20),
        lambda rng: draw_neighbors(images, rng, 20),
        lambda rng: draw_nearly_whole(images[:20], rng),
    ):
        one, again, other = (draw(np.random.default_rng(seed)) for seed in (4, 4, 5))
        assert np.array_equal(one, again) and not np.array_equal(one, other)
