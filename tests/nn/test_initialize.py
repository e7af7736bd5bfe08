"""Initializers: variance, bounds, shape, and reproducibility."""

from math import sqrt

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lenet5c import nn
from lenet5c.nn import initialize

FAN_IN, FAN_OUT = 300, 200
VARIANCES = {
    "he_normal": 2 / FAN_IN,
    "he_uniform": 2 / FAN_IN,
    "glorot_normal": 2 / (FAN_IN + FAN_OUT),
    "glorot_uniform": 2 / (FAN_IN + FAN_OUT),
    "lecun_normal": 1 / FAN_IN,
    "lecun_uniform": 1 / FAN_IN,
}
NUMBERS = 200_000


def test_all_are_tested():
    assert VARIANCES.keys() == initialize.NAMED.keys()


def check_moments(weights, variance, kurtosis):
    """Mean and variance within five standard deviations of their estimates."""
    assert weights.dtype == np.float32
    weights = weights.astype(np.float64)
    assert abs(weights.mean()) < 5 * sqrt(variance / weights.size)
    assert abs(weights.var() / variance - 1) < 5 * sqrt((kurtosis - 1) / weights.size)


@pytest.mark.parametrize("name", VARIANCES)
def test_moments(name):
    weights = initialize.draw(name, 0, (NUMBERS,), FAN_IN, FAN_OUT)
    uniform = name.endswith("uniform")
    check_moments(weights, VARIANCES[name], 9 / 5 if uniform else 3)
    largest = abs(weights).max() / sqrt(VARIANCES[name])
    if uniform:
        # It ends at sqrt(3) standard deviations, near which the largest of so many is sure to lie.
        assert 0.999 * sqrt(3) < largest <= sqrt(3) * (1 + 1e-6)
    else:
        assert 4 < largest < 7


@pytest.mark.parametrize(
    "init, variance, kurtosis",
    [(initialize.normal(0.3), 0.09, 3), (initialize.uniform(0.6), 0.12, 9 / 5)],
)
def test_fixed(init, variance, kurtosis):
    check_moments(initialize.draw(init, 0, (NUMBERS,), FAN_IN, FAN_OUT), variance, kurtosis)


@pytest.mark.parametrize(
    "make, fan_in, fan_out",
    [
        (lambda init: nn.Linear(30, 20, init=init), 30, 20),
        (lambda init: nn.Conv2d(4, 6, (3, 5), init=init), 60, 90),
        (
            lambda init: nn.Conv2d(4, 6, (3, 5), groups=2, init=init),
            30,
            90,
        ),  # all outputs, as PyTorch counts
    ],
)
def test_fans_of_layers(make, fan_in, fan_out):
    """Fans in and out are inputs of an output, and outputs of an input, over a filter's window."""
    seen = []

    def init(rng, shape, fan_in, fan_out):
        seen.append((type(rng), shape, fan_in, fan_out))
        return np.full(shape, 0.5)

    layer = make(init)
    assert seen == [(np.random.Generator, layer.params["weight"].shape, fan_in, fan_out)]
    assert layer.params["weight"].dtype == np.float32
    assert np.all(layer.params["weight"] == 0.5)


@pytest.mark.parametrize("name", VARIANCES)
def test_seeds(name):
    def draw(rng):
        return initialize.draw(name, rng, (3, 4), 4, 3)

    assert_array_equal(draw(0), draw(0))
    assert_array_equal(draw(0), draw(np.random.default_rng(0)))
    assert (draw(0) != draw(1)).any()
    assert (draw(None) != draw(None)).any()
    rng = np.random.default_rng(0)
    assert (draw(rng) != draw(rng)).any()  # a generator goes on


@pytest.mark.parametrize(
    "make", [lambda **o: nn.Linear(5, 4, **o), lambda **o: nn.Conv2d(2, 3, 2, **o)]
)
def test_seeds_of_layers(make):
    assert_array_equal(make(rng=3).vector, make(rng=3).vector)
    assert (make(rng=3).vector != make(rng=4).vector).any()
    assert_array_equal(make().params["bias"], 0)
    assert_array_equal(make(init="he_normal", rng=3).vector, make(rng=3).vector)


