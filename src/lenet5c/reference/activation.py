"""Activations: elementwise functions of arrays of any shape.

Their derivatives are written in terms of the output y, which a net keeps anyway. Second derivatives
are those of LeCun et al. (1998), eq. 27, in the Gauss-Newton approximation: d2x = f'(x)^2 d2y,
without the term f''(x) dy.
"""

from math import erfc, sqrt

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, float64


def relu(x: ArrayLike) -> Array:
    """Rectified linear unit: y = max(x, 0).

    Parameters
    ----------
    x : array_like

    Returns
    -------
    ndarray of float64, of the shape of x

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.relu([-2, 0, 3])
    array([0., 0., 3.])
    """
    return np.maximum(np.asarray(x, np.float64), 0)


def relu_backward(dy: ArrayLike, y: ArrayLike) -> Array:
    """Gradient of `relu`: dx = dy where y > 0, else 0.

    Parameters
    ----------
    dy, y : array_like
        Gradient of the loss with respect to the output, and the output.

    Returns
    -------
    ndarray of float64, of the shape of y
    """
    dy, y = float64(dy, y)
    return dy * (y > 0)


def relu_backward_second(d2y: ArrayLike, y: ArrayLike) -> Array:
    """Second derivatives of `relu`: d2x = d2y where y > 0, else 0.

    Parameters
    ----------
    d2y, y : array_like

    Returns
    -------
    ndarray of float64, of the shape of y
    """
    return relu_backward(d2y, y)


def leaky_relu(x: ArrayLike, negative_slope: float = 0.01) -> Array:
    """Rectified linear unit with a slope for negative inputs.

    y = x where x > 0, else negative_slope * x.

    Parameters
    ----------
    x : array_like
    negative_slope : float

    Returns
    -------
    ndarray of float64, of the shape of x

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.leaky_relu([-2, 0, 3], negative_slope=0.25)
    array([-0.5,  0. ,  3. ])
    """
    x = np.asarray(x, np.float64)
    return np.where(x > 0, x, negative_slope * x)


def leaky_relu_backward(dy: ArrayLike, x: ArrayLike, negative_slope: float = 0.01) -> Array:
    """Gradient of `leaky_relu`: dx = dy where x > 0, else negative_slope * dy.

    Parameters
    ----------
    dy, x : array_like
        Gradient of the loss with respect to the output, and the input.
    negative_slope : float

    Returns
    -------
    ndarray of float64, of the shape of x
    """
    dy, x = float64(dy, x)
    return dy * np.where(x > 0, 1, negative_slope)


def leaky_relu_backward_second(d2y: ArrayLike, x: ArrayLike, negative_slope: float = 0.01) -> Array:
    """Second derivatives of `leaky_relu`: those of the output times the squared slope.

    Parameters
    ----------
    d2y, x : array_like
    negative_slope : float

    Returns
    -------
    ndarray of float64, of the shape of x
    """
    return leaky_relu_backward(leaky_relu_backward(d2y, x, negative_slope), x, negative_slope)


def gelu(x: ArrayLike, approximate: str = "none") -> Array:
    """Gaussian error linear unit: y = x C(x), with the normal distribution function C.

    ::

        C(x) = erfc(-x / sqrt(2)) / 2
        C(x) = 1 / (1 + exp(-2 sqrt(2 / pi) (x + 0.044715 x^3)))  with approximate "tanh"

    Parameters
    ----------
    x : array_like
    approximate : {'none', 'tanh'}

    Returns
    -------
    ndarray of float64, of the shape of x

    References
    ----------
    Hendrycks and Gimpel (2016), Gaussian error linear units; `torch.nn.GELU`.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.gelu([-1, 0, 1]).round(4)
    array([-0.1587,  0.    ,  0.8413])
    """
    x = np.asarray(x, np.float64)
    return x * _normal_share(x, approximate)


def gelu_backward(dy: ArrayLike, x: ArrayLike, approximate: str = "none") -> Array:
    """Gradient of `gelu`: dx = dy (C(x) + x C'(x)).

    Parameters
    ----------
    dy, x : array_like
        Gradient of the loss with respect to the output, and the input.
    approximate : {'none', 'tanh'}

    Returns
    -------
    ndarray of float64, of the shape of x
    """
    dy, x = float64(dy, x)
    return dy * (_normal_share(x, approximate) + x * _normal_slope(x, approximate))


def gelu_backward_second(d2y: ArrayLike, x: ArrayLike, approximate: str = "none") -> Array:
    """Second derivatives of `gelu`: those of the output times the squared slope.

    Parameters
    ----------
    d2y, x : array_like
    approximate : {'none', 'tanh'}

    Returns
    -------
    ndarray of float64, of the shape of x
    """
    return gelu_backward(gelu_backward(d2y, x, approximate), x, approximate)


