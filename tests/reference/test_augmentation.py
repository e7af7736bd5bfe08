"""Pixel changes computed by hand; compiled ones: tests/datasets/test_augmentation.py."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lenet5c import reference

STILL = {"brightness": 1, "contrast": 1, "saturation": 1, "hue": 0, "gray": False}
ERASED = {"erased_right": 0.5, "erased_down": 0.0}
RED, GREEN, BLUE = 255 * np.eye(3)


def color(values, **changes):
    image = np.reshape(np.asarray(values, float), (3, 1, 1))
    return reference.change_colors(image, STILL | changes).ravel()


def test_colors_by_hand():
    assert_allclose(color([10, 20, 30]), [10, 20, 30])
    assert_allclose(color([10, 20, 30], brightness=1.5), [15, 30, 45])
    assert_allclose(color([10, 20, 200], brightness=2), [20, 40, 255])
    assert_allclose(color(RED, gray=True), [76.245] * 3)
    assert_allclose(color([100, 50, 50], saturation=0), [64.95] * 3)
    assert_allclose(
        color([100, 50, 50], saturation=1.2), 64.95 + 1.2 * (np.array([100, 50, 50]) - 64.95)
    )


def test_a_third_of_a_turn_exchanges_channels():
    # Then all three channels move by as much, to the gray that the color had.
    turned = color([100, 60, 40], hue=120)
    assert_allclose(turned - turned[0], np.array([40, 100, 60]) - 40.0)
    gray = reference.augmentation.GRAY
    assert_allclose(gray @ turned, gray @ [100, 60, 40])
    assert color(RED, hue=120).argmax() == 1 and color(GREEN, hue=120).argmax() == 2
    assert_allclose(color([100, 60, 40], hue=360), [100, 60, 40])


def test_contrast_is_about_the_mean(rng):
    image = rng.uniform(60, 200, (1, 5, 7))
    flat = reference.change_colors(image, STILL | {"contrast": 0})
    assert_allclose(flat, np.full_like(image, image.mean()))
    more = reference.change_colors(image, STILL | {"contrast": 1.1})
    assert_allclose(more - image.mean(), 1.1 * (image - image.mean()))


def test_erased_rectangle_by_hand():
    draws = ERASED | {"erased": True, "erased_area": 0.16, "erased_ratio": 1.0}
    assert reference.erased_rectangle(draws, 10, 10) == (0, 3, 4, 4)
    assert reference.erased_rectangle(draws | {"erased_ratio": 0.25}, 10, 10) == (0, 1, 2, 8)
    tiny = draws | {"erased_area": 1e-9}
    assert reference.erased_rectangle(tiny, 10, 10) == (0, 5, 1, 1)
    image, noise = np.zeros((2, 10, 10)), np.ones((2, 10, 10))
    erased = reference.erase(image, draws, noise)
    assert erased.sum() == 32 and erased[:, :4, 3:7].all()
    assert_array_equal(reference.erase(image, draws | {"erased": False}, noise), image)


def test_mixtures_by_hand():
    assert_allclose(reference.mix([0, 10], [4, 0], 0.25), [3, 2.5])
    assert reference.mix_share(0.3, 0) == 1
    assert reference.mix_share(0.3, 1) == pytest.approx(0.65, abs=1e-4)
    for alpha in (0.2, 0.7, 3):
        assert reference.mix_share(0, alpha) == pytest.approx(0.5)
        assert reference.mix_share(1, alpha) == 1


@pytest.mark.parametrize("alpha", [0.1, 0.4, 1, 2, 8])
def test_shares_are_quantiles_of_the_beta_distribution(alpha):
    beta = pytest.importorskip("scipy.stats").beta(alpha, alpha)
    for level in (1 / 1024, 0.01, 0.25, 0.6, 0.875, 1023 / 1024):
        at = np.floor(level * 1024) / 1024
        ends = np.array([at, at + 1 / 1024])
        expected = np.interp(level, ends, beta.ppf(0.5 + ends / 2))
        assert reference.mix_share(level, alpha) == pytest.approx(expected, abs=2e-6)
