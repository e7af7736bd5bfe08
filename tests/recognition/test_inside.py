"""Pictures with other objects than paper and one digit."""

import numpy as np
import pytest
from drawn.hard_pictures import hard_picture
from drawn.scenes import SCENES

from lenet5c.datasets import mnist
from lenet5c.recognition import Reader, predict


@pytest.fixture(scope="module")
def digits():
    return mnist()[0].take(np.arange(55_000, 60_000))


@pytest.mark.parametrize("name", [name for name in SCENES if not name.startswith("sticky")])
def test_a_digit_is_read_in_a_scene(name, digits):
    reader = Reader()
    for i in range(2):
        rng = np.random.default_rng([0, *b"scenes", list(SCENES).index(name), i])
        j = int(rng.integers(len(digits)))
        assert reader(SCENES[name](digits.images[j, 0], rng)).label == str(digits.labels[j])


@pytest.mark.parametrize("i", [1, 2, 3])
def test_a_note_on_a_table_is_read_where_it_lies(i, digits):
    rng = np.random.default_rng([0, *b"scenes", 0, i])
    j = int(rng.integers(len(digits)))
    picture = SCENES["sticky note on a table"](digits.images[j, 0], rng)
    reading = predict(picture)
    assert reading.label == str(digits.labels[j])
    # Not the note's box.
    top, left, bottom, right = reading.box
    assert max(bottom - top, right - left) < 0.6 * len(picture)


@pytest.mark.parametrize("i", [53, 264, 365, 474, 495, 874])
def test_digits_in_uneven_light_and_with_bars_apart(i, digits):
    rng = np.random.default_rng([0, 1, i])
    j = int(rng.integers(len(digits)))
    assert predict(hard_picture(digits.images[j, 0], rng)[0]).label == str(digits.labels[j])
