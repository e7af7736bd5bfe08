"""Models: names, shapes, state, copies, and shared layers."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sequential_models import (
    CROSS_ENTROPY,
    each_model,
    labels_for,
    leaves,
    lenet5,
    nested,
    normal,
    starting_with_numpy,
    with_numpy_layers,
)

from lenet5c import nn, optim, reference


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
    "counterpart_of",
    [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
    ids=["copy", "pickle"],
)
@each_model
def test_copies_are_whole_and_apart(make, counterpart_of):
    model = make()
    x, labels = normal(33, 1, 16, 16), labels_for(33)
    model.train_step(x, labels, CROSS_ENTROPY)  # what it keeps for backward must not be in the way
    counterpart = counterpart_of(model)
    assert type(counterpart) is type(model)
    assert list(counterpart.layers) == list(model.layers)
    assert counterpart.forward(x).tobytes() == model.forward(x).tobytes()
    # They train alike, random masks included ...
    for _ in range(2):
        assert counterpart.train_step(x, labels, CROSS_ENTROPY) == model.train_step(
            x, labels, CROSS_ENTROPY
        )
        assert counterpart.grad_vector.tobytes() == model.grad_vector.tobytes()
        for each in (model, counterpart):
            optim.SGD(each, lr=0.1).step()
    for name, array in model.state_dict().items():
        assert_array_equal(counterpart.state_dict()[name], array)
    # ... and apart.
    before = model.state_dict()
    counterpart.vector[:] = 0
    assert not any(
        layer.params[name].any() for layer in leaves(counterpart) for name in layer.params
    )
    for name, array in model.state_dict().items():
        assert_array_equal(array, before[name])


class TestSharedLayers:
    def test_twice_in_a_model(self):
        layer = nn.Linear(4, 4, rng=0)
        with pytest.raises(
            ValueError, match="layer '2' must occur in the model only once, got it twice"
        ):
            nn.Sequential(layer, nn.ReLU(), layer)

    @pytest.mark.parametrize("deep", [False, True])
    def test_twice_in_a_nested_model(self, deep):
        """Its weights would be in the vector twice."""
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
        with pytest.raises(ValueError, match="layers must contain at least one"):
            nn.Sequential(*layers)

    def test_what_is_no_layer(self):
        with pytest.raises(TypeError, match="'1' must be a lenet5c.nn.Layer, got function"):
            nn.Sequential(nn.ReLU(), lambda x: x)
        with pytest.raises(TypeError, match="'act' must be a lenet5c.nn.Layer, got type"):
            nn.Sequential({"act": nn.ReLU})

    def test_unknown_name(self):
        with pytest.raises(KeyError, match="fc9"):
            lenet5()["fc9"]


def test_shapes_that_do_not_fit_are_named_by_their_layer():
    model = nn.Sequential(nn.Conv2d(1, 4, 3, rng=0), nn.ReLU(), nn.Linear(784, 10, rng=1))
    with pytest.raises(ValueError, match=r"\(784,\) for Linear, got \(4, 14, 14\); put a Flatten"):
        model.forward(normal(2, 1, 16, 16))
    with pytest.raises(ValueError, match="1 channels .*Conv2d"):
        model.output_shape((3, 16, 16))


def test_one_model_takes_several_sizes():
    """More shapes than cached programs."""
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
            "multiply-adds",
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
            "117,600",
        ]
        assert cells["pool1"][-4:] == ["1,176", "-", "4,704", "-"]
        assert cells["conv2"][-4:] == ["1,600", "2,416", "241,600", "240,000"]
        assert cells["act1"][-4:] == ["-", "-", "-", "-"]
        assert cells["fc1"][-4:] == ["120", "48,120", "48,120", "48,000"]
        assert cells["fc3"] == ["fc3", "Linear", "10", "10", "850", "850", "840"]
        assert cells["total"][-3] == "61,706"

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
            "416,520",
        ]

    @each_model
    def test_every_layer_has_a_row(self, make):
        model = make()
        lines = model.summary((1, 16, 16)).splitlines()
        assert [line.split()[0] for line in lines[3:-2]] == [name for name, _ in model.flat_items()]
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
    with pytest.raises(TypeError, match="bias cannot be deleted"):
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
