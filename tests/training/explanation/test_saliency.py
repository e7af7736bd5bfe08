"""Saliency of models not available in PyTorch, its kinds, and invalid arguments."""

import copy

import numpy as np
import pytest
from explained_models import of_net, with_residuals
from exported_models import images, variants
from sequential_models import ending_with_numpy, starting_with_numpy, with_numpy_layers

from lenet5c import nn
from lenet5c.recognition.why import saliency
from lenet5c.training import open_model
from lenet5c.training.explanation.pixels import LevelPass

VARIANTS = variants()


def slopes(trained, image, label, places):
    """Central differences of the logit through the preparation, without its rounding."""
    way = LevelPass(trained, image.shape[1:])
    levels = np.repeat(image[None].astype(np.float64), 2 * len(places), axis=0)
    rows = np.arange(len(places))
    for sign in (0, 1):
        levels[2 * rows + sign, *zip(*places, strict=True)] += (0.5, -0.5)[sign]
    logits = way.logits(levels)[:, label].astype(np.float64)
    return logits[0::2] - logits[1::2]


@pytest.mark.parametrize("make", [with_residuals, lambda: with_residuals(own=True)])
def test_slopes_of_residual_layers(make):
    trained = of_net(make())
    (image,) = images(trained, 1)
    found = saliency(trained, image, 3)
    places = [(0, 2, 3), (0, 8, 8), (0, 15, 11)]
    expected = slopes(trained, image, 3, places)
    got = [found[place] for place in places]
    np.testing.assert_allclose(got, expected, atol=0.05 * np.abs(found).max())


@pytest.mark.parametrize("make", [with_numpy_layers, starting_with_numpy, ending_with_numpy])
def test_a_model_with_layers_of_ones_own_stays_as_it_was(make):
    trained = of_net(make())
    before = copy.deepcopy(trained.model)
    (image,) = images(trained, 1)
    assert saliency(trained, image).shape == (1, 16, 16)
    for kind in ("params", "grads", "buffers"):
        for name, array in getattr(before, kind).items():
            np.testing.assert_array_equal(getattr(trained.model, kind)[name], array)
    states = [layer.rng_state for layer in trained.model.random_layers().values()]
    assert states == [layer.rng_state for layer in before.random_layers().values()]


def test_a_pass_between_forward_and_backward_changes_nothing():
    model = nn.LeNet5(batch_norm=True, dropout=0.5, rng=0)
    x, dy = np.ones((7, 1, 32, 32), np.float32), np.ones((7, 10), np.float32)
    counterpart = copy.deepcopy(model)
    for each in (model, counterpart):
        each.forward(x, training=True)
    model.input_gradient(x[:2], dy[:2])
    np.testing.assert_array_equal(model.backward(dy), counterpart.backward(dy))
    np.testing.assert_array_equal(model.grad_vector, counterpart.grad_vector)


def test_kinds_are_as_their_definitions():
    trained, image = VARIANTS["relu-avg"], images(VARIANTS["relu-avg"], 1)[0]
    gradient = saliency(trained, image)
    np.testing.assert_array_equal(saliency(trained, image, kind="absolute"), np.abs(gradient))
    times = saliency(trained, image, kind="times_input")
    np.testing.assert_allclose(times, gradient * image, rtol=1e-5, atol=1e-6)


def test_smoothgrad_is_the_mean_gradient_of_noisy_images():
    trained, image = VARIANTS["sigmoid-c5-conv"], images(VARIANTS["sigmoid-c5-conv"], 1)[0]
    found = saliency(trained, image, 2, smooth=70, noise=0.2, seed=5)
    rng, way = np.random.default_rng(5), LevelPass(trained, image.shape[1:])
    dlogits, total = np.eye(10, dtype=np.float32)[[2]], 0
    for _ in range(70):
        noisy = image + 0.2 * np.ptp(image) * rng.standard_normal(image.shape)
        total = total + way.gradient(noisy[None], dlogits)[0] / 70
    np.testing.assert_allclose(found, total, rtol=1e-4, atol=1e-5 * np.abs(total).max())


@pytest.mark.parametrize("name", VARIANTS)
def test_levels_are_prepared_as_images(name):
    trained = VARIANTS[name]
    batch = images(trained, 3)
    exact = trained.preparation(batch)
    levels = LevelPass(trained, batch.shape[2:]).prepare(batch)
    # Where images are resized, the preparation rounds them.
    rounding = 0.501 * trained.preparation.scale if trained.preparation.fit == "resize" else 1e-6
    np.testing.assert_allclose(levels, exact, atol=max(rounding, 2e-6 * np.abs(exact).max()))


def test_what_is_refused():
    trained = open_model()
    image = np.zeros((28, 28), np.uint8)
    for arguments, words in [
        ({"label": 10}, "label must be a class of the model, 0 to 9"),
        ({"label": "ten"}, "got 'ten'"),
        ({"label": True}, "label must be"),
        ({"kind": "signed"}, "kind must be"),
        ({"smooth": -1}, "smooth and noise"),
    ]:
        with pytest.raises(ValueError, match=words):
            saliency(trained, image, **arguments)
    with pytest.raises(ValueError, match="image must be one image"):
        saliency(trained, np.zeros((2, 1, 28, 28), np.uint8))
    assert (saliency(trained, image, "7") == saliency(trained, image, 7)).all()
