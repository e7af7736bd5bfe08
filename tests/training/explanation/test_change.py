"""The smallest change changes the prediction, in gray levels, and is smaller than DeepFool's."""

import numpy as np
import pytest
from exported_models import images, shaken, variants
from sequential_models import with_numpy_layers

from lenet5c import nn, reference
from lenet5c.datasets import Preparation, mnist
from lenet5c.recognition.why import smallest_change
from lenet5c.training import TrainedModel, open_model
from lenet5c.training.explanation.change import boundary_step
from lenet5c.training.explanation.pixels import LevelPass

VARIANTS = variants()
SOME = [0, 4, 11]


@pytest.mark.parametrize("margin", [-40.0, 3.0, 0.0, -1e7])
def test_boundary_step_is_as_its_counterpart(margin):
    rng = np.random.default_rng(0)
    slope, x = rng.standard_normal((5, 30)), rng.uniform(0, 255, (5, 30))
    slope[1, :10] = 0
    x[2], x[3] = 0, 255
    slope[4] = 0
    found = boundary_step(slope, np.full(5, margin), x)
    for row, each, start in zip(found, slope, x, strict=True):
        expected = reference.boundary_step(each, margin, start)
        np.testing.assert_allclose(row, expected, atol=1e-8)


def deepfool(trained, image, label=None, most=100):
    """DeepFool with the range of pixels, step by step, overshooting by 2 %."""
    way, before = LevelPass(trained, image.shape[1:]), trained.predict(image)[0]
    x = image.astype(np.float64)
    classes = np.eye(len(trained.class_names))
    for _ in range(most):
        overshot = np.clip(np.rint(image + 1.02 * (x - image)), 0, 255).astype(np.uint8)
        if trained.predict(overshot)[0] != before:
            return np.linalg.norm(overshot.astype(float) - image)
        batch = np.repeat(x[None], len(classes), axis=0)
        gradients = way.gradient(batch, classes).reshape(len(classes), -1)
        step, _ = reference.deepfool_step(way.logits(x[None])[0], gradients, before)
        x = np.clip(x + step.reshape(x.shape), 0, 255)
    return np.inf


def test_smaller_than_deepfool():
    trained, test = open_model(), mnist()[1]
    norms = []
    for image in test.images[SOME]:
        change = smallest_change(trained, image)
        assert trained.predict(change.image)[0] == change.label != change.before
        assert change.before == trained.predict(image)[0]
        difference = change.image.astype(int) - image
        np.testing.assert_array_equal(change.difference, difference)
        assert change.norm == pytest.approx(np.linalg.norm(difference))
        assert change.largest == np.abs(difference).max()
        assert change.pixels == (difference != 0).sum()
        norms.append((change.norm, deepfool(trained, image)))
    ours, naive = np.transpose(norms)
    assert (ours <= naive).all() and ours.mean() < 0.9 * naive.mean()


def test_each_label_can_be_wanted_and_the_nearest_is_the_default():
    trained, image = open_model(), mnist()[1].images[SOME[0]]
    to = {}
    for label in set(range(10)) - {7}:
        to[label] = smallest_change(trained, image, label)
        assert to[label].label == label == trained.predict(to[label].image)[0]
    nearest = smallest_change(trained, image)
    assert nearest.norm <= min(change.norm for change in to.values()) * 1.01
    named = smallest_change(trained, image, str(nearest.label))
    assert named.norm == pytest.approx(nearest.norm, rel=0.01)


@pytest.mark.parametrize("name", VARIANTS)
def test_any_model_and_preparation(name):
    trained = VARIANTS[name]
    change = smallest_change(trained, images(trained, 1)[0])
    if change is None:  # of a net that has one answer to everything
        assert len(set(trained.predict(images(trained, 500)))) == 1
    else:
        assert trained.predict(change.image)[0] == change.label


def test_many_classes_and_layers_of_ones_own():
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 40, rng=0))
    names = tuple(f"class {i}" for i in range(40))
    for net, classes in ((model, names), (with_numpy_layers(), names[:10])):
        trained = TrainedModel(shaken(net), Preparation((16, 16)), classes, (1, 16, 16))
        image = np.random.default_rng(1).integers(0, 256, (16, 16), np.uint8)
        change = smallest_change(trained, image)
        assert trained.predict(change.image)[0] == change.label


def test_of_a_linear_net_it_is_the_distance_to_the_plane():
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 2, rng=0))
    trained = TrainedModel(model, Preparation((28, 28)), ("a", "b"))
    image = np.full((28, 28), 128, np.uint8)
    first, second = trained.logits(image)[0]
    slope = np.subtract(*model.params["1.weight"]) / 255
    distance = abs(first - second) / np.linalg.norm(slope)
    assert smallest_change(trained, image).norm == pytest.approx(distance, rel=0.05)


def test_none_is_found_where_nothing_changes_the_answer():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, rng=0))
    model.params["1.weight"][...] = 0
    trained = TrainedModel(model, Preparation((4, 4)), ("a", "b"))
    assert smallest_change(trained, np.zeros((4, 4), np.uint8)) is None


def test_what_is_refused():
    trained, image = open_model(), mnist()[1].images[0]
    with pytest.raises(ValueError, match="differ from the predicted class, got '7'"):
        smallest_change(trained, image, "7")
    with pytest.raises(ValueError, match="steps must be"):
        smallest_change(trained, image, steps=0)
