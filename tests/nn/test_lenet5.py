"""The modern LeNet-5: sizes, options, and invalid settings."""

import inspect
import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from one_test import in_one_test
from tile_layers import normal

from lenet5c import nn
from lenet5c.nn.kind import plain


@in_one_test
@pytest.mark.parametrize(
    "options, num_params, input_shape",
    [
        ({}, 61_706, (1, 32, 32)),
        ({"input_size": 28, "padding": (2, 0)}, 61_706, (1, 28, 28)),
        ({"input_size": 28}, 44_426, (1, 28, 28)),
        ({"in_channels": 3, "num_classes": 7}, 61_751, (3, 32, 32)),
        ({"input_size": (16, 20)}, 17_546, (1, 16, 20)),
        (
            {"activation": "tanh", "pooling": "avg", "input_size": 12, "padding": (2, 0)},
            15_626,
            (1, 12, 12),
        ),
        ({"c5": "conv"}, 61_706, (1, 32, 32)),
        ({"c5": "conv", "input_size": (16, 24)}, 19_466, (1, 16, 24)),
        ({"input_size": 28, "kernel_size": 3, "padding": 1}, 106_154, (1, 28, 28)),
        ({"channels": (12, 32), "units": (64,)}, 312 + 9_632 + 51_264 + 650, (1, 32, 32)),
        ({"channels": [3], "units": [], "num_classes": 2}, 78 + 1_178, (1, 32, 32)),
        (
            {"channels": (4, 8, 16), "kernel_size": (5, 3, 1), "padding": (2, 1, 0)},
            104 + 296 + 144 + 30_840 + 10_164 + 850,
            (1, 32, 32),
        ),
        (
            {"channels": (4, 8), "units": (), "global_pooling": "avg", "input_size": (40, 32)},
            104 + 808 + 90,
            (1, 40, 32),
        ),
        (
            {"channels": (4, 8), "units": (5, 6), "global_pooling": "max", "c5": "conv"},
            104 + 808 + 45 + 36 + 70,
            (1, 32, 32),
        ),
        (
            {"channels": (4,), "units": (), "batch_norm": True, "dropout": 0.5},
            104 + 8 + 7_850,
            (1, 32, 32),
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
    assert model.num_params == num_params == len(model.vector)
    assert model.input_shape == input_shape
    assert model.output_shape(input_shape) == (classes,)
    assert model.forward(normal(2, *input_shape)).shape == (2, classes)
    counterpart = nn.LeNet5(**model.config)
    assert counterpart.config == model.config
    assert_array_equal(counterpart.vector, model.vector)  # the default seed
    assert (nn.LeNet5(**options, rng=1).vector != model.vector).any()


def test_lenet5_is_described_by_all_its_options_in_one_form():
    usual = {
        "channels": (6, 16),
        "units": [120, 84],
        "kernel_size": (5, 5),
        "padding": np.int64(0),
        "pooling": "avg",
        "dropout": 0,
        "batch_norm": False,
    }
    default = nn.LeNet5().config
    assert nn.LeNet5(**usual).config == nn.LeNet5(input_size=(32, 32)).config == default
    assert default.keys() == nn.LeNet5.options.keys() - {"init", "conv_init"}
    model = nn.LeNet5(3, c5="conv", kernel_size=[3, 5], channels=np.array([4, 8]).tolist(), rng=5)
    own = {"c5": "conv", "kernel_size": [3, 5], "channels": [4, 8]}
    assert model.settings() == model.config == default | own | {"num_classes": 3}
    assert json.loads(json.dumps(model.config)) == model.config


def test_lenet5_declares_its_options_once():
    parameters = inspect.signature(nn.LeNet5).parameters
    assert [*parameters] == [*nn.LeNet5.options, "rng"]
    for name, option in nn.LeNet5.options.items():
        assert option.default == plain(parameters[name].default) and option.help
        assert f"\n{name} : {option.kind.form}\n" in nn.LeNet5.__doc__


def test_lenet5_of_any_number_of_layers():
    model = nn.LeNet5(
        *(4, 3, (48, 64)),
        channels=(8, 12, 16),
        units=(20,),
        kernel_size=(5, 3, 3),
        padding=(2, 1, 1),
        global_pooling="max",
        batch_norm=True,
        dropout=0.2,
    )
    assert list(model.layers) == [
        *("conv1", "norm1", "act1", "pool1", "conv2", "norm2", "act2", "pool2"),
        *("conv3", "norm3", "act3", "pool3", "global_pool", "flatten"),
        *("fc1", "norm4", "act4", "dropout4", "fc2"),
    ]
    x = normal(5, 3, 48, 64)
    maps = x
    for name in list(model.layers)[:12]:
        maps = model[name].forward(maps)
    assert maps.shape == (5, 16, 6, 8)
    pooled = model["flatten"].forward(model["global_pool"].forward(maps))
    assert_array_equal(pooled, maps.max(axis=(2, 3)))
    flat = nn.LeNet5(units=(), dropout=0.3)
    assert list(flat.layers)[-4:] == ["pool2", "flatten", "dropout", "fc1"]


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
    conv = ["Conv2d", "BatchNorm2d", "ReLU", "AvgPool2d"]
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


@in_one_test
@pytest.mark.parametrize(
    "options, message",
    [
        ({"activation": "swish"}, "activation must.*relu.*got 'swish'"),
        ({"pooling": "min"}, "pooling must.*max.*got 'min'"),
        ({"input_size": 15}, "input_size must.* 16 .*15"),
        ({"input_size": (32, 11), "padding": (2, 0)}, "input_size.* 12"),
        ({"input_size": (32, 32, 32)}, "input_size"),
        (
            {"padding": (2, 3, 1)},
            "padding must be an integer, or a list with one for each of the 2 conv",
        ),
        ({"padding": 5}, "padding must be less than kernel_size, 5, got 5"),
        ({"kernel_size": (5, 4, 3)}, r"kernel_size must be .* 2 convolutions, got \[5, 4, 3\]"),
        ({"channels": ()}, r"channels must be a list of integers of at least 1, got \[\]"),
        ({"channels": 6}, "channels must be a list .*, got 6"),
        ({"channels": (6, 0)}, r"channels must be a list .*, got \[6, 0\]"),
        ({"channels": [8] * 6}, "input_size must be at least .* 6 convolutions .*; enlarge the im"),
        ({"units": (True,)}, r"units must be a list, possibly empty, of integers .*\[True\]"),
        ({"units": (), "c5": "conv"}, "c5 must be 'linear' when there are no units"),
        ({"global_pooling": "sum"}, "global_pooling must be one of none, max, avg"),
        ({"padding": -1}, "padding"),
        ({"num_classes": 0}, "num_classes"),
        ({"in_channels": 0}, "in_channels"),
        ({"kernel_size": 0}, "kernel_size must.*got 0"),
        ({"kernel_size": 2.5}, "kernel_size must.*got 2.5"),
        ({"kernel_size": 7, "input_size": 21}, "input_size must.* 22 .*21"),
        ({"kernel_size": 3, "padding": (0, 1), "input_size": 5}, "input_size must.* 6 .*5"),
        ({"padding": (0, -1)}, "padding"),
        ({"c5": "convolution"}, "c5 must.*linear, conv.*got 'convolution'"),
        ({"without_activation": "conv2"}, "without_activation must.*list.*got 'conv2'"),
        ({"without_activation": ["conv3"]}, "without_activation must.*conv1, conv2, fc1, fc2"),
        ({"without_activation": ["fc1"], "c5": "conv"}, "conv1, conv2, conv3, fc2"),
        ({"dropout": 1}, "dropout must.*got 1"),
        ({"dropout": -0.5}, "dropout must.*got -0.5"),
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
