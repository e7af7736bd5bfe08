"""Dropout: some elements are left out of each training step, drawn at random.

The mask is drawn apart from its use, so that both passes see the same one.
"""

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, float64


def draw_dropout_mask(shape: tuple[int, ...], p: float, rng: np.random.Generator) -> Array:
    """Draw which elements stay, and by how much they grow.

    ::

        mask = 0 with probability p, else 1 / (1 - p)

    so that the mean of mask * x is x.

    Parameters
    ----------
    shape : tuple of int
    p : float
        From 0 up to, but not including, 1.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float64, of this shape

    References
    ----------
    Srivastava et al. (2014), Dropout: a simple way to prevent neural networks from overfitting,
    section 4; divided by 1 - p in training instead of multiplied by it afterward, as
    `torch.nn.Dropout` does.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import reference
    >>> reference.draw_dropout_mask((2, 4), p=0.5, rng=np.random.default_rng(0))
    array([[2., 2., 2., 0.],
           [0., 0., 0., 0.]])
    """
    uniform = rng.random(shape, np.float32)  # float32, so that a seed draws the mask of the layer
    return (uniform >= p) / (1 - p)


def dropout(x: ArrayLike, mask: ArrayLike) -> Array:
    """Leave elements out: y = mask * x.

    Parameters
    ----------
    x, mask : array_like, of the same shape

    Returns
    -------
    ndarray of float64, of the shape of x
    """
    x, mask = float64(x, mask)
    return mask * x


def dropout_backward(dy: ArrayLike, mask: ArrayLike) -> Array:
    """Gradient of `dropout`: dx = mask * dy.

    Parameters
    ----------
    dy, mask : array_like, of the same shape

    Returns
    -------
    ndarray of float64, of the shape of dy
    """
    dy, mask = float64(dy, mask)
    return mask * dy


def dropout_backward_second(d2y: ArrayLike, mask: ArrayLike) -> Array:
    """Second derivatives of `dropout`: d2x = mask^2 * d2y.

    Parameters
    ----------
    d2y, mask : array_like, of the same shape

    Returns
    -------
    ndarray of float64, of the shape of d2y
    """
    d2y, mask = float64(d2y, mask)
    return mask**2 * d2y
