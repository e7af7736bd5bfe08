"""Batch normalization: channels normalized to mean 0 and variance 1, scaled and shifted.

Shapes: x and y (N, C) or (N, C, H, W), weight and bias (C,). The statistics of a channel are
computed over all other axes; M is the number of these elements, N or N H W.
"""

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, float64


def batch_norm(x: ArrayLike, weight: ArrayLike, bias: ArrayLike, eps: float = 1e-5) -> Array:
    """Normalize each channel with the statistics of the batch, as in training.

    ::

        mean[c] = sum of x[:, c] / M,  var[c] = sum of (x[:, c] - mean[c])^2 / M
        normal = (x - mean) / sqrt(var + eps)
        y = weight * normal + bias

    Parameters
    ----------
    x : array_like (N, C) or (N, C, H, W)
    weight, bias : array_like (C,)
    eps : float

    Returns
    -------
    ndarray of float64, of the shape of x

    References
    ----------
    Ioffe and Szegedy (2015), Batch normalization, algorithm 1.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.batch_norm([[1], [3]], weight=[2], bias=[10], eps=0)
    array([[ 8.],
           [12.]])
    """
    x, weight, bias = float64(x, weight, bias)
    normal, _ = _normalize(x, eps)
    return _spread(weight, x) * normal + _spread(bias, x)


def batch_norm_backward(
    dy: ArrayLike, x: ArrayLike, weight: ArrayLike, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Gradients of `batch_norm`.

    Mean and variance depend on every sample, so their contribution is subtracted from dx:

    ::

        dweight[c] = sum of dy * normal,  dbias[c] = sum of dy
        dx = weight / sqrt(var + eps) * (dy - dbias / M - normal * dweight / M)

    Parameters
    ----------
    dy : array_like, of the shape of x
    x, weight, eps
        As given to `batch_norm`.

    Returns
    -------
    dx : ndarray of float64, of the shape of x
    dweight, dbias : ndarray of float64 (C,)

    References
    ----------
    Ioffe and Szegedy (2015), section 3.
    """
    dy, x, weight = float64(dy, x, weight)
    axes, M = _axes(x), x.size // x.shape[1]
    normal, std = _normalize(x, eps)
    dweight, dbias = (dy * normal).sum(axis=axes), dy.sum(axis=axes)
    by_statistics = _spread(dbias / M, x) + normal * _spread(dweight / M, x)
    return _spread(weight, x) / std * (dy - by_statistics), dweight, dbias


def batch_norm_backward_second(
    d2y: ArrayLike, x: ArrayLike, weight: ArrayLike, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Second derivatives of `batch_norm`, with its statistics taken as constants.

    ::

        d2x = weight^2 / (var + eps) * d2y
        d2weight[c] = sum of normal^2 * d2y
        d2bias[c] = sum of d2y

    Parameters
    ----------
    d2y : array_like, of the shape of x
    x, weight, eps
        As given to `batch_norm`.

    Returns
    -------
    d2x : ndarray of float64, of the shape of x
    d2weight, d2bias : ndarray of float64 (C,)
    """
    d2y, x, weight = float64(d2y, x, weight)
    normal, std = _normalize(x, eps)
    d2x = (_spread(weight, x) / std) ** 2 * d2y
    return d2x, (d2y * normal**2).sum(axis=_axes(x)), d2y.sum(axis=_axes(x))


def batch_norm_inference(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike,
    running_mean: ArrayLike,
    running_var: ArrayLike,
    eps: float = 1e-5,
) -> Array:
    """Normalize each channel with running statistics, as in inference.

    ::

        y = weight * (x - running_mean) / sqrt(running_var + eps) + bias

    Parameters
    ----------
    x : array_like (N, C) or (N, C, H, W)
    weight, bias, running_mean, running_var : array_like (C,)
    eps : float

    Returns
    -------
    ndarray of float64, of the shape of x
    """
    x, weight, bias, mean, var = float64(x, weight, bias, running_mean, running_var)
    normal = (x - _spread(mean, x)) / np.sqrt(_spread(var, x) + eps)
    return _spread(weight, x) * normal + _spread(bias, x)


def update_running_statistics(
    running_mean: ArrayLike, running_var: ArrayLike, x: ArrayLike, momentum: float = 0.1
) -> tuple[Array, Array]:
    """Update running statistics with those of a batch.

    ::

        running_mean' = (1 - momentum) * running_mean + momentum * mean
        running_var'  = (1 - momentum) * running_var  + momentum * var * M / (M - 1)

    where M / (M - 1) makes the variance of the batch an unbiased estimate.

    Parameters
    ----------
    running_mean, running_var : array_like (C,)
    x : array_like (N, C) or (N, C, H, W)
    momentum : float

    Returns
    -------
    running_mean, running_var : ndarray of float64 (C,)

    References
    ----------
    `torch.nn.BatchNorm2d`.
    """
    mean, var, x = float64(running_mean, running_var, x)
    new_mean, new_var = x.mean(axis=_axes(x)), x.var(axis=_axes(x), ddof=1)
    return mean + momentum * (new_mean - mean), var + momentum * (new_var - var)


def _normalize(x: Array, eps: float) -> tuple[Array, Array]:
    """Return x normalized to mean 0 and variance 1, and the standard deviation used."""
    mean = x.mean(axis=_axes(x), keepdims=True)
    std = np.sqrt(x.var(axis=_axes(x), keepdims=True) + eps)
    return (x - mean) / std, std


def _axes(x: Array) -> tuple[int, ...]:
    """All axes but the channels'."""
    return (0, *range(2, x.ndim))


def _spread(values: Array, x: Array) -> Array:
    """Reshape values (C,) for broadcasting along the channel axis of x."""
    return values.reshape(-1, *[1] * (x.ndim - 2))
