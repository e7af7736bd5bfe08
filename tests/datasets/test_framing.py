"""Framing of digits, measured from images."""

import json

import numpy as np
import pytest

from lenet5c.datasets import mnist
from lenet5c.datasets.framing import MNIST, Framing, measure_framing
from lenet5c.datasets.resampling import fit_size, resize

IMAGES = mnist()[0].images[:400]
COLORS = ((250, 230, 150), (30, 60, 140))


def scale(image, box, size, place=None):
    """Return a digit whose longer side is `box`, in the middle of an image, or at a place."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    crop = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    small = resize(crop, fit_size(crop.shape, (box, box)) if isinstance(box, int) else box)
    top, left = place or ((size - side) // 2 for side in small.shape)
    made = np.zeros((size, size), np.uint8)
    made[top : top + small.shape[0], left : left + small.shape[1]] = small
    return made


def scaled(*form):
    return np.stack([scale(image, *form) for image in IMAGES[:, 0]])[:, np.newaxis]


def colored(paper, ink):
    share = IMAGES / 255
    planes = [p + (i - p) * share for p, i in zip(paper, ink, strict=True)]
    return (np.concatenate(planes, axis=1) + 0.5).astype(np.uint8)


def test_mnist_has_its_form():
    assert measure_framing(IMAGES) is MNIST
    assert measure_framing(np.repeat(IMAGES, 3, axis=1)) is MNIST
    assert all(MNIST.matches(image) for image in IMAGES)


@pytest.mark.parametrize(
    ("images", "paper", "ink", "box", "center", "place"),
    [
        (255 - IMAGES, (255,), (3,), 20, "mass", 14.5),
        (40 + IMAGES // 2, (40,), (166,), 20, "mass", 14.5),
        (scaled(16, 16), (0,), (249,), 16, "box", 8.0),
        (255 - scaled(20, 20), (255,), (3,), 20, "box", 10.0),
        (np.pad(IMAGES, ((0, 0), (0, 0), (10, 10), (10, 10))), (0,), (252,), 20, "mass", 24.5),
        (scaled(12, 48), (0,), (223,), 12, "box", 24.0),
        (resize(IMAGES, (56, 56)), (0,), (251,), 40, "mass", 29.0),
        (colored(*COLORS), *COLORS, 20, "mass", 14.5),
    ],
    ids=["inverted", "gray", "16", "20", "small", "smaller", "large", "colored"],
)
def test_what_is_measured(images, paper, ink, box, center, place):
    made, side = measure_framing(images), images.shape[3]
    assert np.abs(np.subtract(made.paper, paper)).max() <= 2
    assert np.abs(np.subtract(made.ink, ink)).max() <= 6
    assert np.abs(np.multiply(made.box, side) - box).max() <= 1.1
    assert np.abs(np.multiply(made.place, side) - place).max() <= 0.3
    assert made.center == center and made.dark == (sum(ink) < sum(paper))
    assert not (made.stretched or made.binary or made.varied)
    assert np.mean([made.matches(image) for image in images]) >= 0.98
    assert not made.matches(255 - images[0]) and not made.matches(np.full_like(images[0], paper[0]))
    assert Framing.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_stretched_shifted_bold_and_binary_digits():
    stretched = np.stack([scale(image, (18, 18), 20) for image in IMAGES[:, 0]])[:, np.newaxis]
    made = measure_framing(stretched)
    assert made.stretched and made.box_size((20, 20)) == (18, 18)
    made = measure_framing(scaled(20, 40, (2, 3)))
    assert made.center == "box" and made.box_size((40, 40)) == (20, 20)
    assert made.place[0] * 40 == pytest.approx(12, abs=0.5) and made.place[1] * 40 < 12
    bold = np.maximum(IMAGES, np.roll(IMAGES, 1, axis=3))
    bold = np.maximum(bold, np.roll(bold, 1, axis=2))
    made = measure_framing(255 - bold)
    assert made.stroke[0] < MNIST.stroke[0] and made.stroke[1] < 9
    made = measure_framing(np.where(IMAGES >= 128, np.uint8(255), np.uint8(0)))
    assert made.binary
    assert set(np.unique(made.color(np.arange(256, dtype=np.uint8)[np.newaxis], 1))) == {0, 255}


def test_digits_of_many_colors_have_those_of_one():
    mixed = np.where((np.arange(400) % 2 == 0)[:, None, None, None], IMAGES, 255 - IMAGES)
    made = measure_framing(mixed)
    assert made.varied and abs(made.ink[0] - made.paper[0]) > 200
    assert all(made.matches(image) for image in mixed)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_are_no_digits_on_a_plain_ground(channels):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (100, channels, 32, 32), dtype=np.uint8)
    assert measure_framing(noise) is None
    slopes = np.cumsum(rng.integers(0, 8, (100, channels, 32, 32)), axis=3).astype(np.uint8)
    assert measure_framing(slopes) is None
    assert measure_framing(np.zeros_like(noise)) is None
    things = np.zeros_like(noise)  # of full area, not of lines
    for image in things:
        top, left, bottom, right = (*rng.integers(2, 10, 2), *rng.integers(22, 30, 2))
        image[:, top:bottom, left:right] = rng.integers(100, 255, (channels, 1, 1))
    assert measure_framing(things) is None
    assert measure_framing(noise[:1, :, :4, :4]) is None


def test_a_form_gives_ink_its_colors():
    ink = np.array([[0, 255, 128]], np.uint8)
    assert Framing((255,), (5,)).color(ink, 1).tolist() == [[[255, 5, 130]]]
    assert Framing((255,), (5,)).color(ink, 3).tolist() == 3 * [[[255, 5, 130]]]
    assert Framing(*COLORS).color(ink, 3)[..., :2].tolist() == [
        [[250, 30]],
        [[230, 60]],
        [[150, 140]],
    ]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"paper": [0.0]}, "paper must be one or three ints"),
        ({"paper": [256]}, "paper must be one or three ints"),
        ({"ink": [255, 255]}, "ink must be one or three ints"),
        ({"ink": [0]}, "a different color"),
        ({"ink": [1, 2, 3]}, "as many channels"),
        ({"box": [0.5, 1.5]}, "box must be two numbers from 0.001 to 1"),
        ({"box": 1}, "box must be a pair"),
        ({"place": ["a", 0]}, "place must be a float"),
        ({"place": [float("nan"), 0]}, "place must be finite"),
        ({"stroke": [9, 5]}, "stroke must be .smallest, largest."),
        ({"center": "top"}, "center must be"),
        ({"binary": 1}, "binary must be a bool"),
        ({"other": 1}, "must have the keys"),
    ],
)
def test_what_is_no_form(values, words):
    with pytest.raises((TypeError, ValueError), match=words):
        Framing.from_dict(MNIST.to_dict() | values)
