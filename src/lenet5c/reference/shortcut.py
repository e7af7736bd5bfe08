"""Residual connections: the output of layers plus the output of a shortcut.

The layers and the shortcut are functions of one array, such as ``lambda x: conv2d(x, weight)``.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array

Function = Callable[[Array], Array]


def residual(x: ArrayLike, layers: Function, shortcut: Function | None = None) -> Array:
    """Add the input, or the output of the shortcut, to the output of the layers.

    ::

        y = layers(x) + shortcut(x)

    Parameters
    ----------
    x : array_like (N, ...)
    layers, shortcut : callable
        From x to arrays of one shape. A shortcut of None is x itself.

    Returns
    -------
    ndarray of float64

    References
    ----------
    He et al. (2016), Deep residual learning for image recognition, equations 1 and 2.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.residual([[1, 2, 3]], lambda x: 2 * x)
    array([[3., 6., 9.]])
    """
    x = np.asarray(x, np.float64)
    return layers(x) + (x if shortcut is None else shortcut(x))


def residual_backward(dy: ArrayLike, layers: Function, shortcut: Function | None = None) -> Array:
    """Gradient of `residual`: the sum of those by both ways.

    ::

        dx = layers(dy) + shortcut(dy)

    Parameters
    ----------
    dy : array_like, of the shape of y
    layers, shortcut : callable
        From dy to the gradient of x, by the layers and by the shortcut.

    Returns
    -------
    ndarray of float64, of the shape of x
    """
    return residual(dy, layers, shortcut)


def residual_backward_second(
    d2y: ArrayLike, layers: Function, shortcut: Function | None = None
) -> Array:
    """Second derivatives of `residual`: the sum of those by both ways, as if they were apart.

    ::

        d2x = layers(d2y) + shortcut(d2y)

    An input has connections by both ways, whose weights are squared one by one (eq. 27); the term
    with their product is left out.

    Parameters
    ----------
    d2y : array_like, of the shape of y
    layers, shortcut : callable
        From d2y to the second derivatives by x.

    Returns
    -------
    ndarray of float64, of the shape of x
    """
    return residual(d2y, layers, shortcut)
