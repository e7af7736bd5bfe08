"""Optimizers compared with their reference and PyTorch, their state, and invalid arguments."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from one_test import in_one_test

from lenet5c import nn, optim, reference

EPS = np.finfo(np.float32).eps
STEPS = 20
# Settings of each optimizer under test, and its float64 form.
OPTIONS = {
    optim.SGD: [
        {"lr": 0.1},
        {"lr": 0.1, "weight_decay": 0.01},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        {"lr": 0},
    ],
    optim.Lion: [
        {"lr": 1e-3},
        {"lr": 0.1},
        {"lr": 0.1, "betas": (0.5, 0.9)},
        {"lr": 0.1, "weight_decay": 0.1},
    ],
    optim.Adam: [
        {"lr": 1e-3},
        {"lr": 0.1},
        {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3},
        {"lr": 0.1, "betas": (0.9, 0.9999)},
        {"lr": 0.1, "betas": (0.0, 0.0)},
        {"lr": 0.1, "weight_decay": 0.01},
        {"lr": 0.1, "weight_decay": 0.01, "decoupled": True},
    ],
    optim.NAdam: [
        {"lr": 2e-3},
        {"lr": 0.1},
        {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "momentum_decay": 0.5},
        {"lr": 0.1, "momentum_decay": 0.0},
        {"lr": 0.1, "weight_decay": 0.01},
        {"lr": 0.1, "weight_decay": 0.01, "decoupled": True},
    ],
    optim.Adagrad: [
        {"lr": 0.1},
        {"lr": 0.1, "weight_decay": 0.01},
        {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3},
    ],
    optim.RMSprop: [
        {"lr": 0.1},
        {"lr": 0.1, "alpha": 0.5, "eps": 1e-3},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    ],
}
REFERENCES = {
    optim.Lion: reference.lion_step,
    optim.NAdam: reference.nadam_step,
    optim.SGD: reference.sgd_step,
    optim.Adam: reference.adam_step,
    optim.Adagrad: reference.adagrad_step,
    optim.RMSprop: reference.rmsprop_step,
}
KINDS = tuple(OPTIONS)
SETTINGS = [(kind, options) for kind in KINDS for options in OPTIONS[kind]]


def name_of(value):
    return getattr(value, "__name__", str(value))


each_kind = pytest.mark.parametrize("kind", KINDS, ids=name_of)
each_optimizer = pytest.mark.parametrize("kind, options", SETTINGS, ids=name_of)


def model():
    """151 parameters: not a whole number of vectors."""
    return nn.Sequential(nn.Linear(9, 14, rng=0), nn.Tanh(), nn.Linear(14, 1, bias=False, rng=1))


def gradients():
    """Return a gradient for each step, of sizes from 1e-6 to 1, some of it zero."""
    rng = np.random.default_rng(2)
    sizes = np.append(np.geomspace(1e-6, 1, 151), [0, 0, 0])
    return (sizes * rng.standard_normal((STEPS, 154))).astype(np.float32)


def steps(optimizer):
    """Return the parameters after each step."""
    history = []
    for gradient in gradients():
        optimizer.model.grad_vector[:] = gradient
        optimizer.step()
        history.append(optimizer.model.vector.copy())
    return history


def assert_close(actual, expected, step, moved):
    """Within 16 roundings per step: of the parameter, and of its total change.

    A step is some ten operations, each rounded once, and they differ in sign; `moved` adds up how
    far each went.
    """
    allowed = EPS * ((step + 1) * abs(expected) + 16 * moved)
    assert np.all(abs(actual - expected) <= allowed), (
        f"step {step}: {(abs(actual - expected) / allowed).max():.3g}"
    )


@in_one_test
@each_optimizer
def test_matches_reference(kind, options):
    optimizer = kind(model(), **options)
    p = optimizer.model.vector.astype(np.float64)
    state = [getattr(optimizer, name).astype(np.float64) for name in kind.vectors]
    options = {k: value for k, value in options.items() if k != "initial_accumulator_value"}
    moved = np.zeros(154)
    for step, (gradient, actual) in enumerate(zip(gradients(), steps(optimizer), strict=True)):
        before = p
        number = (step + 1,) if issubclass(kind, optim.Adam) else ()
        p, *state = REFERENCES[kind](p, gradient.astype(np.float64), *state, *number, **options)
        moved += abs(p - before)
        assert_close(actual, p, step, moved)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0.9999), (0.99, 0.99999)])
def test_adams_first_step_is_lr_in_the_gradients_direction(betas):
    """Whatever the gradient's size: m and v, corrected, are the gradient and its square.

    Eight roundings: m and its correction; g^2, 1 - beta2, their product, the root, its correction;
    the quotient.
    """
    layer = nn.Linear(4, 3, rng=0)
    layer.vector[:] = 0
    layer.grad_vector[:] = np.geomspace(1e-3, 1e3, 15) * (-1) ** np.arange(15)
    optim.Adam(layer, lr=1, betas=betas, eps=1e-12).step()
    np.testing.assert_allclose(layer.vector, -np.sign(layer.grad_vector), rtol=8 * EPS)


@each_optimizer
def test_matches_torch(kind, options):
    torch = pytest.importorskip("torch")
    if not hasattr(torch.optim, kind.__name__):
        pytest.skip(f"PyTorch has no {kind.__name__}")
    options = dict(options)
    optimizer = kind(model(), **options)
    name = kind.__name__
    if decoupled := options.pop("decoupled", False):
        name, options = {
            "Adam": ("AdamW", options),
            "NAdam": ("NAdam", options | {"decoupled_weight_decay": decoupled}),
        }[name]
    parameter = torch.nn.Parameter(torch.tensor(optimizer.model.vector, dtype=torch.float64))
    counterpart = getattr(torch.optim, name)(
        [parameter], **({"lr": 1e-3, "weight_decay": 0} | options)
    )
    moved = np.zeros(154)
    for step, (gradient, actual) in enumerate(zip(gradients(), steps(optimizer), strict=True)):
        before = parameter.detach().numpy().copy()
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        counterpart.step()
        moved += abs(parameter.detach().numpy() - before)
        assert_close(actual, parameter.detach().numpy(), step, moved)


@in_one_test
@each_optimizer
def test_lr_may_change(kind, options):
    optimizer = kind(model(), **options)
    steps(optimizer)
    before = optimizer.model.vector.copy()
    optimizer.lr = 0.0
    optimizer.step()
    assert_array_equal(optimizer.model.vector, before)
    optimizer.lr = 0.01
    optimizer.step()
    assert (optimizer.model.vector != before).any()


@in_one_test
@each_optimizer
def test_gradients_stay_as_they_were(kind, options):
    optimizer = kind(model(), **options)
    optimizer.model.grad_vector[:] = gradients()[0]
    optimizer.step()
    assert_array_equal(optimizer.model.grad_vector, gradients()[0])


@in_one_test
@each_optimizer
def test_a_loaded_state_goes_on_to_the_same_bits(kind, options):
    optimizer = kind(model(), **options)
    steps(optimizer)
    state, weights = optimizer.state_dict(), optimizer.model.state_dict()
    counterpart = kind(model(), **options)
    counterpart.model.load_state_dict(weights)
    counterpart.load_state_dict(state)
    assert counterpart.steps == optimizer.steps == STEPS
    for a, b in zip(steps(optimizer), steps(counterpart), strict=True):
        assert a.tobytes() == b.tobytes()


@in_one_test
@each_optimizer
def test_state_is_a_copy(kind, options):
    optimizer = kind(model(), **options)
    steps(optimizer)
    state = optimizer.state_dict()
    before = copy.deepcopy(state)
    counterpart = kind(model(), **options)
    counterpart.load_state_dict(state)
    steps(optimizer)
    steps(counterpart)
    assert state.keys() == before.keys()
    for name, value in before.items():
        assert_array_equal(state[name], value)


def assert_same_state(state, expected):
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert_array_equal(state[name], value)


def test_every_optimizer_says_which_vectors_are_of_squares():
    """State vectors under a square root, or in a divisor."""
    for choice in optim.OPTIMIZERS.values():
        assert set(choice.cls.not_negative) == {"v", "squares", "curvature"} & set(
            choice.cls.vectors
        )


def test_as_many_steps_as_can_be_are_no_endless_loop():
    optimizer = optim.NAdam(model(), 0.1)
    optimizer.load_state_dict(optimizer.state_dict() | {"steps": 2**53 - 1})
    optimizer.step()
    assert np.isfinite(optimizer.model.vector).all()


@in_one_test
@each_kind
class TestState:
    def test_names(self, kind):
        state = kind(model(), lr=0.1).state_dict()
        assert list(state) == ["steps", *kind.vectors]
        assert state["steps"] == 0
        for name in kind.vectors:
            assert (state[name].dtype, state[name].shape) == (np.float32, (154,))
            assert not state[name].any()

    @pytest.mark.parametrize(
        "spoil, message",
        [
            (lambda state, name: state.pop(name), "state must have"),
            (lambda state, name: state.pop("steps"), "state must have.*'steps'.*got"),
            (lambda state, name: state.update(other=1), "'other'"),
            (lambda state, name: state.update({name: np.zeros(153)}), r"\(154,\).*got \(153,\)"),
            (lambda state, name: state.update({name: 0.0}), r"\(154,\).*got \(\)"),
        ],
    )
    def test_an_error_changes_nothing(self, kind, spoil, message):
        optimizer = kind(model(), lr=0.1)
        steps(optimizer)
        before = optimizer.state_dict()
        state = {name: value + 1 for name, value in before.items()}
        spoil(state, kind.vectors[-1])
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict(state)
        for name, value in optimizer.state_dict().items():
            assert_array_equal(value, before[name])

    @pytest.mark.parametrize(
        "value", [-1, 1.0, True, "1", None, 2**53, 10**400, np.float32(1), np.bool_(1)], ids=str
    )
    def test_impossible_steps(self, kind, value):
        optimizer = kind(model(), lr=0.1)
        steps(optimizer)
        before = optimizer.state_dict()
        with pytest.raises(ValueError, match="steps must be an integer of at least 0, got"):
            optimizer.load_state_dict(before | {"steps": value})
        assert_same_state(optimizer.state_dict(), before)
        optimizer.load_state_dict(before | {"steps": np.int64(5)})
        assert type(optimizer.steps) is int

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -1])
    @pytest.mark.parametrize("vector", [0, -1])
    def test_impossible_values(self, kind, value, vector):
        """Only those of squares must not be negative."""
        optimizer = kind(model(), lr=0.1)
        steps(optimizer)
        before, name = optimizer.state_dict(), kind.vectors[vector]
        state = copy.deepcopy(before)
        state[name][-1] = value
        if value == -1 and name not in kind.not_negative:
            optimizer.load_state_dict(state)
            assert_same_state(optimizer.state_dict(), state)
            return
        with pytest.raises(ValueError, match=rf"the {name} of .*weight must be a finite .*, got"):
            optimizer.load_state_dict(state | {"steps": 3})
        assert_same_state(optimizer.state_dict(), before)

    def test_vectors_of_another_type(self, kind):
        optimizer = kind(model(), lr=0.1)
        before = optimizer.state_dict()
        for values in (np.zeros(154), np.zeros(154, np.int32), [0.0] * 154):
            with pytest.raises(ValueError, match="must be float32, got"):
                optimizer.load_state_dict(before | {kind.vectors[-1]: values})
        assert_same_state(optimizer.state_dict(), before)

    def test_of_another_optimizer(self, kind):
        other = optim.Adagrad if kind is optim.SGD else optim.SGD
        with pytest.raises(ValueError, match="state must have"):
            kind(model(), lr=0.1).load_state_dict(other(model(), lr=0.1).state_dict())


@in_one_test
@pytest.mark.parametrize(
    "kind, options, message",
    [
        *((kind, {"lr": lr}, "lr must be") for kind in KINDS for lr in (-1, np.nan, np.inf, 1e39)),
        *(
            (kind, {"lr": 1, "weight_decay": decay}, "weight_decay must be")
            for kind in KINDS
            for decay in (-1, np.nan, np.inf)
        ),
        (optim.SGD, {"lr": 1, "momentum": -0.1}, "momentum must be.*got -0.1"),
        (optim.SGD, {"lr": 1, "momentum": 1}, "momentum must be.*got 1"),
        (optim.SGD, {"lr": 1, "momentum": np.nan}, "momentum must be.*got nan"),
        (optim.SGD, {"lr": 1, "nesterov": True}, "momentum must be.*nesterov, got 0"),
        (optim.Lion, {"betas": (0.9, 1)}, "betas must be"),
        (optim.Adam, {"betas": (0.9,)}, "betas must be"),
        (optim.Adam, {"betas": (0.9, 1)}, "betas must be"),
        (optim.Adam, {"betas": (-0.1, 0.9)}, "betas must be"),
        (optim.Adam, {"betas": (0.9, np.nan)}, "betas must be"),
        (optim.Adagrad, {"initial_accumulator_value": 1e39}, "initial_accumulator_value must be"),
        (optim.Adam, {"eps": 1e-46}, "eps must be.*got 1e-46"),
        (optim.Adam, {"eps": 0}, "eps must be.*got 0"),
        (optim.Adam, {"eps": -1e-8}, "eps must be.*got -1e-08"),
        (optim.Adam, {"eps": np.nan}, "eps must be.*got nan"),
        (optim.NAdam, {"momentum_decay": -1}, "momentum_decay must be.*got -1"),
        (optim.NAdam, {"betas": (0.9, 1)}, "betas must be"),
        (optim.Adagrad, {"eps": 0}, "eps must be.*got 0"),
        (
            optim.Adagrad,
            {"initial_accumulator_value": -1},
            "initial_accumulator_value must be.*got -1",
        ),
        (
            optim.Adagrad,
            {"initial_accumulator_value": np.inf},
            "initial_accumulator_value must be.*got inf",
        ),
        (optim.RMSprop, {"alpha": 1}, "alpha must be.*got 1"),
        (optim.RMSprop, {"alpha": -0.1}, "alpha must be.*got -0.1"),
        (optim.RMSprop, {"momentum": 1}, "momentum must be.*got 1"),
        (optim.RMSprop, {"eps": np.inf}, "eps must be.*got inf"),
    ],
    ids=str,
)
def test_settings_out_of_range(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(model(), **options)


def test_a_model_without_parameters():
    for optimizer in (kind(nn.ReLU(), 0.1) for kind in KINDS):
        optimizer.step()
        assert optimizer.steps == 1


@each_kind
def test_one_layer_of_a_model_is_stepped_alone(kind):
    """Also when the layer moved into the model after its optimizer was made."""
    first, second = nn.Linear(4, 3, rng=0), nn.Linear(3, 2, rng=1)
    optimizer = kind(second, lr=0.1)
    model = nn.Sequential(first, second)
    before = model.vector.copy()
    model.grad_vector[:] = 1
    optimizer.step()
    assert_array_equal(model.vector[:15], before[:15])
    assert (model.vector[15:] < before[15:]).all()


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_training_lowers_the_loss(name):
    """The loss is halved in 50 steps, on a task with two groups."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=64)
    x = (rng.standard_normal((64, 5)) + 2 * labels[:, None]).astype(np.float32)
    net = nn.Sequential(nn.Linear(5, 8, rng=0), nn.ReLU(), nn.Linear(8, 2, rng=1))
    optimizer = optim.OPTIMIZERS[name].make(net, lr=0.1 if name in ("sgd", "adagrad") else 0.01)
    losses = []
    for _ in range(50):
        losses.append(net.train_step(x, labels, nn.CrossEntropyLoss())[0])
        optimizer.step()
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
class TestChoice:
    def test_makes_the_optimizer_with_what_suits_it(self, name):
        choice = optim.OPTIMIZERS[name]
        optimizer = choice.make(model())
        assert type(optimizer) is choice.cls
        assert (optimizer.lr, optimizer.weight_decay) == (choice.lr, choice.weight_decay)
        for argument, value in choice.fixed.items():
            assert getattr(optimizer, argument) == value

    def test_takes_its_settings_and_no_others(self, name):
        choice = optim.OPTIMIZERS[name]
        assert not {"lr", "weight_decay", *choice.fixed} & set(choice.settings)
        usual = {
            setting: getattr(choice.make(model()), setting, 0.0) for setting in choice.settings
        }
        assert choice.make(model(), lr=0.5, **usual).lr == 0.5
        with pytest.raises(TypeError, match="inertia"):
            choice.make(model(), inertia=1)


