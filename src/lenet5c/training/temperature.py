"""Temperature scaling of a model's probabilities, fitted on held-out images."""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log, sqrt
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

MINIMUM, MAXIMUM = 0.01, 100.0
#: Prior standard deviation of log(temperature), a factor of two.
SPREAD = log(2)
#: Significant digits, because further digits may differ between processors.
DIGITS = 4
#: Assumed fraction of wrong labels.
WRONG = 0.001
#: Logarithmically spaced temperatures of the initial search.
GRID = 47
BLOCK = 1 << 21  # logits per block


@dataclass(frozen=True)
class Calibration:
    """A fitted temperature, see `fit_temperature`.

    Attributes
    ----------
    temperature : float
    count : int
        Number of images used for the fit.
    nll_before, nll_after : float
        Mean negative log-likelihood at temperature 1 and at the fitted temperature.
    at_bound : bool
        True if the best temperature is outside the allowed range.
    """

    temperature: float
    count: int
    nll_before: float
    nll_after: float
    at_bound: bool = False

    def __str__(self) -> str:
        """Return a description of the result."""
        bound = ", the limit of the allowed range" if self.at_bound else ""
        images = f"{self.count:,} image{'' if self.count == 1 else 's'}"
        return (
            f"temperature {self.temperature:.4g}{bound}, fitted on {images}: NLL "
            f"{self.nll_after:.4f}, and {self.nll_before:.4f} at temperature 1"
        )


def check_temperature(value: object) -> float:
    """Return a temperature as a float, or raise a ValueError."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not (number and MINIMUM <= float(value) <= MAXIMUM):  # type: ignore[arg-type]
        raise ValueError(
            f"temperature must be a number from {MINIMUM} to {MAXIMUM:g}, got {value!r:.80}"
        )
    return float(value)  # type: ignore[arg-type]


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> Calibration:
    """Fit the temperature T that calibrates softmax(logits / T) [1]_.

    T maximizes the likelihood of the labels, with two modifications. One label in a thousand is
    assumed to be wrong: the likelihood of a label is 0.999 p + 0.001 / K, so that a single wrong
    label, to which a good model assigns a tiny probability, does not dominate the fit. And log T
    has a weak prior, normal with mean 0 and standard deviation log 2, whose effect is small if
    there are a hundred misclassified images. If all images are predicted correctly, the likelihood
    alone would give T = 0, which the prior prevents.

    Parameters
    ----------
    logits : array_like, shape (N, K)
        Logits of images that were not used for training.
    labels : array_like of int, shape (N,)
        True labels, 0 to K - 1.

    Returns
    -------
    Calibration
        Result with a temperature from 0.01 to 100, rounded to four significant digits.

    Raises
    ------
    ValueError
        If there are no images or classes, a label is out of range, or a logit is not finite.

    Notes
    -----
    The search is done in float64: the best of 47 temperatures is refined by golden section search
    between its neighbors.

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
    >>> p = np.exp(3 / fitted.temperature)
    >>> print(f"{p / (1 + p):.2f}")
    0.81
    """
    scores, true = np.asarray(logits), np.asarray(labels)
    if scores.ndim != 2 or 0 in scores.shape or scores.dtype.kind not in "fiu":
        raise ValueError(
            f"logits must be numbers of shape (N, K), got {scores.dtype} of shape {scores.shape}"
        )
    if true.shape != scores.shape[:1] or true.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be int of shape ({len(scores)},), got {true.dtype} of shape {true.shape}"
        )
    if true.min() < 0 or true.max() >= scores.shape[1]:
        raise ValueError(
            f"labels must be from 0 to {scores.shape[1] - 1}, got {true.min()} to {true.max()}"
        )
    if not np.isfinite(scores).all():
        raise ValueError("logits must be finite, got NaN or infinity")
    every = -(-scores.size // BLOCK)  # a sample is enough for the initial search

    def cost(u: float, step: int = 1) -> float:
        value = _likelihood(scores[::step], true[::step], exp(u), WRONG)
        return step * value + 0.5 * (u / SPREAD) ** 2

    grid = np.linspace(log(MINIMUM), log(MAXIMUM), GRID)
    place = int(np.argmin([cost(u, every) for u in grid]))
    u = _search(cost, grid[max(place - 1, 0)], grid[min(place + 1, GRID - 1)])
    temperature = float(f"{min(max(exp(u), MINIMUM), MAXIMUM):.{DIGITS}g}")
    before, after = (_likelihood(scores, true, t) / len(true) for t in (1.0, temperature))
    return Calibration(temperature, len(true), before, after, temperature in (MINIMUM, MAXIMUM))


def _search(cost: Callable[[float], float], low: float, high: float) -> float:
    """Return the minimum of a unimodal function to 1e-6, by golden section search."""
    share = (sqrt(5) - 1) / 2
    inner = [high - share * (high - low), low + share * (high - low)]
    costs = [cost(each) for each in inner]
    while high - low > 1e-6:
        if costs[0] <= costs[1]:
            high, inner[1], costs[1] = inner[1], inner[0], costs[0]
            inner[0] = high - share * (high - low)
            costs[0] = cost(inner[0])
        else:
            low, inner[0], costs[0] = inner[0], inner[1], costs[1]
            inner[1] = low + share * (high - low)
            costs[1] = cost(inner[1])
    # The minimum may be at an end of the interval.
    return min((low, high, *inner), key=cost)


def _likelihood(
    logits: NDArray[np.generic], labels: NDArray[np.integer], temperature: float, wrong: float = 0.0
) -> float:
    """Return the negative log-likelihood of labels, a fraction of which may be wrong."""
    value, classes = 0.0, logits.shape[1]
    rows = max(1, BLOCK // classes)
    for start in range(0, len(logits), rows):
        d = logits[start : start + rows].astype(np.float64)
        d -= d.max(axis=1, keepdims=True)
        d /= temperature
        own = np.take_along_axis(d, labels[start : start + rows, None], axis=1)[:, 0]
        own -= np.log(np.exp(d, out=d).sum(axis=1))
        if wrong:
            own = np.log((1 - wrong) * np.exp(own) + wrong / classes)
        value -= float(own.sum())
    return value
