"""Trained models as functions: images in any form, classes and probabilities."""

import numpy as np
import pytest

from lenet5c import nn
from lenet5c.datasets import Preparation
from lenet5c.errors import RunError
from lenet5c.training import TrainedModel, open_model


@pytest.fixture(scope="module")
def trained():
    return open_model()


@pytest.fixture(scope="module")
def images(mnist_slice):
    return mnist_slice[1].images[:40]


def test_classes_and_probabilities(trained, images, mnist_slice):
    predicted = trained.predict(images)
    assert predicted.shape == (40,) and predicted.dtype == np.int64
    assert (predicted == trained.probabilities(images).argmax(axis=1)).all()
    assert (predicted == mnist_slice[1].labels[:40]).mean() > 0.95
    assert (trained(images) == trained.probabilities(images)).all()


def test_images_of_every_form_are_the_same_images(trained, images):
    expected = trained(images)
    gray = images[:, 0]
    for same in (
        gray,
        gray / 255,
        (gray / 255).astype(np.float32),
        gray.astype(int),
        gray.tolist(),
    ):
        assert (trained(same) == expected).all()
    for one in (images[0], images[:1], gray[0], gray[0].astype(">u2"), gray[0] / 255):
        np.testing.assert_allclose(trained(one), expected[:1], atol=1e-6)
        assert trained.predict(one).shape == (1,)
    mask = images > 127
    assert (trained(mask) == trained(mask * np.uint8(255))).all()


def test_one_color_image_has_its_channels_first():
    trained = TrainedModel(
        nn.LeNet5(2, 3), Preparation((32, 32), "resize"), ("a", "b"), (3, 20, 20)
    )
    image = np.random.default_rng(0).integers(0, 256, (3, 20, 20), np.uint8)
    assert (trained(image) == trained(image[None])).all()
    with pytest.raises(ValueError, match=r"LeNet5, \(N, 3, 20, 20\), got \(20, 20\)$"):
        trained.predict(image[0])


@pytest.mark.parametrize(
    "shape, remedy",
    [
        ((2, 3, 28, 28), ""),
        ((2, 1, 64, 64), "; use lenet5c.datasets.resize(images, (28, 28))"),
        ((2, 28, 28, 1), "; put the channels first: images.transpose(0, 3, 1, 2)"),
        ((784,), ""),
        ((2, 1, 1, 28, 28), ""),
        ((2, 0, 28), ""),
        ((), ""),
    ],
)
def test_other_shapes_are_refused_with_the_one_that_fits(trained, shape, remedy):
    for call in (trained.predict, trained, trained.logits):
        with pytest.raises(ValueError) as caught:
            call(np.zeros(shape, np.uint8))
        assert str(caught.value) == (
            "images must have the shape of the training images of this LeNet5, (N, 1, 28, "
            f"28), got {shape}{remedy}"
        )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.1, 255.0])
def test_floats_are_finite_and_from_0_to_1(trained, images, value):
    pixels = images / 255
    pixels[3, 0, 5, 5] = value
    with pytest.raises(ValueError, match="float64 images must be .*from 0 to 1, got") as caught:
        trained.predict(pixels)
    assert ("finite" in str(caught.value)) == (not np.isfinite(value))


def test_what_are_no_pixels(trained, images):
    for wrong in (None, "7.png", b"\x89PNG", images.astype(complex), images.astype(str), {}):
        with pytest.raises(TypeError, match="images must be an array of uint8, or of float"):
            trained.predict(wrong)
    for wrong in (images.astype(int) - 1, images.astype(np.uint16) + 1):
        with pytest.raises(ValueError, match="must be from 0 to 255, got"):
            trained.predict(wrong)
    with pytest.raises(TypeError, match="without a mask"):
        trained.predict(np.ma.masked_array(images))


def test_none_are_none(trained):
    assert trained.predict(np.zeros((0, 28, 28), np.uint8)).shape == (0,)
    assert trained(np.zeros((0, 1, 28, 28), np.uint8)).shape == (0, 10)


def test_a_model_that_went_wrong_is_told(images):
    broken = open_model()
    broken.model.vector[:] = np.nan
    with pytest.raises(
        RunError,
        match="outputs of the model must be finite, got NaN or infinity for 40 of 40 images",
    ):
        broken.predict(images)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("net", [nn.LeNet5, nn.LeNet5_1998])
def test_a_net_predicts_nothing_of_what_is_no_number(value, net):
    model, x = net(rng=0), np.zeros((3, 1, 32, 32), np.float32)
    assert model.predict(x).shape == (3,)
    x[1, 0, 2, 3] = value
    with pytest.raises(
        ValueError, match=rf"x must be finite numbers, got {value} at \(1, 0, 2, 3\)"
    ):
        model.predict(x)
