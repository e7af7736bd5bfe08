"""One step of each optimizer: by hand, and many against PyTorch."""

import numpy as np
import pytest
from gradient_checks import agree
from numpy.testing import assert_array_equal

from lenet5c import reference


def test_sgd_by_hand():
    p, v = reference.sgd_step(1.0, 0.5, 2.0, lr=0.1, momentum=0.5, weight_decay=0.5)
    assert (p, v) == pytest.approx((0.8, 2))
    options = {"lr": 0.1, "momentum": 0.5, "nesterov": True}
    p, v = reference.sgd_step(1.0, 0.5, 2.0, **options, weight_decay=0.5)
    assert (p, v) == pytest.approx((0.8, 2))
    p, v = reference.sgd_step(1.0, 0.5, 2.0, **options)
    assert (p, v) == pytest.approx((0.875, 1.5))


def test_first_adam_step_is_the_learning_rate():
    p, m, v = reference.adam_step(1.0, -8.0, 0.0, 0.0, t=1, lr=0.01, eps=0)
    assert (p, m, v) == pytest.approx((1.01, -0.8, 0.064))
    options = {"weight_decay": 0.5, "decoupled": True}
    p, _, _ = reference.adam_step(1.0, -8.0, 0.0, 0.0, t=1, lr=0.01, eps=0, **options)
    assert p == pytest.approx(1.005)


def test_adagrad_by_hand():
    p, s = reference.adagrad_step(1.0, 3.0, 16.0, lr=0.5, eps=0)
    assert (p, s) == pytest.approx((1 - 0.5 * 3 / 5, 25))


def test_rmsprop_by_hand():
    p, s, v = reference.rmsprop_step(1.0, 3.0, 7.0, 4.0, lr=0.5, alpha=0.5, eps=1, momentum=0.25)
    assert (p, s, v) == pytest.approx(
        (1 - 0.5 * 1.0 - 0.5 * 3 / (8**0.5 + 1), 8, 1 + 3 / (8**0.5 + 1))
    )


def test_sdlm_by_hand():
    p = reference.sdlm_step([1.0, 1.0], [2.0, 2.0], [0.0, 0.3], lr=0.1, mu=0.2)
    assert_array_equal(p, [0, 1 - 0.1 / 0.5 * 2])


@pytest.mark.parametrize("momentum, nesterov", [(0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("weight_decay", [0, 0.1])
def test_sgd_against_torch(torch, rng, momentum, nesterov, weight_decay):
    options = {"lr": 0.1, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    check(torch.optim.SGD, reference.sgd_step, torch, rng, [0], options)


@pytest.mark.parametrize("name, decoupled", [("Adam", False), ("AdamW", True)])
@pytest.mark.parametrize("weight_decay", [0, 0.1])
def test_adam_against_torch(torch, rng, name, decoupled, weight_decay):
    options = {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": weight_decay}

    def step(p, g, m, v, t, **options):
        p, m, v = reference.adam_step(p, g, m, v, int(t), decoupled=decoupled, **options)
        return p, m, v, t + 1

    check(getattr(torch.optim, name), step, torch, rng, [0, 0, 1], options)


@pytest.mark.parametrize("initial", [0, 0.5])
@pytest.mark.parametrize("weight_decay", [0, 0.1])
def test_adagrad_against_torch(torch, rng, initial, weight_decay):
    options = {"lr": 0.1, "eps": 1e-3, "weight_decay": weight_decay}
    more = {"initial_accumulator_value": initial}
    check(torch.optim.Adagrad, reference.adagrad_step, torch, rng, [initial], options, more)


@pytest.mark.parametrize("momentum", [0, 0.9])
@pytest.mark.parametrize("weight_decay", [0, 0.1])
def test_rmsprop_against_torch(torch, rng, momentum, weight_decay):
    options = {"lr": 0.1, "alpha": 0.9, "eps": 1e-3}
    options |= {"momentum": momentum, "weight_decay": weight_decay}
    check(torch.optim.RMSprop, reference.rmsprop_step, torch, rng, [0, 0], options)


def check(kind, step, torch, rng, state, options, more=None):
    """Take four steps with each; `more` are options that the state of our step has already."""
    p = rng.standard_normal(6)
    state = [value if value == 1 else np.full(6, float(value)) for value in state]
    leaf = torch.tensor(p, requires_grad=True)
    optimizer = kind([leaf], **options, **(more or {}))
    for g in rng.standard_normal((4, 6)):
        leaf.grad = torch.tensor(g)
        optimizer.step()
        p, *state = step(p, g, *state, **options)
        agree(p, leaf)
