"""Second derivatives of each layer: compared with the reference and with second differences."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from one_test import in_one_test
from second_references import reference_backward

from lenet5c import nn, reference, set_num_threads

EPS = np.finfo(np.float32).eps


@pytest.fixture(autouse=True)
def default_threads():
    yield
    set_num_threads(None)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def positive(*shape, seed=1):
    return np.random.default_rng(seed).uniform(0.1, 2, shape).astype(np.float32)


def assert_close(actual, expected, eps=16):
    """Within `eps` float32 roundings of each value: sums of nonnegative terms lose no digits."""
    assert actual.dtype == np.float32
    assert_allclose(actual, expected, rtol=eps * EPS, atol=1e-30)


def conv(x, out_channels, kernel_size, bias=True, **options):
    return (
        nn.Conv2d(x[1], out_channels, kernel_size, bias=bias, rng=1, **options),
        x,
        "conv2d",
        options,
    )


def pool(kind, x, kernel_size, **options):
    layer = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}[kind](kernel_size, **options)
    return layer, x, f"{kind}_pool2d", {"kernel_size": kernel_size} | options


def connected(x, out_channels, kernel_size, table, **options):
    layer = nn.Conv2d(x[1], out_channels, kernel_size, rng=1, connection_table=table, **options)
    return layer, x, "connected_conv2d", {"table": table}


def subsample(x, kernel_size):
    return nn.Subsample2d(x[1], kernel_size, rng=1), x, "subsample2d", {"kernel_size": kernel_size}


# The layer, the shape of its input, its counterpart in the reference, and what that is told.
CASES = [
    conv((2, 1, 7, 7), 3, 5, padding=2),
    conv((1, 4, 6, 10), 4, 5, padding=(2, 0)),  # in a training step, by Winograd's algorithm
    conv((2, 2, 7, 5), 4, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(2, 1)),
    conv((3, 4, 4, 5), 6, 3, groups=2, bias=False),
    conv((17, 3, 3, 2), 2, (3, 2)),
    (nn.Linear(13, 5, rng=1), (17, 13), "linear", {}),
    (nn.Linear(4, 3, bias=False, rng=1), (33, 4), "linear", {}),
    *(
        case
        for kind in ("max", "avg")
        for case in (
            pool(kind, (17, 2, 4, 6), 2),
            pool(kind, (3, 2, 7, 5), (3, 2)),
            pool(kind, (3, 2, 7, 5), 3, stride=1, padding=1),
            pool(kind, (2, 1, 8, 9), (2, 4), stride=(3, 1), padding=(1, 2)),
        )
    ),
    pool("avg", (3, 2, 7, 5), 3, stride=2, padding=1, count_include_pad=False),
    pool("avg", (2, 1, 8, 9), (2, 4), stride=(3, 1), padding=(1, 2), count_include_pad=False),
    *(
        pool("avg", (2, 2, 6, 5), 3, **options, count_include_pad=count)
        for count in (True, False)
        for options in (
            {"stride": 2, "padding": "same"},
            {"stride": 2, "padding": 2, "ceil_mode": True},
            {"stride": (2, 4), "padding": ((0, 2), (1, 0)), "ceil_mode": True},
        )
    ),
    pool("max", (2, 2, 6, 5), 2, padding=((1, 0), (0, 1)), dilation=(2, 1), ceil_mode=True),
    conv((3, 2, 5, 6), 3, (4, 3), padding="same"),
    *(
        (layer, shape, name, {})
        for name, layer in (("relu", nn.ReLU()), ("sigmoid", nn.Sigmoid()), ("tanh", nn.Tanh()))
        for shape in ((3, 2, 3, 5), (17, 5))
    ),
    connected((2, 3, 5, 6), 4, 3, [[1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 1, 0]]),
    connected((17, 3, 4, 3), 4, (3, 2), [[1, 0, 1, 0], [0, 0, 1, 1], [1, 1, 1, 0]], bias=False),
    connected(
        (2, 6, 6, 8), 16, 5, nn.lenet5_1998.C3_TABLE
    ),  # in a training step, by Winograd's algorithm
    subsample((3, 2, 4, 6), 2),
    subsample((17, 3, 7, 5), (3, 2)),
    subsample((2, 17, 3, 4), (1, 4)),
    *((nn.RBF(normal(5, 4, seed=3)), (batch, 4), "rbf", {}) for batch in (1, 17)),
    *(
        (nn.ScaledTanh(**options), shape, "scaled_tanh", options)
        for options in ({}, {"amplitude": -0.5, "slope": 0.5})
        for shape in ((3, 2, 3, 5), (17, 5))
    ),
]


@in_one_test
@pytest.mark.parametrize(
    "layer, shape, name, options", CASES, ids=lambda value: str(value).replace(" ", "")
)
def test_a_layer_matches_the_reference(layer, shape, name, options):
    x = normal(*shape)
    y = layer.forward(x, training=True)
    d2y = positive(*y.shape)
    backward = reference_backward(layer, x.astype(np.float64), name, options)
    expected_d2x, *expected = reference.backward_second(backward, d2y)
    layer.curvature_vector[:] = np.nan  # they are set, not added to
    assert_close(
        layer.backward_second(d2y), expected_d2x, 64 if "tanh" in name or name == "sigmoid" else 16
    )
    assert list(layer.curvatures) == list(layer.params)
    for actual, each in zip(layer.curvatures.values(), expected, strict=True):
        assert_close(actual, each)
    assert_array_equal(
        layer.curvature_vector, np.concatenate([[], *map(np.ravel, layer.curvatures.values())])
    )


def test_subsampling_takes_the_sum_as_one_input():
    """As in the authors' code, (sum)^2, where eq. 25 taken literally has the sum of four squares.

    Backward, each input gets c^2.
    """
    layer = nn.Subsample2d(1)
    layer.params["weight"][:] = 3
    x = np.array([[[[1, 2, 9], [-4, 5, 9]]]], np.float32)
    layer.forward(x, training=True)
    d2x = layer.backward_second(np.full((1, 1, 1, 1), 0.5, np.float32))
    assert_array_equal(layer.curvatures["weight"], [0.5 * (1 + 2 - 4 + 5) ** 2])
    assert_array_equal(layer.curvatures["bias"], [0.5])
    assert_array_equal(d2x, [[[[4.5, 4.5, 0], [4.5, 4.5, 0]]]])  # a column that fills no window


@pytest.mark.parametrize("batch", [1, 5, 17])
def test_distances_are_exact_with_the_first_derivatives(batch):
    """E = sum of f(y) for some f: d2E/dx^2 = f''(y) (dy/dx)^2 + f'(y) d2y/dx^2.

    Here f(y) = a y + b y^2 / 2.
    """
    layer, x = nn.RBF(normal(3, 4, seed=5)), normal(batch, 4)
    a, b = normal(batch, 3, seed=6), normal(batch, 3, seed=7)
    y = layer.forward(x, training=True)
    codes = layer.buffers["codes"].astype(np.float64)

    def derivative(x):
        y = reference.rbf(x, codes)
        return reference.rbf_backward(a + b * y, x, codes)

    expected, h = np.zeros(x.shape), 1e-4
    for i in range(4):
        step = np.zeros(4)
        step[i] = h
        expected[:, i] = (derivative(x + step) - derivative(x - step))[:, i] / (2 * h)
    # What distances of the other inputs add to y is the same on both sides; there are no products
    # of two classes.
    actual = layer.backward_second(b, a + b * y)
    assert_allclose(actual, expected, rtol=1e-4, atol=1e-4 * abs(expected).max())
    without = layer.backward_second(b)
    others = 2 * (a + b * y).sum(axis=1, keepdims=True).repeat(4, axis=1)
    assert_allclose(actual - without, others, rtol=1e-3, atol=1e-4)


def test_flatten():
    x, layer = normal(3, 2, 4, 5), nn.Flatten()
    d2y = positive(*layer.forward(x, training=True).shape)
    assert_array_equal(layer.backward_second(d2y), d2y.reshape(x.shape))


def test_dropout_squares_its_mask():
    layer = nn.Dropout(0.25, rng=0)
    ones = np.ones((50, 4), np.float32)
    mask = layer.forward(ones, training=True)
    assert_array_equal(layer.backward_second(positive(50, 4)), positive(50, 4) * mask * mask)
    assert set(np.unique(mask)) == {0, np.float32(4 / 3)}


@pytest.mark.parametrize(
    "layer, shape",
    [
        (nn.BatchNorm1d(3), (7, 3)),
        (nn.BatchNorm1d(3), (4, 3, 6)),
        (nn.BatchNorm2d(3), (4, 3, 2, 5)),
    ],
)
def test_batch_norm_takes_its_statistics_as_constants(layer, shape):
    x = 3 * normal(*shape) + 1
    layer.vector[:] = positive(6)
    weight, _bias = layer.params.values()
    layer.forward(x, training=True)
    d2y = positive(*shape)
    axes = (0, *range(2, x.ndim))
    wide = x.astype(np.float64)
    std = np.sqrt(wide.var(axes, keepdims=True) + layer.eps)
    normalized = (wide - wide.mean(axes, keepdims=True)) / std
    slope = np.reshape(weight, std.shape) / std
    assert_close(layer.backward_second(d2y), d2y * slope**2, 64)
    assert_allclose(layer.curvatures["weight"], (d2y * normalized**2).sum(axes), rtol=1e-5)
    assert_close(layer.curvatures["bias"], d2y.sum(axes))


# Nets


def second_differences(loss, vector, h):
    """Second differences of loss(vector) by element: exact where it is quadratic, whatever h."""
    differences = np.zeros(len(vector))
    for i in range(len(vector)):
        step = np.zeros(len(vector))
        step[i] = h
        differences[i] = (loss(vector + step) - 2 * loss(vector) + loss(vector - step)) / h**2
    return differences


@pytest.mark.parametrize(
    "layer, shape, name, options", CASES[:7], ids=lambda value: str(value).replace(" ", "")
)
def test_one_layer_and_squared_error_are_exact(layer, shape, name, options):
    """The loss is quadratic in each parameter, so the approximation is exact."""
    layer, x = copy.deepcopy(layer), normal(*shape)
    model = nn.Sequential(layer, nn.Flatten()) if len(shape) == 4 else nn.Sequential(layer)
    target = normal(len(x), int(np.prod(layer.output_shape(shape[1:]))), seed=2)
    forward = getattr(reference, name)

    def loss(vector):
        arrays, at = [], 0
        for array in layer.params.values():
            arrays.append(vector[at : at + array.size].reshape(array.shape))
            at += array.size
        return reference.mse_loss(
            forward(x.astype(np.float64), *arrays, **options).reshape(target.shape), target
        )[0]

    y = model.forward(x, training=True)
    model.backward_second(nn.MSELoss().second(y, target)[1])
    expected = second_differences(loss, layer.vector.astype(np.float64), h=0.5)
    assert_allclose(model.curvature_vector, expected, rtol=16 * EPS, atol=1e-12)


def test_a_linear_layer_and_cross_entropy_are_exact():
    """A weight moves one logit alone."""
    model, x = nn.Sequential(nn.Linear(4, 3, rng=0)), normal(5, 4)
    labels = np.array([0, 2, 1, 1, 0])
    expected = second_differences(
        lambda vector: reference.cross_entropy(
            reference.linear(x, vector[:12].reshape(3, 4), vector[12:]), labels
        )[0],
        model.vector.astype(np.float64),
        h=1e-3,
    )
    # The fourth derivative is left out: h^2 of it.
    assert_allclose(
        model.second_derivatives(x, labels, nn.CrossEntropyLoss()), expected, rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("activation, least", [("relu", 1.0), ("tanh", 0.1), ("sigmoid", 0.1)])
def test_a_net_is_exact_where_the_dropped_terms_vanish(activation, least):
    """One hidden unit, so no pairs; no error in the output, so no first derivative times f''."""
    layer = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[activation]()
    model = nn.Sequential(nn.Linear(3, 1, rng=0), layer, nn.Linear(1, 2, rng=1))
    model[0].params["bias"][:] = least  # ReLU lets every sample through
    x = np.abs(normal(6, 3)) * np.sign(model[0].params["weight"])
    f = getattr(reference, activation)

    def outputs(vector):
        hidden = f(reference.linear(x, vector[:3].reshape(1, 3), vector[3:4]))
        return reference.linear(hidden, vector[4:6].reshape(2, 1), vector[6:])

    at = model.vector.astype(np.float64)
    target = outputs(at)
    expected = second_differences(
        lambda vector: reference.mse_loss(outputs(vector), target)[0], at, h=1e-3
    )
    y = model.forward(x, training=True)
    model.backward_second(nn.MSELoss().second(y, target)[1])
    assert_allclose(model.curvature_vector, expected, rtol=1e-5)
