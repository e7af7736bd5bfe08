"""Ranking by probability: ROC curves and error-reject curves."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Roc:
    """Receiver operating characteristic, see `roc_curve`.

    Attributes
    ----------
    false_positive, true_positive : ndarray of float64 (P,)
        False and true positive rates, from 0 to 1, for each threshold that changes them.
    positives, negatives : int
    """

    false_positive: Floats
    true_positive: Floats
    positives: int
    negatives: int

    @property
    def auc(self) -> float:
        """Area under the curve: the probability that a positive has a higher score than a negative.

        Equal scores count half. NaN without positives or negatives.
        """
        if not (self.positives and self.negatives):
            return float("nan")
        true, false = self.true_positive, self.false_positive
        return float(((true[1:] + true[:-1]) / 2 * np.diff(false)).sum())


def roc_curve(scores: ArrayLike, positive: ArrayLike) -> Roc:
    """Return the ROC curve of scores.

    Parameters
    ----------
    scores : array_like of float, shape (N,)
    positive : array_like of bool, shape (N,)

    Examples
    --------
    >>> from lenet5c.training import roc_curve
    >>> curve = roc_curve([0.9, 0.8, 0.8, 0.1], [True, False, True, False])
    >>> curve.true_positive, curve.false_positive, curve.auc
    (array([0. , 0.5, 1. , 1. ]), array([0. , 0. , 0.5, 1. ]), 0.875)
    """
    values, truth = np.asarray(scores, np.float64), np.asarray(positive)
    if values.ndim != 1 or not len(values) or truth.shape != values.shape or truth.dtype != bool:
        raise ValueError(
            f"scores and positive must be numbers and bool of shape (N,), got {values.shape} and "
            f"{truth.dtype} of shape {truth.shape}"
        )
    order, ends = _rank(values)
    true = np.concatenate([[0], np.cumsum(truth[order])[ends]]).astype(np.float64)
    false = np.concatenate([[0], ends + 1]) - true
    positives, negatives = int(true[-1]), int(false[-1])
    return Roc(false / max(negatives, 1), true / max(positives, 1), positives, negatives)


def roc_areas(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> Floats:
    """Return the area under the ROC curve of each class versus the rest (K,).

    NaN for a class with no images or all images. Equal probabilities count half.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.training import roc_areas
    >>> probabilities = np.array([[0.8, 0.2, 0.0], [0.4, 0.6, 0.0], [0.5, 0.5, 0.0]])
    >>> roc_areas(probabilities, np.array([0, 1, 1]))
    array([ 1.,  1., nan])
    """
    count = probabilities.shape[1]
    present = np.flatnonzero(np.bincount(labels, minlength=count))
    areas = np.full(count, np.nan)
    for each in present.tolist():
        areas[each] = roc_curve(probabilities[:, each], labels == each).auc
    return areas


def auc_interval(auc: float, positives: int, negatives: int) -> tuple[float, float]:
    """Return a 95 % interval for an area under a ROC curve.

    The interval contains all areas t with abs(auc - t) <= 1.96 sqrt(V(t)), where V is the variance
    of Hanley and McNeil as in method 5 of Newcombe [1]_. Like Wilson's interval, it does not vanish
    if the area is 1.

    References
    ----------
    .. [1] R. G. Newcombe, "Confidence intervals for an effect size measure based on the
       Mann-Whitney statistic. Part 2", Statistics in Medicine 25 (2006), 559-573.

    Examples
    --------
    >>> from lenet5c.training.ranking import auc_interval
    >>> low, high = auc_interval(1.0, 5, 100)
    >>> print(f"{low:.2f} to {high:.2f}")
    0.80 to 1.00
    """
    if not (positives and negatives):
        return 0.0, 1.0
    half = (positives + negatives) / 2 - 1

    def beyond(t: float) -> bool:
        spread = 1 + half * (1 - t) / (2 - t) + half * t / (1 + t)
        return abs(auc - t) > 1.959964 * sqrt(t * (1 - t) * spread / (positives * negatives))

    ends = []
    for far in (0.0, 1.0):
        inside, outside = auc, far
        if auc == far or not beyond(far):
            ends.append(far)
            continue
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if beyond(middle) else (middle, outside)
        ends.append(inside)
    return ends[0], ends[1]


@dataclass(frozen=True, eq=False)
class Rejections:
    """Error-reject curve: images are rejected in the order of increasing confidence.

    See `reject_by_confidence`. At point i, `accepted` [i] images with a confidence of at least
    `threshold` [i] are accepted; at the first point, all images are.

    Attributes
    ----------
    threshold : ndarray of float64 (P,)
    accepted, errors : ndarray of int64 (P,)
        Number of accepted images, and of misclassified images among them.
    area : float
        Mean error rate over all numbers of accepted images, 1 to N (AURC [1]_). For images of equal
        confidence, the average over their orders is used.
    best_area : float
        The area if all misclassified images were rejected first.

    References
    ----------
    .. [1] Y. Geifman, G. Uziel, R. El-Yaniv, "Bias-reduced uncertainty estimation for deep neural
       classifiers", ICLR 2019.
    """

    threshold: Floats
    accepted: NDArray[np.int64]
    errors: NDArray[np.int64]
    area: float
    best_area: float

    @property
    def count(self) -> int:
        """Number of images."""
        return int(self.accepted[0])

    @property
    def rejected(self) -> Floats:
        """Fraction of rejected images."""
        return 1 - self.accepted / self.count

    @property
    def error_rate(self) -> Floats:
        """Fraction of misclassified images among the accepted ones."""
        return self.errors / self.accepted

    def reach(self, error_rate: float) -> int | None:
        """Return the point with the fewest rejections and at most this error rate, None if none.

        Examples
        --------
        >>> from lenet5c.training import reject_by_confidence
        >>> found = reject_by_confidence([0.9, 0.8, 0.7, 0.6], [True, True, False, True])
        >>> found.error_rate.round(2), found.reach(0.0), float(found.threshold[2])
        (array([0.25, 0.33, 0.  , 0.  ]), 2, 0.8)
        """
        places = np.flatnonzero(self.error_rate <= error_rate)
        return int(places[0]) if len(places) else None


def reject_by_confidence(confidences: ArrayLike, correct: ArrayLike) -> Rejections:
    """Return the error-reject curve.

    Parameters
    ----------
    confidences : array_like of float, shape (N,)
    correct : array_like of bool, shape (N,)
    """
    sure, right = np.asarray(confidences, np.float64), np.asarray(correct)
    if sure.ndim != 1 or not len(sure) or right.shape != sure.shape or right.dtype != bool:
        raise ValueError(
            f"confidences and correct must be numbers and bool of shape (N,), got {sure.shape} and "
            f"{right.dtype} of shape {right.shape}"
        )
    order, ends = _rank(sure)
    accepted, errors = ends + 1, np.cumsum(~right[order])[ends]
    places = np.arange(1, len(sure) + 1)
    expected = np.interp(places, np.append(0, accepted), np.append(0, errors))
    hits = len(sure) - errors[-1]
    best = np.maximum(places - hits, 0)
    return Rejections(
        sure[order][ends][::-1],
        accepted[::-1],
        errors[::-1],
        float((expected / places).mean()),
        float((best / places).mean()),
    )


def _rank(scores: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the order of decreasing scores, and the last position of each run of equal scores.

    Images with equal scores pass a threshold together.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    return order, np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
