"""Statistics of accuracies: confidence intervals and comparison of two models."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import cos, pi, sin, sqrt, tan

import numpy as np
from numpy.typing import ArrayLike

#: Accuracies with a wider 95 % interval are reported with it.
WIDE = 0.05


def wilson_interval(correct: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return a confidence interval for the true accuracy of a model.

    Wilson's score interval [1]_ contains all accuracies p with abs(correct / count - p) <= z sqrt(p
    (1 - p) / count). It covers the variation between test sets of this size, not between training
    runs.

    Parameters
    ----------
    correct, count : int
        Number of correctly predicted images, 0 to `count`, and number of images, at least 1.
    confidence : float
        Confidence level, greater than 0 and less than 1.

    Returns
    -------
    low, high : float
        0 to 1.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
       Journal of the American Statistical Association 22 (1927), 209-212.

    Examples
    --------
    >>> from lenet5c.training import wilson_interval
    >>> low, high = wilson_interval(9932, 10000)
    >>> print(f"{100 * low:.2f} % to {100 * high:.2f} %")
    99.14 % to 99.46 %
    """
    if count < 1 or not 0 <= correct <= count:
        raise ValueError(
            f"correct must be from 0 to count, and count at least 1, got {correct} and {count}"
        )
    from statistics import NormalDist  # takes 4 ms and is not needed in training

    z = NormalDist().inv_cdf(0.5 + _check_confidence(confidence) / 2)
    share, weight = correct / count, z * z / count
    center = (share + weight / 2) / (1 + weight)
    half = z * sqrt(share * (1 - share) / count + weight / count / 4) / (1 + weight)
    # Exactly 0 and 1 at the ends, regardless of rounding.
    return (0.0 if correct == 0 else center - half), (1.0 if correct == count else center + half)


@dataclass(frozen=True)
class McNemar:
    """Result of McNemar's test, see `mcnemar`.

    Attributes
    ----------
    only_a, only_b : int
        Number of images predicted correctly by the first model only, and by the second only.
    p_value : float
        p-value of the exact two-sided test: the probability of a difference at least this large if
        both models are equally good.
    mid_p : float
        The same with half the probability of the observed counts, which is less conservative.
    """

    only_a: int
    only_b: int
    p_value: float
    mid_p: float


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> McNemar:
    """Test whether two models are equally good by McNemar's test [1]_, in its exact form.

    Only images that exactly one of the models predicts correctly count. If the models are equally
    good, each of these is a fair coin toss: the p-value is twice the smaller tail of the binomial
    distribution with p = 1/2, at most 1. The mid-p value [2]_ includes only half the probability of
    the observed count.

    Parameters
    ----------
    correct_a, correct_b : array_like of bool, shape (N,)
        True for each of the N images that a model predicts correctly, in the same order.

    Returns
    -------
    McNemar

    Raises
    ------
    ValueError
        If the arguments are not one-dimensional, not bool, or differ in length.

    References
    ----------
    .. [1] Q. McNemar, "Note on the sampling error of the difference between correlated proportions
       or percentages", Psychometrika 12 (1947), 153-157.
    .. [2] M. W. Fagerland, S. Lydersen, P. Laake, "The McNemar test for binary matched-pairs data:
       mid-p and asymptotic are better than exact conditional", BMC Medical Research Methodology 13
       (2013), 91.

    Examples
    --------
    >>> from lenet5c.training import mcnemar
    >>> first = [True] * 9 + [False] * 2 + [True] * 80
    >>> second = [False] * 9 + [True] * 2 + [True] * 80
    >>> result = mcnemar(first, second)
    >>> result.only_a, result.only_b, round(result.p_value, 4)
    (9, 2, 0.0654)
    """
    a, b = np.asarray(correct_a), np.asarray(correct_b)
    for name, values in (("correct_a", a), ("correct_b", b)):
        if values.dtype != bool or values.ndim != 1:
            raise ValueError(
                f"{name} must be bool of shape (N,), got {values.dtype} of shape {values.shape}"
            )
    if len(a) != len(b):
        raise ValueError(f"correct_b must have the length of correct_a, {len(a)}, got {len(b)}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    count, fewer = only_a + only_b, min(only_a, only_b)
    # Integer binomial coefficients avoid rounding of small tails.
    below, term = 0, 1
    for k in range(fewer):
        below += term
        term = term * (count - k) // (k + 1)
    whole = 2**count
    return McNemar(
        only_a, only_b, min(1.0, 2 * (below + term) / whole), min(1.0, (2 * below + term) / whole)
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple tests by Holm's method [1]_.

    The smallest of n p-values is multiplied by n, the next by n - 1, and so on; none is less than
    the previous one or greater than 1. The probability of any false rejection at 0.05 is at most 5
    %, even if the tests are dependent.

    References
    ----------
    .. [1] S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal
       of Statistics 6 (1979), 65-70.

    Examples
    --------
    >>> from lenet5c.training import holm
    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03, 0.005])]
    [0.03, 0.06, 0.06, 0.02]
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


