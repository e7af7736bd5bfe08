"""Stochastic diagonal Levenberg-Marquardt: steps compared with the formulas, curvature, errors."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lenet5c import nn, optim, reference, set_num_threads

EPS = np.finfo(np.float32).eps


@pytest.fixture(autouse=True)
def default_threads():
    yield
    set_num_threads(None)


def model():
    """151 parameters: not a whole number of vectors."""
    return nn.Sequential(nn.Linear(9, 14, rng=0), nn.Tanh(), nn.Linear(14, 1, bias=False, rng=1))


def curvatures(size, seed=0):
    """Curvatures of 0, and from 1e-6 to 1e3."""
    values = np.geomspace(1e-6, 1e3, size)
    values[::7] = 0
    return np.random.default_rng(seed).permutation(values).astype(np.float32)


@pytest.mark.parametrize("mu", [0.02, 1e-4, 3.0])
def test_steps_match_the_reference(mu):
    optimizer = optim.SDLM(model(), lr=0.05, mu=mu)
    size = len(optimizer.model.vector)
    h = curvatures(size)
    optimizer.set_curvature(h)
    p, moved = optimizer.model.vector.astype(np.float64), np.zeros(size)
    rng = np.random.default_rng(1)
    for step in range(20):
        gradient = rng.standard_normal(size).astype(np.float32)
        optimizer.model.grad_vector[:] = gradient
        optimizer.step()
        before, p = p, reference.sdlm_step(p, gradient, h.astype(np.float64), 0.05, mu)
        moved += abs(p - before)
        # A step: mu, the sum, its inverse, lr, two products, the difference.
        allowed = EPS * ((step + 1) * (abs(p) + moved) + 8 * moved)
        assert np.all(abs(optimizer.model.vector - p) <= allowed)
    assert optimizer.steps == 20


def test_step_sizes():
    optimizer = optim.SDLM(model(), lr=5e-4)
    h = curvatures(len(optimizer.model.vector))
    optimizer.set_curvature(h)
    assert_array_equal(optimizer.curvature, h)
    assert_allclose(optimizer.step_sizes(), 5e-4 / (0.02 + h.astype(np.float64)), rtol=4 * EPS)
    optimizer.model.vector[:] = 0
    optimizer.model.grad_vector[:] = 1
    optimizer.step()
    assert_array_equal(optimizer.model.vector, -optimizer.step_sizes())


def test_before_an_estimate_it_is_gradient_descent():
    optimizer = optim.SDLM(model(), lr=5e-4)
    assert_allclose(optimizer.step_sizes(), 5e-4 / 0.02, rtol=4 * EPS)


def test_the_step_of_a_squashed_unit():
    """The paper's F6 with weights and biases 0: h of a bias is 2 (A S)^2, its step 1.896e-4.

    Its slope is A S then. The loss is the sum of squared differences of one sample, whose second
    derivative is 2 (eq. 7, and 25 and 27).
    """

    class Squash(nn.Layer):
        A, S = 1.7159, 2 / 3

        def forward(self, x, training=False):
            self.x = x
            return self.A * np.tanh(self.S * x)

        def backward_second(self, d2y, dy=None):
            return d2y * (self.A * self.S * (1 - np.tanh(self.S * self.x) ** 2)) ** 2

    class SumOfSquares(nn.Loss):
        def second(self, outputs, labels, sample_weight=None):
            return 2 * outputs, np.full(outputs.shape, 2, np.float32)

    net = nn.Sequential(nn.Linear(120, 84, rng=0), Squash())
    net.vector[:] = 0
    optimizer = optim.SDLM(net, lr=0.0005, mu=0.02)
    x = np.random.default_rng(0).standard_normal((1, 120)).astype(np.float32)
    optimizer.estimate(x, np.zeros(1, int), SumOfSquares())
    h = 2 * (1.7159 * 2 / 3) ** 2
    assert_allclose(net.curvatures["0.bias"], h, rtol=8 * EPS)
    assert_allclose(net.curvatures["0.weight"], h * np.tile(x**2, (84, 1)), rtol=8 * EPS)
    biases = optimizer.step_sizes()[84 * 120 :]
    assert_allclose(biases, 0.0005 / (0.02 + h), rtol=8 * EPS)
    assert f"{biases[0]:.3e}" == "1.896e-04"


def lenet(samples=70):
    rng = np.random.default_rng(5)
    images, labels = (
        rng.integers(0, 256, (samples, 1, 20, 20)).astype(np.uint8),
        rng.integers(0, 10, samples),
    )
    net = nn.LeNet5(input_size=20, activation="tanh", pooling="avg", rng=0)
    offset = np.zeros((1, 20, 20), np.float32)
    return net, nn.Samples(images, scale=1 / 255, offset=offset), labels


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.MSELoss()], ids=repr)
@pytest.mark.parametrize("batch_size", [1, 16, 30])
def test_steps_in_one_go_are_steps_one_by_one(batch_size, loss):
    """Bit-identical with any number of threads, also with one sample per step."""
    index = np.random.default_rng(6).permutation(70)
    rates = np.geomspace(1e-2, 1e-3, -(-70 // batch_size))

    net, samples, labels = lenet()
    optimizer = optim.SDLM(net, lr=1.0)
    optimizer.estimate(samples[index[:25]], labels[index[:25]], loss)
    before = net.vector.copy()
    for step, rate in enumerate(rates):
        batch = index[step * batch_size : (step + 1) * batch_size]
        net.train_step(samples[batch], labels[batch], loss)
        optimizer.lr = float(rate)
        optimizer.step()
    assert np.mean(net.vector != before) > 0.9

    for threads in (1, 2, 3):
        set_num_threads(threads)
        counterpart, *_ = lenet()
        other = optim.SDLM(counterpart, lr=1.0)
        other.estimate(samples[index[:25]], labels[index[:25]], loss)
        _, taken, _ = counterpart.train_steps(
            samples[index], labels[index], loss, other, rates, batch_size=batch_size
        )
        assert (taken, other.steps, other.lr) == (len(rates), len(rates), rates[-1])
        assert_array_equal(other.curvature, optimizer.curvature)
        assert counterpart.vector.tobytes() == net.vector.tobytes()


def test_an_estimate_is_what_the_model_measures():
    net, images, labels = lenet()
    optimizer = optim.SDLM(net, lr=0.1)
    optimizer.estimate(images, labels, nn.CrossEntropyLoss())
    first = optimizer.curvature
    assert_array_equal(first, net.second_derivatives(images, labels, nn.CrossEntropyLoss()))
    kept = first.copy()
    net.vector[:] *= 0.5
    net.second_derivatives(images, labels, nn.CrossEntropyLoss())
    assert_array_equal(optimizer.curvature, kept)  # until the next estimate
    optimizer.estimate(images, labels, nn.CrossEntropyLoss())
    assert (optimizer.curvature != kept).any()


def test_a_loaded_state_goes_on_to_the_same_bits():
    optimizer = optim.SDLM(model(), lr=0.05)
    size = len(optimizer.model.vector)
    optimizer.set_curvature(curvatures(size))
    optimizer.model.grad_vector[:] = 1
    optimizer.step()
    state = optimizer.state_dict()
    assert list(state) == ["steps", "curvature"]
    counterpart = optim.SDLM(model(), lr=0.05)
    counterpart.model.load_state_dict(optimizer.model.state_dict())
    counterpart.load_state_dict(state)
    state["curvature"][:] = 1  # a copy
    for each in (optimizer, counterpart):
        each.model.grad_vector[:] = 0.5
        each.step()
    assert counterpart.steps == optimizer.steps == 2
    assert counterpart.model.vector.tobytes() == optimizer.model.vector.tobytes()


@pytest.mark.parametrize(
    "spoil, message",
    [
        (lambda state: state.pop("curvature"), "state must have"),
        (lambda state: state.update(velocity=1), "'velocity'"),
        (lambda state: state.update(curvature=np.zeros(3)), r"\(154,\).*got \(3,\)"),
        (
            lambda state: state["curvature"].__setitem__(140, np.nan),
            "curvature of 2.weight must be.*got nan",
        ),
        (
            lambda state: state["curvature"].__setitem__(127, np.inf),
            "curvature of 0.bias must be.*got inf",
        ),
        (
            lambda state: state["curvature"].__setitem__(0, -1),
            "curvature of 0.weight must be.*got -1",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(spoil, message):
    optimizer = optim.SDLM(model(), lr=0.05)
    optimizer.set_curvature(curvatures(154))
    state = optimizer.state_dict() | {"steps": 7}
    spoil(state)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state)
    assert optimizer.steps == 0
    assert_array_equal(optimizer.curvature, curvatures(154))


def test_the_curvature_is_read_only():
    """Steps would not change accordingly."""
    optimizer = optim.SDLM(model(), lr=0.05)
    with pytest.raises(ValueError, match="read-only"):
        optimizer.curvature[0] = 1


@pytest.mark.parametrize(
    "options, message",
    [
        *(({"lr": lr}, "lr must be") for lr in (-1, np.nan, np.inf)),
        *(({"lr": 1, "mu": mu}, "mu must be") for mu in (0, -0.02, np.nan, np.inf, 1e-60)),
        *(({"lr": 1, "samples": samples}, "samples must be") for samples in (0, -5, 2.5)),
    ],
    ids=str,
)
def test_settings_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        optim.SDLM(model(), **options)


class FixedSecond(nn.Loss):
    """A loss with constant second derivatives."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def second(self, outputs, labels, sample_weight=None):
        return np.zeros_like(outputs), np.full(outputs.shape, self.number, np.float32)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_an_estimate_that_is_no_curvature(value):
    optimizer = optim.SDLM(model(), lr=0.05)
    x = np.ones((3, 9), np.float32)
    with pytest.raises(
        ArithmeticError,
        match="curvature of 0.weight must .*; check the loss, or lower the learning rate from 0.05",
    ):
        optimizer.estimate(x, np.zeros(3, int), FixedSecond(value))
    assert not optimizer.curvature.any()


