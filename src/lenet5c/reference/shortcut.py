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
    """Gradient of `residual`: the sum of the gradients through both branches.

    ::

        dx = layers(dy) + shortcut(dy)

    Parameters
    ----------
    dy : array_like, of the shape of y
    layers, shortcut : callable
        From dy to the gradient of x, through the layers and through the shortcut.

    Returns
    -------
    ndarray of float64, of the shape of x
    """
    return residual(dy, layers, shortcut)


def residual_backward_second(
    d2y: ArrayLike, layers: Function, shortcut: Function | None = None
) -> Array:
    """Second derivatives of `residual`: the sum over both branches, treated as independent.

    ::

        d2x = layers(d2y) + shortcut(d2y)

    An input has connections through both branches, whose weights are squared separately (eq. 27);
    the term with their product is left out.

    Parameters
    ----------
    d2y : array_like, of the shape of y
    layers, shortcut : callable
        From d2y to the second derivatives with respect to x.

    Returns
    -------
    ndarray of float64, of the shape of x
    """
    return residual(d2y, layers, shortcut)
