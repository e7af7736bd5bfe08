"""Doodles, which do not look like digits."""

import numpy as np
import pytest

from lenet5c.datasets.doodles import SHAPES, draw_doodles
from lenet5c.datasets.framing import MNIST, measure_framing
from lenet5c.datasets.strokes import Writers, draw_strokes


def draw(count, seed=0):
    rng = np.random.default_rng(seed)
    return draw_doodles(count, Writers.draw(rng, 30), rng)


def test_they_have_the_form_of_mnist():
    images = draw(400)
    assert images.dtype == np.uint8 and measure_framing(images[:, np.newaxis]) == MNIST


def test_as_many_of_each_shape():
    assert len(draw(3 * len(SHAPES))) == 3 * len(SHAPES)
    assert len(draw(1)) == len(SHAPES)


def test_the_seed_decides():
    images = draw(200)
    assert np.array_equal(images, draw(200)) and not np.array_equal(images, draw(200, 1))
    assert len({image.tobytes() for image in images}) == len(images)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_each_shape_is_another_each_time(name):
    rng = np.random.default_rng(3)
    writers = Writers.draw(rng, 4)
    images = [draw_strokes(SHAPES[name](4, rng), writers, rng) for _ in range(5)]
    assert all(image.shape == (4, 28, 28) for image in images)
    assert len({image.tobytes() for image in images}) == 5


def test_a_spiral_turns_twice_at_least():
    rng = np.random.default_rng(0)
    for _ in range(50):
        ((_, path),) = SHAPES["spiral"](3, rng)
        angle = np.unwrap(np.arctan2(path[..., 1], path[..., 0]))
        assert (np.abs(angle[:, -1] - angle[:, 0]) >= 2 * np.pi * 1.9).all()
