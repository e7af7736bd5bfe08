"""Conversion of pictures to images."""

import numpy as np
import pytest
from one_test import in_one_test

from lenet5c.datasets import DatasetError, resize
from lenet5c.datasets.conversion import is_gray, to_gray, to_image
from lenet5c.datasets.resampling import letterbox

RANDOM = np.random.default_rng(0)


@in_one_test
@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (28, 28, 3), (500, 3, 3), (1, 1)])
@pytest.mark.parametrize("image_shape", [(1, 28, 28), (3, 28, 28), (1, 5, 9), (3, 64, 64)])
def test_shapes(shape, image_shape):
    image = to_image(RANDOM.integers(0, 256, shape, dtype=np.uint8), image_shape)
    assert image.shape == image_shape and image.dtype == np.uint8


def test_a_picture_that_fits_keeps_its_pixels():
    picture = RANDOM.integers(0, 256, (8, 6, 3), dtype=np.uint8)
    assert (to_image(picture, (3, 8, 6)) == picture.transpose(2, 0, 1)).all()
    assert (to_image(picture[..., 0], (3, 8, 6)) == picture[..., 0]).all()


def test_the_filter_is_that_of_resize():
    picture = RANDOM.integers(0, 256, (50, 70, 3), dtype=np.uint8)
    fitted = resize(picture.transpose(2, 0, 1), (25, 35))
    assert (to_image(picture, (3, 25, 35)) == fitted).all()


def test_a_circle_stays_a_circle():
    y, x = np.mgrid[:90, :160]
    circle = np.where((y - 44.5) ** 2 + (x - 79.5) ** 2 < 40**2, 30, 200).astype(np.uint8)
    image = to_image(np.stack([circle, circle // 2, circle], axis=-1), (3, 32, 32))
    rows, columns = np.nonzero(image[0] < 115)
    assert np.ptp(rows) == np.ptp(columns) == 15
    assert (rows.mean(), columns.mean()) == (15.5, 15.5)
    assert image[:, [0, -1], [0, -1]].tolist() == [[200, 200], [100, 100], [200, 200]]
    assert (to_image(image.transpose(1, 2, 0), (3, 32, 32)) == image).all()
    assert (letterbox(image, (32, 48), fill=[1, 2, 3])[:, 5, [0, -1]].T == [1, 2, 3]).all()


def test_a_large_picture_is_the_same_in_strips():
    picture = RANDOM.integers(0, 256, (3000, 40), dtype=np.uint8)
    strips = resize(picture, (4, 40))
    # Averages of 750 rows, each weighed by the triangle: near the middle gray of noise.
    assert abs(strips.astype(float).mean() - 127.5) < 3
    wide = np.repeat(picture[:, :1], 3000, axis=1)  # rows of one tone: columns do not matter
    assert (resize(wide, (4, 2)) == resize(picture[:, :1], (4, 2))).all()


def test_gray():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (to_gray(np.stack([ramp] * 3, axis=-1)) == ramp).all()
    assert to_gray(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)).tolist() == [
        [76, 150, 29]
    ]
    assert (
        is_gray(ramp) and is_gray(np.stack([ramp] * 3, axis=-1)) and is_gray(ramp[..., np.newaxis])
    )
    assert not is_gray(np.array([[[1, 1, 2]]], np.uint8)) and not is_gray(
        np.array([[[1, 2, 1]]], np.uint8)
    )


def test_what_is_no_picture():
    with pytest.raises(DatasetError, match="must be 1 or 3, got 4"):
        to_image(np.zeros((2, 2), np.uint8), (4, 2, 2))
    for wrong in (np.zeros((2, 2)), [[1]]):
        with pytest.raises(TypeError):
            to_image(wrong, (1, 2, 2))
    for shape in ((2,), (2, 2, 2), (0, 3), (1, 2, 3, 3)):
        with pytest.raises(ValueError):
            to_image(np.zeros(shape, np.uint8), (1, 2, 2))
