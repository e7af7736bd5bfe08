"""Temperature of a model's probabilities: fitted on images that the model was not trained on."""

from dataclasses import dataclass
from math import exp, log
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST, MOST = 0.01, 100.0
#: Standard deviation of log(temperature) before any image is seen: log 2, a factor of two.
SPREAD = log(2)
#: Significant digits: the rest would be rounding, which differs between processors.
DIGITS = 4
BLOCK = 1 << 21  # logits at a time
MOST_ROUNDS = 60


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature; made by `fit_temperature`.

    Attributes
    ----------
    temperature : float
    count : int
        Images it was fitted on.
    nll_before, nll_after : float
        Their mean negative log-likelihood at the temperature 1, and at the fitted one.
    at_bound : bool
        True if the likelihood would have a temperature beyond the least or the greatest.
    """

    temperature: float
    count: int
    nll_before: float
    nll_after: float
    at_bound: bool = False

    def __str__(self) -> str:
        """Return the result in words."""
        bound = ", the furthest that is allowed" if self.at_bound else ""
        images = f"{self.count:,} image{'' if self.count == 1 else 's'}"
        return (
            f"temperature {self.temperature:.4g}{bound}, fitted on {images}, whose NLL is "
            f"{self.nll_after:.4f} with it and {self.nll_before:.4f} at temperature 1"
        )


def check_temperature(value: object) -> float:
    """Return a temperature as a float, or raise a ValueError."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not (number and LEAST <= float(value) <= MOST):  # type: ignore[arg-type]
        raise ValueError(
            f"temperature must be a number from {LEAST} to {MOST:g}, got {value!r:.80}"
        )
    return float(value)  # type: ignore[arg-type]


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> Calibration:
    """Fit the temperature T for which softmax(logits / T) is honest [1]_.

    It is that of the greatest likelihood of the labels, times a weak prior: log T is normal with
    mean 0 and standard deviation log 2. Of a hundred misclassified images the prior is hardly
    felt. Where all images are predicted correctly, the likelihood alone would have T = 0 and make
    the model sure of everything; then the prior keeps T in reason.

    Parameters
    ----------
    logits : array_like, shape (N, K)
        Of images that the model was not trained on.
    labels : array_like of int, shape (N,)
        The true classes, 0 to K - 1.

    Returns
    -------
    Calibration
        Its temperature has four significant digits, and is 0.01 to 100.

    Raises
    ------
    ValueError
        There is no image or class, a label is no class, or a logit is not finite.

    Notes
    -----
    With b = 1 / T the negative log-likelihood is convex in b. Newton's method finds the zero of
    the derivative by u = log b, in float64, within an interval that halves where a step leaves it.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, "On calibration of modern neural networks",
       ICML 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.training import fit_temperature
    >>> logits = np.tile([3.0, 0.0], (100, 1))  # sure of the first class to 95 %
    >>> labels = np.repeat([0, 1], [80, 20])  # and right in 80 %
    >>> fitted = fit_temperature(logits, labels)
    >>> fitted.temperature
    2.065
    >>> p = np.exp(3 / fitted.temperature)
    >>> print(f"{p / (1 + p):.3f}")
    0.810
    """
    scores, true = np.asarray(logits), np.asarray(labels)
    if scores.ndim != 2 or 0 in scores.shape or scores.dtype.kind not in "fiu":
        raise ValueError(f"logits must be numbers (N, K), got {scores.dtype} {scores.shape}")
    if true.shape != scores.shape[:1] or true.dtype.kind not in "iu":
        raise ValueError(f"labels must be int ({len(scores)},), got {true.dtype} {true.shape}")
    if true.min() < 0 or true.max() >= scores.shape[1]:
        raise ValueError(
            f"labels must be 0 to {scores.shape[1] - 1}, got {true.min()} to {true.max()}"
        )
    if not np.isfinite(scores).all():
        raise ValueError("logits must be finite, got NaN or infinity")

    def slopes(u: float) -> tuple[float, float]:
        """Return the first and the second derivative of what is minimized."""
        b = exp(u)
        _, first, second = _likelihood(scores, true, b)
        own = 1 / SPREAD**2
        return b * first + own * u, b * b * second + b * first + own

    low, high = -log(MOST), -log(LEAST)
    u, (slope, curvature) = 0.0, slopes(0.0)
    low, high = (u, high) if slope < 0 else (low, u)
    for _ in range(MOST_ROUNDS):
        # Halfway where Newton's step would leave the interval, or climb.
        step = u - slope / curvature if curvature > 0 else low
        before, u = u, step if low < step < high else (low + high) / 2
        slope, curvature = slopes(u)
        low, high = (u, high) if slope < 0 else (low, u)
        if abs(u - before) < 1e-9:
            break
    temperature = float(f"{min(max(exp(-u), LEAST), MOST):.{DIGITS}g}")
    before, after = (_likelihood(scores, true, 1 / t)[0] / len(true) for t in (1.0, temperature))
    return Calibration(temperature, len(true), before, after, temperature in (LEAST, MOST))


def _likelihood(
    logits: NDArray[np.generic], labels: NDArray[np.integer], b: float
) -> tuple[float, float, float]:
    """Return the negative log-likelihood of labels by softmax(b logits), and its derivatives by b.

    With d the logits less the greatest of each image, and means E by the probabilities:
    the derivatives of log(sum(exp(b d))) are E[d], and the variance E[d d] - E[d] E[d].
    """
    value = first = second = 0.0
    rows = max(1, BLOCK // logits.shape[1])
    for start in range(0, len(logits), rows):
        d = logits[start : start + rows].astype(np.float64)
        d -= d.max(axis=1, keepdims=True)
        own = np.take_along_axis(d, labels[start : start + rows, None], axis=1)[:, 0]
        share = np.exp(b * d)
        total = share.sum(axis=1)
        share /= total[:, None]
        mean = np.einsum("nk,nk->n", share, d)
        value += float((np.log(total) - b * own).sum())
        first += float((mean - own).sum())
        second += float((np.einsum("nk,nk,nk->n", share, d, d) - mean * mean).sum())
    return value, first, second
