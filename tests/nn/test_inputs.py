"""Inputs of layers and models: supported shapes and dtypes, or an error with a remedy."""

import re
from array import array
from contextlib import suppress

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from one_test import in_one_test
from tile_layers import assert_close, normal

from lenet5c import nn, optim, reference

ELEMENTWISE = [
    (nn.ReLU(), "relu", ()),
    (nn.LeakyReLU(0.3), "leaky_relu", (0.3,)),
    (nn.GELU(), "gelu", ()),
    (nn.GELU("tanh"), "gelu", ("tanh",)),
    (nn.Sigmoid(), "sigmoid", ()),
    (nn.Tanh(), "tanh", ()),
    (nn.ScaledTanh(), "scaled_tanh", ()),
]
SHAPES = [(), (1,), (37,), (5, 3, 7), (33, 2, 3, 2, 5), (2, 1, 1, 1, 1, 3)]
EMPTY = [(0,), (0, 3, 4), (3, 0), (2, 3, 0, 4), (0, 2, 3, 4, 5)]


def zeros(*shape):
    return np.zeros(shape, np.float32)


@in_one_test
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layer, name, settings", ELEMENTWISE, ids=lambda value: str(value))
def test_activations_of_any_shape(layer, name, settings, shape):
    x, dy = np.asarray(normal(*shape)), np.asarray(normal(*shape, seed=1))
    y = layer.forward(x, training=True)
    dx = layer.backward(dy)
    for actual in (y, dx):
        assert type(actual) is np.ndarray and actual.shape == shape and actual.dtype == np.float32
    assert_close(y, getattr(reference, name)(x, *settings))
    saved = y if name in ("sigmoid", "tanh", "scaled_tanh") else x
    assert_close(dx, getattr(reference, f"{name}_backward")(dy, saved, *settings))
    assert_array_equal(layer.forward(x), y)
    assert layer.output_shape(shape) == shape


@pytest.mark.parametrize("shape", EMPTY, ids=str)
@pytest.mark.parametrize("layer", [nn.Tanh(), nn.Dropout(0.5)], ids=str)
def test_elementwise_layers_of_nothing(layer, shape):
    assert layer.forward(zeros(*shape), training=True).shape == shape
    assert layer.backward(zeros(*shape)).shape == shape


def test_the_gradient_has_the_shape_of_the_input():
    layer = nn.Tanh()
    layer.forward(zeros(3, 4), training=True)
    layer.forward(zeros(12), training=True)
    with pytest.raises(
        ValueError, match=r"dy must be float32 with the shape of the output, \(12,\), got"
    ):
        layer.backward(zeros(3, 4))
    layer.forward(zeros(12))
    with pytest.raises(RuntimeError, match="backward must be called after forward"):
        layer.backward(zeros(12))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_dropout_of_any_shape(shape):
    layer = nn.Dropout(0.5, rng=0)
    x = np.ones(shape, np.float32)
    y = layer.forward(x, training=True)
    dx = layer.backward(x)
    for actual in (y, dx):
        assert type(actual) is np.ndarray and actual.shape == shape and actual.dtype == np.float32
    assert set(y.ravel().tolist()) <= {0, 2}
    assert_array_equal(dx, y)


def test_elementwise_layers_amid_others():
    """Between layers in NumPy, of samples with any number of axes."""

    class Fold(nn.Layer):
        def forward(self, x, training=False):
            return x.reshape(len(x), 2, -1)

        def backward(self, dy):
            return dy.reshape(len(dy), -1)

    model = nn.Sequential(Fold(), nn.Tanh(), nn.Flatten(), nn.Linear(6, 2, rng=0))
    x = normal(20, 6)
    y = model.forward(x, training=True)
    assert_array_equal(y, model["3"].forward(nn.Tanh().forward(x)))
    assert model.backward(np.ones_like(y)).shape == x.shape


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(2, 3, 2, rng=0), nn.MaxPool2d(2), nn.Flatten(), nn.GELU(), nn.BatchNorm2d(2)],
    ids=str,
)
def test_numbers_that_float32_holds(layer):
    """Converted, not scaled, in any layout; also objects supported by NumPy."""
    numbers = np.random.default_rng(0).integers(-99, 99, (5, 2, 4, 6)).astype(np.float32)
    expected = layer.forward(numbers)
    for dtype in (np.int8, np.int16, np.float16, ">f4", "<f4"):
        assert_array_equal(layer.forward(numbers.astype(dtype)), expected, strict=True)
    assert_array_equal(layer.forward(memoryview(numbers)), expected)
    assert_array_equal(layer.forward(np.asfortranarray(numbers.astype(np.int8))), expected)
    x = abs(numbers).astype(np.uint8)
    assert_array_equal(layer.forward(x), layer.forward(abs(numbers)), strict=True)
    assert_array_equal(layer.forward(x, training=True), layer.forward(abs(numbers), training=True))


