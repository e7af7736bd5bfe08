"""Models: that one sweep, a step by hand and layer after layer agree to the bit; names, state, copies, errors."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lenet5c import nn, optim, reference
from lenet5c.nn.sequential import CHUNK

CROSS_ENTROPY = nn.CrossEntropyLoss()


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def labels_for(batch, classes=10):
    return np.random.default_rng(1).integers(classes, size=batch)


class Scale(nn.Layer):
    """A user's own layer in NumPy."""

    def __init__(self):
        self.params["factor"] = np.full(1, 1.5)

    def forward(self, x, training=False):
        self.x = x if training else None
        return x * self.params["factor"]

    def backward(self, dy):
        self.grads["factor"] = [np.sum(dy * self.x)]
        return dy * self.params["factor"]


def lenet5(**options):
    return nn.LeNet5(input_size=16, **options)


def with_numpy_layers():
    """Compiled, NumPy, compiled, twice NumPy, compiled."""
    return nn.Sequential(
        {
            "conv": nn.Conv2d(1, 4, 3, rng=0),
            "norm": nn.BatchNorm2d(4),
            "act": nn.ReLU(),
            "pool": nn.MaxPool2d(2),
            "flatten": nn.Flatten(),
            "drop": nn.Dropout(0.3, rng=1),
            "scale": Scale(),
            "fc": nn.Linear(196, 10, rng=2),
        }
    )


def starting_with_numpy():
    return nn.Sequential(
        nn.BatchNorm2d(1),
        nn.Conv2d(1, 3, 5, rng=0),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(432, 10, rng=1),
    )


def ending_with_numpy():
    return nn.Sequential(nn.Flatten(), nn.Linear(256, 10, rng=1), nn.Tanh(), Scale())


def nested():
    features = nn.Sequential(
        {"conv": nn.Conv2d(1, 4, 3, rng=0), "act": nn.ReLU(), "pool": nn.MaxPool2d(2)}
    )
    head = nn.Sequential(
        nn.Flatten(),
        nn.Sequential(nn.Linear(196, 12, rng=1), nn.Sigmoid()),
        nn.Linear(12, 10, rng=2),
    )
    return nn.Sequential({"features": features, "head": head})


def lenet5_1998():
    return nn.LeNet5_1998(input_size=16)


