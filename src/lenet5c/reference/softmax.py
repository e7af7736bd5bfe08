"""Softmax and its logarithm along one axis, forward and backward."""

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, float64


def softmax(x: ArrayLike, axis: int = -1) -> Array:
    """Convert logits to probabilities, which are positive and sum to 1.

    ::

        y[k] = exp(x[k]) / sum over l of exp(x[l])

    The maximum is subtracted from each x, which does not change the result but keeps exp from
    overflowing.

    Parameters
    ----------
    x : array_like
    axis : int
        The axis along which k and l run.

    Returns
    -------
    ndarray of float64, of the shape of x

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import reference
    >>> reference.softmax(np.log([[1, 2, 5]]))
    array([[0.125, 0.25 , 0.625]])
    """
    return np.exp(log_softmax(x, axis))


def softmax_backward(dy: ArrayLike, y: ArrayLike, axis: int = -1) -> Array:
    """Gradient of `softmax`.

    ::

        dx[k] = y[k] * (dy[k] - sum over l of dy[l] * y[l])

    Parameters
    ----------
    dy : array_like
    y : array_like
        The output of `softmax`.
    axis : int

    Returns
    -------
    ndarray of float64, of the shape of y
    """
    dy, y = float64(dy, y)
    dx: Array = y * (dy - (dy * y).sum(axis=axis, keepdims=True))
    return dx


def log_softmax(x: ArrayLike, axis: int = -1) -> Array:
    """Return the logarithm of `softmax`, accurate even if a probability is close to 0.

    ::

        y[k] = x[k] - log(sum over l of exp(x[l]))

    Parameters
    ----------
    x : array_like
    axis : int

    Returns
    -------
    ndarray of float64, of the shape of x
    """
    x = np.asarray(x, np.float64)
    shifted = x - x.max(axis=axis, keepdims=True)
    y: Array = shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
    return y


def log_softmax_backward(dy: ArrayLike, y: ArrayLike, axis: int = -1) -> Array:
    """Gradient of `log_softmax`.

    ::

        dx[k] = dy[k] - exp(y[k]) * sum over l of dy[l]

    Parameters
    ----------
    dy : array_like
    y : array_like
        The output of `log_softmax`.
    axis : int

    Returns
    -------
    ndarray of float64, of the shape of y
    """
    dy, y = float64(dy, y)
    dx: Array = dy - np.exp(y) * dy.sum(axis=axis, keepdims=True)
    return dx