def test_other_sources():
    assert_array_equal(nn.ReLU().forward(array("f", [1, -1])), [1, 0])
    torch = pytest.importorskip("torch")
    x = torch.arange(8, dtype=torch.uint8).reshape(2, 4)
    model = nn.Sequential(nn.Linear(4, 3, rng=0))
    assert_array_equal(model.forward(x), model.forward(x.numpy()))
    assert_array_equal(model.forward(x.to(torch.float16)), model.forward(x.numpy()))


CLASSIC = nn.Sequential(
    *(
        nn.Conv2d(1, 6, 5, rng=0),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(864, 10, rng=0),
    )
)
ALL_CONVOLUTIONS = nn.Sequential(nn.Conv2d(3, 4, 5, rng=0), nn.BatchNorm2d(4), nn.MaxPool2d(2))


@in_one_test
@pytest.mark.parametrize(
    "model, shape, takes, remedies",
    [
        (nn.LeNet5(), (1, 1, 28, 28), "LeNet5, (N, 1, 32, 32)", ["2, 2", "input_size=28"]),
        (nn.LeNet5(), (3, 1, 30, 28), "LeNet5, (N, 1, 32, 32)", ["1, 1", "=(30, 28)"]),
        (nn.LeNet5(), (3, 1, 12, 12), "LeNet5, (N, 1, 32, 32)", ["10, 10"]),
        (nn.LeNet5(), (3, 1, 64, 64), "LeNet5, (N, 1, 32, 32)", ["resize", "input_size=64"]),
        (nn.LeNet5(), (3, 3, 32, 32), "LeNet5, (N, 1, 32, 32)", ["in_channels=3"]),
        (nn.LeNet5(), (1, 32, 32), "LeNet5, (N, 1, 32, 32)", ["x[None]"]),
        (nn.LeNet5(), (9, 32, 32), "LeNet5, (N, 1, 32, 32)", ["x[:, None]"]),
        (nn.LeNet5(), (28, 28), "LeNet5, (N, 1, 32, 32)", ["x[None, None]", "2, 2"]),
        (nn.LeNet5(), (9, 784), "LeNet5, (N, 1, 32, 32)", ["x.reshape(-1, 1, 28, 28)", "2, 2"]),
        (nn.LeNet5(), (9, 783), "LeNet5, (N, 1, 32, 32)", []),
        (nn.LeNet5(), (784,), "LeNet5, (N, 1, 32, 32)", ["x.reshape(-1, 1, 28, 28)"]),
        (nn.LeNet5(), (1, 1, 1, 32, 32), "LeNet5, (N, 1, 32, 32)", ["x.reshape(-1, 1, 32, 32)"]),
        (nn.LeNet5(padding=(2, 0), input_size=28), (9, 1, 32, 32), "LeNet5, (N, 1, 28, 28)", []),
        (
            nn.LeNet5(in_channels=3, input_size=(20, 24)),
            *((9, 20, 24, 3), "LeNet5, (N, 3, 20, 24)", ["x.transpose(0, 3, 1, 2)"]),
        ),
        (nn.LeNet5_1998(), (5, 1, 28, 28), "LeNet5_1998, (N, 1, 32, 32)", ["input_size=28"]),
        (CLASSIC, (5, 1, 24, 24), "Sequential, (N, 1, 28, 28)", ["2, 2"]),
        (CLASSIC, (5, 784), "Sequential, (N, 1, 28, 28)", ["x.reshape(-1, 1, 28, 28)"]),
        (nn.Sequential(CLASSIC, nn.ReLU()), (5, 784), "Sequential, (N, 1, 28, 28)", []),
        (ALL_CONVOLUTIONS, (5, 3, 4, 9), "Sequential, (N, 3, H, W) of at least 6 by 6", ["resize"]),
        (ALL_CONVOLUTIONS, (5, 1, 9, 9), "(N, 3, H, W) of at least 6 by 6", ["the gray channel"]),
        (ALL_CONVOLUTIONS, (5, 4, 9, 9), "(N, 3, H, W) of at least 6 by 6", ["for 4 channels"]),
        (
            nn.Sequential(nn.Linear(784, 9, rng=0)),
            (5, 1, 28, 28),
            "Sequential, (N, 784)",
            ["Flatten"],
        ),
        (nn.Sequential(nn.Linear(784, 9, rng=0)), (784,), "Sequential, (N, 784)", ["x[None]"]),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(784, 9, rng=0)),
            *((5, 9), "Sequential, (N, 784)", ["in_features=9"]),
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Layer) else str(value),
)
def test_shapes_that_a_model_does_not_take(model, shape, takes, remedies):
    x, labels, loss = zeros(*shape), np.zeros(shape[0], int), nn.CrossEntropyLoss()
    before = model.vector.copy()
    for name, call in (
        ("x", lambda: model.forward(x)),
        ("x", lambda: model.predict(x)),
        ("samples", lambda: model.outputs(x)),
        ("samples", lambda: model.train_step(x, labels, loss)),
        ("samples", lambda: model.second_derivatives(x, labels, loss)),
        (
            "samples",
            lambda: model.train_steps(
                *(x, labels, loss, optim.SGD(model, 0.1), [0.1]), batch_size=len(x)
            ),
        ),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        message = str(caught.value)
        assert message.startswith(f"{name} must be a batch with the input shape of ")
        assert f"{takes}, got {shape}" in message
        for remedy in remedies:
            assert remedy.replace("x.", f"{name}.").replace("x[", f"{name}[") in message
    assert_array_equal(model.vector, before)


def test_remedies_work():
    """Each expression in a message gives an array that the model accepts, or the next message."""
    model = nn.LeNet5()
    for shape in ((4, 28, 28), (28, 28), (4, 784), (4, 1024), (4, 28, 28, 1), (1, 32, 32)):
        x = zeros(*shape)
        for _ in range(2):
            with suppress(ValueError):
                model.predict(x)
                break
            with pytest.raises(ValueError) as caught:
                model.predict(x)
            expression = re.search(
                r"(np\.pad\(x, \(.*\)\)|x[.\[].*?[\])])(?=[ ,;]|$)", str(caught.value)
            )
            x = eval(expression[0], {"x": x, "np": np})
        assert model.predict(x).shape == (shape[0] if len(shape) > 2 or shape[0] == 4 else 1,)


def test_samples_of_another_size():
    with pytest.raises(ValueError, match=r"LeNet5, \(N, 1, 32, 32\), got \(5, 1, 28, 28\)"):
        nn.LeNet5().outputs(nn.Samples(zeros(5, 1, 28, 28), [1, 3]))


def test_a_size_that_the_layers_take():
    """Pooling leaves out a row and a column."""
    assert nn.LeNet5().predict(zeros(2, 1, 33, 33)).shape == (2,)


@pytest.mark.parametrize(
    "layers, shape, message",
    [
        (
            [nn.Conv2d(1, 2, 3, rng=0), nn.Linear(50, 2, rng=0)],
            (3, 1, 7, 7),
            "put a Flatten before it",
        ),
        ([nn.Conv2d(1, 2, 3), nn.Linear(50, 2)], (3, 1, 5, 5), "a Flatten .* in_features=18"),
        ([nn.MaxPool2d(2)], (3, 7), "samples must be .* for MaxPool2d, got"),
        ([nn.ReLU()], (), r"x must be a batch, .*got \(\)"),
    ],
)
def test_layers_that_do_not_tell_their_input(layers, shape, message):
    with pytest.raises(ValueError, match=message):
        nn.Sequential(*layers).forward(zeros(*shape))


def test_layers_of_ones_own_are_not_tried():
    class Once(nn.Layer):
        calls = 0

        def forward(self, x, training=False):
            self.calls += 1
            return x

    own = Once()
    nn.Sequential(nn.Flatten(), own, nn.Linear(4, 2, rng=0)).forward(zeros(3, 2, 2))
    assert own.calls == 1


class Scale(nn.Layer):
    """A custom layer without `output_shape`."""

    def __init__(self, by=2, *, name="x", inner=None):
        self.by, self.name, self.inner = by, name, inner

    def forward(self, x, training=False):
        if x.shape[-1] == 13:
            raise ValueError("thirteen")
        return x * self.by


@pytest.mark.parametrize(
    "layers, shape, message",
    [
        (
            [Scale(), nn.Linear(4, 2, rng=0)],
            (3, 5),
            r"x must be .*Sequential, \(N, 4\), got \(3, 5\); create its first Linear with "
            "in_features=5",
        ),
        (
            [nn.Flatten(), Scale(), nn.Linear(4, 2, rng=0)],
            (3, 1, 2, 3),
            r"Sequential, \(N, 4\), got \(3, 1, 2, 3\); create its first Linear",
        ),
        (
            [Scale(), nn.Conv2d(1, 2, 3, rng=0), nn.Flatten(), Scale(), nn.Linear(32, 2, rng=0)],
            (3, 1, 5, 5),
            r"Sequential, \(N, 1, 6, 6\), got \(3, 1, 5, 5\); resize",
        ),
        (
            [Scale(), nn.Conv2d(1, 2, 3, rng=0), nn.Linear(32, 2, rng=0)],
            (3, 1, 6, 6),
            "put a Flatten before it; it is the input of layer '2', in Sequential",
        ),
        (
            [nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.ReLU()), nn.Conv2d(3, 2, 3, rng=0)],
            (3, 1, 6, 6),
            "create the layer with in_channels=2; it is the input of layer '1', in Sequential",
        ),
        ([Scale(), nn.Linear(4, 2, rng=0)], (3, 13), "^thirteen$"),
    ],
)
def test_sizes_with_layers_of_ones_own(layers, shape, message):
    with pytest.raises(ValueError, match=message):
        nn.Sequential(*layers).forward(zeros(*shape))