def _normal_share(x: Array, approximate: str) -> Array:
    """Return C(x), as a quotient that does not cancel where x is negative."""
    if approximate == "tanh":
        u = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
        e = np.exp(-2 * abs(u))
        return np.where(u < 0, e, 1) / (1 + e)
    return np.reshape([0.5 * erfc(-each / sqrt(2)) for each in x.flat], x.shape)


def _normal_slope(x: Array, approximate: str) -> Array:
    """Return C'(x)."""
    if approximate == "tanh":
        share = _normal_share(x, "tanh") * _normal_share(-x, "tanh")
        return 2 * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2) * share
    return np.exp(-(x**2) / 2) / sqrt(2 * np.pi)


def sigmoid(x: ArrayLike) -> Array:
    """Logistic function: y = 1 / (1 + exp(-x)).

    Computed as 1/2 + 1/2 tanh(x / 2), the same function, which does not overflow.

    Parameters
    ----------
    x : array_like

    Returns
    -------
    ndarray of float64, of the shape of x

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.sigmoid([-1000, 0, 1000])
    array([0. , 0.5, 1. ])
    """
    return 0.5 + 0.5 * np.tanh(0.5 * np.asarray(x, np.float64))


def sigmoid_backward(dy: ArrayLike, y: ArrayLike) -> Array:
    """Gradient of `sigmoid`: dx = dy y (1 - y).

    Parameters
    ----------
    dy, y : array_like
        Gradient of the loss with respect to the output, and the output.

    Returns
    -------
    ndarray of float64, of the shape of y
    """
    dy, y = float64(dy, y)
    return dy * y * (1 - y)


def sigmoid_backward_second(d2y: ArrayLike, y: ArrayLike) -> Array:
    """Second derivatives of `sigmoid`: d2x = d2y (y (1 - y))^2.

    Parameters
    ----------
    d2y, y : array_like

    Returns
    -------
    ndarray of float64, of the shape of y
    """
    d2y, y = float64(d2y, y)
    return d2y * (y * (1 - y)) ** 2


def tanh(x: ArrayLike) -> Array:
    """Hyperbolic tangent: y = (exp(x) - exp(-x)) / (exp(x) + exp(-x)).

    Parameters
    ----------
    x : array_like

    Returns
    -------
    ndarray of float64, of the shape of x
    """
    return np.tanh(np.asarray(x, np.float64))


def tanh_backward(dy: ArrayLike, y: ArrayLike) -> Array:
    """Gradient of `tanh`: dx = dy (1 - y^2).

    Parameters
    ----------
    dy, y : array_like
        Gradient of the loss with respect to the output, and the output.

    Returns
    -------
    ndarray of float64, of the shape of y
    """
    dy, y = float64(dy, y)
    return dy * (1 - y**2)


def tanh_backward_second(d2y: ArrayLike, y: ArrayLike) -> Array:
    """Second derivatives of `tanh`: d2x = d2y (1 - y^2)^2.

    Parameters
    ----------
    d2y, y : array_like

    Returns
    -------
    ndarray of float64, of the shape of y
    """
    d2y, y = float64(d2y, y)
    return d2y * (1 - y**2) ** 2


def scaled_tanh(x: ArrayLike, amplitude: float = 1.7159, slope: float = 2 / 3) -> Array:
    """Scaled hyperbolic tangent: y = A tanh(S x).

    Parameters
    ----------
    x : array_like
    amplitude, slope : float
        A and S. With the default values f(1) = 1 and f(-1) = -1.

    Returns
    -------
    ndarray of float64, of the shape of x

    References
    ----------
    LeCun et al. (1998), eq. 6 and appendix A.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.scaled_tanh([-1, 0, 1]).round(4)
    array([-1.,  0.,  1.])
    """
    return amplitude * np.tanh(slope * np.asarray(x, np.float64))


def scaled_tanh_backward(
    dy: ArrayLike, y: ArrayLike, amplitude: float = 1.7159, slope: float = 2 / 3
) -> Array:
    """Gradient of `scaled_tanh`: dx = dy A S (1 - (y / A)^2).

    Parameters
    ----------
    dy, y : array_like
        Gradient of the loss with respect to the output, and the output.
    amplitude, slope : float
        As given to `scaled_tanh`.

    Returns
    -------
    ndarray of float64, of the shape of y
    """
    dy, y = float64(dy, y)
    return dy * amplitude * slope * (1 - (y / amplitude) ** 2)


def scaled_tanh_backward_second(
    d2y: ArrayLike, y: ArrayLike, amplitude: float = 1.7159, slope: float = 2 / 3
) -> Array:
    """Second derivatives of `scaled_tanh`: d2x = d2y (A S (1 - (y / A)^2))^2.

    Parameters
    ----------
    d2y, y : array_like
    amplitude, slope : float
        As given to `scaled_tanh`.

    Returns
    -------
    ndarray of float64, of the shape of y
    """
    d2y, y = float64(d2y, y)
    return d2y * (amplitude * slope * (1 - (y / amplitude) ** 2)) ** 2
