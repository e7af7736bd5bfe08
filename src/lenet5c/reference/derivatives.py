"""Numerical gradients to check backward passes, and second derivatives from first ones."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, float64


def numeric_gradient(
    f: Callable[[Array], ArrayLike], x: ArrayLike, dy: ArrayLike = 1.0, h: float = 1e-5
) -> Array:
    """Gradient of sum(f(x) * dy) by central differences, one element of x at a time.

    ::

        dx[i] = sum of (f(x + h e[i]) - f(x - h e[i])) * dy / (2 h),  e[i] being 1 at i, 0 elsewhere

    The error is about h^2 times the third derivative, plus about 1e-16 / h times f from rounding.

    Parameters
    ----------
    f : callable
        Function from a float64 array with the shape of x to an array with the shape of dy.
    x : array_like
    dy : array_like
        1 for a loss.
    h : float

    Returns
    -------
    ndarray of float64, of the shape of x

    Examples
    --------
    Check a backward pass:

    >>> import numpy as np
    >>> from lenet5c import reference
    >>> rng = np.random.default_rng(0)
    >>> x, dy = rng.standard_normal((2, 3, 4))
    >>> dx = reference.tanh_backward(dy, reference.tanh(x))
    >>> bool(np.allclose(dx, reference.numeric_gradient(reference.tanh, x, dy), atol=1e-9))
    True
    """
    x = np.asarray(x, np.float64)
    dx = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = h
        above, below, weight = float64(f(x + step), f(x - step), dy)
        dx[i] = np.sum((above - below) * weight) / (2 * h)
    return dx


def backward_second(backward: Callable[[Array], Sequence[Array]], d2y: ArrayLike) -> list[Array]:
    """Second derivatives from any backward pass: the diagonal of the Gauss-Newton approximation.

    ::

        d2z[j] = sum over i of d2y[i] * (dy[i]/dz[j])^2

    where z is an input or a parameter. The derivatives dy[i]/dz[j] are computed by `backward`, one
    output i at a time, which is slow. The result is exact for a layer whose outputs use each weight
    once; for such layers, the functions named ``*_backward_second`` give the same result as
    formulas.

    Parameters
    ----------
    backward : callable
        Function from dy to a sequence of gradients.
    d2y : array_like
        Second derivative of the loss with respect to each element of the output.

    Returns
    -------
    list of ndarray of float64
        One for each gradient.

    References
    ----------
    LeCun et al. (1998), eq. 25 and 27.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import reference
    >>> x, weight = np.array([[1.0, 2]]), np.array([[3.0, 4], [5, 6]])
    >>> d2x, d2weight, d2bias = reference.backward_second(
    ...     lambda dy: reference.linear_backward(dy, x, weight), np.ones((1, 2)))
    >>> d2x, d2weight
    (array([[34., 52.]]), array([[1., 4.],
           [1., 4.]]))
    """
    d2y = np.asarray(d2y, np.float64)
    d2z: list[Array] = []
    for i in np.ndindex(d2y.shape):
        dy = np.zeros_like(d2y)
        dy[i] = 1
        terms = [d2y[i] * np.asarray(dz) ** 2 for dz in backward(dy)]
        d2z = [total + term for total, term in zip(d2z, terms, strict=True)] if d2z else terms
    return d2z