@pytest.mark.parametrize(
    "layer, shape, message",
    [
        (
            nn.Linear(4, 2),
            (3, 5),
            r"\(4,\) for Linear, got \(5,\); create the layer with in_features=5$",
        ),
        (nn.Linear(4, 2), (3, 1, 2, 2), "; put a Flatten before it$"),
        (
            nn.Linear(4, 2),
            (3, 1, 2, 3),
            "put a Flatten before it, and create the layer with in_features=6$",
        ),
        (nn.Conv2d(3, 2, 3), (3, 1, 9, 9), "3 channels .*; create the layer with in_channels=1$"),
        (nn.Conv2d(3, 2, 3), (3, 9, 9, 3), r"channels first, as x.transpose\(0, 3, 1, 2\) does$"),
        (nn.Conv2d(3, 2, 3), (3, 3, 2, 9), "has 2 pixels of height, .*; use a smaller kernel_size"),
        (nn.MaxPool2d(2), (3, 3, 4, 1), "has 1 pixels of width, .*; use a smaller kernel_size"),
        (
            nn.BatchNorm2d(3),
            (2, 4, 5, 5),
            "with 3 channels .*; create the layer with num_features=4$",
        ),
        (nn.Subsample2d(3), (2, 4, 5, 5), "3 channels .*; create the layer with channels=4$"),
        (nn.RBF(), (2, 5), "84 features .*; pass codes of 5 features$"),
        (nn.RBF(), (2, 4, 21), "; put a Flatten before it$"),
    ],
)
def test_a_layer_says_what_it_takes_and_the_remedy(layer, shape, message):
    with pytest.raises(ValueError, match=message):
        layer.forward(zeros(*shape))


def test_layers_of_ones_own_have_a_text():
    assert repr(Scale()) == "Scale()"
    assert repr(Scale(3, name="y")) == "Scale(by=3, name='y')"
    assert repr(Scale(inner=nn.ReLU())) == "Scale(inner=ReLU())"

    class Counted(nn.Layer):
        def __init__(self, count, table=None):
            self.count, self.table = count, np.ones(9)
            self.params["weight"] = np.ones((count, 2))

    class Plain(nn.Layer):
        def __init__(self):
            self.params["factor"] = np.ones(1)

    assert repr(Counted(5)) == "Counted(5)"
    assert repr(Plain()) == "Plain(factor: (1,))"
    nested = nn.Sequential({"a": Scale(), "b": nn.Sequential(nn.ReLU(), Counted(2))})
    assert repr(nested) == (
        "Sequential(\n  a: Scale()\n  b: Sequential(\n    0: ReLU()\n    1: Counted(2)\n  )\n)"
    )