def with_groups():
    """It has no way for a few samples by themselves, while its layers alone, but for one, have."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, rng=0),
        nn.Tanh(),
        nn.Conv2d(4, 4, 3, groups=2, rng=1),
        nn.Flatten(),
        nn.Linear(576, 10, rng=2),
    )


MODELS = [lenet5, lenet5_1998, with_numpy_layers, starting_with_numpy, ending_with_numpy, nested]
each_model = pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)


def step_by_hand(model, x, labels, loss=CROSS_ENTROPY):
    logits = model.forward(x, training=True)
    value, dy = loss(logits, labels)
    dx = model.backward(dy)
    return value, int(np.sum(model.classes(logits) == labels)), dx


def leaves(model):
    """The layers in order, without those that hold others."""
    return [layer for layer in model.all_layers() if not isinstance(layer, nn.Sequential)]


@pytest.mark.parametrize(
    "loss",
    [
        CROSS_ENTROPY,
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.MSELoss(),
        nn.MLELoss(),
        nn.MAPLoss(3),
    ],
    ids=repr,
)
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 16, 33, 300])
@pytest.mark.parametrize("make", [*MODELS, with_groups], ids=lambda make: make.__name__)
def test_train_step_is_a_step_by_hand(make, batch, loss):
    """To the bit: loss, correct answers, gradients, and running statistics."""
    one, other = make(), make()
    x, labels = normal(batch, 1, 16, 16), labels_for(batch)
    for _ in range(2):
        value, correct = one.train_step(x, labels, loss)
        assert (value, correct) == step_by_hand(other, x, labels, loss)[:2]
        assert one.grad_vector.any()
        assert one.grad_vector.tobytes() == other.grad_vector.tobytes()
        for name, array in other.state_dict().items():
            assert_array_equal(one.state_dict()[name], array)
        for model in (one, other):
            optim.SGD(model, lr=0.1).step()


@pytest.mark.parametrize("batch", [1, 3, 4, 33])
@each_model
def test_layer_by_layer_is_the_same(make, batch):
    """To the bit: outputs, gradients, and the gradient of the input."""
    whole, parts = make(), make()
    x, labels = normal(batch, 1, 16, 16), labels_for(batch)
    _, _, dx = step_by_hand(whole, x, labels)
    y = x
    for layer in leaves(parts):
        y = layer.forward(y, training=True)
    _, dy = CROSS_ENTROPY(y, labels)
    for layer in reversed(leaves(parts)):
        dy = layer.backward(dy)
    assert dy.tobytes() == dx.tobytes()
    assert parts.grad_vector.tobytes() == whole.grad_vector.tobytes()


@pytest.mark.parametrize("batch", [1, 3, 4, 33])
@each_model
def test_layers_alone_are_the_same(make, batch):
    """Copies of the layers, in no model at all, have the gradients of those in one."""
    model = make()
    alone = [copy.deepcopy(layer) for layer in leaves(model)]
    x, labels = normal(batch, 1, 16, 16), labels_for(batch)
    step_by_hand(model, x, labels)
    y = x
    for layer in alone:
        y = layer.forward(y, training=True)
    _, dy = CROSS_ENTROPY(y, labels)
    for layer in reversed(alone):
        dy = layer.backward(dy)
    for layer, twin in zip(leaves(model), alone, strict=True):
        assert layer.params.keys() == twin.params.keys()
        for name in layer.params:
            assert layer.grads[name].tobytes() == twin.grads[name].tobytes()


def test_matches_reference():
    """Nested and with a layer in NumPy: within 16 roundings of the norm, as its compiled and NumPy parts are."""
    x, dy = normal(17, 2, 6, 6), normal(17, 3, seed=1)
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 4, 3, rng=0), nn.BatchNorm2d(4)),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(64, 3, rng=1),
    )
    y = model.forward(x, training=True)
    dx = model.backward(dy)
    conv, norm, fc = model[0][0].params, model[0][1].params, model[3].params
    a = reference.conv2d(x, conv["weight"], conv["bias"])
    b = reference.batch_norm(a, norm["weight"], norm["bias"])
    c = reference.tanh(b)
    d, dfc, dfc_bias = reference.linear_backward(dy, c.reshape(17, 64), fc["weight"])
    d = reference.tanh_backward(d.reshape(c.shape), c)
    d, dnorm, dnorm_bias = reference.batch_norm_backward(d, a, norm["weight"])
    d, dconv, dconv_bias = reference.conv2d_backward(d, x, conv["weight"])
    expected = [
        d,
        dconv,
        dnorm,
        dnorm_bias,
        dfc,
        dfc_bias,
        reference.linear(c.reshape(17, 64), **fc),
    ]
    actual = [
        dx,
        model[0][0].grads["weight"],
        *model[0][1].grads.values(),
        *model[3].grads.values(),
        y,
    ]
    for got, wanted in zip(actual, expected, strict=True):
        assert np.linalg.norm(got - wanted) <= 16 * np.finfo(np.float32).eps * np.linalg.norm(
            wanted
        )
    # Normalisation takes the mean away: a bias before it has no gradient but rounding.
    assert np.linalg.norm(model[0][0].grads["bias"]) <= 1e-6 * np.linalg.norm(dconv)


BYTES = np.random.default_rng(3).integers(256, size=(70, 1, 16, 16), dtype=np.uint8)
OFFSET = normal(1, 16, 16, seed=4)
SCALE = 1 / 77.7
FLOATS = BYTES.astype(np.float32) * np.float32(SCALE) + OFFSET
INDEX = np.random.default_rng(5).integers(70, size=33)


@pytest.mark.parametrize(
    "samples",
    [
        nn.Samples(BYTES, INDEX, SCALE, OFFSET),
        nn.Samples(BYTES[INDEX], None, SCALE, OFFSET),
        nn.Samples(FLOATS, INDEX),
        nn.Samples(np.asfortranarray(BYTES), INDEX, SCALE, OFFSET.astype(np.float64)),
    ],
    ids=["bytes and index", "bytes", "index", "any layout"],
)
@each_model
def test_samples_in_other_forms(make, samples):
    """To the bit what one gets for the batch as float32."""
    one, other = make(), make()
    labels = labels_for(33)
    assert one.train_step(samples, labels, CROSS_ENTROPY) == other.train_step(
        FLOATS[INDEX], labels, CROSS_ENTROPY
    )
    assert one.grad_vector.tobytes() == other.grad_vector.tobytes()
    assert one.outputs(samples).tobytes() == other.forward(FLOATS[INDEX]).tobytes()


@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
@each_model
def test_outputs_in_chunks(make, count):
    model = make()
    x = normal(count, 1, 16, 16)
    expected = model.forward(x)
    assert expected.shape == (count, 10)
    assert model.outputs(x).tobytes() == expected.tobytes()
    order = np.random.default_rng(6).permutation(count)
    assert model.outputs(nn.Samples(x, order)).tobytes() == expected[order].tobytes()
    assert_array_equal(model.predict(x), model.classes(expected))


@pytest.mark.parametrize("call", ["outputs", "train_step"])
class TestWrongSamples:
    def run(self, call, make, images, index=None):
        samples = images if index is None else nn.Samples(images, index)
        if call == "outputs":
            make().outputs(samples)
        else:
            make().train_step(samples, np.zeros(len(samples), int), CROSS_ENTROPY)

    @pytest.mark.parametrize("wrong", [-1, 70, 2**40])
    @each_model
    def test_index_out_of_range(self, call, make, wrong):
        with pytest.raises(IndexError, match=str(wrong)):
            self.run(call, make, FLOATS, index=np.array([0, wrong, 2]))

    @each_model
    def test_bytes_without_an_offset(self, call, make):
        with pytest.raises(ValueError, match="offset"):
            self.run(call, make, BYTES)

    @each_model
    def test_another_dtype(self, call, make):
        with pytest.raises((TypeError, ValueError), match=r"float64|double"):
            self.run(call, make, FLOATS.astype(np.float64))


@pytest.mark.parametrize("wrong", [-1, 10, 300])
@each_model
def test_labels_out_of_range(make, wrong):
    with pytest.raises(ValueError, match=rf"labels.*{wrong}.* 0 to 9"):
        make().train_step(FLOATS[:3], np.array([0, wrong, 9]), CROSS_ENTROPY)


@pytest.mark.parametrize(
    "labels",
    [np.zeros(4, int), np.zeros((3, 1), int), np.zeros(3), np.zeros((3, 10), int)],
    ids=["too many", "a column", "floats", "one-hot"],
)
@each_model
def test_labels_of_another_kind(make, labels):
    with pytest.raises(ValueError, match="labels must be integers"):
        make().train_step(FLOATS[:3], labels, CROSS_ENTROPY)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "uint64"])
def test_labels_of_any_integers(dtype):
    one, other = lenet5(), lenet5()
    expected = other.train_step(FLOATS, labels_for(70), CROSS_ENTROPY)
    assert one.train_step(FLOATS, labels_for(70).astype(dtype), CROSS_ENTROPY) == expected


class TestState:
    NAMES = [
        "conv.weight",
        "conv.bias",
        "norm.weight",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
        "scale.factor",
        "fc.weight",
        "fc.bias",
    ]

    def test_names(self):
        assert list(with_numpy_layers().state_dict()) == self.NAMES
        assert list(nested().state_dict()) == [
            "features.conv.weight",
            "features.conv.bias",
            "head.1.0.weight",
            "head.1.0.bias",
            "head.2.weight",
            "head.2.bias",
        ]
        assert list(lenet5().state_dict()) == [
            f"{layer}.{name}"
            for layer in ("conv1", "conv2", "fc1", "fc2", "fc3")
            for name in ("weight", "bias")
        ]

    def test_is_a_copy(self):
        model = with_numpy_layers()
        before = model.vector.copy()
        for array in model.state_dict().values():
            array[...] = 7
        assert_array_equal(model.vector, before)
        assert model["norm"].buffers["num_batches_tracked"] == 0

    @each_model
    def test_round_trip(self, make):
        trained, fresh = make(), make()
        x, labels = normal(33, 1, 16, 16), labels_for(33)
        trained.train_step(x, labels, CROSS_ENTROPY)
        optim.SGD(trained, lr=0.1).step()
        assert (trained.forward(x) != fresh.forward(x)).any()
        fresh.load_state_dict(trained.state_dict())
        assert fresh.vector.tobytes() == trained.vector.tobytes()
        assert fresh.forward(x).tobytes() == trained.forward(x).tobytes()

    def test_takes_what_converts(self):
        model = with_numpy_layers()
        state = {
            name: array.astype(np.float64).tolist() for name, array in model.state_dict().items()
        }
        state["scale.factor"] = [2]
        model.load_state_dict(state)
        assert model["scale"].params["factor"].dtype == np.float32
        assert model["scale"].params["factor"] == 2

    @pytest.mark.parametrize(
        "spoil, message",
        [
            (lambda state: state.pop("fc.bias"), r"missing: fc\.bias, unknown: none"),
            (lambda state: state.update(other=1), "missing: none, unknown: other"),
            (
                lambda state: state.update({"fc.bias": np.zeros(9)}),
                r"fc\.bias must.*\(10,\).*got \(9,\)",
            ),
            (lambda state: state.update({"fc.weight": np.zeros((196, 10))}), r"fc\.weight"),
            (
                lambda state: state.update({"norm.num_batches_tracked": np.zeros(1)}),
                "num_batches_tracked",
            ),
            (lambda state: state.update({"conv.bias": 0.0}), r"conv\.bias must.*got \(\)"),
            (lambda state: state.update({"fc.bias": ["a"] * 10}), "fc.bias|could not convert"),
        ],
    )
    def test_an_error_changes_nothing(self, spoil, message):
        model = with_numpy_layers()
        before = model.state_dict()
        state = {name: array + 1 for name, array in before.items()}
        spoil(state)
        with pytest.raises(ValueError, match=message):
            model.load_state_dict(state)
        for name, array in model.state_dict().items():
            assert_array_equal(array, before[name])


class TestVector:
    @each_model
    def test_holds_all_parameters(self, make):
        model = make()
        assert model.num_params == model.vector.size == model.grad_vector.size
        assert model.vector.dtype == model.grad_vector.dtype == np.float32
        model.vector[:] = np.arange(model.num_params)
        params = [
            array.ravel() for _, layer in model.named_layers() for array in layer.params.values()
        ]
        assert_array_equal(np.concatenate(params), np.arange(model.num_params))
        model.grad_vector[:] = np.arange(model.num_params)
        grads = [
            layer.grads[name].ravel() for _, layer in model.named_layers() for name in layer.params
        ]
        assert_array_equal(np.concatenate(grads), np.arange(model.num_params))

    def test_layers_keep_their_values_when_they_enter_a_model(self):
        layer = nn.Linear(4, 3, rng=0)
        x = normal(5, 4)
        before = layer.forward(x)
        model = nn.Sequential(nn.ReLU(), layer)
        assert_array_equal(layer.forward(x), before)
        model.vector[:] = 0
        assert not layer.forward(x).any()

    def test_assigning_a_parameter_reaches_the_vector(self):
        model = lenet5()
        model["fc3"].params["bias"] = np.arange(10)
        assert_array_equal(model.vector[-10:], np.arange(10))


@pytest.mark.parametrize(
    "twin_of",
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["copy", "pickle"],
)
@each_model
def test_copies_are_whole_and_apart(make, twin_of):
    model = make()
    x, labels = normal(33, 1, 16, 16), labels_for(33)
    model.train_step(x, labels, CROSS_ENTROPY)  # what it keeps for backward must not be in the way
    twin = twin_of(model)
    assert type(twin) is type(model)
    assert list(twin.layers) == list(model.layers)
    assert twin.forward(x).tobytes() == model.forward(x).tobytes()
    # They train alike, random masks included ...
    for _ in range(2):
        assert twin.train_step(x, labels, CROSS_ENTROPY) == model.train_step(
            x, labels, CROSS_ENTROPY
        )
        assert twin.grad_vector.tobytes() == model.grad_vector.tobytes()
        for each in (model, twin):
            optim.SGD(each, lr=0.1).step()
    for name, array in model.state_dict().items():
        assert_array_equal(twin.state_dict()[name], array)
    # ... and apart.
    before = model.state_dict()
    twin.vector[:] = 0
    assert not any(layer.params[name].any() for layer in leaves(twin) for name in layer.params)
    for name, array in model.state_dict().items():
        assert_array_equal(array, before[name])


class TestSharedLayers:
    def test_twice_in_a_model(self):
        layer = nn.Linear(4, 4, rng=0)
        with pytest.raises(ValueError, match="layer '2' must be in the model once, got it twice"):
            nn.Sequential(layer, nn.ReLU(), layer)

    @pytest.mark.parametrize("deep", [False, True])
    def test_twice_in_a_nested_model(self, deep):
        """Its weights would lie in the vector twice."""
        layer = nn.Linear(4, 4, rng=0)
        first = nn.Sequential(layer) if deep else layer
        with pytest.raises(ValueError, match="twice"):
            nn.Sequential(first, nn.Sequential(nn.ReLU(), layer))

    @pytest.mark.parametrize(
        "use",
        [
            lambda model, x: model.forward(x),
            lambda model, x: model.outputs(x),
            lambda model, x: model.vector,
            lambda model, x: model.state_dict(),
            lambda model, x: model.load_state_dict({}),
            lambda model, x: model.train_step(x, np.zeros(len(x), int), CROSS_ENTROPY),
        ],
        ids=["forward", "outputs", "vector", "state_dict", "load_state_dict", "train_step"],
    )
    @pytest.mark.parametrize("wrap", [lambda layer: layer, nn.Sequential], ids=["direct", "nested"])
    def test_in_two_models(self, use, wrap):
        layer = nn.Linear(4, 4, rng=0)
        first = nn.Sequential(wrap(layer), nn.ReLU())
        x = normal(3, 4)
        first.forward(x)
        second = nn.Sequential(layer)
        with pytest.raises(RuntimeError, match="another model.*deepcopy"):
            use(first, x)
        second.forward(x)

    def test_a_copy_may_be_shared(self):
        layer = nn.Linear(4, 4, rng=0)
        model = nn.Sequential(layer, nn.ReLU(), copy.deepcopy(layer))
        assert model.num_params == 40
        assert_array_equal(model[0].params["weight"], model[2].params["weight"])


class TestNames:
    LAYERS = nn.Linear(4, 3, rng=0), nn.ReLU()

    @pytest.mark.parametrize(
        "make, names",
        [
            (lambda a, b: nn.Sequential(a, b), ["0", "1"]),
            (lambda a, b: nn.Sequential([a, b]), ["0", "1"]),
            (lambda a, b: nn.Sequential({"fc": a, "act": b}), ["fc", "act"]),
            (lambda a, b: nn.Sequential([("fc", a), ("act", b)]), ["fc", "act"]),
            (lambda a, b: nn.Sequential(("fc", a), ("act", b)), ["fc", "act"]),
            (lambda a, b: nn.Sequential(a), ["0"]),
        ],
    )
    def test_forms(self, make, names):
        layers = copy.deepcopy(self.LAYERS)
        model = make(*layers)
        assert list(model.layers) == names
        assert model[0] is model[names[0]] is layers[0]
        assert model[-1] is layers[len(names) - 1]
        assert all(name in repr(model) for name in names)

    @pytest.mark.parametrize("name", ["", "a.b", 3])
    def test_bad_names(self, name):
        with pytest.raises(ValueError, match="name"):
            nn.Sequential({name: nn.ReLU()})

    def test_equal_names(self):
        with pytest.raises(ValueError, match="'a'"):
            nn.Sequential([("a", nn.ReLU()), ("a", nn.ReLU())])
        with pytest.raises(ValueError, match="'1'"):
            nn.Sequential(("1", nn.ReLU()), nn.ReLU())

    @pytest.mark.parametrize("layers", [(), ([],), ({},)])
    def test_no_layers(self, layers):
        with pytest.raises(ValueError, match="layers must be at least one"):
            nn.Sequential(*layers)

    def test_what_is_no_layer(self):
        with pytest.raises(TypeError, match="'1' must be a lenet5c.nn.Layer, got function"):
            nn.Sequential(nn.ReLU(), lambda x: x)
        with pytest.raises(TypeError, match="'act' is a type"):
            nn.Sequential({"act": nn.ReLU})

    def test_unknown_name(self):
        with pytest.raises(KeyError, match="fc9"):
            lenet5()["fc9"]


def test_shapes_that_do_not_fit_are_named_by_their_layer():
    model = nn.Sequential(nn.Conv2d(1, 4, 3, rng=0), nn.ReLU(), nn.Linear(784, 10, rng=1))
    with pytest.raises(ValueError, match=r"\(784,\) for Linear, got \(4, 14, 14\); put a Flatten"):
        model.forward(normal(2, 1, 16, 16))
    with pytest.raises(ValueError, match="Conv2d .* 1 channels"):
        model.output_shape((3, 16, 16))


def test_one_model_takes_several_sizes():
    """More of them than the programs it keeps."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.ReLU())
    for size in [*range(3, 15), 3]:
        x = normal(2, 1, size, size)
        expected = reference.relu(reference.conv2d(x, **model[0].params))
        np.testing.assert_allclose(
            model.forward(x), expected, atol=16 * np.finfo(np.float32).eps * abs(x).max()
        )


