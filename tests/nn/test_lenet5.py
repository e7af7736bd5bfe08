"""LeNet-5 of today: sizes, options, and what it refuses."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from tile_layers import normal

from lenet5c import nn


@pytest.mark.parametrize(
    "options, num_params, input_shape",
    [
        ({}, 61_706, (1, 32, 32)),
        ({"input_size": 28, "padding": 2}, 61_706, (1, 28, 28)),
        ({"input_size": 28}, 44_426, (1, 28, 28)),
        ({"in_channels": 3, "num_classes": 7}, 61_751, (3, 32, 32)),
        ({"input_size": (16, 20)}, 17_546, (1, 16, 20)),
        (
            {"activation": "tanh", "pooling": "avg", "input_size": 12, "padding": 2},
            15_626,
            (1, 12, 12),
        ),
        ({"c5": "conv"}, 61_706, (1, 32, 32)),
        ({"c5": "conv", "input_size": (16, 24)}, 19_466, (1, 16, 24)),
        (
            {"input_size": 28, "kernel_size": 3, "padding": 1, "conv2_padding": 1},
            106_154,
            (1, 28, 28),
        ),
        ({"kernel_size": 1, "input_size": 4}, 13_178, (1, 4, 4)),
        ({"without_activation": ["fc2", "conv2"]}, 61_706, (1, 32, 32)),
        ({"dropout": 0.5}, 61_706, (1, 32, 32)),
        ({"batch_norm": True}, 62_158, (1, 32, 32)),
        (
            {"batch_norm": True, "c5": "conv", "dropout": 0.1, "without_activation": ["conv3"]},
            62_158,
            (1, 32, 32),
        ),
    ],
    ids=str,
)
def test_lenet5(options, num_params, input_shape):
    model = nn.LeNet5(**options)
    classes = options.get("num_classes", 10)
    assert model.num_params == nn.LeNet5.count_params(**options) == num_params == len(model.vector)
    assert model.input_shape == input_shape
    assert model.output_shape(input_shape) == (classes,)
    assert model.forward(normal(2, *input_shape)).shape == (2, classes)
    twin = nn.LeNet5(**model.config)
    assert twin.config == model.config
    assert_array_equal(twin.vector, model.vector)  # the default seed
    assert (nn.LeNet5(**options, rng=1).vector != model.vector).any()


def test_lenet5_buffers_are_counted_without_making_it():
    for options in (
        {},
        {"batch_norm": True},
        {"batch_norm": True, "c5": "conv"},
        {"num_classes": 3, "dropout": 0.2},
    ):
        assert nn.LeNet5.count_buffers(**options) == sum(
            a.size for a in nn.LeNet5(**options).buffers.values()
        )


def test_lenet5_with_usual_options_is_described_as_ever():
    """So that older versions can read its files."""
    usual = {
        "kernel_size": 5,
        "conv2_padding": 0,
        "c5": "linear",
        "without_activation": [],
        "dropout": 0,
        "batch_norm": False,
    }
    names = ["num_classes", "in_channels", "input_size", "padding", "activation", "pooling"]
    assert list(nn.LeNet5(**usual).config) == list(nn.LeNet5().config) == names
    assert nn.LeNet5(c5="conv").config["c5"] == "conv"


def test_lenet5_c5_is_the_same_as_a_convolution():
    linear, conv = nn.LeNet5(rng=3), nn.LeNet5(rng=3, c5="conv")
    assert_array_equal(linear.vector, conv.vector)
    assert isinstance(conv["conv3"], nn.Conv2d) and conv["conv3"].output_shape((16, 5, 5)) == (
        120,
        1,
        1,
    )
    x, dy = normal(20, 1, 32, 32), normal(20, 10, seed=1)
    y = [model.forward(x, training=True) for model in (linear, conv)]
    np.testing.assert_allclose(y[0], y[1], rtol=0, atol=1e-5 * abs(y[0]).max())
    dx = [model.backward(dy) for model in (linear, conv)]
    np.testing.assert_allclose(dx[0], dx[1], rtol=0, atol=1e-5 * abs(dx[0]).max())
    gradients = [model.grad_vector for model in (linear, conv)]
    np.testing.assert_allclose(*gradients, rtol=0, atol=1e-5 * abs(gradients[0]).max())


def test_lenet5_layers_without_activation():
    model = nn.LeNet5(without_activation=["conv2", "fc2"])
    assert [name for name in model.layers if name.startswith("act")] == ["act1", "act3"]
    x = normal(4, 1, 32, 32)
    by_hand = x
    for name in (
        "conv1",
        "act1",
        "pool1",
        "conv2",
        "pool2",
        "flatten",
        "fc1",
        "act3",
        "fc2",
        "fc3",
    ):
        by_hand = model[name].forward(by_hand)
    np.testing.assert_allclose(model.forward(x), by_hand, rtol=1e-5, atol=1e-5)


def test_lenet5_normalizes_before_its_activations():
    model = nn.LeNet5(batch_norm=True, dropout=0.5)
    kinds = [type(layer).__name__ for layer in model.layers.values()]
    conv = ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"]
    linear = ["Linear", "BatchNorm1d", "ReLU", "Dropout"]
    assert kinds == [*conv, *conv, "Flatten", *linear, *linear, "Linear"]


def test_lenet5_dropout_follows_its_seed():
    x = normal(6, 1, 32, 32)
    y = [nn.LeNet5(dropout=0.5, rng=seed).forward(x, training=True) for seed in (1, 1, 2)]
    assert_array_equal(y[0], y[1])
    model = nn.LeNet5(dropout=0.5, rng=1)
    assert (model.forward(x, training=True) != model.forward(x, training=True)).any()
    assert [model[name].passes for name in ("dropout3", "dropout4")] == [2, 2]
    assert model["dropout3"].seed != model["dropout4"].seed
    assert_array_equal(
        model.forward(x), nn.LeNet5(rng=1).forward(x)
    )  # weights are drawn before the seeds of dropout


@pytest.mark.parametrize(
    "options, message",
    [
        ({"activation": "swish"}, "activation must.*relu.*got 'swish'"),
        ({"pooling": "min"}, "pooling must.*max.*got 'min'"),
        ({"input_size": 15}, "input_size must.* 16 .*15"),
        ({"input_size": (32, 11), "padding": 2}, "input_size.* 12"),
        ({"padding": (2, 3)}, "padding"),
        ({"padding": -1}, "padding"),
        ({"num_classes": 0}, "num_classes"),
        ({"in_channels": 0}, "in_channels"),
        ({"kernel_size": 0}, "kernel_size must.*got 0"),
        ({"kernel_size": 2.5}, "kernel_size must.*got 2.5"),
        ({"kernel_size": 7, "input_size": 21}, "input_size must.* 22 .*21"),
        ({"kernel_size": 3, "conv2_padding": 1, "input_size": 5}, "input_size must.* 6 .*5"),
        ({"conv2_padding": -1}, "conv2_padding"),
        ({"c5": "convolution"}, "c5 must.*linear, conv.*got 'convolution'"),
        ({"without_activation": "conv2"}, "without_activation must.*list.*got 'conv2'"),
        ({"without_activation": ["conv3"]}, "without_activation must.*conv1, conv2, fc1, fc2"),
        ({"without_activation": ["fc1"], "c5": "conv"}, "conv1, conv2, conv3, fc2"),
        ({"dropout": 1}, "p must.*got 1"),
        ({"dropout": -0.5}, "p must.*got -0.5"),
        ({"batch_norm": 1}, "batch_norm must.*got 1"),
        ({"init": "xavier"}, "init must.*got 'xavier'"),
        ({"conv_init": 0.5}, "init must.*got 0.5"),
        ({"without_activation": 3}, "without_activation must.*got 3"),
        ({"without_activation": [["fc1"]]}, "without_activation must.*got"),
        ({"pooling": []}, "pooling must.*got"),
    ],
    ids=str,
)
def test_lenet5_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        nn.LeNet5(**options)
