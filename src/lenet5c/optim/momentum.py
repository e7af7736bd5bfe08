"""Gradient descent with and without momentum."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lenet5c.nn import Layer
from lenet5c.optim.optimizer import Optimizer, check_betas, check_decay, register

__all__ = ["SGD", "Lion"]


@register("sgd", lr=0.05, weight_decay=5e-4)
class SGD(Optimizer):
    """Stochastic gradient descent, like `torch.optim.SGD`.

    With ``g = gradient + weight_decay * p``, the velocity becomes ``v = momentum * v + g``, and p
    is decreased by ``lr * v``, or with Nesterov momentum by ``lr * (g + momentum * v)``.

    Parameters
    ----------
    model : lenet5c.nn.Layer
    lr, momentum : float
    nesterov : bool
        Use Nesterov momentum; requires momentum greater than 0.
    weight_decay : float

    Attributes
    ----------
    lr : float
        Learning rate; may be changed between steps.
    velocity : ndarray of float32

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn, optim
    >>> model = nn.Linear(2, 1, rng=0)
    >>> before = model.vector.copy()
    >>> model.grad_vector[:] = 1
    >>> optim.SGD(model, lr=0.5).step()
    >>> before - model.vector
    array([0.5, 0.5, 0.5], dtype=float32)
    """

    kernel = "sgd"
    vectors = ("velocity",)
    velocity: NDArray[np.float32]

    def __init__(
        self,
        model: Layer,
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, lr, weight_decay)
        self.momentum = check_decay("momentum", momentum)
        self.nesterov = bool(nesterov)
        if nesterov and momentum == 0:
            raise ValueError(
                "momentum must be greater than 0 with nesterov, got 0; set momentum, or disable "
                "nesterov"
            )


@register("lion", lr=1e-3, weight_decay=0.2)
class Lion(Optimizer):
    """Lion, sign-based gradient descent (Chen et al., 2023).

    A parameter p with gradient g is decreased by ``lr * (sign(beta1 * m + (1 - beta1) * g) +
    weight_decay * p)``, and then the mean becomes ``m = beta2 * m + (1 - beta2) * g``. The learning
    rate is usually 3 to 10 times smaller than for Adam, the weight decay larger by the same factor.

    Parameters
    ----------
    model : lenet5c.nn.Layer
    lr : float
    betas : (float, float)
        Weight of the mean in the sign, and decay rate of the mean.
    weight_decay : float
        Decoupled weight decay: p is decreased by lr * weight_decay * p.

    Attributes
    ----------
    lr : float
        Learning rate; may be changed between steps.
    m : ndarray of float32
        Running mean of the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import nn, optim
    >>> model = nn.Linear(2, 1, rng=0)
    >>> before = model.vector.copy()
    >>> model.grad_vector[:] = 3, -2, 0
    >>> optim.Lion(model, lr=0.5).step()
    >>> before - model.vector
    array([ 0.5, -0.5,  0. ], dtype=float32)
    """

    kernel = "lion"
    vectors = ("m",)
    m: NDArray[np.float32]

    def __init__(
        self,
        model: Layer,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(model, lr, weight_decay)
        self.betas = check_betas(betas)

    def _settings_of_steps(self, count: int) -> dict[str, float | Sequence[float]]:
        return dict(zip(("beta1", "beta2"), self.betas, strict=True))
