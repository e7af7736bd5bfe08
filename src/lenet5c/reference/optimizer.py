"""One step of each optimizer: the new parameter and state from the old ones and the gradient.

Parameters, gradients and states are arrays of the same shape; everything is elementwise. Formulas
and defaults are those of PyTorch; SDLM is that of LeCun et al. (1998). Weight decay comes first,
unless it is decoupled::

    g = gradient + weight_decay * p

Names: p parameter, g gradient, v velocity, m mean of gradients, s mean or sum of squares, t number
of the step, from 1; a prime marks the new value.
"""

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, float64


def sgd_step(
    p: ArrayLike,
    g: ArrayLike,
    v: ArrayLike,
    lr: float,
    momentum: float = 0,
    nesterov: bool = False,
    weight_decay: float = 0,
) -> tuple[Array, Array]:
    """Stochastic gradient descent, optionally with momentum.

    ::

        v' = momentum * v + g
        p' = p - lr * v',  or with Nesterov's momentum  p' = p - lr * (g + momentum * v')

    Parameters
    ----------
    p, g, v : array_like
        v is 0 before the first step.
    lr, momentum : float
    nesterov : bool
    weight_decay : float

    Returns
    -------
    p, v : ndarray of float64

    References
    ----------
    Polyak (1964), Some methods of speeding up the convergence of iteration methods; Nesterov's form
    as in Sutskever et al. (2013); `torch.optim.SGD`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import reference
    >>> p, v = np.array([1.0]), np.zeros(1)
    >>> for _ in range(3):  # down the parabola p^2 / 2, whose gradient is p
    ...     p, v = reference.sgd_step(p, p, v, lr=0.5, momentum=0.5)
    ...     print(p)
    [0.5]
    [0.]
    [-0.25]
    """
    p, g, v = float64(p, g, v)
    g = g + weight_decay * p
    v = momentum * v + g
    return p - lr * (g + momentum * v if nesterov else v), v


def adam_step(
    p: ArrayLike,
    g: ArrayLike,
    m: ArrayLike,
    v: ArrayLike,
    t: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0,
    decoupled: bool = False,
) -> tuple[Array, Array, Array]:
    """Adam, or AdamW with `decoupled`.

    ::

        m' = beta1 * m + (1 - beta1) * g
        v' = beta2 * v + (1 - beta2) * g^2
        p' = p - lr * (m' / (1 - beta1^t)) / (sqrt(v' / (1 - beta2^t)) + eps)

    The divisions by 1 - beta^t correct for means that started at 0. AdamW does not add the weight
    decay to g but subtracts lr * weight_decay * p from p.

    Parameters
    ----------
    p, g, m, v : array_like
        m and v (here the mean of squares) are 0 before the first step.
    t : int
        1 at the first step.
    lr : float
    betas : (float, float)
    eps, weight_decay : float
    decoupled : bool

    Returns
    -------
    p, m, v : ndarray of float64

    References
    ----------
    Kingma and Ba (2015), Adam, algorithm 1; Loshchilov and Hutter (2019), Decoupled weight decay
    regularization; `torch.optim.Adam` and `torch.optim.AdamW`.

    Examples
    --------
    The first step has the size lr, regardless of the size of the gradient:

    >>> from lenet5c import reference
    >>> p, m, v = reference.adam_step([1, 1], [0.001, -1000], m=[0, 0], v=[0, 0], t=1, lr=0.25)
    >>> p.round(4)
    array([0.75, 1.25])
    """
    (beta1, beta2), (p, g, m, v) = betas, float64(p, g, m, v)
    if decoupled:
        p = p - lr * weight_decay * p
    else:
        g = g + weight_decay * p
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


def nadam_step(
    p: ArrayLike,
    g: ArrayLike,
    m: ArrayLike,
    v: ArrayLike,
    t: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0,
    momentum_decay: float = 4e-3,
    decoupled: bool = False,
) -> tuple[Array, Array, Array]:
    """Adam with Nesterov's momentum.

    ::

        mu[t] = beta1 * (1 - 0.96^(t * momentum_decay) / 2),  M[t] = mu[1] * ... * mu[t]
        m' = beta1 * m + (1 - beta1) * g
        v' = beta2 * v + (1 - beta2) * g^2
        step = (1 - mu[t]) / (1 - M[t]) * g + mu[t + 1] / (1 - M[t + 1]) * m'
        p' = p - lr * step / (sqrt(v' / (1 - beta2^t)) + eps)

    Parameters
    ----------
    p, g, m, v, t, lr, betas, eps, weight_decay, decoupled
        As in `adam_step`.
    momentum_decay : float

    Returns
    -------
    p, m, v : ndarray of float64

    References
    ----------
    Dozat (2016), Incorporating Nesterov momentum into Adam; `torch.optim.NAdam`.
    """
    (beta1, beta2), (p, g, m, v) = betas, float64(p, g, m, v)
    if decoupled:
        p = p - lr * weight_decay * p
    else:
        g = g + weight_decay * p
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    mu = beta1 * (1 - 0.96 ** (np.arange(1, t + 2) * momentum_decay) / 2)
    now = (1 - mu[t - 1]) / (1 - mu[:t].prod())
    ahead = mu[t] / (1 - mu.prod())
    v_hat = v / (1 - beta2**t)
    return p - lr * (now * g + ahead * m) / (np.sqrt(v_hat) + eps), m, v


