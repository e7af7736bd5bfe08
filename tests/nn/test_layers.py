"""Each layer compared with its reference, forward and backward; shapes, connections and errors."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from one_test import in_one_test
from tile_layers import EPS, TileLayerChecks, assert_close, normal

from lenet5c import nn, optim, reference


def conv(x, out_channels, kernel_size, bias=True, **options):
    layer = nn.Conv2d(x[1], out_channels, kernel_size, bias=bias, rng=1, **options)
    return layer, x, "conv2d", options


def linear(N, in_features, out_features, bias=True):
    return nn.Linear(in_features, out_features, bias=bias, rng=1), (N, in_features), "linear", {}


def pool(kind, x, kernel_size, **options):
    layer = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}[kind](kernel_size, **options)
    return layer, x, f"{kind}_pool2d", {"kernel_size": kernel_size} | options


# The layer, the shape of its input, its function in the reference, and the arguments of that. Up to
# four samples are trained on one by one, more of them in tiles.
CASES = [
    conv((17, 1, 12, 12), 6, 5, padding=2),
    conv((3, 6, 14, 14), 16, 5),
    conv((3, 2, 7, 5), 4, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(2, 1)),
    conv((16, 4, 6, 7), 6, 3, groups=2, bias=False),
    conv((33, 3, 6, 7), 3, 3, groups=3, padding=1),
    conv((5, 3, 4, 5), 7, (4, 5)),
    conv((5, 3, 1, 1), 7, 1),
    conv((2, 3, 5, 5), 2, 2, stride=4),
    conv((17, 2, 7, 9), 3, 4, padding="same"),
    conv((3, 2, 8, 9), 3, (3, 2), stride=(2, 3), padding="same", dilation=2),
    conv((17, 3, 6, 7), 5, 3, padding="valid"),
    conv((5, 2, 6, 7), 4, 3, padding=((0, 2), (1, 0))),
    conv((33, 2, 3, 4), 4, 4, padding=((1, 0), (0, 0)), groups=2),
    conv((3, 2, 3, 4), 7, 4, padding=((0, 1), (0, 0))),
    linear(17, 400, 120),
    linear(1, 84, 10),
    linear(16, 1, 1),
    linear(33, 17, 5, bias=False),
    *(
        case
        for kind in ("max", "avg")
        for case in (
            pool(kind, (17, 6, 28, 28), 2),
            pool(kind, (3, 2, 7, 5), (3, 2)),
            pool(kind, (3, 2, 7, 5), 3, stride=1, padding=1),
            pool(kind, (33, 1, 8, 9), (2, 4), stride=(3, 1), padding=(1, 2)),
            pool(kind, (1, 3, 4, 5), (4, 5)),
            pool(kind, (17, 3, 7, 9), 2, ceil_mode=True),
            pool(kind, (3, 2, 7, 8), 3, stride=(2, 4), padding=1, ceil_mode=True),
            pool(kind, (17, 2, 6, 5), (3, 4), stride=2, padding="same"),
            pool(kind, (2, 2, 6, 5), 3, stride=2, padding=((0, 2), (1, 0))),
            pool(kind, (17, 2, 6, 5), 3, padding=((2, 0), (0, 2)), ceil_mode=True),
            pool(kind, (2, 3, 28, 28), 2, padding="same"),
        )
    ),
    pool("avg", (3, 2, 7, 5), 3, stride=2, padding=1, count_include_pad=False),
    pool("avg", (17, 2, 6, 5), 3, stride=2, padding=2, count_include_pad=False, ceil_mode=True),
    pool("max", (17, 2, 9, 8), 3, stride=1, padding=2, dilation=2),
    pool("max", (3, 2, 9, 8), (2, 3), padding=(1, 2), dilation=(3, 2), ceil_mode=True),
    pool("max", (17, 2, 4, 4), 2, dilation=2),
    *(
        (layer, shape, name, {})
        for name, layer in (("relu", nn.ReLU()), ("sigmoid", nn.Sigmoid()), ("tanh", nn.Tanh()))
        for shape in ((17, 3, 5, 7), (1, 1, 1, 1), (33, 13), (3, 19, 2, 3), (2, 33))
    ),
    conv((4, 35, 5, 6), 33, 3, padding=1),
    conv((3, 17, 6, 7), 18, (2, 3), stride=(2, 1), padding=(1, 0), dilation=(1, 2), bias=False),
    conv((1, 16, 1, 9), 16, (1, 4), stride=(1, 3)),
    conv((2, 5, 3, 4), 35, (3, 4)),
    linear(4, 33, 19),
    linear(3, 300, 7, bias=False),
    *(pool(kind, (3, 17, 5, 6), 2) for kind in ("max", "avg")),
    conv((3, 12, 9, 11), 12, 3, stride=2, padding=1, groups=12),
    conv((17, 7, 12, 9), 14, 5, stride=(2, 3), padding=2, groups=7),
    conv((33, 19, 5, 6), 13, 1, stride=2),
    conv((6, 13, 20, 9), 7, 7, stride=2, padding=3),
    conv((6, 4, 11, 12), 6, (2, 4), dilation=(2, 3), groups=2),
    conv((6, 9, 7, 6), 3, 1, groups=3),
    *(
        (layer, shape, name, {})
        for layer, name in (
            (nn.GlobalAvgPool2d(), "global_avg_pool2d"),
            (nn.GlobalMaxPool2d(), "global_max_pool2d"),
        )
        for shape in ((1, 3, 7, 5), (4, 17, 5, 6), (17, 2, 1, 1), (33, 5, 1, 9), (16, 1, 40, 30))
    ),
    *(
        (nn.ScaledTanh(**options), shape, "scaled_tanh", options)
        for options in ({}, {"amplitude": -0.5, "slope": 3.0})
        for shape in ((1, 1, 1, 1), (3, 17, 3, 5), (4, 19), (5, 23), (17, 3, 5, 7), (33, 13))
    ),
]


@in_one_test
@pytest.mark.parametrize(
    "layer, shape, name, options", CASES, ids=lambda value: str(value).replace(" ", "")
)
class TestTileLayers(TileLayerChecks):
    pass


def test_flatten():
    x = normal(17, 2, 3, 5)
    layer = nn.Flatten()
    y = layer.forward(x, training=True)
    assert_array_equal(y, x.reshape(17, 30))
    assert_array_equal(layer.backward(2 * y), 2 * x)
    assert layer.output_shape((2, 3, 5)) == (30,)
    assert (layer.num_params, layer.connections((2, 3, 5))) == (0, 0)


def test_windows_between_the_pixels():
    """Empty windows: minus infinity, as in PyTorch, and no gradient."""
    layer = nn.MaxPool2d(2, padding=1, dilation=2)
    y = layer.forward(np.ones((17, 2, 1, 1), np.float32), training=True)
    assert_array_equal(y, np.full((17, 2, 1, 1), -np.inf, np.float32))
    assert not layer.backward(np.ones_like(y)).any()


def test_paddings_in_other_words():
    """They are the same layer; nondefault settings are shown by repr."""
    x = normal(3, 2, 7, 8)
    for padding, same in ((1, ((1, 1), [1, 1])), ("valid", 0), ((1, 0), ((1, 1), (0, 0)))):
        for make in (nn.MaxPool2d, nn.AvgPool2d):
            one, other = make(3, padding=padding), make(3, padding=same)
            assert repr(one) == repr(other)
            assert_array_equal(one.forward(x), other.forward(x))
    assert repr(nn.Conv2d(1, 2, 3, 2, ((1, 0), (0, 0)))) == (
        "Conv2d(1, 2, kernel_size=(3, 3), stride=(2, 2), padding=((1, 0), (0, 0)))"
    )
    assert repr(nn.MaxPool2d(2, padding="same", dilation=2, ceil_mode=True)) == (
        "MaxPool2d((2, 2), stride=(2, 2), padding='same', dilation=(2, 2), ceil_mode=True)"
    )


def test_activations_at_the_ends():
    """Saturated values are correct, without intermediate overflow."""
    x = np.array([[-np.inf, -3e38, -1e4, -100, -0.0, 0, 1e-30, 100, 1e4, 3e38, np.inf]], np.float32)
    assert_array_equal(nn.ReLU()(x), np.maximum(x, 0))
    assert_array_equal(nn.Tanh()(x), np.tanh(x))
    # The exponential saturates at the ends of float32: exp(-x) is 2e38 at most.
    assert_allclose(nn.Sigmoid()(x), reference.sigmoid(x), rtol=4 * EPS, atol=1e-37)
    for layer in (nn.ReLU(), nn.Tanh(), nn.Sigmoid()):
        assert_array_equal(np.isnan(layer(np.array([[np.nan, 0]], np.float32))), [[True, False]])


def test_scaled_tanh_at_the_ends():
    """Also if products and squares of the settings are near the limits of float32."""
    x = np.array([[-np.inf, -3e38, -1e4, -0.0, 0, 1e-20, 1e4, 3e38, np.inf, np.nan]], np.float32)
    for amplitude, slope in (
        (1.7159, 2 / 3),
        (-2, 1),
        (1e15, 1e15),
        (1e15, -1e-15),
        (1e-15, 1e15),
        (1e-15, 1e-15),
    ):
        layer = nn.ScaledTanh(amplitude, slope)
        y = layer.forward(x, training=True)
        expected = reference.scaled_tanh(x, amplitude, slope)
        assert_allclose(y, expected, rtol=4 * EPS, atol=1e-44)  # one denormal
        # Next to saturation the slope is a difference of nearly equal numbers.
        dx = reference.scaled_tanh_backward(np.ones(x.shape), expected, amplitude, slope)
        assert_allclose(
            layer.backward(np.ones_like(x)), dx, rtol=4 * EPS, atol=8 * EPS * abs(amplitude * slope)
        )


def test_scaled_tanh_of_the_paper():
    """f(1) = 1 to the digits given, f'(0) = A S; the gain is near 1 over the useful range."""
    layer = nn.ScaledTanh()
    x = np.array([[1, -1, 0]], np.float32)
    assert_allclose(layer.forward(x, training=True), [[1, -1, 0]], atol=2e-5)
    assert_allclose(layer.backward(np.ones_like(x))[0, 2], 1.7159 * 2 / 3, rtol=EPS)
    assert repr(layer) == "ScaledTanh(1.7159, 0.666667)"