@pytest.mark.parametrize(
    "make", [lenet5, nested, starting_with_numpy], ids=lambda make: make.__name__
)
def test_backward_needs_a_training_forward(make):
    model = make()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="forward.*training=True"):
            model.backward(normal(2, 10))
        model.forward(normal(2, 1, 16, 16))


class TestSummary:
    def test_conv1_and_lenet5(self):
        """156 and 122,304 are C1's in LeCun et al. (1998), section II.B."""
        lines = nn.LeNet5().summary().splitlines()
        cells = {line.split()[0]: line.split() for line in lines if not line.startswith("-")}
        assert lines[0].split() == [
            "layer",
            "kind",
            "output",
            "neurons",
            "parameters",
            "connections",
        ]
        assert cells["input"] == ["input", "1", "x", "32", "x", "32", "1,024"]
        assert cells["conv1"] == [
            "conv1",
            "Conv2d",
            "6",
            "x",
            "28",
            "x",
            "28",
            "4,704",
            "156",
            "122,304",
        ]
        assert cells["pool1"][-3:] == ["1,176", "-", "4,704"]
        assert cells["conv2"][-3:] == ["1,600", "2,416", "241,600"]
        assert cells["act1"][-3:] == ["-", "-", "-"]
        assert cells["fc1"][-3:] == ["120", "48,120", "48,120"]
        assert cells["fc3"] == ["fc3", "Linear", "10", "10", "850", "850"]
        assert cells["total"][-2] == "61,706"

    def test_totals(self):
        model = nn.LeNet5()
        connections = 122_304 + 4704 + 241_600 + 1600 + 48_120 + 10_164 + 850
        neurons = 4704 + 1176 + 1600 + 400 + 120 + 84 + 10
        assert model.connections((1, 32, 32)) == connections
        assert model.summary().splitlines()[-1].split() == [
            "total",
            f"{neurons:,}",
            "61,706",
            f"{connections:,}",
        ]

    @each_model
    def test_every_layer_has_a_row(self, make):
        model = make()
        lines = model.summary((1, 16, 16)).splitlines()
        assert [line.split()[0] for line in lines[3:-2]] == list(model.layers)
        assert f"{model.num_params:,}" in lines[-1]
        assert len({line for line in lines if set(line) == {"-"}}) == 1

    def test_of_a_shape_that_does_not_fit(self):
        with pytest.raises(ValueError, match="Conv2d"):
            nn.LeNet5().summary((3, 32, 32))


