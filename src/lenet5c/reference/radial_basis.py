"""Euclidean radial basis functions, the output layer of 1998: distances from class codes.

Outputs are penalties, the smallest at the predicted label. Codes are not trained.

Shapes: x (N, C), codes (O, C), y (N, O).
"""

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, float64


def rbf(x: ArrayLike, codes: ArrayLike) -> Array:
    """Return the squared distance of each sample to each code.

    ::

        y[n, o] = sum over c of (x[n, c] - codes[o, c])^2

    Parameters
    ----------
    x : array_like (N, C)
    codes : array_like (O, C)

    Returns
    -------
    ndarray of float64 (N, O)

    References
    ----------
    LeCun et al. (1998), eq. 7.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.rbf([[1, 0]], codes=[[1, 1], [-1, 1]])
    array([[1., 5.]])
    """
    y: Array = np.sum(_differences(x, codes) ** 2, axis=2)
    return y


def rbf_backward(dy: ArrayLike, x: ArrayLike, codes: ArrayLike) -> Array:
    """Gradient of `rbf`.

    ::

        dx[n, c] = sum over o of 2 * (x[n, c] - codes[o, c]) * dy[n, o]

    Parameters
    ----------
    dy : array_like (N, O)
    x, codes
        As given to `rbf`.

    Returns
    -------
    ndarray of float64 (N, C)
    """
    dy = np.asarray(dy, np.float64)
    dx: Array = np.sum(2 * _differences(x, codes) * dy[:, :, None], axis=1)
    return dx


def rbf_backward_second(
    d2y: ArrayLike, x: ArrayLike, codes: ArrayLike, dy: ArrayLike | None = None
) -> Array:
    """Second derivatives of `rbf`; with `dy`, the exact diagonal, as for the last layer of a net.

    ::

        d2x[n, c] = sum over o of 4 * (x[n, c] - codes[o, c])^2 * d2y[n, o] + 2 * dy[n, o]

    Without `dy`, only the first term, which is the Gauss-Newton approximation.

    Parameters
    ----------
    d2y : array_like (N, O)
    x, codes
        As given to `rbf`.
    dy : array_like (N, O), optional

    Returns
    -------
    ndarray of float64 (N, C)
    """
    d2y = np.asarray(d2y, np.float64)
    d2x: Array = np.sum(4 * _differences(x, codes) ** 2 * d2y[:, :, None], axis=1)
    return d2x if dy is None else d2x + 2 * np.sum(dy, axis=1, keepdims=True, dtype=np.float64)


def _differences(x: ArrayLike, codes: ArrayLike) -> Array:
    """Return x[n, c] - codes[o, c] as (N, O, C)."""
    x, codes = float64(x, codes)
    return x[:, None, :] - codes[None, :, :]
