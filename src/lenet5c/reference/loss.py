"""Losses: the mean over the samples, its gradient, and the diagonal of its second derivatives.

Shapes: outputs, their gradients and second derivatives (N, K), with a column for each of K classes;
labels (N,), the true class of each sample, 0 to K - 1.

All have the parameters `reduction` and `sample_weight` s (N,), 1 by default. With the loss l[n] of
a sample and, if there are class weights, the weight w of its class, the loss is::

    'none'  s[n] * l[n], an array (N,), and the gradient of each element
    'sum'   sum over n of s[n] * l[n]
    'mean'  the same, divided by the sum over n of s[n] * w[labels[n]]
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, float64
from lenet5c.reference.softmax import log_softmax, softmax


def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    label_smoothing: float = 0,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    sample_weight: ArrayLike | None = None,
) -> tuple[Any, Array]:
    """Cross-entropy between the softmax of logits and true labels or probabilities.

    ::

        u[n, k] = weight[k] * ((1 - label_smoothing) * target[n, k] + label_smoothing / K)
        l[n] = -sum over k of u[n, k] * log p[n, k]
        dlogits[n] = (sum over k of u[n, k]) * p[n] - u[n]

    The mean divides by the sum of the weights of the true classes; with probabilities, by the sum
    of the sample weights.

    Parameters
    ----------
    logits : array_like (N, K)
    target : array_like of int (N,), or of float (N, K)
        Labels, which stand for one-hot vectors, or probabilities.
    label_smoothing : float
        Fraction of the target that is distributed evenly over all classes (Szegedy et al., 2016).
    weight : array_like (K,), optional
        Weight of each class.
    ignore_index : int
        Label of samples to exclude, also from the divisor.
    reduction, sample_weight
        See the docstring of this module.

    Returns
    -------
    loss : float, or ndarray of float64 (N,)
    dlogits : ndarray of float64 (N, K)

    References
    ----------
    `torch.nn.functional.cross_entropy`.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import reference
    >>> loss, dlogits = reference.cross_entropy(np.zeros((1, 4)), [2])
    >>> round(loss, 6), dlogits
    (1.386294, array([[ 0.25,  0.25, -0.75,  0.25]]))
    """
    log_p = log_softmax(logits)
    share, scale, total = _shares(
        log_p.shape, target, label_smoothing, weight, ignore_index, reduction, sample_weight
    )
    losses = -np.where(share == 0, 0, share * log_p).sum(axis=1)
    dlogits = share.sum(axis=1, keepdims=True) * np.exp(log_p) - share
    return _reduce(losses, dlogits, scale, total, reduction)


def cross_entropy_second(
    logits: ArrayLike,
    target: ArrayLike | None = None,
    label_smoothing: float = 0,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    sample_weight: ArrayLike | None = None,
) -> Array:
    """Second derivatives of `cross_entropy`; without weights, they do not depend on the target.

    ::

        d2logits[n, k] = (sum over k of u[n, k]) * p[n, k] * (1 - p[n, k])

    Parameters
    ----------
    logits, target, label_smoothing, weight, ignore_index, reduction, sample_weight
        As given to `cross_entropy`, and u and p as there.

    Returns
    -------
    ndarray of float64 (N, K)
    """
    p = softmax(logits)
    labels = np.zeros(len(p), int) if target is None else target
    share, scale, total = _shares(
        p.shape, labels, label_smoothing, weight, ignore_index, reduction, sample_weight
    )
    d2logits = share.sum(axis=1, keepdims=True) * p * (1 - p)
    return _reduce(np.zeros(len(p)), d2logits, scale, total, reduction)[1]


def nll_loss(
    log_p: ArrayLike,
    labels: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    sample_weight: ArrayLike | None = None,
) -> tuple[Any, Array]:
    """Negative log-likelihood of the true labels.

    ::

        l[n] = -weight[labels[n]] * log_p[n, labels[n]]
        dlog_p[n] = -weight[labels[n]] * one_hot(labels[n])

    Parameters
    ----------
    log_p : array_like (N, K)
        Logarithms of probabilities, such as `log_softmax` returns.
    labels : array_like of int (N,)
    weight, ignore_index, reduction, sample_weight
        As of `cross_entropy`.

    Returns
    -------
    loss : float, or ndarray of float64 (N,)
    dlog_p : ndarray of float64 (N, K)

    References
    ----------
    `torch.nn.functional.nll_loss`.
    """
    (log_p,) = float64(log_p)
    share, scale, total = _shares(
        log_p.shape, labels, 0, weight, ignore_index, reduction, sample_weight
    )
    losses = -np.where(share == 0, 0, share * log_p).sum(axis=1)
    return _reduce(losses, -share, scale, total, reduction)


def nll_loss_second(log_p: ArrayLike) -> Array:
    """Second derivatives of `nll_loss`: 0.

    Parameters
    ----------
    log_p : array_like (N, K)

    Returns
    -------
    ndarray of float64 (N, K)
    """
    return np.zeros(np.shape(log_p))


def mse_loss(
    outputs: ArrayLike,
    target: ArrayLike,
    *,
    reduction: str = "mean",
    sample_weight: ArrayLike | None = None,
) -> tuple[Any, Array]:
    """Mean squared error over all elements.

    ::

        l[n] = sum of (outputs[n] - target[n])^2
        doutputs[n] = 2 (outputs[n] - target[n])

    The mean divides by the sum of the weights, times the number of elements of a sample.

    Parameters
    ----------
    outputs, target : array_like (N, ...), of the same shape
    reduction, sample_weight
        See the docstring of this module.

    Returns
    -------
    loss : float, or ndarray of float64 (N,)
    doutputs : ndarray of float64, of the shape of outputs

    References
    ----------
    `torch.nn.functional.mse_loss`.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.mse_loss([[1, 3]], [[1, 1]])
    (2.0, array([[0., 2.]]))
    """
    outputs, target = float64(outputs, target)
    error = outputs - target
    losses = (error**2).reshape(len(error), -1).sum(axis=1)
    scale = _weights(sample_weight, len(error))
    total = scale.sum() * error[0].size
    return _reduce(losses, 2 * error, scale, total, reduction)


def mse_loss_second(
    outputs: ArrayLike, *, reduction: str = "mean", sample_weight: ArrayLike | None = None
) -> Array:
    """Second derivatives of `mse_loss`: 2 for each element, and the mean's divisor.

    Parameters
    ----------
    outputs : array_like (N, ...)
    reduction, sample_weight
        As given to `mse_loss`.

    Returns
    -------
    ndarray of float64, of the shape of outputs
    """
    (outputs,) = float64(outputs)
    scale = _weights(sample_weight, len(outputs))
    total = scale.sum() * outputs[0].size
    twos = np.full(outputs.shape, 2.0)
    return _reduce(np.zeros(len(outputs)), twos, scale, total, reduction)[1]


def mle_loss(
    penalties: ArrayLike,
    labels: ArrayLike,
    *,
    reduction: str = "mean",
    sample_weight: ArrayLike | None = None,
) -> tuple[Any, Array]:
    """Maximum likelihood: the penalty of the true class.

    ::

        l[n] = y[n, labels[n]]
        dpenalties[n] = one_hot(labels[n])

    Parameters
    ----------
    penalties : array_like (N, K)
        Such as `rbf` returns.
    labels : array_like of int (N,)
    reduction, sample_weight
        See the docstring of this module.

    Returns
    -------
    loss : float, or ndarray of float64 (N,)
    dpenalties : ndarray of float64 (N, K)

    References
    ----------
    LeCun et al. (1998), eq. 8.

    Examples
    --------
    >>> from lenet5c import reference
    >>> reference.mle_loss([[5, 2, 3]], [1])
    (2.0, array([[0., 1., 0.]]))
    """
    (penalties,) = float64(penalties)
    N, K = penalties.shape
    losses = penalties[np.arange(N), np.asarray(labels)]
    scale = _weights(sample_weight, N)
    return _reduce(losses, _one_hot(labels, K), scale, scale.sum(), reduction)


def mle_loss_second(penalties: ArrayLike) -> Array:
    """Second derivatives of `mle_loss`: 0.

    Parameters
    ----------
    penalties : array_like (N, K)

    Returns
    -------
    ndarray of float64 (N, K)
    """
    return np.zeros(np.shape(penalties))


def map_loss(
    penalties: ArrayLike,
    labels: ArrayLike,
    j: float,
    *,
    reduction: str = "mean",
    sample_weight: ArrayLike | None = None,
) -> tuple[Any, Array]:
    """Maximum a posteriori: the true class versus all classes and a rubbish class of penalty j.

    ::

        l[n] = y[n, labels[n]] + log(exp(-j) + sum over k of exp(-y[n, k]))
        p[n, k] = exp(-y[n, k]) / (exp(-j) + sum over l of exp(-y[n, l]))
        dpenalties[n] = one_hot(labels[n]) - p[n]

    This is the cross-entropy of the logits -y with one more class, of logit -j.

    Parameters
    ----------
    penalties : array_like (N, K)
    labels : array_like of int (N,)
    j : float
    reduction, sample_weight
        See the docstring of this module.

    Returns
    -------
    loss : float, or ndarray of float64 (N,)
    dpenalties : ndarray of float64 (N, K)

    References
    ----------
    LeCun et al. (1998), eq. 9.

    Examples
    --------
    >>> from lenet5c import reference
    >>> loss, dpenalties = reference.map_loss([[2, 2, 2]], [1], j=2)
    >>> round(loss, 6), dpenalties
    (1.386294, array([[-0.25,  0.75, -0.25]]))
    """
    loss, dlogits = cross_entropy(
        _with_rubbish(penalties, j), labels, reduction=reduction, sample_weight=sample_weight
    )
    return loss, -dlogits[:, :-1]


def map_loss_second(
    penalties: ArrayLike,
    j: float,
    *,
    reduction: str = "mean",
    sample_weight: ArrayLike | None = None,
) -> Array:
    """Second derivatives of `map_loss`.

    ::

        d2penalties = p * (1 - p)

    Parameters
    ----------
    penalties : array_like (N, K)
    j, reduction, sample_weight
        As given to `map_loss`, and p as there.

    Returns
    -------
    ndarray of float64 (N, K)
    """
    logits = _with_rubbish(penalties, j)
    return cross_entropy_second(logits, reduction=reduction, sample_weight=sample_weight)[:, :-1]


def _reduce(
    losses: Array, gradient: Array, scale: Array, total: float, reduction: str
) -> tuple[Any, Array]:
    """Return the loss and its gradient of losses (N,), each weighted by `scale` (N,)."""
    losses = scale * losses
    gradient = scale.reshape(-1, *[1] * (gradient.ndim - 1)) * gradient
    if reduction == "none":
        return losses, gradient
    if reduction == "sum":
        return float(losses.sum()), gradient
    if total == 0:  # as PyTorch
        return np.nan, gradient
    return float(losses.sum() / total), gradient / total


def _shares(
    shape: tuple[int, ...],
    target: ArrayLike,
    label_smoothing: float,
    weight: ArrayLike | None,
    ignore_index: int,
    reduction: str,
    sample_weight: ArrayLike | None,
) -> tuple[Array, Array, float]:
    """Return the target of each class (N, K), the sample weights, and the divisor of the mean."""
    (N, K), target = shape, np.asarray(target)
    class_weight, scale = _weights(weight, K), _weights(sample_weight, N)
    if target.ndim == 1:
        kept = target != ignore_index
        labels = np.where(kept, target, 0)
        scale = scale * kept
        total = float((scale * class_weight[labels]).sum())
        target = _one_hot(labels, K)
    else:
        total = float(scale.sum())
    share = class_weight * ((1 - label_smoothing) * target + label_smoothing / K)
    return share, scale, total


def _weights(weight: ArrayLike | None, count: int) -> Array:
    return np.ones(count) if weight is None else np.asarray(weight, np.float64)


def _one_hot(labels: ArrayLike, K: int) -> Array:
    """Return 1 at each sample's label, 0 elsewhere: (N, K)."""
    target: Array = np.eye(K)[np.asarray(labels)]
    return target


def _with_rubbish(penalties: ArrayLike, j: float) -> Array:
    """Return the negated penalties, as logits, with a column for the rubbish class: (N, K + 1)."""
    penalties = np.asarray(penalties, np.float64)
    return -np.concatenate([penalties, np.full((len(penalties), 1), float(j))], axis=1)