def test_a_model_shows_its_layers_arrays_by_name():
    model = nn.Sequential(
        {"inner": nn.Sequential({"fc": nn.Linear(4, 3, rng=0)}), "norm": nn.BatchNorm1d(3)}
    )
    assert (
        list(model.params)
        == list(model.grads)
        == ["inner.fc.weight", "inner.fc.bias", "norm.weight", "norm.bias"]
    )
    assert list(model.buffers) == [
        "norm.running_mean",
        "norm.running_var",
        "norm.num_batches_tracked",
    ]
    for owner in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        owner.params["inner.fc.bias"] = np.array([1, 2, 3])
        assert_array_equal(owner["inner"]["fc"].params["bias"], [1, 2, 3])
        assert_array_equal(owner["inner"].params["fc.bias"], [1, 2, 3])
        assert_array_equal(owner.vector[12:15], [1, 2, 3])
        owner.forward(np.eye(4, dtype=np.float32), training=True)
        owner.backward(np.full((4, 3), [1, 2, 3], np.float32))
        assert_array_equal(owner.grads["norm.bias"], [4, 8, 12])
        assert owner.buffers["norm.num_batches_tracked"] == 1


def test_a_layer_in_float64_does_not_spoil_the_model():
    class Double(nn.Layer):
        def forward(self, x, training=False):
            return x.astype(np.float64) * 2

        def backward(self, dy):
            return dy.astype(np.float64) * 2

    model = nn.Sequential(nn.Linear(4, 4, rng=0), Double(), nn.Linear(4, 2, rng=1), Double())
    y = model.forward(normal(5, 4), training=True)
    assert y.dtype == model.backward(y).dtype == np.float32


