"""The fully connected layer, and the flattening before it.

Shapes: x (N, I), weight (O, I), bias (O,), y (N, O).
"""

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, float64


def linear(x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Array:
    """Multiply by a matrix and add a bias.

    ::

        y[n, o] = bias[o] + sum over i of weight[o, i] * x[n, i]

    Parameters
    ----------
    x : array_like (N, I)
    weight : array_like (O, I)
    bias : array_like (O,), optional

    Returns
    -------
    ndarray of float64 (N, O)

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.linear([[1, 2]], weight=[[3, 4], [5, 6]], bias=[10, 20])
    array([[21., 37.]])
    """
    x, weight = float64(x, weight)
    y = x @ weight.T
    return y if bias is None else y + np.asarray(bias, np.float64)


def linear_backward(dy: ArrayLike, x: ArrayLike, weight: ArrayLike) -> tuple[Array, Array, Array]:
    """Gradients of `linear`.

    ::

        dx[n, i] = sum over o of weight[o, i] * dy[n, o]
        dweight[o, i] = sum over n of dy[n, o] * x[n, i]
        dbias[o] = sum over n of dy[n, o]

    Parameters
    ----------
    dy : array_like (N, O)
    x, weight
        As given to `linear`.

    Returns
    -------
    dx : ndarray of float64 (N, I)
    dweight : ndarray of float64 (O, I)
    dbias : ndarray of float64 (O,)
    """
    dy, x, weight = float64(dy, x, weight)
    return dy @ weight, dy.T @ x, dy.sum(axis=0)


def linear_backward_second(
    d2y: ArrayLike, x: ArrayLike, weight: ArrayLike
) -> tuple[Array, Array, Array]:
    """Second derivatives of `linear`: `linear_backward` with both factors squared.

    ::

        d2x = d2y weight^2,  d2weight = d2y^T x^2,  d2bias = sum of d2y

    Parameters
    ----------
    d2y : array_like (N, O)
    x, weight
        As given to `linear`.

    Returns
    -------
    d2x, d2weight, d2bias : ndarray of float64
        Of the shapes of x, weight and bias.

    References
    ----------
    LeCun et al. (1998), eq. 25 and 27.
    """
    x, weight = float64(x, weight)
    return linear_backward(d2y, x**2, weight**2)


def flatten(x: ArrayLike) -> Array:
    """Flatten the maps of each sample.

    ::

        y[n, (c*H + h)*W + w] = x[n, c, h, w]

    Parameters
    ----------
    x : array_like (N, C, H, W)

    Returns
    -------
    ndarray of float64 (N, C * H * W)
    """
    x = np.asarray(x, np.float64)
    return x.reshape(len(x), int(np.prod(x.shape[1:])))


def flatten_backward(dy: ArrayLike, x_shape: tuple[int, ...]) -> Array:
    """Gradient of `flatten`: the same values in the shape of the maps.

    Parameters
    ----------
    dy : array_like (N, C * H * W)
    x_shape : (int, int, int, int)
        N, C, H and W.

    Returns
    -------
    ndarray of float64 (N, C, H, W)
    """
    return np.asarray(dy, np.float64).reshape(x_shape)


def flatten_backward_second(d2y: ArrayLike, x_shape: tuple[int, ...]) -> Array:
    """Second derivatives of `flatten`, which are passed back like gradients.

    Parameters
    ----------
    d2y : array_like (N, C * H * W)
    x_shape : (int, int, int, int)
        N, C, H and W.

    Returns
    -------
    ndarray of float64 (N, C, H, W)
    """
    return flatten_backward(d2y, x_shape)
