"""Subsampling, the pooling of 1998, with a trained coefficient and bias for each channel.

Windows do not overlap; rows and columns that do not fill a window are ignored.

Shapes: x (N, C, H, W), weight and bias (C,), y (N, C, OH, OW) with OH = H // KH and OW = W // KW.
"""

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, Size, float64
from lenet5c.reference.windows import Index, pair


def subsample2d(x: ArrayLike, weight: ArrayLike, bias: ArrayLike, kernel_size: Size = 2) -> Array:
    """Scale and shift the sum of each window.

    ::

        y[n, c, oh, ow] = weight[c] * sum over kh, kw of x[n, c, oh*KH + kh, ow*KW + kw] + bias[c]

    Parameters
    ----------
    x : array_like (N, C, H, W)
    weight, bias : array_like (C,)
    kernel_size : int or (int, int)

    Returns
    -------
    ndarray of float64 (N, C, H // KH, W // KW)

    References
    ----------
    LeCun et al. (1998), section II-B, layers S2 and S4.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.subsample2d([[[[1, 2, 9], [3, 4, 9]]]], weight=[0.5], bias=[1])
    array([[[[6.]]]])
    """
    x, weight, bias = float64(x, weight, bias)
    (N, C, H, W), (KH, KW) = x.shape, pair(kernel_size)
    y = np.zeros((N, C, H // KH, W // KW))
    for oh, ow in np.ndindex(y.shape[2:]):
        y[:, :, oh, ow] = weight * x[_window(oh, ow, kernel_size)].sum(axis=(2, 3)) + bias
    return y


def subsample2d_backward(
    dy: ArrayLike, x: ArrayLike, weight: ArrayLike, kernel_size: Size = 2
) -> tuple[Array, Array, Array]:
    """Gradients of `subsample2d`.

    ::

        dx[n, c, oh*KH + kh, ow*KW + kw] = weight[c] * dy[n, c, oh, ow]
        dweight[c] += dy[n, c, oh, ow] * sum of window (oh, ow) of x[n, c]
        dbias[c] += dy[n, c, oh, ow]

    Parameters
    ----------
    dy : array_like (N, C, OH, OW)
    x, weight, kernel_size
        As given to `subsample2d`.

    Returns
    -------
    dx : ndarray of float64 (N, C, H, W)
    dweight, dbias : ndarray of float64 (C,)
    """
    dy, x, weight = float64(dy, x, weight)
    dx, dweight = np.zeros_like(x), np.zeros_like(weight)
    for oh, ow in np.ndindex(dy.shape[2:]):
        at = _window(oh, ow, kernel_size)
        dx[at] = (weight * dy[:, :, oh, ow])[:, :, None, None]
        dweight += (dy[:, :, oh, ow] * x[at].sum(axis=(2, 3))).sum(axis=0)
    return dx, dweight, dy.sum(axis=(0, 2, 3))


def subsample2d_backward_second(
    d2y: ArrayLike, x: ArrayLike, weight: ArrayLike, kernel_size: Size = 2
) -> tuple[Array, Array, Array]:
    """Second derivatives of `subsample2d`: the factors of each output, squared.

    ::

        d2x = weight^2 * d2y,  d2weight += (sum of the window)^2 * d2y,  d2bias += d2y

    The sum of a window counts as one input of the coefficient, as in the authors' own code (Lush,
    gblearn2).

    Parameters
    ----------
    d2y : array_like (N, C, OH, OW)
    x, weight, kernel_size
        As given to `subsample2d`.

    Returns
    -------
    d2x : ndarray of float64 (N, C, H, W)
    d2weight, d2bias : ndarray of float64 (C,)

    References
    ----------
    LeCun et al. (1998), eq. 25 and 27.
    """
    d2y, x, weight = float64(d2y, x, weight)
    d2x, d2weight = np.zeros_like(x), np.zeros_like(weight)
    for oh, ow in np.ndindex(d2y.shape[2:]):
        at = _window(oh, ow, kernel_size)
        d2x[at] = (weight**2 * d2y[:, :, oh, ow])[:, :, None, None]
        d2weight += (d2y[:, :, oh, ow] * x[at].sum(axis=(2, 3)) ** 2).sum(axis=0)
    return d2x, d2weight, d2y.sum(axis=(0, 2, 3))


def _window(oh: int, ow: int, kernel_size: Size) -> Index:
    KH, KW = pair(kernel_size)
    return np.s_[:, :, oh * KH : (oh + 1) * KH, ow * KW : (ow + 1) * KW]