def lion_step(
    p: ArrayLike,
    g: ArrayLike,
    m: ArrayLike,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.99),
    weight_decay: float = 0,
) -> tuple[Array, Array]:
    """Lion: steps in the direction of the sign of the momentum.

    ::

        p' = p - lr * (sign(beta1 * m + (1 - beta1) * g) + weight_decay * p)
        m' = beta2 * m + (1 - beta2) * g

    Parameters
    ----------
    p, g, m : array_like
        m is 0 before the first step.
    lr : float
    betas : (float, float)
    weight_decay : float

    Returns
    -------
    p, m : ndarray of float64

    References
    ----------
    Chen et al. (2023), Symbolic discovery of optimization algorithms, algorithm 2.
    """
    (beta1, beta2), (p, g, m) = betas, float64(p, g, m)
    p = p - lr * (np.sign(beta1 * m + (1 - beta1) * g) + weight_decay * p)
    return p, beta2 * m + (1 - beta2) * g


def adagrad_step(
    p: ArrayLike, g: ArrayLike, s: ArrayLike, lr: float, weight_decay: float = 0, eps: float = 1e-10
) -> tuple[Array, Array]:
    """AdaGrad: the larger the gradients of a parameter so far, the smaller its steps.

    ::

        s' = s + g^2
        p' = p - lr * g / (sqrt(s') + eps)

    Parameters
    ----------
    p, g, s : array_like
        s is 0, or the initial value of the accumulator, before the first step.
    lr, weight_decay, eps : float

    Returns
    -------
    p, s : ndarray of float64

    References
    ----------
    Duchi, Hazan and Singer (2011), Adaptive subgradient methods; `torch.optim.Adagrad`.
    """
    p, g, s = float64(p, g, s)
    g = g + weight_decay * p
    s = s + g**2
    return p - lr * g / (np.sqrt(s) + eps), s


def rmsprop_step(
    p: ArrayLike,
    g: ArrayLike,
    s: ArrayLike,
    v: ArrayLike,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0,
    momentum: float = 0,
) -> tuple[Array, Array, Array]:
    """RMSprop: gradients divided by the root of their running mean square.

    ::

        s' = alpha * s + (1 - alpha) * g^2
        v' = momentum * v + g / (sqrt(s') + eps)
        p' = p - lr * v'

    Parameters
    ----------
    p, g, s, v : array_like
        s and v are 0 before the first step.
    lr, alpha, eps, weight_decay, momentum : float

    Returns
    -------
    p, s, v : ndarray of float64

    References
    ----------
    Tieleman and Hinton (2012), Neural networks for machine learning, lecture 6.5;
    `torch.optim.RMSprop`.
    """
    p, g, s, v = float64(p, g, s, v)
    g = g + weight_decay * p
    s = alpha * s + (1 - alpha) * g**2
    v = momentum * v + g / (np.sqrt(s) + eps)
    return p - lr * v, s, v


def sdlm_step(p: ArrayLike, g: ArrayLike, h: ArrayLike, lr: float, mu: float = 0.02) -> Array:
    """Stochastic diagonal Levenberg-Marquardt: steps divided by the second derivative.

    ::

        p' = p - lr / (mu + h) * g

    Parameters
    ----------
    p, g, h : array_like
        h is the second derivative of the loss with respect to p, as estimated by the functions
        named ``*_backward_second``; never negative. There is no weight decay.
    lr, mu : float
        The paper's eta and mu; lr / mu is the largest step size.

    Returns
    -------
    ndarray of float64

    References
    ----------
    LeCun et al. (1998), eq. 18 and 21.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.sdlm_step([1, 1], g=[1, 1], h=[0, 0.98], lr=0.01)
    array([0.5 , 0.99])
    """
    p, g, h = float64(p, g, h)
    return p - lr / (mu + h) * g