class Halved(optim.SGD):
    """A custom optimizer whose `step` halves the rate."""

    def step(self):
        self.lr /= 2
        super().step()


def test_only_an_optimizer_that_steps_as_its_kernel_does_is_described():
    net = model()
    assert optim.SGD(net, 0.1).describe_steps(net, [0.1, 0.2]).steps == 2
    assert optim.SGD(next(iter(net.layers.values())), 0.1).describe_steps(net, [0.1]) is None
    assert Halved(net, 0.1).describe_steps(net, [0.1]) is None
    replaced = optim.SGD(net, 0.1)
    replaced.step = lambda: None
    assert replaced.describe_steps(net, [0.1]) is None


@pytest.mark.parametrize("with_numpy_layer", [False, True])
def test_steps_with_the_optimizer_of_another_model_are_refused(with_numpy_layer):
    class Same(nn.Layer):
        def forward(self, x, training=False):
            return x

        def backward(self, dy):
            return dy

    def make():
        return nn.Sequential(*[Same()] * with_numpy_layer, nn.Flatten(), nn.Linear(4, 3, rng=0))

    net, x, labels = make(), np.ones((2, 1, 2, 2), np.float32), np.zeros(2, np.int32)
    with pytest.raises(
        ValueError,
        match="optimizer must belong to the model .*create it with this model: Adam.model, ",
    ):
        net.train_steps(
            x, labels, nn.CrossEntropyLoss(), optim.Adam(make(), 0.1), [0.1], batch_size=2
        )
    before = net.vector.copy()
    part = optim.Adam(list(net.layers.values())[-1], 0.1)
    net.train_steps(x, labels, nn.CrossEntropyLoss(), part, [0.1], batch_size=2)
    assert (net.vector != before).any()


@pytest.mark.parametrize(
    "arguments",
    [{"lr": "fast"}, {"weight_decay": None}, {"betas": 0.9}, {"betas": "ab"}, {"betas": (0.9,)}],
)
def test_settings_of_another_kind_are_named(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"^{name} must be .*, got "):
        optim.Lion(model(), **{"lr": 0.1, **arguments})


def test_a_subclass_that_steps_as_its_kernel_does_is_described():
    class Named(optim.SGD):
        """A custom optimizer with another default."""

    net = model()
    assert Named(net, 0.1).describe_steps(net, [0.1]).steps == 1
