"""Pictures with more in them than paper and one digit."""

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


def test_a_note_on_a_table_is_read_where_it_lies():
    picture = np.full((300, 300), 90, np.uint8)
    picture[60:240, 80:260] = 230
    picture[100:200, 165:177] = 40
    reading = predict(picture)
    assert reading.label == "1"
    assert np.abs(np.array(reading.box) - (100, 165, 200, 177)).max() <= 3


@pytest.mark.parametrize("i", [53, 264, 365, 474, 495, 874])
def test_digits_in_uneven_light_and_with_bars_apart(i, digits):
    rng = np.random.default_rng([0, 1, i])
    j = int(rng.integers(len(digits)))
    assert predict(hard_picture(digits.images[j, 0], rng)[0]).label == str(digits.labels[j])