@dataclass(frozen=True)
class MeanInterval:
    """Mean, standard deviation and confidence interval of `count` values, see `mean_interval`."""

    mean: float
    sd: float
    low: float
    high: float
    count: int


def mean_interval(values: Iterable[float], confidence: float = 0.95) -> MeanInterval:
    """Return mean, standard deviation and Student's interval [1]_ for the mean over seeds.

    The interval is mean ± t sd / sqrt(N), with the quantile t of N - 1 degrees of freedom, assuming
    a normal distribution. It covers the variation between seeds on the same test set. For the folds
    of a cross-validation, which share training images, it is somewhat too narrow.

    Parameters
    ----------
    values : iterable of float
        At least two values.
    confidence : float
        Confidence level, greater than 0 and less than 1.

    Returns
    -------
    MeanInterval
        Result with the sample standard deviation (N - 1).

    Raises
    ------
    ValueError
        If there are fewer than two values, or `confidence` is out of range.

    References
    ----------
    .. [1] Student, "The probable error of a mean", Biometrika 6 (1908), 1-25.

    Examples
    --------
    >>> from lenet5c.training import mean_interval
    >>> result = mean_interval([99.2, 99.3, 99.4])
    >>> print(f"{result.mean:.2f} ± {result.sd:.2f}, {result.low:.2f} to {result.high:.2f}")
    99.30 ± 0.10, 99.05 to 99.55
    """
    values = [float(value) for value in values]
    if len(values) < 2:
        raise ValueError(f"values must have at least two values, got {len(values)}")
    from statistics import fmean, stdev

    mean, sd = fmean(values), stdev(values)
    half = student_quantile(_check_confidence(confidence), len(values) - 1) * sd / sqrt(len(values))
    return MeanInterval(mean, sd, mean - half, mean + half, len(values))


def student_quantile(confidence: float, freedom: int) -> float:
    """Return the two-sided quantile t of Student's distribution.

    Parameters
    ----------
    confidence : float
        P(abs(T) <= t), greater than 0 and less than 1.
    freedom : int
        Degrees of freedom, at least 1.

    Notes
    -----
    The probability is a finite sum of powers of cosines of an angle with t = sqrt(freedom)
    tan(angle) ([1]_, 26.7.3 and 26.7.4), which is found by bisection.

    References
    ----------
    .. [1] M. Abramowitz, I. A. Stegun, "Handbook of mathematical functions" (1964).

    Examples
    --------
    >>> from lenet5c.training.statistics import student_quantile
    >>> round(student_quantile(0.95, 4), 3)
    2.776
    """
    odd = freedom % 2

    def probability(angle: float) -> float:
        cosine = cos(angle)
        term = total = (cosine if odd else 1.0) * (freedom > 1)
        for k in range(2 + odd, freedom - 1, 2):
            term *= cosine * cosine * (k - 1) / k
            total += term
        return 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total

    low, high = 0.0, pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if probability(middle) < confidence else (low, middle)
    return sqrt(freedom) * tan(low)


def describe_accuracy(correct: int, count: int) -> str:
    """Return an accuracy as text, with its Wilson interval if that is wider than 5 points.

    Examples
    --------
    >>> from lenet5c.training.statistics import describe_accuracy
    >>> print(describe_accuracy(9965, 10000))
    99.65% (9965/10000)
    >>> print(describe_accuracy(10, 12))
    83.33% (10/12), 95 % interval 55 to 95 %
    """
    text = f"{100 * correct / count:.2f}% ({correct}/{count})"
    if is_vague(correct, count):
        low, high = wilson_interval(correct, count)
        text += f", 95 % interval {100 * low:.0f} to {100 * high:.0f} %"
    return text


def is_vague(correct: int, count: int) -> bool:
    """Return True if the Wilson interval of an accuracy is wider than 5 points."""
    low, high = wilson_interval(correct, count)
    return high - low > WIDE


def _check_confidence(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, such as 0.95, got {confidence!r}")
    return confidence
