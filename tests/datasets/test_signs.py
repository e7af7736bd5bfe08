"""The data set of digits, signs and other ink."""

import numpy as np
import pytest

from lenet5c.datasets import stroke_shapes, type_shapes
from lenet5c.datasets.framing import MNIST, measure_framing
from lenet5c.datasets.scribbles import (
    draw_coils,
    draw_glyphs,
    draw_hatchings,
    draw_tangles,
    draw_walks,
    draw_words,
)
from lenet5c.datasets.sign_names import CLASS_NAMES, NONE, SEVERAL
from lenet5c.datasets.signs import draw_sign, signs
from lenet5c.datasets.source import NAMES, source_name
from lenet5c.datasets.strokes import Writers, draw_texts


@pytest.fixture(scope="module")
def parts():
    return signs(share=0.01)


def test_it_has_digits_signs_and_none_of_these(parts):
    assert (*"0123456789+-x/=().", NONE, SEVERAL) == CLASS_NAMES and len(CLASS_NAMES) == 20
    for part in parts:
        assert part.class_names == CLASS_NAMES and part.name == "signs"
        assert part.images.shape[1:] == (1, 28, 28)
        assert (np.bincount(part.labels, minlength=20) > 0).all()


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
    images = draw_sign(name, 60, Writers.draw(rng, 30), rng)
    assert images.shape == (60, 28, 28)
    assert len({image.tobytes() for image in images}) == 60


@pytest.mark.parametrize("name", CLASS_NAMES[:10])
def test_type_is_drawn_in_many_ways_and_apart_from_handwriting(name):
    rng = np.random.default_rng(0)
    writers = Writers.draw_type(rng, 30)
    assert (writers.tremor == 0).all() and (
        writers.width < Writers.draw(rng, 30).width.max() + 0.1
    ).all()
    images = draw_texts(type_shapes.DIGITS[name], 40, writers, rng)
    assert len({image.tobytes() for image in images}) == 40
    assert not set(type_shapes.DIGITS[name]) & set(stroke_shapes.DIGITS[name])


@pytest.mark.parametrize(
    "draw", [draw_coils, draw_glyphs, draw_hatchings, draw_tangles, draw_walks]
)
def test_what_is_no_character_is_drawn_anew_each_time(draw):
    rng = np.random.default_rng(0)
    images = draw(40, Writers.draw(rng, 30), rng)
    assert images.shape == (40, 28, 28) and images.dtype == np.uint8
    assert len({image.tobytes() for image in images}) == 40
    again = np.random.default_rng(0)
    assert np.array_equal(images, draw(40, Writers.draw(again, 30), again))


def test_words_are_wider_with_more_letters():
    rng = np.random.default_rng(0)
    writers = Writers.draw(rng, 30)
    texts = [text for texts in stroke_shapes.LETTERS.values() for text in texts]
    short, long = (draw_words(texts, (n, n), 80, writers, rng) for n in (1, 6))
    rows = [np.mean([image.any(axis=1).sum() for image in images]) for images in (short, long)]
    assert rows[1] < 0.75 * rows[0]
