"""Losses: the mean over the samples, its gradient, and the diagonal of its second derivatives.

Shapes: outputs, their gradients and second derivatives (N, K), with a column for each of K classes;
labels (N,), the true class of each sample, 0 to K - 1.
"""

import numpy as np
from numpy.typing import ArrayLike

from lenet5c.reference._arrays import Array, float64


def softmax(logits: ArrayLike) -> Array:
    """Turn logits into probabilities, which are positive and sum to 1.

    ::

        p[n, k] = exp(z[n, k]) / sum over l of exp(z[n, l])

    Computed with the maximum subtracted from each z, which changes nothing but keeps exp from
    overflowing.

    Parameters
    ----------
    logits : array_like (N, K)

    Returns
    -------
    ndarray of float64 (N, K)

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c import reference
    >>> reference.softmax(np.log([[1, 2, 5]]))
    array([[0.125, 0.25 , 0.625]])
    """
    return np.exp(log_softmax(logits))


def log_softmax(logits: ArrayLike) -> Array:
    """Return the logarithm of `softmax`, exact also where a probability is next to 0.

    ::

        log p[n, k] = z[n, k] - log(sum over l of exp(z[n, l]))

    Parameters
    ----------
    logits : array_like (N, K)

    Returns
    -------
    ndarray of float64 (N, K)
    """
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_p: Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_p


def cross_entropy(
    logits: ArrayLike, labels: ArrayLike, label_smoothing: float = 0
) -> tuple[float, Array]:
    """Cross-entropy of the softmax of logits with the true labels.

    ::

        target = (1 - label_smoothing) * one_hot(labels) + label_smoothing / K
        loss = -1/N sum over n, k of target[n, k] * log p[n, k]
        dlogits = (p - target) / N

    Parameters
    ----------
    logits : array_like (N, K)
    labels : array_like of int (N,)
    label_smoothing : float
        Share of the target that is spread evenly over all classes (Szegedy et al., 2016).

    Returns
    -------
    loss : float
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
    N, K = log_p.shape
    target = (1 - label_smoothing) * _one_hot(labels, K) + label_smoothing / K
    return -float((target * log_p).sum()) / N, (np.exp(log_p) - target) / N


def cross_entropy_second(logits: ArrayLike) -> Array:
    """Second derivatives of `cross_entropy`, whatever the labels.

    ::

        d2logits = p * (1 - p) / N

    Parameters
    ----------
    logits : array_like (N, K)

    Returns
    -------
    ndarray of float64 (N, K)
    """
    p = softmax(logits)
    return p * (1 - p) / len(p)


def mse_loss(outputs: ArrayLike, target: ArrayLike) -> tuple[float, Array]:
    """Mean squared error over all elements.

    ::

        loss = 1/size sum of (outputs - target)^2
        doutputs = 2/size (outputs - target)

    Parameters
    ----------
    outputs, target : array_like, of the same shape

    Returns
    -------
    loss : float
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
    return float(np.mean(error**2)), 2 * error / error.size


def mse_loss_second(outputs: ArrayLike) -> Array:
    """Second derivatives of `mse_loss`: 2/size, a constant.

    Parameters
    ----------
    outputs : array_like

    Returns
    -------
    ndarray of float64, of the shape of outputs
    """
    return np.full(np.shape(outputs), 2 / np.size(outputs))


def mle_loss(penalties: ArrayLike, labels: ArrayLike) -> tuple[float, Array]:
    """Maximum likelihood: the mean penalty of the true class.

    ::

        loss = 1/N sum over n of y[n, labels[n]]
        dpenalties = one_hot(labels) / N

    Parameters
    ----------
    penalties : array_like (N, K)
        Such as `rbf` returns.
    labels : array_like of int (N,)

    Returns
    -------
    loss : float
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
    penalties = np.asarray(penalties, np.float64)
    N, K = penalties.shape
    return float(penalties[np.arange(N), np.asarray(labels)].mean()), _one_hot(labels, K) / N


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


def map_loss(penalties: ArrayLike, labels: ArrayLike, j: float) -> tuple[float, Array]:
    """Maximum a posteriori: the true class against all classes and a rubbish class of penalty j.

    ::

        loss = 1/N sum over n of y[n, labels[n]] + log(exp(-j) + sum over k of exp(-y[n, k]))
        p[n, k] = exp(-y[n, k]) / (exp(-j) + sum over l of exp(-y[n, l]))
        dpenalties = (one_hot(labels) - p) / N

    This is the cross-entropy of the logits -y with one more class, of logit -j.

    Parameters
    ----------
    penalties : array_like (N, K)
    labels : array_like of int (N,)
    j : float

    Returns
    -------
    loss : float
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
    loss, dlogits = cross_entropy(_with_rubbish(penalties, j), labels)
    return loss, -dlogits[:, :-1]


def map_loss_second(penalties: ArrayLike, j: float) -> Array:
    """Second derivatives of `map_loss`.

    ::

        d2penalties = p * (1 - p) / N

    Parameters
    ----------
    penalties : array_like (N, K)
    j : float
        As given to `map_loss`, and p as there.

    Returns
    -------
    ndarray of float64 (N, K)
    """
    return cross_entropy_second(_with_rubbish(penalties, j))[:, :-1]


def _one_hot(labels: ArrayLike, K: int) -> Array:
    """Return 1 at each sample's label, 0 elsewhere: (N, K)."""
    target: Array = np.eye(K)[np.asarray(labels)]
    return target


def _with_rubbish(penalties: ArrayLike, j: float) -> Array:
    """Return the negated penalties, as logits, with a column for the rubbish class: (N, K + 1)."""
    penalties = np.asarray(penalties, np.float64)
    return -np.concatenate([penalties, np.full((len(penalties), 1), float(j))], axis=1)