def test_one_layer_cannot_be_measured():
    optimizer = optim.SDLM(nn.Linear(3, 2, rng=0), lr=0.05)
    with pytest.raises(TypeError, match="model must be a Sequential, got a Linear; wrap it in one"):
        optimizer.estimate(np.ones((3, 3), np.float32), np.zeros(3, int), nn.MSELoss())


def test_a_model_without_parameters():
    optimizer = optim.SDLM(nn.Sequential(nn.ReLU()), 0.1)
    optimizer.estimate(np.ones((3, 4), np.float32), np.zeros(3, int), nn.MSELoss())
    optimizer.step()
    assert optimizer.steps == 1


def test_training_lowers_the_loss():
    """The loss decreases to a third in three epochs, one sample per step, with two groups."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=64)
    x = (rng.standard_normal((64, 5)) + 2 * labels[:, None]).astype(np.float32)
    net, loss = (
        nn.Sequential(nn.Linear(5, 8, rng=0), nn.Tanh(), nn.Linear(8, 2, rng=1)),
        nn.CrossEntropyLoss(),
    )
    optimizer = optim.SDLM(net, lr=0.02)
    before, _ = loss(net.forward(x), labels)
    for _ in range(3):
        optimizer.estimate(x, labels, loss)
        net.train_steps(x, labels, loss, optimizer, [0.02] * 64, batch_size=1)
    assert loss(net.forward(x), labels)[0] < before / 3


@pytest.mark.parametrize("settings", [{"samples": True}, {"mu": True}, {"samples": 0}, {"mu": "1"}])
def test_true_is_no_number(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"^{name} must be"):
        optim.SDLM(nn.LeNet5_1998(input_size=20), 0.1, **settings)
