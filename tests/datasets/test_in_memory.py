"""Data sets from arrays in memory."""

import numpy as np
import pytest

import lenet5c
from lenet5c.datasets import DatasetError, make_dataset


def test_arrays_as_other_programs_have_them():
    pixels = np.random.default_rng(0).random((6, 8, 8))
    data = make_dataset(pixels, np.array([3, 1, 3, 1, 1, 7]), np.arange(1, 7))
    assert data.images.shape == (6, 1, 8, 8)
    assert (data.images[:, 0] == np.rint(255 * pixels)).all()
    assert data.class_names == ("1", "3", "7") and data.labels.tolist() == [1, 0, 1, 0, 0, 2]
    assert data.sample_weight.tolist() == [1, 2, 3, 4, 5, 6]
    assert make_dataset((255 * pixels).astype(np.uint8).tolist(), list("abbaab")).class_names == (
        "a",
        "b",
    )


@pytest.mark.parametrize(
    "images, labels, weight, message",
    [
        (np.zeros((3, 8, 8)), [0, 1], None, "labels must have length 3"),
        (np.full((2, 8, 8), np.nan), [0, 1], None, "images must contain finite numbers"),
        (np.zeros((2, 7)), [0, 1], None, "images must have a square number"),
        (np.zeros((2, 8, 8)), [0, 0], None, "at least two classes"),
        (np.zeros((2, 8, 8)), [0, 1], [1, -1], "sample_weight must be finite"),
        (np.zeros((2, 8, 8)), [0, 1], [1, 1, 1], "sample_weight must be float32 of shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(images, labels, weight, message):
    with pytest.raises(DatasetError, match=message):
        make_dataset(images, labels, weight)
    with pytest.raises(TypeError, match="masked"):
        make_dataset(np.ma.masked_array(np.zeros((2, 8, 8))), [0, 1])


def test_a_trainer_takes_arrays():
    rng = np.random.default_rng(0)
    images, labels = rng.random((60, 28, 28)), rng.integers(0, 3, 60)
    trainer = lenet5c.trainer("fast", data=(images, labels), epochs=1)
    trainer.fit(progress=False)
    assert trainer.trained.probabilities(np.zeros((2, 1, 28, 28), np.uint8)).shape == (2, 3)
