"""Paper with shadows, whose soft edges are distinguished from strokes."""

import numpy as np
import pytest
from drawn.hard_pictures import hard_picture

from lenet5c.datasets import mnist
from lenet5c.recognition import predict
from lenet5c.recognition.paper import SOFT, _measure_edge, flatten_paper, measure_margin


def shadow(shape, middle, angle, width=0.06):
    """Return the light near a soft shadow, 0.55 to 1."""
    y, x = np.linspace(0, 1, shape[0])[:, np.newaxis], np.linspace(0, 1, shape[1])
    along = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
    return 1 - 0.45 / (1 + np.exp(-(along - middle) / width))


def write(digit, shape, top, left, light=1.0):
    """Return a picture of an MNIST digit, enlarged four times, on paper with this light."""
    ink = np.zeros(shape)
    large = np.kron(digit, np.ones((4, 4))) / 255
    rows, columns = (np.flatnonzero(large.any(axis=axis)) for axis in (1, 0))
    large = large[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    ink[top : top + len(large), left : left + large.shape[1]] = large
    return np.clip((235 - 180 * ink) * light + 0.5, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def digits():
    return mnist()[1].take(np.arange(20))


def test_ink_within_a_shadow_is_dark(digits):
    light = shadow((216, 432), -0.15, 1.5)
    pictures = [write(image, (216, 432), 100, 110, light) for image in digits.images[:, 0]]
    assert all(flatten_paper(picture)[1] for picture in pictures)
    labels = [reading.label for reading in predict(pictures)]
    assert sum(a == str(b) for a, b in zip(labels, digits.labels, strict=True)) >= 19


def test_light_ink_within_a_shadow_is_light(digits):
    light = shadow((216, 432), -0.15, 1.5)
    for image in digits.images[:8, 0]:
        picture = 255 - write(image, (216, 432), 100, 110)
        assert not flatten_paper((picture * light).astype(np.uint8))[1]


# Digits at the edge, and in a shadow's dark half, that were lost.
@pytest.mark.parametrize(
    "seed", [(11, 121), (11, 609), (11, 1245), (11, 1354), (12, 52), (12, 948)]
)
def test_digits_in_photographs_with_a_shadow(seed):
    train, _ = mnist()
    rng = np.random.default_rng([seed[0], 1, seed[1]])
    j = 55_000 + int(rng.integers(5000))
    content, _, traits = hard_picture(train.images[j, 0], rng)
    assert traits["light"] == "shadow"
    assert predict(content).label == str(train.labels[j])


def test_a_soft_edge_is_no_stroke():
    soft, sharp = (
        (235 * shadow((90, 160), 0.0, 0.3, width)).astype(np.uint8) for width in (0.06, 0.002)
    )
    widths = [_measure_edge(plane, plane < 180) / 160 for plane in (soft, sharp)]
    assert widths[0] > 2 * SOFT and widths[1] < SOFT / 2


def test_paper_beside_a_hard_shadow_is_no_digit():
    """The light paper is as narrow as a stroke, and connected."""
    picture = np.full((150, 105), 240, np.uint8)
    picture[100:] = 100
    y, x = np.mgrid[:150, :105]
    far = np.hypot((y - 70) / 1.6, x - 45)
    picture[(far > 12) & (far < 17)] = 30
    assert measure_margin(picture) is None
    # Cut off, it is a digit that fills the picture.
    assert measure_margin(picture[43:97, 28:62]) is not None
