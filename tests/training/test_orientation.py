from dataclasses import replace

import numpy as np
import pytest

from lenet5c.datasets import Dataset
from lenet5c.training import open_model
from lenet5c.training.orientation import FEWEST, warn_if_sideways


@pytest.fixture
def digits(mnist_slice):
    """Return 200 digits, as many of each class."""
    test = mnist_slice[1]
    chosen = np.concatenate([np.flatnonzero(test.labels == digit)[:20] for digit in range(10)])
    return test.take(chosen)


def exchange(dataset):
    return replace(dataset, images=dataset.images.swapaxes(2, 3))


def test_upright_digits_are_not_warned_of(digits):
    assert warn_if_sideways(open_model(), digits) is None


def test_sideways_digits_are_warned_of(digits):
    warning = warn_if_sideways(open_model(), exchange(digits))
    assert "use --transpose" in warning and "of 200" in warning
    named = replace(exchange(digits), class_names=tuple("abcdefghij"), name="letters")
    assert warn_if_sideways(open_model(), named) is None  # the model knows no letters


def test_few_images_and_no_squares_are_not_warned_of(digits):
    few = exchange(digits).take(np.arange(0, 200, 200 // (FEWEST - 1))[: FEWEST - 1])
    assert warn_if_sideways(open_model(), few) is None
    wide = Dataset(digits.images[:, :, 4:], digits.labels, 10)
    assert warn_if_sideways(open_model(), wide) is None


def test_images_that_mean_nothing_are_not_warned_of(digits):
    noise = np.random.default_rng(0).integers(0, 256, digits.images.shape, dtype=np.uint8)
    assert warn_if_sideways(open_model(), replace(digits, images=noise)) is None
