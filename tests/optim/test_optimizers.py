"""Optimisers against their reference and PyTorch's, their state, and what they refuse."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lenet5c import nn, optim, reference

EPS = np.finfo(np.float32).eps
STEPS = 20
KINDS = (optim.SGD, optim.Adam, optim.Adagrad, optim.RMSprop)

SGDS = [
    {"lr": 0.1},
    {"lr": 0.1, "weight_decay": 0.01},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True},
    {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    {"lr": 0},
]
ADAMS = [
    {},
    {"lr": 0.1},
    {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3},
    {"lr": 0.1, "betas": (0.9, 0.9999)},
    {"lr": 0.1, "betas": (0.0, 0.0)},
    {"lr": 0.1, "weight_decay": 0.01},
    {"lr": 0.1, "weight_decay": 0.01, "decoupled": True},
]
ADAGRADS = [
    {"lr": 0.1},
    {"lr": 0.1, "weight_decay": 0.01},
    {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3},
]
RMSPROPS = [
    {"lr": 0.1},
    {"lr": 0.1, "alpha": 0.5, "eps": 1e-3},
    {"lr": 0.1, "momentum": 0.9},
    {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
]
each_adagrad = pytest.mark.parametrize("options", ADAGRADS, ids=str)
each_rmsprop = pytest.mark.parametrize("options", RMSPROPS, ids=str)
each_sgd = pytest.mark.parametrize("options", SGDS, ids=str)
each_adam = pytest.mark.parametrize("options", ADAMS, ids=str)
SETTINGS = [(optim.SGD, options) for options in SGDS] + [(optim.Adam, options) for options in ADAMS]
SETTINGS += [(optim.Adagrad, options) for options in ADAGRADS] + [
    (optim.RMSprop, options) for options in RMSPROPS
]
each_optimizer = pytest.mark.parametrize(
    "kind, options", SETTINGS, ids=lambda v: getattr(v, "__name__", str(v))
)


def model():
    """151 parameters: not a whole number of vectors."""
    return nn.Sequential(nn.Linear(9, 14, rng=0), nn.Tanh(), nn.Linear(14, 1, bias=False, rng=1))


def gradients():
    """A gradient for each step, of sizes from 1e-6 to 1, some of it zero."""
    rng = np.random.default_rng(2)
    sizes = np.append(np.geomspace(1e-6, 1, 151), [0, 0, 0])
    return (sizes * rng.standard_normal((STEPS, 154))).astype(np.float32)


def steps(optimizer):
    """The parameters after each step."""
    history = []
    for gradient in gradients():
        optimizer.model.grad_vector[:] = gradient
        optimizer.step()
        history.append(optimizer.model.vector.copy())
    return history


def assert_close(actual, expected, step, moved):
    """Within 16 roundings a step: of the parameter, and of the way it has gone.

    A step is some ten operations, each rounded once, and they differ in sign; `moved` adds up how far each went.
    """
    allowed = EPS * ((step + 1) * abs(expected) + 16 * moved)
    assert np.all(abs(actual - expected) <= allowed), (
        f"step {step}: {(abs(actual - expected) / allowed).max():.3g}"
    )


@each_sgd
def test_sgd_matches_reference(options):
    optimizer = optim.SGD(model(), **options)
    p, v = optimizer.model.vector.astype(np.float64), np.zeros(154)
    moved = np.zeros(154)
    for step, (gradient, actual) in enumerate(zip(gradients(), steps(optimizer), strict=True)):
        before = p
        p, v = reference.sgd_step(p, gradient, v, **options)
        moved += abs(p - before)
        assert_close(actual, p, step, moved)


@each_adam
def test_adam_matches_reference(options):
    optimizer = optim.Adam(model(), **options)
    p, m, v = optimizer.model.vector.astype(np.float64), np.zeros(154), np.zeros(154)
    options = {"lr": 1e-3} | options
    moved = np.zeros(154)
    for step, (gradient, actual) in enumerate(zip(gradients(), steps(optimizer), strict=True)):
        before = p
        p, m, v = reference.adam_step(p, gradient, m, v, step + 1, **options)
        moved += abs(p - before)
        assert_close(actual, p, step, moved)


@each_adagrad
def test_adagrad_matches_reference(options):
    optimizer = optim.Adagrad(model(), **options)
    options = dict(options)
    initial = options.pop("initial_accumulator_value", 0.0)
    p, s = optimizer.model.vector.astype(np.float64), np.full(154, initial)
    moved = np.zeros(154)
    for step, (gradient, actual) in enumerate(zip(gradients(), steps(optimizer), strict=True)):
        before = p
        p, s = reference.adagrad_step(p, gradient.astype(np.float64), s, **options)
        moved += abs(p - before)
        assert_close(actual, p, step, moved)


@each_rmsprop
def test_rmsprop_matches_reference(options):
    optimizer = optim.RMSprop(model(), **options)
    p, s, v = optimizer.model.vector.astype(np.float64), np.zeros(154), np.zeros(154)
    moved = np.zeros(154)
    for step, (gradient, actual) in enumerate(zip(gradients(), steps(optimizer), strict=True)):
        before = p
        p, s, v = reference.rmsprop_step(p, gradient.astype(np.float64), s, v, **options)
        moved += abs(p - before)
        assert_close(actual, p, step, moved)


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.9, 0.9999), (0.99, 0.99999)])
def test_adams_first_step_is_lr_in_the_gradients_direction(betas):
    """Whatever the gradient's size: m and v are the gradient and its square, once their start at 0 is corrected.

    Eight roundings: m and its correction; g^2, 1 - beta2, their product, the root, its correction; the quotient.
    """
    layer = nn.Linear(4, 3, rng=0)
    layer.vector[:] = 0
    layer.grad_vector[:] = np.geomspace(1e-3, 1e3, 15) * (-1) ** np.arange(15)
    optim.Adam(layer, lr=1, betas=betas, eps=1e-12).step()
    np.testing.assert_allclose(layer.vector, -np.sign(layer.grad_vector), rtol=8 * EPS)


@each_optimizer
def test_matches_torch(kind, options):
    torch = pytest.importorskip("torch")
    options = dict(options)
    optimizer = kind(model(), **options)
    name = "AdamW" if options.pop("decoupled", False) else kind.__name__
    parameter = torch.nn.Parameter(torch.tensor(optimizer.model.vector, dtype=torch.float64))
    twin = getattr(torch.optim, name)([parameter], **({"lr": 1e-3, "weight_decay": 0} | options))
    moved = np.zeros(154)
    for step, (gradient, actual) in enumerate(zip(gradients(), steps(optimizer), strict=True)):
        before = parameter.detach().numpy().copy()
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        twin.step()
        moved += abs(parameter.detach().numpy() - before)
        assert_close(actual, parameter.detach().numpy(), step, moved)


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


@each_optimizer
def test_gradients_stay_as_they_were(kind, options):
    optimizer = kind(model(), **options)
    optimizer.model.grad_vector[:] = gradients()[0]
    optimizer.step()
    assert_array_equal(optimizer.model.grad_vector, gradients()[0])


@each_optimizer
def test_a_loaded_state_goes_on_to_the_same_bits(kind, options):
    optimizer = kind(model(), **options)
    steps(optimizer)
    state, weights = optimizer.state_dict(), optimizer.model.state_dict()
    twin = kind(model(), **options)
    twin.model.load_state_dict(weights)
    twin.load_state_dict(state)
    assert twin.steps == optimizer.steps == STEPS
    for a, b in zip(steps(optimizer), steps(twin), strict=True):
        assert a.tobytes() == b.tobytes()


@each_optimizer
def test_state_is_a_copy(kind, options):
    optimizer = kind(model(), **options)
    steps(optimizer)
    state = optimizer.state_dict()
    before = copy.deepcopy(state)
    twin = kind(model(), **options)
    twin.load_state_dict(state)
    steps(optimizer)
    steps(twin)
    assert state.keys() == before.keys()
    for name, value in before.items():
        assert_array_equal(state[name], value)


@pytest.mark.parametrize(
    "kind, names",
    [
        (optim.SGD, ["steps", "velocity"]),
        (optim.Adam, ["steps", "m", "v"]),
        (optim.Adagrad, ["steps", "squares"]),
        (optim.RMSprop, ["steps", "squares", "velocity"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
class TestState:
    def test_names(self, kind, names):
        state = kind(model(), lr=0.1).state_dict()
        assert list(state) == names
        assert state["steps"] == 0
        for name in names[1:]:
            assert (state[name].dtype, state[name].shape) == (np.float32, (154,))
            assert not state[name].any()

    @pytest.mark.parametrize(
        "spoil, message",
        [
            (lambda state, name: state.pop(name), "state has"),
            (lambda state, name: state.pop("steps"), "state has.*should have.*'steps'"),
            (lambda state, name: state.update(other=1), "'other'"),
            (lambda state, name: state.update({name: np.zeros(153)}), r"\(153,\).*\(154,\)"),
            (lambda state, name: state.update({name: 0.0}), r"\(\).*\(154,\)"),
        ],
    )
    def test_an_error_changes_nothing(self, kind, names, spoil, message):
        optimizer = kind(model(), lr=0.1)
        steps(optimizer)
        before = optimizer.state_dict()
        state = {name: value + 1 for name, value in before.items()}
        spoil(state, names[-1])
        with pytest.raises(ValueError, match=message):
            optimizer.load_state_dict(state)
        for name, value in optimizer.state_dict().items():
            assert_array_equal(value, before[name])

    def test_of_another_optimizer(self, kind, names):
        other = optim.Adam if kind is optim.SGD else optim.SGD
        with pytest.raises(ValueError, match="state has"):
            kind(model(), lr=0.1).load_state_dict(other(model(), lr=0.1).state_dict())


@pytest.mark.parametrize(
    "kind, options, message",
    [
        *((kind, {"lr": lr}, "lr is") for kind in KINDS for lr in (-1, np.nan, np.inf)),
        *(
            (kind, {"lr": 1, "weight_decay": decay}, "weight_decay is")
            for kind in KINDS
            for decay in (-1, np.nan, np.inf)
        ),
        (optim.SGD, {"lr": 1, "momentum": -0.1}, "momentum is -0.1"),
        (optim.SGD, {"lr": 1, "momentum": 1}, "momentum is 1"),
        (optim.SGD, {"lr": 1, "momentum": np.nan}, "momentum is nan"),
        (optim.SGD, {"lr": 1, "nesterov": True}, "nesterov.*momentum is 0"),
        (optim.Adam, {"betas": (0.9,)}, "betas is"),
        (optim.Adam, {"betas": (0.9, 1)}, "betas is"),
        (optim.Adam, {"betas": (-0.1, 0.9)}, "betas is"),
        (optim.Adam, {"betas": (0.9, np.nan)}, "betas is"),
        (optim.Adam, {"eps": 0}, "eps is 0"),
        (optim.Adam, {"eps": -1e-8}, "eps is -1e-08"),
        (optim.Adam, {"eps": np.nan}, "eps is nan"),
        (optim.Adagrad, {"eps": 0}, "eps is 0"),
        (optim.Adagrad, {"initial_accumulator_value": -1}, "initial_accumulator_value is -1"),
        (optim.Adagrad, {"initial_accumulator_value": np.inf}, "initial_accumulator_value is inf"),
        (optim.RMSprop, {"alpha": 1}, "alpha is 1"),
        (optim.RMSprop, {"alpha": -0.1}, "alpha is -0.1"),
        (optim.RMSprop, {"momentum": 1}, "momentum is 1"),
        (optim.RMSprop, {"eps": np.inf}, "eps is inf"),
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


@pytest.mark.parametrize("kind", KINDS)
def test_one_layer_of_a_model_is_stepped_alone(kind):
    """Also when the layer moved into the model after its optimiser was made."""
    first, second = nn.Linear(4, 3, rng=0), nn.Linear(3, 2, rng=1)
    optimizer = kind(second, lr=0.1)
    model = nn.Sequential(first, second)
    before = model.vector.copy()
    model.grad_vector[:] = 1
    optimizer.step()
    assert_array_equal(model.vector[:15], before[:15])
    assert (model.vector[15:] < before[15:]).all()


def test_training_lowers_the_loss():
    """Half of what it was, in 50 steps, on a task of two groups."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=64)
    x = (rng.standard_normal((64, 5)) + 2 * labels[:, None]).astype(np.float32)
    for kind, options in (
        (optim.SGD, {"lr": 0.1, "momentum": 0.9}),
        (optim.Adam, {"lr": 0.01}),
        (optim.Adagrad, {"lr": 0.1}),
        (optim.RMSprop, {"lr": 0.01}),
    ):
        net = nn.Sequential(nn.Linear(5, 8, rng=0), nn.ReLU(), nn.Linear(8, 2, rng=1))
        optimizer = kind(net, **options)
        losses = []
        for _ in range(50):
            losses.append(net.train_step(x, labels, nn.CrossEntropyLoss())[0])
            optimizer.step()
        assert losses[-1] < losses[0] / 2