def test_updates_of_params_reach_the_model():
    layer = nn.Linear(2, 2, rng=0)
    nn.Sequential(layer)
    layer.params.update(bias=np.array([1, 2]))
    layer.params |= {"weight": np.zeros((2, 2))}
    assert_array_equal(layer.forward(np.ones((1, 2), np.float32)), [[1, 2]])
    with pytest.raises(TypeError, match="bias cannot be removed"):
        del layer.params["bias"]


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm1d(4), nn.Dropout(0.5, rng=0), nn.Linear(4, 4, rng=0)]
)
@pytest.mark.parametrize(
    "dy", [np.ones((1, 4), np.float32), np.ones((8, 4), np.float32), np.ones((5, 4)), [1]]
)
def test_gradients_of_another_shape_are_an_error(layer, dy):
    layer.forward(normal(5, 4), training=True)
    with pytest.raises(ValueError, match="dy must.*float32"):
        layer.backward(dy)


class Plain:
    """A user's own optimiser: no more than lr and step; its `update` is another thing than ours."""

    def __init__(self, model, lr):
        self.model, self.lr, self.calls = model, lr, 0

    def step(self):
        self.calls += 1
        self.model.vector[:] -= np.float32(self.lr) * self.model.grad_vector

    def update(self):
        raise AssertionError


