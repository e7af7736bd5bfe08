"""Adaptive optimizers."""

from collections.abc import Sequence
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from lenet5c.nn import Layer
from lenet5c.optim.optimizer import (
    Optimizer,
    check_betas,
    check_decay,
    check_not_negative,
    check_positive,
    register,
)

__all__ = ["Adagrad", "Adam", "NAdam", "RMSprop"]


@register("adamw", lr=4e-3, weight_decay=0.1, decoupled=True)
@register("adam", lr=4e-3, decoupled=False)
class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015), like `torch.optim.Adam`, or `torch.optim.AdamW` if `decoupled`.

    Parameters
    ----------
    model : lenet5c.nn.Layer
    lr : float
    betas : (float, float)
        Decay rates of the running means of the gradient and its square.
    eps : float
    weight_decay : float
        Added to the gradient as weight_decay * p; or, if `decoupled`, the parameter p is decreased
        by lr * weight_decay * p (Loshchilov and Hutter, 2019).
    decoupled : bool

    Attributes
    ----------
    lr : float
        Learning rate; may be changed between steps.
    m, v : ndarray of float32
        Running means of the gradient and its square.
    """

    kernel = "adam"
    vectors = ("m", "v")
    not_negative = ("v",)
    m: NDArray[np.float32]
    v: NDArray[np.float32]

    def __init__(
        self,
        model: Layer,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
    ) -> None:
        super().__init__(model, lr, weight_decay)
        self.betas = check_betas(betas)
        self.eps = check_positive("eps", eps)
        self.decoupled = bool(decoupled)

    def _settings_of_steps(self, count: int) -> dict[str, float | Sequence[float]]:
        beta1, beta2 = self.betas
        steps = range(self.steps + 1, self.steps + 1 + count)
        return {
            "beta1": beta1,
            "beta2": beta2,
            "correction1": [1 - beta1**step for step in steps],
            "correction2": [sqrt(1 - beta2**step) for step in steps],
        }


@register("nadam", lr=4e-3)
class NAdam(Adam):
    """Adam with Nesterov momentum (Dozat, 2016), like `torch.optim.NAdam`.

    The mean of the gradients is weighted by ``mu[t] = beta1 * (1 - 0.96 ** (t * momentum_decay) /
    2)`` in step t, and with M[t], the product of mu[1] to mu[t], p is decreased by ``lr / (sqrt(v /
    (1 - beta2 ** t)) + eps)`` times ``(1 - mu[t]) / (1 - M[t]) * g + mu[t + 1] / (1 - M[t + 1]) *
    m``.

    Parameters
    ----------
    model, lr, betas, eps, weight_decay, decoupled
        See `Adam`.
    momentum_decay : float

    Attributes
    ----------
    lr : float
        Learning rate; may be changed between steps.
    m, v : ndarray of float32
        Running means of the gradient and its square.
    """

    kernel = "nadam"

    def __init__(
        self,
        model: Layer,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled: bool = False,
    ) -> None:
        super().__init__(model, lr, betas, eps, weight_decay, decoupled)
        self.momentum_decay = check_not_negative("momentum_decay", momentum_decay)
        self._product = [0, 1.0]  # a step and its M

    def _settings_of_steps(self, count: int) -> dict[str, float | Sequence[float]]:
        step, product = self._product if self._product[0] <= self.steps else (0, 1.0)
        while step < self.steps and product > 1e-30:  # afterwards, 1 - product is 1
            step += 1
            product *= self._mu(step)
        self._product = [self.steps, product]
        now, ahead = [], []
        for step in range(self.steps + 1, self.steps + 1 + count):
            product *= self._mu(step)
            now.append((1 - self._mu(step)) / (1 - product))
            ahead.append(self._mu(step + 1) / (1 - product * self._mu(step + 1)))
        return super()._settings_of_steps(count) | {"now": now, "ahead": ahead}

    def _mu(self, step: float) -> float:
        return self.betas[0] * (1 - 0.5 * 0.96 ** (step * self.momentum_decay))


@register("adagrad", lr=0.05)
class Adagrad(Optimizer):
    """AdaGrad (Duchi, Hazan and Singer, 2011), like `torch.optim.Adagrad`.

    With ``g = gradient + weight_decay * p``, the sum of squares s is increased by g^2, and p is
    decreased by ``lr * g / (sqrt(s) + eps)``.

    Parameters
    ----------
    model : lenet5c.nn.Layer
    lr, weight_decay : float
    initial_accumulator_value : float
        Initial value of the sums of squares.
    eps : float

    Attributes
    ----------
    lr : float
        Learning rate; may be changed between steps.
    squares : ndarray of float32

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn, optim
    >>> model = nn.Linear(2, 1, rng=0)
    >>> before = model.vector.copy()
    >>> model.grad_vector[:] = 3, -2, 1
    >>> optim.Adagrad(model, lr=0.5).step()  # the first step is lr for any gradient
    >>> before - model.vector
    array([ 0.5, -0.5,  0.5], dtype=float32)
    """

    kernel = "adagrad"
    vectors = ("squares",)
    not_negative = ("squares",)
    squares: NDArray[np.float32]

    def __init__(
        self,
        model: Layer,
        lr: float = 1e-2,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        super().__init__(model, lr, weight_decay)
        self.eps = check_positive("eps", eps)
        self.squares[:] = check_not_negative("initial_accumulator_value", initial_accumulator_value)


@register("rmsprop", lr=4e-3)
class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton, 2012), like `torch.optim.RMSprop`.

    With ``g = gradient + weight_decay * p``, the mean square becomes
    ``s = alpha * s + (1 - alpha) * g^2``, the velocity ``v = momentum * v + g / (sqrt(s) + eps)``,
    and p is decreased by ``lr * v``.

    Parameters
    ----------
    model : lenet5c.nn.Layer
    lr : float
    alpha : float
        Decay rate of the running mean.
    eps, weight_decay, momentum : float

    Attributes
    ----------
    lr : float
        Learning rate; may be changed between steps.
    squares, velocity : ndarray of float32

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn, optim
    >>> model = nn.Linear(2, 1, rng=0)
    >>> before = model.vector.copy()
    >>> model.grad_vector[:] = 3, -2, 1
    >>> optim.RMSprop(model, lr=0.5, alpha=0.75).step()  # g / sqrt(g^2 / 4) for any g
    >>> before - model.vector
    array([ 1., -1.,  1.], dtype=float32)
    """

    kernel = "rmsprop"
    vectors = ("squares", "velocity")
    not_negative = ("squares",)
    squares: NDArray[np.float32]
    velocity: NDArray[np.float32]

    def __init__(
        self,
        model: Layer,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
    ) -> None:
        super().__init__(model, lr, weight_decay)
        self.alpha = check_decay("alpha", alpha)
        self.momentum = check_decay("momentum", momentum)
        self.eps = check_positive("eps", eps)
