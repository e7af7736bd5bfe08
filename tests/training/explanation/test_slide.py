"""A net slid over a long image compared with its results for each window."""

import numpy as np
import pytest
from exported_models import shaken, variants
from sequential_models import with_numpy_layers

from lenet5c import nn
from lenet5c.datasets import Preparation, mnist
from lenet5c.datasets.resampling import resize
from lenet5c.recognition.why import slide
from lenet5c.training import TrainedModel, open_model

VARIANTS = variants()


def long_image(trained, width, seed=0):
    channels, height, _ = trained.image_shape
    return np.random.default_rng(seed).integers(0, 256, (channels, height, width), np.uint8)


def by_windows(trained, framed, starts):
    width = trained.preparation.size[1]
    return trained.logits(np.stack([framed[:, :, at : at + width] for at in starts]))


def frame(trained, image):
    """Return the image with the border of the preparation, which pads."""
    (whole, wide), (_, height, width) = trained.preparation.size, trained.image_shape
    top, left = (whole - height) // 2, (wide - width) // 2
    rest = (whole - height - top, wide - width - left)
    return np.pad(image, ((0, 0), (top, rest[0]), (left, rest[1]))), left


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("stride", [None, 4, 1, 3, 8])
@pytest.mark.parametrize(
    "name", ["relu-avg", "1998", "batch-norm-c5-conv", "padding-dropout", "rgb-3-classes-64"]
)
def test_as_window_by_window(name, stride):
    trained = VARIANTS[name]
    image = long_image(trained, trained.image_shape[2] + 53)
    found = slide(trained, image, stride)
    framed, left = frame(trained, image)
    starts = (found.positions + left).astype(int)
    if stride or name != "padding-dropout":
        step = stride or 4
        expected = np.arange(0, framed.shape[2] - trained.preparation.size[1] + 1, step)
        np.testing.assert_array_equal(starts, expected)
    assert found.width == trained.preparation.size[1]
    assert_close(found.scores, by_windows(trained, framed, starts))


def test_images_that_are_resized():
    trained = VARIANTS["enlarged"]  # of 8 by 11 pixels, for a net of 32 by 32
    image = long_image(trained, 40)
    found = slide(trained, image)
    framed = resize(image, (32, round(40 * 32 / 11)))
    starts = np.arange(0, framed.shape[2] - 31, 4)
    assert_close(found.scores, by_windows(trained, framed, starts))
    np.testing.assert_allclose(found.positions, starts * 40 / framed.shape[2])
    assert found.width == pytest.approx(11, abs=0.1)


def test_layers_of_ones_own_and_residuals():
    names = tuple("0123456789")
    residual = nn.Sequential(
        nn.Conv2d(1, 4, 3, rng=0),
        nn.MaxPool2d(2),
        nn.Residual(nn.Conv2d(4, 4, 3, padding=1, rng=1), nn.ReLU()),
        nn.GlobalAvgPool2d(),
        nn.Flatten(),
        nn.Linear(4, 10, rng=2),
    )
    for model in (with_numpy_layers(), residual):
        trained = TrainedModel(shaken(model), Preparation((16, 16)), names, (1, 16, 16))
        image = long_image(trained, 40)
        found = slide(trained, image, 2)
        starts = found.positions.astype(int)
        assert len(starts) == 13
        assert_close(found.scores, by_windows(trained, image, starts))


def test_digits_in_a_row():
    """Windows over whole digits have the predictions of the digits."""
    test = mnist()[1]
    digits = test.images[:6, 0]
    image = np.concatenate([np.pad(digit, ((0, 0), (0, 4))) for digit in digits], axis=1)
    found = slide(open_model(), image)
    at = np.flatnonzero(found.positions % 32 == 30)  # windows of 32 begin 2 before each digit
    middles = found.scores[at].argmax(axis=1)
    np.testing.assert_array_equal(middles, test.labels[:6])


def test_another_height_is_resized():
    trained, image = open_model(), long_image(open_model(), 100)
    tall = np.repeat(np.repeat(image, 2, axis=1), 2, axis=2)
    half, whole = slide(trained, image), slide(trained, tall)
    assert_close(whole.scores, slide(trained, resize(tall, (28, 100))).scores)
    np.testing.assert_array_equal(whole.positions, 2 * half.positions)


def test_what_is_refused():
    with pytest.raises(ValueError, match="subtracts a mean image"):
        slide(VARIANTS["mean-image"], np.zeros((28, 100), np.uint8))
    trained = open_model()
    with pytest.raises(ValueError, match="at least 28 pixels wide"):
        slide(trained, np.zeros((28, 27), np.uint8))
    with pytest.raises(ValueError, match="image must have 1 channels"):
        slide(trained, np.zeros((3, 28, 100), np.uint8))
    with pytest.raises(ValueError, match="stride must be"):
        slide(trained, np.zeros((28, 100), np.uint8), 0)