def test_activations_are_accurate_everywhere():
    """Within 4 eps, relative: an exponential of 2 ulp, an addition and a division.

    The derivatives lose no more.
    """
    x = np.concatenate([np.linspace(-20, 20, 40001), np.geomspace(1e-30, 1, 1000)]).astype(
        np.float32
    )[None]
    for layer, counterpart in ((nn.Sigmoid(), reference.sigmoid), (nn.Tanh(), reference.tanh)):
        # 1/2 + tanh/2 cancels for x < 0; the definition does not.
        expected = (
            1 / (1 + np.exp(-x.astype(np.float64)))
            if counterpart is reference.sigmoid
            else counterpart(x)
        )
        assert_allclose(layer(x), expected, rtol=4 * EPS)


@pytest.mark.parametrize(
    "layer, input_shape, output_shape, num_params, connections",
    [
        # LeCun et al. (1998), section II.B: C1, and F6; pooling reads 2 x 2 inputs a unit.
        (nn.Conv2d(1, 6, 5, rng=0), (1, 32, 32), (6, 28, 28), 156, 122_304),
        (nn.MaxPool2d(2), (6, 28, 28), (6, 14, 14), 0, 4704),
        (nn.Conv2d(6, 16, 5, rng=0), (6, 14, 14), (16, 10, 10), 2416, 241_600),
        (nn.AvgPool2d(2), (16, 10, 10), (16, 5, 5), 0, 1600),
        (nn.Conv2d(16, 120, 5, rng=0), (16, 5, 5), (120, 1, 1), 48_120, 48_120),
        (nn.Linear(120, 84, rng=0), (120,), (84,), 10_164, 10_164),
        (nn.Linear(84, 10, bias=False, rng=0), (84,), (10,), 840, 840),
        (nn.Conv2d(4, 6, (3, 2), groups=2, bias=False, rng=0), (4, 5, 5), (6, 3, 4), 72, 864),
        (nn.ScaledTanh(), (6, 28, 28), (6, 28, 28), 0, 0),
        (nn.ReLU(), (6, 28, 28), (6, 28, 28), 0, 0),
        (nn.Dropout(), (6, 28, 28), (6, 28, 28), 0, 0),
        (nn.BatchNorm2d(6), (6, 28, 28), (6, 28, 28), 12, 0),
    ],
    ids=str,
)
def test_sizes(layer, input_shape, output_shape, num_params, connections):
    assert layer.output_shape(input_shape) == output_shape
    assert layer.num_params == num_params
    assert layer.connections(input_shape) == connections


