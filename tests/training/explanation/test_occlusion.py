"""Occlusion compared with a naive loop over all positions."""

import numpy as np
import pytest
from exported_models import images, variants

from lenet5c.datasets import mnist
from lenet5c.recognition.why import occlusion
from lenet5c.training import open_model

VARIANTS = variants()


def naive(trained, image, label, patch, fill):
    _, height, width = image.shape
    covered = np.repeat(image[None], height * width, axis=0)
    for y in range(height):
        for x in range(width):
            top, left = max(0, y - patch // 2), max(0, x - patch // 2)
            bottom, right = y - patch // 2 + patch, x - patch // 2 + patch
            covered[y * width + x, :, top:bottom, left:right] = np.reshape(fill, (-1, 1, 1))
    fall = trained.logits(image[None])[0, label] - trained.logits(covered)[:, label]
    return fall.reshape(height, width)


@pytest.mark.parametrize("patch", [1, 4, 5])
def test_a_digit(patch):
    trained, image = open_model(), mnist()[1].images[4]
    expected = naive(trained, image, 4, patch, 0)
    assert expected.max() > (0.1, 1, 1)[patch // 2 - 1]
    np.testing.assert_allclose(occlusion(trained, image, patch=patch), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["1998-rgb-4-classes", "enlarged", "no-convolution"])
def test_other_images(name):
    trained = VARIANTS[name]
    image = images(trained, 1)[0]
    expected = naive(trained, image, 1, 3, 77)
    found = occlusion(trained, image, 1, patch=3, fill=77)
    np.testing.assert_allclose(found, expected, atol=2e-5 * max(1, np.abs(expected).max()))


def test_nothing_falls_where_the_patch_has_the_color_already():
    image = np.zeros((28, 28), np.uint8)
    image[10, 10] = 255
    found = occlusion(open_model(), image, patch=3)
    y, x = np.nonzero(found)
    assert len(y) and {*y, *x} <= {9, 10, 11}


def test_what_is_refused():
    for arguments in ({"patch": 0}, {"patch": 2.5}, {"fill": 256}, {"fill": -1}):
        with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be"):
            occlusion(open_model(), np.zeros((28, 28), np.uint8), **arguments)
