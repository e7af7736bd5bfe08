"""Reliability of probabilities: confidence versus accuracy."""

from dataclasses import dataclass
from math import exp, floor, lgamma, log, log1p

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.datasets._checks import check_choice
from lenet5c.training.statistics import wilson_interval

BINS = 15
EQUALS = ("width", "mass")
#: Minimum probability in a logarithm, the smallest normal float32.
TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, eq=False)
class Reliability:
    """Images in bins of confidence, the probability of the predicted label.

    See `measure_reliability`. Empty bins are omitted.

    Attributes
    ----------
    low, high : ndarray of float64 (B,)
        Edges of the bins. A confidence at an inner edge belongs to the lower bin.
    count, correct : ndarray of int64 (B,)
        Number of images, and of correctly predicted images.
    confidence : ndarray of float64 (B,)
        Mean confidence in each bin.
    equal : {'width', 'mass'}
        Bins of equal width, or with equal numbers of images.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    count: NDArray[np.int64]
    correct: NDArray[np.int64]
    confidence: NDArray[np.float64]
    equal: str

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Fraction of correct predictions in each bin."""
        return self.correct / self.count

    @property
    def intervals(self) -> NDArray[np.float64]:
        """95 % Wilson intervals of `accuracy`, shape (B, 2)."""
        pairs = zip(self.correct.tolist(), self.count.tolist(), strict=True)
        return np.array([wilson_interval(*pair) for pair in pairs])

    @property
    def ece(self) -> float:
        """Expected calibration error: mean of abs(accuracy - confidence), weighted by images."""
        gaps = np.abs(self.correct - self.count * self.confidence)
        return float(gaps.sum() / self.count.sum())

    @property
    def ece_by_chance(self) -> float:
        """Mean `ece` of a perfectly calibrated model on the same number of images.

        With few images, the accuracy of a bin differs from its mean by chance, so an ECE below this
        value is not significant. All images in a bin are assumed to have its mean confidence.
        """
        pairs = zip(self.count.tolist(), self.confidence.tolist(), strict=True)
        return sum(_mean_deviation(*pair) for pair in pairs) / int(self.count.sum())

    @property
    def parts(self) -> tuple[float, float, float]:
        """Decomposition of the Brier score of the predicted label by Murphy [1]_.

        The components are reliability (squared gaps; lower is better), resolution (spread of the
        bins' accuracies; higher is better) and uncertainty (accuracy times error rate). If all
        images of a bin have the same confidence, reliability - resolution + uncertainty is the mean
        of (confidence - correct)².

        References
        ----------
        .. [1] A. H. Murphy, "A new vector partition of the probability score", Journal of Applied
           Meteorology 12 (1973), 595-600.
        """
        weight, accuracy = self.count / self.count.sum(), self.accuracy
        mean = float((weight * accuracy).sum())
        reliability = float((weight * (self.confidence - accuracy) ** 2).sum())
        resolution = float((weight * (accuracy - mean) ** 2).sum())
        return reliability, resolution, mean * (1 - mean)


def measure_reliability(
    confidences: ArrayLike, correct: ArrayLike, bins: int = BINS, equal: str = "width"
) -> Reliability:
    """Group images into bins of confidence.

    Parameters
    ----------
    confidences : array_like of float, shape (N,)
        Probability of each prediction, 0 to 1.
    correct : array_like of bool, shape (N,)
        True if the prediction is correct.
    bins : int
        Maximum number of bins.
    equal : {'width', 'mass'}
        Bins of equal width from 0 to 1, or with equal numbers of images. In the latter case, edges
        are quantiles, and as images of equal confidence share a bin, there may be fewer bins.

    Returns
    -------
    Reliability

    Raises
    ------
    ValueError
        If an argument is invalid.

    Examples
    --------
    >>> from lenet5c.training import measure_reliability
    >>> found = measure_reliability([0.9, 0.9, 0.9, 0.6], [True, True, False, False], bins=5)
    >>> found.count, found.accuracy.round(2), round(found.ece, 3)
    (array([1, 3]), array([0.  , 0.67]), 0.325)
    """
    sure, right = np.asarray(confidences, np.float64), np.asarray(correct)
    if sure.ndim != 1 or not len(sure) or not ((sure >= 0) & (sure <= 1)).all():
        raise ValueError("confidences must be a nonempty array of numbers from 0 to 1")
    if right.shape != sure.shape or right.dtype != bool:
        raise ValueError(
            f"correct must be bool of shape ({len(sure)},), got {right.dtype} of "
            f"shape {right.shape}"
        )
    if type(bins) is not int or bins < 1:
        raise ValueError(f"bins must be an integer of at least 1, got {bins!r}")
    check_choice("equal", equal, EQUALS)
    shares = np.linspace(0, 1, bins + 1)
    ends = shares if equal == "width" else np.unique(np.quantile(sure, shares, method="lower"))
    if len(ends) == 1:  # all have the same confidence
        ends = np.repeat(ends, 2)
    place = np.searchsorted(ends[1:-1], sure, side="left")
    number = np.bincount(place, minlength=len(ends) - 1)
    total = np.bincount(place, sure, len(ends) - 1)
    hits = np.bincount(place[right], minlength=len(ends) - 1)
    some = number > 0
    count = number[some]
    return Reliability(
        ends[:-1][some], ends[1:][some], count, hits[some], total[some] / count, equal
    )


def brier_score(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Return the mean over images of sum((p - y)²) over the classes, 0 to 2 [1]_.

    y is 1 for the true class, else 0. For two classes, this is twice scikit-learn's
    ``brier_score_loss``.

    References
    ----------
    .. [1] G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly
       Weather Review 78 (1950), 1-3.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.training.reliability import brier_score
    >>> round(brier_score(np.array([[0.7, 0.3], [1.0, 0.0]]), np.array([0, 1])), 4)
    1.09
    """
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    squares = np.einsum("nk,nk->n", probabilities, probabilities, dtype=np.float64)
    return float((squares - 2 * own + 1).mean())


def negative_log_likelihood(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer]
) -> float:
    """Return the mean of -log p over images, where p is the probability of the true class.

    If p is 0 in float32, 1.2e-38 is used.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.training.reliability import negative_log_likelihood
    >>> round(negative_log_likelihood(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, 0])), 4)
    0.3466
    """
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(own, TINY)).mean())


def _mean_deviation(n: int, p: float) -> float:
    """Return E abs(X - n p) of a binomial X, by de Moivre: 2 v C(n, v) p^v (1 - p)^(n - v + 1).

    v is floor(n p) + 1.
    """
    if not 0 < p < 1:
        return 0.0
    v = floor(n * p) + 1
    if v > n:
        return 2 * n * p**n * (1 - p)
    chosen = lgamma(n + 1) - lgamma(v + 1) - lgamma(n - v + 1)
    return 2 * v * exp(chosen + v * log(p) + (n - v + 1) * log1p(-p))
