"""Positions and sizes of Grad-CAM maps, layers in residual blocks, and invalid arguments."""

import numpy as np
import pytest
from explained_models import of_net, with_residuals
from exported_models import images, variants

from lenet5c import nn, reference
from lenet5c.recognition.why import grad_cam
from lenet5c.training import TrainedModel
from lenet5c.training.explanation.layers import (
    find_places,
    list_layers,
    open_layer,
    pull_back,
    run_layers,
)

VARIANTS = variants()


def test_places_are_the_middle_of_what_a_value_sees():
    model = nn.Sequential(
        {
            "a": nn.Conv2d(1, 1, 5, padding=1, rng=0),
            "b": nn.AvgPool2d(2),
            "c": nn.Conv2d(1, 1, (3, 1), stride=(2, 1), dilation=(2, 1), rng=1),
            "d": nn.Subsample2d(1, 2, rng=2),
        }
    )
    for name, array in model.params.items():
        array[...] = name.endswith("weight")
    items = list_layers(model)
    for number, place in enumerate(find_places(items, (1, 40, 36)), start=1):
        values = run_layers(items[:number], np.zeros((1, 1, 40, 36), np.float32))
        at = tuple(side // 2 for side in values[-1].shape[2:])
        dy = np.zeros_like(values[-1])
        dy[0, 0, *at] = 1
        seen = np.nonzero(pull_back(items[:number], values, dy)[0, 0])
        middle = [(each.min() + each.max()) / 2 for each in seen]
        expected = [a + b * i for a, b, i in zip(place.start, place.step, at, strict=True)]
        assert middle == pytest.approx(expected), place.name


def test_a_map_lies_over_what_it_sees():
    """A net that responds to one spot of ink has its map there."""
    model = nn.LeNet5(rng=0)
    for name, array in model.params.items():
        array[...] = name.endswith("weight")
    trained = TrainedModel(model, VARIANTS["relu-avg"].preparation, tuple("0123456789"))
    image = np.zeros((28, 28), np.uint8)
    image[12:15, 13:16] = 255
    for layer in (None, "conv1", "pool2"):
        y, x = np.indices((28, 28))
        cam = grad_cam(trained, image, 0, layer).astype(float)
        cam -= cam.min()
        middle = (cam * y).sum() / cam.sum(), (cam * x).sum() / cam.sum()
        assert middle == pytest.approx((13, 14), abs=0.5), layer


def test_layers_within_residual_ones():
    trained = of_net(with_residuals())
    model = trained.model
    x = trained.preparation(images(trained, 1))
    dy = np.eye(1, 10, 3, dtype=np.float32)
    for name in ("conv", "block.layers.0", "down.layers.0", "down.shortcut"):
        maps, gradient = open_layer(list_layers(model), name, x, dy)
        assert maps.shape == gradient.shape
        # A bias adds to all places of its map.
        bias, slopes = model.params[f"{name}.bias"], []
        for channel in range(len(bias)):
            values = []
            for step in (0.01, -0.02):
                bias[channel] += step
                values.append(model.forward(x)[0, 3])
            bias[channel] += 0.01
            slopes.append((values[0] - values[1]) / 0.02)
        expected = gradient[0].sum(axis=(1, 2))
        np.testing.assert_allclose(slopes, expected, atol=0.03 * np.abs(expected).max())
        assert grad_cam(trained, images(trained, 1)[0], 3, name).shape == (16, 16)
    # The last layer with a convolution is the residual one, whose activation follows.
    maps, gradient = open_layer(list_layers(model), "act", x, dy)
    found = grad_cam(trained, images(trained, 1)[0], 3, enlarge=False)
    np.testing.assert_allclose(found, reference.grad_cam(maps[0], gradient[0]), rtol=1e-5)


def test_what_is_refused():
    trained = VARIANTS["relu-avg"]
    image = images(trained, 1)[0]
    for layer in ("conv3", "fc1", "flatten", ""):
        with pytest.raises(ValueError, match=r"conv1, act1, pool1, conv2, act2, pool2, got"):
            grad_cam(trained, image, layer=layer)
    trained = VARIANTS["no-convolution"]
    image = images(trained, 1)[0]
    with pytest.raises(ValueError, match="model must have a convolution"):
        grad_cam(trained, image)
    assert grad_cam(trained, image, layer="2").any()
