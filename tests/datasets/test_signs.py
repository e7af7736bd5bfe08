"""The data set of digits, signs and other ink."""

import numpy as np
import pytest

from lenet5c.datasets.framing import MNIST, measure_framing
from lenet5c.datasets.sign_names import CLASS_NAMES, NONE
from lenet5c.datasets.signs import draw_sign, signs
from lenet5c.datasets.source import NAMES, source_name
from lenet5c.datasets.strokes import Hands


@pytest.fixture(scope="module")
def parts():
    return signs(share=0.01)


def test_it_has_digits_signs_and_none_of_these(parts):
    assert (*"0123456789+-x/=().", NONE) == CLASS_NAMES and len(CLASS_NAMES) == 19
    for part in parts:
        assert part.class_names == CLASS_NAMES and part.name == "signs"
        assert part.images.shape[1:] == (1, 28, 28)
        assert (np.bincount(part.labels, minlength=19) > 0).all()


def test_its_images_have_the_form_of_mnist(parts):
    assert measure_framing(parts[0].images) == MNIST


def test_its_test_images_are_others(parts):
    train, test = ({image.tobytes() for image in part.images} for part in parts)
    assert not train & test


def test_the_seed_decides(parts):
    again, other = signs(share=0.01), signs(1, share=0.01)
    assert np.array_equal(parts[0].images, again[0].images)
    assert np.array_equal(parts[1].images, again[1].images)
    assert not np.array_equal(parts[0].images, other[0].images)


def test_it_is_a_data_set_with_a_name():
    assert "signs" in NAMES and source_name("signs") == "signs"


@pytest.mark.parametrize("name", CLASS_NAMES[10:18])
def test_each_sign_is_drawn_in_many_ways(name):
    rng = np.random.default_rng(0)
    images = draw_sign(name, 60, Hands.draw(rng, 30), rng)
    assert images.shape == (60, 28, 28)
    assert len({image.tobytes() for image in images}) == 60
