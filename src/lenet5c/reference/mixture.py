"""Ensembles: the logarithm of the mean of the probabilities of several members."""

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, float64
from lenet5c.reference.softmax import log_softmax


def ensemble(logits: ArrayLike) -> Array:
    """Return the logarithm of the mean of the members' probabilities.

    ::

        y[k] = log(1/M sum over i of p[i, k]),  p[i] = softmax(logits[i])

    The softmax of the result is the mean itself. It is computed from the logarithms of the
    probabilities, with the largest one of each class subtracted, so that no small probability
    becomes 0.

    Parameters
    ----------
    logits : array_like (M, N, K)
        Logits of M members, divided by their temperatures.

    Returns
    -------
    ndarray of float64 (N, K)

    References
    ----------
    Lakshminarayanan, Pritzel, Blundell (2017), Simple and scalable predictive uncertainty
    estimation using deep ensembles, section 2.4.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import reference
    >>> np.exp(reference.ensemble(np.log([[[0.9, 0.1]], [[0.5, 0.5]]]))).round(3)
    array([[0.7, 0.3]])
    """
    log_p = log_softmax(logits)
    largest = log_p.max(axis=0)
    y: Array = largest + np.log(np.exp(log_p - largest).mean(axis=0))
    return y


def ensemble_backward(dy: ArrayLike, logits: ArrayLike) -> Array:
    """Gradient of `ensemble` with respect to the logits of each member.

    With the fraction ``r[i, k] = p[i, k] / sum over j of p[j, k]`` of member i in the class k::

        dlogits[i, k] = r[i, k] dy[k] - p[i, k] sum over l of r[i, l] dy[l]

    Parameters
    ----------
    dy : array_like (N, K)
    logits : array_like (M, N, K)

    Returns
    -------
    ndarray of float64 (M, N, K)
    """
    p, r = _shares(logits)
    (dy,) = float64(dy)
    through: Array = r * dy
    return through - p * through.sum(axis=-1, keepdims=True)


def ensemble_backward_second(d2y: ArrayLike, logits: ArrayLike) -> Array:
    """Diagonal Gauss-Newton second derivatives of `ensemble` for the logits of each member.

    The slopes of `ensemble_backward` squared, one by one::

        d2logits[i, k] = sum over l of r[i, l]^2 ((l == k) - p[i, k])^2 d2y[l]

    Parameters
    ----------
    d2y : array_like (N, K)
    logits : array_like (M, N, K)

    Returns
    -------
    ndarray of float64 (M, N, K)
    """
    p, r = _shares(logits)
    (d2y,) = float64(d2y)
    slopes = np.eye(p.shape[-1])[:, :] - p[..., None, :]  # derivative of class l by logit k
    squared: Array = ((r[..., None] * slopes) ** 2 * d2y[..., None]).sum(axis=-2)
    return squared


def _shares(logits: ArrayLike) -> tuple[Array, Array]:
    """Return the probabilities of the members, and their fractions of the sum of each class."""
    log_p = log_softmax(logits)
    return np.exp(log_p), np.exp(log_softmax(log_p, axis=0))
