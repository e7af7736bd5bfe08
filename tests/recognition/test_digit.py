"""Normalization of gray pictures to MNIST's format."""

import numpy as np
import pytest

from lenet5c.datasets import mnist, resize
from lenet5c.datasets.framing import Framing
from lenet5c.errors import UserError
from lenet5c.recognition.digit import (
    BlankImageError,
    center,
    find_box,
    find_ink,
    normalize_stroke,
    prepare_digit,
)
from lenet5c.recognition.filters import measure_stroke
from lenet5c.recognition.reading import find_digit
from lenet5c.training import open_model


@pytest.fixture(scope="module")
def digits():
    return mnist()[1].take(np.arange(300))


def accuracy(images, digits):
    return (open_model().logits(np.stack(images)[:, None]).argmax(axis=1) == digits.labels).mean()


def test_mnist_stays_as_readable_as_it_is(digits):
    assert accuracy([prepare_digit(image).image for image in digits.images[:, 0]], digits) >= 0.99


def test_dark_on_light_is_the_same_digit(digits):
    for image in digits.images[:50, 0]:
        light, dark = prepare_digit(image), prepare_digit(255 - image)
        assert (light.ink.dark, dark.ink.dark) == (False, True)
        assert np.abs(light.image.astype(int) - dark.image).max() <= 3


def test_slopes_of_light_leave_the_paper_blank(digits):
    large = resize(digits.images[3, 0], (200, 200)).astype(float) / 255
    light = np.linspace(0.4, 1, 200)[:, np.newaxis] * np.linspace(0.7, 1, 200)
    picture = (light * (240 - 200 * large)).astype(np.uint8)
    ink = find_ink(picture)
    assert ink.dark and (ink.strength[large < 0.01] == 0).all()
    # The same ink is as strong in the shadow as in the light.
    assert ink.strength[large > 0.99].min() > 200


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (3, 300), (28, 28), (500, 20)])
def test_form_of_odd_shapes(shape):
    image = center(np.full(shape, 255, np.uint8))
    assert image.shape == (28, 28) and image.dtype == np.uint8
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    assert max(len(rows), len(columns)) == 20
    assert abs(len(rows) / len(columns) - np.clip(shape[0] / shape[1], 1 / 20, 20)) <= 1


def test_never_cut_at_the_border():
    ink = np.zeros((40, 40), np.uint8)
    ink[:, :2] = 255
    ink[20, :] = 40  # a faint tail: the mass is on the left
    ink[20, 39] = 120
    image = center(ink, Framing(box=(1, 1)), (20, 20))
    assert image[:, -1].any() and image[:, 0].any()


def test_digits_of_mnist_stay_where_they_are(digits):
    """Their center of mass is in the middle of pixel 14, half a pixel from the image's center."""
    images = digits.images[:100, 0]
    made = np.stack([prepare_digit(image).image for image in images])
    assert np.abs(made.astype(int) - images).mean() < 2
    for axis in (1, 2):
        mass = made.sum(axis=axis, dtype=float)
        middle = mass @ np.arange(28) / mass.sum(axis=1)
        assert np.abs(middle - 14).max() <= 0.51


def test_the_box_is_where_the_ink_is():
    picture = np.full((1500, 2100), 250, np.uint8)
    picture[300:600, 1500:1540] = 10
    box = prepare_digit(picture).box
    assert np.abs(np.array(box) - (300, 1500, 600, 1540)).max() <= 4


@pytest.mark.parametrize("value", [0, 1, 128, 254, 255])
def test_plain_paper_is_blank(value):
    for shape in [(1, 1), (1, 5000), (28, 28), (700, 30)]:
        with pytest.raises(BlankImageError, match="there is no writing"):
            prepare_digit(np.full(shape, value, np.uint8))
    assert issubclass(BlankImageError, UserError)


def test_no_ink_is_no_digit():
    with pytest.raises(BlankImageError):
        center(np.zeros((5, 5), np.uint8))
    with pytest.raises(BlankImageError):
        find_box(np.zeros((0, 5), np.uint8))


@pytest.mark.parametrize(
    "gray", [np.zeros((3, 3)), np.zeros((2, 2, 3), np.uint8), np.zeros((0, 4), np.uint8), [[1]]]
)
def test_what_is_no_gray_picture(gray):
    with pytest.raises(ValueError, match="uint8 array of shape"):
        find_ink(gray)


def test_hairlines_and_broad_strokes_become_usual():
    y, x = np.mgrid[:200, :200]
    far = np.abs(np.hypot(y - 100, x - 100) - 80)
    for width in (2, 16, 60):
        ring = np.where(far <= width / 2, 255, 0).astype(np.uint8)
        crop = ring[100 - 80 - width // 2 :, :][: 160 + width]
        formed = normalize_stroke(crop)
        relative = max(formed.shape) / measure_stroke(formed >= 128)
        assert 4 < relative < 13
    unchanged = np.where(far <= 10, 255, 0).astype(np.uint8)
    assert normalize_stroke(unchanged) is unchanged


def test_bytes_do_not_depend_on_the_memory_layout(digits):
    picture = resize(digits.images[0, 0], (300, 300))
    expected = prepare_digit(picture).image
    np.testing.assert_array_equal(prepare_digit(np.asfortranarray(picture)).image, expected)
    np.testing.assert_array_equal(
        prepare_digit(np.repeat(picture, 2, axis=1)[:, ::2]).image, expected
    )


def test_a_small_digit_on_a_large_page(digits):
    picture = np.full((1000, 1000), 255, np.uint8)
    large = np.kron(255 - digits.images[37, 0], np.ones((4, 4), np.uint8))
    picture[444:556, 355:467] = large
    expected = prepare_digit(large).image.astype(int)
    assert np.abs(find_digit(picture).image - expected).max() <= 60


def test_a_digit_may_fill_its_picture(digits):
    formed = []
    for image in digits.images[:60, 0]:
        top, left, bottom, right = find_box(image)
        crop = resize(image[top:bottom, left:right], (8 * (bottom - top), 8 * (right - left)))
        formed.append(prepare_digit(255 - crop).image)
    assert accuracy(formed, digits.take(np.arange(60))) >= 0.95


def test_stray_dots_do_not_make_a_digit_smaller(digits):
    alone = np.pad(resize(digits.images[0, 0], (140, 140)), 100)
    dotted = alone.copy()
    for y, x in ((20, 40), (250, 30), (320, 300)):
        dotted[y : y + 7, x : x + 7] = 255
    found, expected = prepare_digit(255 - dotted), prepare_digit(255 - alone)
    assert found.box == expected.box
    assert np.abs(found.image.astype(int) - expected.image).max() <= 8


def test_dots_beside_a_digit_belong_to_it(digits):
    broken = np.pad(resize(digits.images[0, 0], (140, 140)), 100)
    top, left, _, _ = prepare_digit(255 - broken).box
    broken[top - 16 : top - 8, left : left + 8] = 255
    assert prepare_digit(255 - broken).box[0] < top - 10