class TestErrors:
    @in_one_test
    @pytest.mark.parametrize(
        "make, message",
        [
            (lambda: nn.Conv2d(0, 6, 5), "in_channels must.*got 0"),
            (lambda: nn.Conv2d(1, -6, 5), "out_channels must.*got -6"),
            (lambda: nn.Conv2d(1, 6.0, 5), "out_channels must.*got 6.0"),
            (lambda: nn.Conv2d(1, 6, 0), "kernel_size (is|must.*got) 0"),
            (lambda: nn.Conv2d(1, 6, (5, 5, 5)), "kernel_size"),
            (lambda: nn.Conv2d(1, 6, 5, stride=0), "stride must.*got 0"),
            (lambda: nn.Conv2d(1, 6, 5, padding=-1), "padding must.*got -1"),
            (lambda: nn.Conv2d(1, 6, 5, padding="full"), "padding must.*got 'full'"),
            (lambda: nn.MaxPool2d(2, padding=(1, 1, 1)), r"padding must.*got \(1, 1, 1\)"),
            (lambda: nn.MaxPool2d(2, dilation=0), "dilation must.*got 0"),
            (lambda: nn.Conv2d(1, 6, 5, dilation=0), "dilation must.*got 0"),
            (lambda: nn.Conv2d(4, 6, 5, groups=4), "groups must.*4.*6.*got 4"),
            (lambda: nn.Conv2d(3, 6, 5, groups=2), "groups must.*got 2"),
            (lambda: nn.Conv2d(2**20, 2**20, 5), "weight"),
            (lambda: nn.Conv2d(1, 6, 5, init="xavier"), "init must.*he_normal.*got 'xavier'"),
            (lambda: nn.ScaledTanh(0), "amplitude must.*got 0"),
            (lambda: nn.ScaledTanh(float("nan")), "amplitude must.*got nan"),
            (lambda: nn.ScaledTanh(1, 1e20), r"slope must.*1e15.*got 1e\+20"),
            (lambda: nn.ScaledTanh(1, slope=-1e-20), "slope must.*got -1e-20"),
            (lambda: nn.Linear(0, 3), "in_features must.*got 0"),
            (lambda: nn.Linear(3, "4"), "out_features must.*got '4'"),
            (lambda: nn.Linear(2**30, 2**30), "weight"),
            (lambda: nn.MaxPool2d(0), "kernel_size (is|must.*got) 0"),
            (lambda: nn.AvgPool2d(2, stride=0), "stride must.*got 0"),
            (lambda: nn.MaxPool2d(2, padding=-1), "padding must.*got -1"),
            (lambda: nn.Dropout(1), "p must.*got 1"),
            (lambda: nn.Dropout(-0.1), "p must.*got -0.1"),
            (lambda: nn.Dropout(float("nan")), "p must.*got nan"),
            (lambda: nn.BatchNorm1d(0), "num_features must.*got 0"),
            (lambda: nn.BatchNorm1d(3, eps=1e39), r"eps must be .* to 3.4e\+38, got 1e\+39"),
            (lambda: nn.BatchNorm1d(3, eps=-1), "eps must be a number from 0 to .*, got -1"),
            (lambda: nn.BatchNorm2d(3, momentum=2), "momentum must be .* from 0 to 1, got 2"),
        ],
    )
    def test_settings(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()

    @pytest.mark.parametrize(
        "layer, shape, message",
        [
            (nn.Conv2d(3, 6, 5, rng=0), (2, 8, 8), r"3 channels .*Conv2d, got \(2, 8, 8\)"),
            (nn.Conv2d(3, 6, 5, rng=0), (192,), r"Conv2d, got \(192,\)"),
            (nn.Conv2d(3, 6, 5, rng=0), (3, 4, 8), "kernel_size"),
            (nn.Linear(12, 3, rng=0), (13,), r"\(12,\) for Linear, got \(13,\)"),
            (nn.Linear(12, 3, rng=0), (3, 2, 2), "Linear, got .*Flatten"),
            (nn.MaxPool2d(2), (12,), "MaxPool2d"),
            (nn.MaxPool2d(5), (1, 4, 4), "kernel_size"),
            (nn.MaxPool2d(2, padding=2), (1, 4, 4), "padding"),
            (nn.AvgPool2d(2), (12,), "AvgPool2d"),
            (nn.BatchNorm1d(3), (4, 2), r"\(C,\) or \(C, L\) with 3 channels.*got \(4, 2\)"),
            (nn.BatchNorm1d(3), (4,), r"3 channels for BatchNorm1d, got \(4,\)"),
            (nn.BatchNorm1d(3), (3, 2, 2), "BatchNorm1d"),
            (nn.BatchNorm2d(3), (4, 2, 2), "3 channels.*BatchNorm2d"),
            (nn.BatchNorm2d(3), (3,), "BatchNorm2d"),
        ],
        ids=str,
    )
    def test_input_shape(self, layer, shape, message):
        with pytest.raises(ValueError, match=message):
            layer.output_shape(shape)
        with pytest.raises(ValueError, match=message):
            layer.forward(np.zeros((2, *shape), np.float32))

    LAYERS = [
        nn.Linear(4, 3, rng=0),
        nn.ReLU(),
        nn.Flatten(),
        nn.BatchNorm1d(4),
        nn.Sequential(nn.Linear(4, 3, rng=0)),
    ]

    @pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
    def test_input(self, layer):
        for wrong in (np.zeros((2, 4)), np.zeros((2, 4), np.int64), np.zeros((2, 4), np.int32)):
            with pytest.raises(TypeError, match=f"{wrong.dtype}.*float32"):
                layer.forward(wrong)
        for wrong in (np.zeros((2, 4), complex), np.zeros((2, 4), object), np.zeros((2, 4), "U1")):
            with pytest.raises(TypeError, match="x must be an array of real numbers"):
                layer.forward(wrong)
        with pytest.raises(TypeError, match="masked array; fill it first"):
            layer.forward(np.ma.masked_array(np.zeros((2, 4), np.float32)))
        with pytest.raises(TypeError, match="NumPy array.*list"):
            layer.forward([[0.0] * 4])

    @pytest.mark.parametrize(
        "layer", LAYERS[:1] + LAYERS[2:], ids=lambda layer: type(layer).__name__
    )
    def test_a_sample_is_no_batch(self, layer):
        with pytest.raises(ValueError, match=r"x must be a batch.*got \(4,\)"):
            layer.forward(np.zeros(4, np.float32))

    @pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
    def test_backward_needs_a_training_forward(self, layer):
        layer = copy.deepcopy(layer)
        x = np.zeros((2, 4), np.float32)
        for before in ((), (True, False)):
            for training in before:
                y = layer.forward(x, training=training)
            with pytest.raises(RuntimeError, match="forward.*training=True"):
                layer.backward(y if before else x)

    def test_gradient_of_another_shape_or_dtype(self):
        layer = nn.Linear(4, 3, rng=0)
        y = layer.forward(normal(2, 4), training=True)
        for wrong in (y[:1], y[:, :2], y.astype(np.float64), y.tolist(), y[None]):
            with pytest.raises(ValueError, match=r"dy must.*float32 .*\(2, 3\)"):
                layer.backward(wrong)

    def test_params_keep_their_shape(self):
        layer = nn.Linear(4, 3, rng=0)
        with pytest.raises(ValueError, match=r"weight must have the shape \(3, 4\), got \(4, 3\)"):
            layer.params["weight"] = np.zeros((4, 3))

    def test_a_bare_layer_says_what_it_lacks(self):
        with pytest.raises(NotImplementedError, match="Layer has no forward"):
            nn.Layer().forward(normal(2, 3))
        with pytest.raises(NotImplementedError, match="Layer has no backward"):
            nn.Layer().backward(normal(2, 3))


class TestParameters:
    def test_are_views_into_one_vector(self):
        layer = nn.Conv2d(2, 3, 2, rng=0)
        assert layer.vector.shape == layer.grad_vector.shape == (27,)
        layer.vector[:] = np.arange(27)
        assert_array_equal(layer.params["weight"].ravel(), np.arange(24))
        assert_array_equal(layer.params["bias"], [24, 25, 26])

    def test_assigning_copies(self):
        layer = nn.Linear(2, 1, rng=0)
        vector = layer.vector
        layer.params["weight"] = [[5, 6]]
        assert_array_equal(vector, [5, 6, 0])
        assert layer.params["weight"].dtype == np.float32

    def test_no_bias(self):
        assert (
            list(nn.Linear(2, 1, bias=False).params)
            == list(nn.Conv2d(1, 1, 1, bias=False).params)
            == ["weight"]
        )

    def test_biases_start_at_zero(self):
        assert not nn.Linear(2, 3).params["bias"].any()
        assert not nn.Conv2d(2, 3, 1).params["bias"].any()

    @pytest.mark.parametrize("layer", [nn.Linear(4, 3, rng=0), nn.BatchNorm1d(4)], ids=str)
    def test_gradients_of_a_layer_alone_reach_its_vector(self, layer):
        """The same, whether or not the vector was requested before backward."""
        layer.backward(np.ones_like(layer.forward(normal(5, 4), training=True)))
        grads = np.concatenate([layer.grads[name].ravel() for name in layer.params])
        assert grads.any()
        assert_array_equal(layer.grad_vector, grads)

    @pytest.mark.parametrize("layer", [nn.Linear(4, 3, rng=0), nn.BatchNorm1d(4)], ids=str)
    def test_a_layer_alone_can_be_trained(self, layer):
        before = {name: array.copy() for name, array in layer.params.items()}
        layer.backward(np.ones_like(layer.forward(normal(5, 4), training=True)))
        optim.SGD(layer, lr=1).step()
        assert_allclose(layer.params["bias"], before["bias"] - 5, rtol=EPS)


class TestDropout:
    def test_nothing_outside_training(self):
        x = normal(5, 3)
        assert_array_equal(nn.Dropout(0.9, rng=0).forward(x), x)

    def test_p_of_0_keeps_all(self):
        x = normal(5, 3)
        layer = nn.Dropout(0)
        assert_array_equal(layer.forward(x, training=True), x)
        assert_array_equal(layer.backward(x), x)

    @pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
    def test_statistics(self, p):
        n = 200_000
        y = nn.Dropout(p, rng=0).forward(np.ones((n, 1), np.float32), training=True)
        assert_array_equal(np.unique(y), np.float32([0, 1 / (1 - p)]))
        # Five standard deviations of a binomial share.
        assert abs(np.mean(y == 0) - p) < 5 * np.sqrt(p * (1 - p) / n)

    def test_mask_is_that_of_the_gradient(self):
        x = 1 + np.abs(normal(50, 3, 4, 4))
        layer = nn.Dropout(0.3, rng=0)
        y = layer.forward(x, training=True)
        dy = normal(*x.shape, seed=1)
        dx = layer.backward(dy)
        assert y.dtype == dx.dtype == np.float32
        assert_array_equal(dx, dy * np.where(y == 0, np.float32(0), np.float32(1 / 0.7)))

    def test_masks_differ_from_call_to_call_but_not_from_run_to_run(self):
        x = np.ones((20, 20), np.float32)
        first, second = nn.Dropout(0.5, rng=7), nn.Dropout(0.5, rng=np.random.default_rng(7))
        a, b = first.forward(x, training=True), first.forward(x, training=True)
        assert (a != b).any()
        assert_array_equal(second.forward(x, training=True), a)
        assert_array_equal(second.forward(x, training=True), b)
        assert (nn.Dropout(0.5, rng=8).forward(x, training=True) != a).any()

    def test_a_pickle_goes_on_with_the_same_masks(self):
        x = np.ones((20, 20), np.float32)
        layer = nn.Dropout(0.5, rng=7)
        layer.forward(x, training=True)
        counterpart = pickle.loads(pickle.dumps(layer))
        assert_array_equal(counterpart.forward(x, training=True), layer.forward(x, training=True))


each_norm = pytest.mark.parametrize(
    "kind, shape",
    [
        (nn.BatchNorm1d, (17, 5)),
        (nn.BatchNorm1d, (2, 1)),
        (nn.BatchNorm1d, (6, 5, 4)),
        (nn.BatchNorm1d, (1, 3, 2)),
        (nn.BatchNorm2d, (6, 5, 3, 4)),
        (nn.BatchNorm2d, (1, 3, 4, 1)),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)


def batch_norm(kind, shape, **options):
    """Make a layer whose scale and shift are not 1 and 0."""
    layer = kind(shape[1], **options)
    layer.params["weight"], layer.params["bias"] = (
        1 + normal(shape[1], seed=2) / 3,
        normal(shape[1], seed=3),
    )
    return layer


class TestBatchNorm:
    @each_norm
    def test_matches_reference(self, kind, shape):
        layer = batch_norm(kind, shape, eps=1e-3)
        x, dy = 2 * normal(*shape) + 1, normal(*shape, seed=1)
        weight, bias = layer.params["weight"], layer.params["bias"]
        # Mean, variance and normal values are rounded in turn; with two values a channel, dx is a
        # difference of nearly equal numbers, hence relative to dy.
        assert_close(layer.forward(x, training=True), reference.batch_norm(x, weight, bias, 1e-3))
        dx, dweight, dbias = reference.batch_norm_backward(dy, x, weight, 1e-3)
        actual = layer.backward(dy)
        assert actual.dtype == np.float32
        assert np.linalg.norm(actual - dx) <= 16 * EPS * np.linalg.norm(dy)
        assert_close(layer.grads["weight"], dweight)
        assert_close(layer.grads["bias"], dbias)

    @each_norm
    def test_running_statistics(self, kind, shape):
        layer = batch_norm(kind, shape, momentum=0.3)
        axes, count = (0, *range(2, len(shape))), np.prod(shape) // shape[1]
        mean, var = np.zeros(shape[1]), np.ones(shape[1])
        for step in range(4):
            x = 2 * normal(*shape, seed=step) + step
            layer.forward(x, training=True)
            layer.forward(100 * x)  # not training: not tracked
            mean = 0.7 * mean + 0.3 * x.mean(axes, np.float64)
            var = 0.7 * var + 0.3 * x.var(axes, np.float64) * count / (count - 1)
        assert_allclose(layer.buffers["running_mean"], mean, rtol=0, atol=16 * EPS * abs(x).max())
        assert_allclose(layer.buffers["running_var"], var, rtol=16 * EPS)
        assert layer.buffers["num_batches_tracked"] == 4
        scale = layer.params["weight"] / np.sqrt(var + 1e-5)
        spread = (-1, *[1] * (len(shape) - 2))
        expected = (x - mean.reshape(spread)) * scale.reshape(spread) + layer.params[
            "bias"
        ].reshape(spread)
        assert_close(layer.forward(x), expected, eps=32)

    def test_a_large_mean_does_not_cancel(self):
        """The variance is not a difference of squares: at mean 1000, 1 is accurate to 1e-4."""
        x = 1000 + normal(64, 3)
        y = nn.BatchNorm1d(3).forward(x, training=True)
        assert_allclose(y.mean(axis=0), 0, atol=1000 * EPS)
        assert_allclose(y.std(axis=0), 1, atol=1e-4)

    @each_norm
    def test_like_torch(self, kind, shape):
        torch = pytest.importorskip("torch")
        layer = batch_norm(kind, shape)
        counterpart = getattr(torch.nn, kind.__name__)(shape[1]).double()
        names = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        assert [*layer.params, *layer.buffers] == list(counterpart.state_dict()) == list(names)
        counterpart.load_state_dict(
            {name: torch.tensor(a) for name, a in (layer.params | layer.buffers).items()}
        )
        for step in range(3):
            x, dy = 2 * normal(*shape, seed=step) + step, normal(*shape, seed=9)
            tx = torch.tensor(x, dtype=torch.float64, requires_grad=True)
            ty = counterpart(tx)
            counterpart.zero_grad()
            ty.backward(torch.tensor(dy, dtype=torch.float64))
            assert_close(layer.forward(x, training=True), ty.detach().numpy())
            assert np.linalg.norm(
                layer.backward(dy) - tx.grad.numpy()
            ) <= 16 * EPS * np.linalg.norm(dy)
            assert_close(layer.grads["weight"], counterpart.weight.grad.numpy())
        for name, array in layer.buffers.items():
            assert_allclose(
                array, counterpart.state_dict()[name].numpy(), rtol=16 * EPS, atol=16 * EPS
            )
        counterpart.eval()
        assert_close(
            layer.forward(x),
            counterpart(torch.tensor(x, dtype=torch.float64)).detach().numpy(),
            eps=32,
        )

    @pytest.mark.parametrize(
        "kind, shape", [(nn.BatchNorm1d, (1, 3)), (nn.BatchNorm2d, (1, 3, 1, 1))], ids=str
    )
    def test_one_value_a_channel_has_no_variance(self, kind, shape):
        layer = kind(3)
        with pytest.raises(ValueError, match="more than one value"):
            layer.forward(normal(*shape), training=True)
        assert layer.buffers["num_batches_tracked"] == 0
        assert layer.forward(normal(*shape)).shape == shape