@pytest.mark.parametrize(
    "activation, name",
    [("relu", "he_normal"), ("tanh", "glorot_uniform"), ("sigmoid", "glorot_uniform")],
)
def test_lenet5_suits_its_activation(activation, name):
    model = nn.LeNet5(activation=activation, rng=5)
    assert_array_equal(model.vector, nn.LeNet5(activation=activation, init=name, rng=5).vector)
    rng = np.random.default_rng(5)
    for layer in ("conv1", "conv2", "fc1", "fc2", "fc3"):
        weight = model[layer].params["weight"]
        window = weight[0, 0].size
        fans = weight[0].size, weight.shape[0] * (window if weight.ndim == 4 else 1)
        assert_array_equal(weight, initialize.draw(name, rng, weight.shape, *fans))


@pytest.mark.parametrize("wrong", ["", "He_normal", "xavier"])
def test_unknown_names(wrong):
    with pytest.raises(ValueError, match=f"init must.*he_normal.*lecun_uniform.*got '{wrong}'"):
        initialize.draw(wrong, 0, (2, 2), 2, 2)


@pytest.mark.parametrize(
    "name, make", [("normal", initialize.normal), ("uniform", initialize.uniform)]
)
def test_a_name_with_a_number(name, make):
    """Including values that can be stored in a configuration."""
    assert_array_equal(
        initialize.draw({name: 0.01}, 0, (3, 4), 4, 3), initialize.draw(make(0.01), 0, (3, 4), 4, 3)
    )
    weights = nn.LeNet5(init={name: 0.01}, rng=0)["fc1"].params["weight"]
    assert weights.std() == pytest.approx(0.01 if name == "normal" else 0.01 / 3**0.5, rel=0.02)


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"normal": 1, "uniform": 1},
        {"he_normal": 1},
        {"normal": -1},
        {"normal": "1"},
        {"normal": True},
        {"normal": np.nan},
        {"normal": 1e38},
        {"normal": 3.5e38},
        {"uniform": 1e39},
        {"uniform": 1e300},
        {"uniform": 10**400},
        {"uniform": -1e39},
        {"uniform": [1]},
    ],
    ids=str,
)
def test_mappings_that_are_no_initializer(wrong):
    with pytest.raises(ValueError, match=r"init must.*normal, uniform .* from 0 to 3.4e\+37, got"):
        initialize.draw(wrong, 0, (2, 2), 2, 2)
    with pytest.raises(ValueError, match="init must"):
        nn.LeNet5(conv_init=wrong)


def test_the_largest_numbers_of_initializers():
    """No draw overflows, even for the number of weights of a large model."""
    for name in ("normal", "uniform"):
        weights = initialize.draw({name: 3.4e37}, 0, (10**6,), 1, 1)
        assert 3e37 < abs(weights).max() < np.inf


@pytest.mark.parametrize(
    "make, name",
    [
        (initialize.normal, "std"),
        (initialize.uniform, "bound"),
        (initialize.constant, "value"),
        (initialize.fan_in_uniform, "gain"),
        (lambda power: initialize.fan_in_uniform(1.0, power), "power"),
    ],
)
def test_numbers_beyond_float32(make, name):
    for wrong in (1e39, 3.5e38, 1e300, -1e39, np.inf, np.nan, "1", None, True):
        with pytest.raises(ValueError, match=f"{name} must be a number from .*, got "):
            make(wrong)


def test_weights_beyond_float32():
    with pytest.raises(ValueError, match=r"init must return weights from -3.4e\+38 .*, got 1e\+39"):
        nn.Linear(3, 2, init=lambda rng, shape, fan_in, fan_out: np.full(shape, 1e39))


def test_a_wrong_shape_is_an_error():
    with pytest.raises(ValueError, match="weight"):
        nn.Linear(3, 2, init=lambda rng, shape, fan_in, fan_out: np.zeros((3, 2)))