class Damped(optim.SGD):
    """Ours, with a step of the user's own."""

    def step(self):
        self.model.grad_vector[:] *= np.float32(0.5)
        super().step()


class Doubled(nn.Sequential):
    """A model with a training step of the user's own."""

    def train_step(self, *args, **options):
        result = super().train_step(*args, **options)
        self.grad_vector[:] *= 2
        return result


def sgd_of_other_parameters(model, lr):
    return optim.SGD(model["1"], lr)


@pytest.mark.parametrize(
    "make", [nn.Sequential, Doubled, with_numpy_layers], ids=lambda make: make.__name__
)
@pytest.mark.parametrize(
    "optimizer",
    [
        optim.SGD,
        optim.Adam,
        lambda model, lr: optim.SGD(model, lr, momentum=0.9, weight_decay=0.1),
        Plain,
        Damped,
        sgd_of_other_parameters,
    ],
    ids=["sgd", "adam", "momentum", "plain", "damped", "of one layer"],
)
def test_a_run_of_steps_asks_the_optimizer_it_is_given(make, optimizer):
    """The compiled run takes the place of `train_step` and `step` only where it does the same, to the bit."""
    if make is with_numpy_layers:
        if optimizer is sgd_of_other_parameters:
            pytest.skip("its layers have other names")
        one, other = make(), make()
    else:
        one, other = (
            make(nn.Flatten(), nn.Linear(256, 12, rng=0), nn.ReLU(), nn.Linear(12, 10, rng=1))
            for _ in "12"
        )
    x, labels, index = normal(50, 1, 16, 16), labels_for(50), np.arange(50)[::-1]
    rates = [0.1, 0.01, 0.05, 0.02]
    run, by_hand = optimizer(one, 1.0), optimizer(other, 1.0)
    losses, taken, correct = one.train_steps(
        nn.Samples(x, index), labels[index], CROSS_ENTROPY, run, rates, batch_size=16
    )
    expected = []
    for i, rate in enumerate(rates):
        batch = index[16 * i : 16 * i + 16]
        expected.append(other.train_step(nn.Samples(x, batch), labels[batch], CROSS_ENTROPY))
        by_hand.lr = rate
        by_hand.step()
    assert [*losses] == [loss for loss, _ in expected]
    assert (taken, correct) == (4, sum(right for _, right in expected))
    assert run.lr == rates[-1]
    assert getattr(run, "steps", 4) == getattr(run, "calls", 4) == 4
    assert_array_equal(one.vector, other.vector)
    assert_array_equal(one.grad_vector, other.grad_vector)
