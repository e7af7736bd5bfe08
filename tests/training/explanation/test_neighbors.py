"""The nearest images compared with a brute-force search."""

import numpy as np
import pytest
from exported_models import variants
from sequential_models import with_numpy_layers

from lenet5c.datasets import Dataset, Preparation
from lenet5c.recognition.why import Neighbors, nearest
from lenet5c.training import TrainedModel, open_model

VARIANTS = variants()


def brute(neighbors, query, count):
    apart = neighbors.features.astype(np.float64) - query
    distances = np.sqrt((apart**2).sum(axis=1))
    order = np.argsort(distances, kind="stable")[:count]
    return order, distances[order]


def test_as_brute_force(mnist_slice):
    train, test = mnist_slice
    trained = open_model()
    neighbors = Neighbors(trained, train)
    assert neighbors.features.shape == (2000, 84)
    for image in test.images[:5]:
        found = neighbors.find(image, 7)
        query = Neighbors(trained, Dataset(image[None], np.zeros(1, int), 2)).features[0]
        order, distances = brute(neighbors, query, 7)
        np.testing.assert_array_equal(found.indices, order)
        np.testing.assert_allclose(found.distances, distances, rtol=1e-12)
        np.testing.assert_array_equal(found.labels, train.labels[order])


def test_features_far_from_zero_and_close_together():
    """float32 alone would not distinguish them: |f|^2 is large, distances are small."""
    trained = open_model()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 3, (300, 1, 28, 28), np.uint8)
    neighbors = Neighbors(trained, Dataset(images, np.zeros(300, int), 2))
    neighbors.features = (1000 + neighbors.features).astype(np.float32)
    neighbors._squares = np.square(neighbors.features, dtype=np.float64).sum(axis=1)
    query = (neighbors.features[17] + rng.normal(0, 1e-3, 84)).astype(np.float32)
    neighbors._compute = lambda images: query[None]
    order, distances = brute(neighbors, query, 300)
    found = neighbors.find(images[0], 300)
    np.testing.assert_array_equal(found.indices, order)
    assert neighbors.find(images[0], 1).indices == order[0]
    np.testing.assert_allclose(found.distances, distances, rtol=1e-12)


def test_equal_images_come_in_their_order(mnist_slice):
    _, test = mnist_slice
    dataset = test.take([3, 0, 3, 3])
    found = nearest(open_model(), test.images[3], 3, dataset=dataset)
    np.testing.assert_array_equal(found.indices, [0, 2, 3])


@pytest.mark.parametrize("name", ["1998", "padding-dropout", "no-convolution", "batch-norm"])
def test_features_are_the_input_of_the_last_weighted_layer(name, mnist_slice):
    trained = VARIANTS[name]
    images = mnist_slice[1].images[:40]
    images = images[:, :, :10, :9] if name == "no-convolution" else images
    neighbors = Neighbors(trained, Dataset(images, np.zeros(40, int), 2))
    layers = [layer for _, layer in trained.model.flat_items()]
    outputs = layers[-1].forward(neighbors.features)
    expected = trained.logits(images)
    np.testing.assert_allclose(trained.model.logits(outputs), expected, rtol=1e-4, atol=1e-4)


def test_layers_of_ones_own():
    names = tuple("0123456789")
    trained = TrainedModel(with_numpy_layers(), Preparation((16, 16)), names, (1, 16, 16))
    images = np.random.default_rng(0).integers(0, 256, (30, 1, 16, 16), np.uint8)
    neighbors = Neighbors(trained, Dataset(images, np.arange(30) % 10, 10))
    assert neighbors.features.shape == (30, 196)
    assert neighbors.find(images[7], 1).indices == 7


def test_what_is_refused(mnist_slice):
    with pytest.raises(ValueError, match="dataset must have images"):
        Neighbors(VARIANTS["rgb-3-classes-64"], mnist_slice[0])
    with pytest.raises(ValueError, match="count must be"):
        nearest(open_model(), mnist_slice[1].images[0], 0, dataset=mnist_slice[0])
