"""Statistics of accuracies: intervals for one model and over seeds, and a test of two models."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import cos, pi, sin, sqrt, tan

import numpy as np
from numpy.typing import ArrayLike

#: With a wider interval of 95 %, images are too few for their accuracy to say much.
WIDE = 0.05


def wilson_interval(correct: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return an interval for the true accuracy of a model, from the images of a sample.

    Wilson's score interval [1]_: all accuracies p with
    abs(correct / count - p) <= z sqrt(p (1 - p) / count). It covers what another test set of this
    size could have shown; it says nothing of another training run.

    Parameters
    ----------
    correct, count : int
        Images predicted correctly, 0 to `count`, and all images, at least 1.
    confidence : float
        More than 0, less than 1.

    Returns
    -------
    low, high : float
        0 to 1.

    Raises
    ------
    ValueError
        A number lies outside its range.

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
            f"correct must be from 0 to count, and count at least 1, got {correct} of {count}"
        )
    from statistics import NormalDist  # 4 ms, and training does without it

    z = NormalDist().inv_cdf(0.5 + _check_confidence(confidence) / 2)
    share, weight = correct / count, z * z / count
    center = (share + weight / 2) / (1 + weight)
    half = z * sqrt(share * (1 - share) / count + weight / count / 4) / (1 + weight)
    # Exactly 0 and 1 at the ends, where rounding may miss them.
    return (0.0 if correct == 0 else center - half), (1.0 if correct == count else center + half)


@dataclass(frozen=True)
class McNemar:
    """Result of McNemar's test; made by `mcnemar`.

    Attributes
    ----------
    only_a, only_b : int
        Images that only the first, and only the second model predicts correctly.
    p_value : float
        Of the exact two-sided test: the probability of a difference at least so large between
        models that are equally good.
    mid_p : float
        The same with half the probability of the observed counts, which is less conservative.
    """

    only_a: int
    only_b: int
    p_value: float
    mid_p: float


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> McNemar:
    """Test whether two models are equally good by McNemar's test [1]_, in its exact form.

    Only images count that one model predicts correctly and the other does not. Were the models
    equally good, each of these would be a fair coin: the p-value is twice the smaller tail of the
    binomial distribution with p = 1/2, 1 at most. The mid-p value [2]_ counts half the probability
    of the observed count.

    Parameters
    ----------
    correct_a, correct_b : array_like of bool, shape (N,)
        Whether each of the same N images is predicted correctly, in the same order.

    Returns
    -------
    McNemar

    Raises
    ------
    ValueError
        The arguments are not one-dimensional, not of the same length, or not bool.

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
    # Binomial coefficients as integers: no rounding, however small the tail.
    below, term = 0, 1
    for k in range(fewer):
        below += term
        term = term * (count - k) // (k + 1)
    whole = 2**count
    return McNemar(
        only_a, only_b, min(1.0, 2 * (below + term) / whole), min(1.0, (2 * below + term) / whole)
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for as many tests, by Holm's method [1]_, in the same order.

    The smallest is multiplied by their number n, the next by n - 1, and so on; none is less than
    the one before, or more than 1. If those below 0.05 are called differences, the chance of a
    single false one among all is at most 5 %, however the tests depend on each other.

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
    """Mean, standard deviation and interval for the mean of `count` values; by `mean_interval`."""

    mean: float
    sd: float
    low: float
    high: float
    count: int


def mean_interval(values: Iterable[float], confidence: float = 0.95) -> MeanInterval:
    """Return mean and spread over seeds, and Student's interval [1]_ for the mean of all seeds.

    The interval is mean ± t sd / sqrt(N), with the quantile t of N - 1 degrees of freedom. It
    assumes a normal distribution. It covers what other seeds could have shown, on the same test
    set. Over the folds of a cross-validation, which share training images, it is somewhat narrow.

    Parameters
    ----------
    values : iterable of float
        At least two.
    confidence : float
        More than 0, less than 1.

    Returns
    -------
    MeanInterval
        Its sd is that of a sample: with N - 1.

    Raises
    ------
    ValueError
        There are fewer than two values, or `confidence` is out of range.

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
    """Return the t that Student's distribution does not exceed in size with this probability.

    Parameters
    ----------
    confidence : float
        P(abs(T) <= t), more than 0, less than 1.
    freedom : int
        Degrees of freedom, at least 1.

    Notes
    -----
    The probability is a finite sum of powers of cosines, [1]_ 26.7.3 and 26.7.4, of the angle with
    t = sqrt(freedom) tan(angle), which is found by bisection.

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
    """Return an accuracy as text, with its interval by Wilson where that is wider than 5 points.

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
    """Return whether the interval of an accuracy, by Wilson, is wider than 5 points."""
    low, high = wilson_interval(correct, count)
    return high - low > WIDE


def _check_confidence(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(
            f"confidence must be between 0 and 1, got {confidence!r}; a usual value is 0.95"
        )
    return confidence
