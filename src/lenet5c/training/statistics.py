"""What accuracies are worth: intervals for one model and over seeds, and a test of two models on the same images."""

from dataclasses import dataclass
from math import exp, lgamma, log, log1p, sqrt
from statistics import NormalDist, fmean, stdev

import numpy as np


def wilson_interval(correct, count, confidence=0.95):
    """Interval for the true accuracy of one model, from how many images of a sample were right.

    Wilson's score interval [1]_: all accuracies p with abs(correct / count - p) <= z sqrt(p (1 - p) / count). It
    says what another test set of this size could have shown; it says nothing of another training run.

    Parameters
    ----------
    correct, count : int
        Images that were right, 0 to `count`, and images in all, at least 1.
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
    .. [1] E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
       American Statistical Association 22 (1927), 209-212.

    Examples
    --------
    >>> from lenet5c.training import wilson_interval
    >>> low, high = wilson_interval(9932, 10000)
    >>> print(f"{100 * low:.2f} % to {100 * high:.2f} %")
    99.14 % to 99.46 %
    """
    if count < 1 or not 0 <= correct <= count:
        raise ValueError(
            f"correct and count are {correct} and {count}; they should be 0 <= correct <= count, 1 <= count"
        )
    z = NormalDist().inv_cdf(0.5 + _checked_confidence(confidence) / 2)
    share, weight = correct / count, z * z / count
    centre = (share + weight / 2) / (1 + weight)
    half = z * sqrt(share * (1 - share) / count + weight / count / 4) / (1 + weight)
    # Exactly 0 and 1 at the ends, where rounding may miss them.
    return (0.0 if correct == 0 else centre - half), (1.0 if correct == count else centre + half)


@dataclass(frozen=True)
class McNemar:
    """How two models differ on the same images; made by `mcnemar`.

    Attributes
    ----------
    only_a, only_b : int
        Images that only the first, and only the second model has right.
    p_value : float
        Of the exact two-sided test: the probability of a difference at least so large between models that are equally
        good.
    mid_p : float
        The same with half the probability of the observed counts, which is less conservative.
    """

    only_a: int
    only_b: int
    p_value: float
    mid_p: float


def mcnemar(correct_a, correct_b):
    """McNemar's test [1]_ of whether two models are equally good, in its exact form.

    Only images count that one model has right and the other wrong. Were the models equally good, each of these would
    be a fair coin: the p-value is twice the smaller tail of the binomial distribution with p = 1/2, 1 at most. The
    mid-p value [2]_ takes the observed count in half.

    Parameters
    ----------
    correct_a, correct_b : array_like of bool, shape (N,)
        Whether each of the same N images is right, in the same order.

    Returns
    -------
    McNemar

    Raises
    ------
    ValueError
        The arguments are not one-dimensional, not of the same length, or not of truth values.

    References
    ----------
    .. [1] Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
       Psychometrika 12 (1947), 153-157.
    .. [2] M. W. Fagerland, S. Lydersen, P. Laake, "The McNemar test for binary matched-pairs data: mid-p and
       asymptotic are better than exact conditional", BMC Medical Research Methodology 13 (2013), 91.

    Examples
    --------
    >>> from lenet5c.training import mcnemar
    >>> result = mcnemar([True] * 9 + [False] * 2 + [True] * 80, [False] * 9 + [True] * 2 + [True] * 80)
    >>> result.only_a, result.only_b, round(result.p_value, 4)
    (9, 2, 0.0654)
    """
    a, b = np.asarray(correct_a), np.asarray(correct_b)
    for name, values in (("correct_a", a), ("correct_b", b)):
        if values.dtype != bool or values.ndim != 1:
            raise ValueError(
                f"{name} is of {values.dtype} and shape {values.shape}; it should be of bool and shape (N,)"
            )
    if len(a) != len(b):
        raise ValueError(
            f"correct_a has {len(a)} images, correct_b {len(b)}; both should be on the same images"
        )
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


@dataclass(frozen=True)
class MeanInterval:
    """Mean and standard deviation of `count` values, and an interval for the true mean; made by `mean_interval`."""

    mean: float
    sd: float
    low: float
    high: float
    count: int


def mean_interval(values, confidence=0.95):
    """Mean and spread over seeds, and Student's interval [1]_ for the mean of all seeds.

    The interval is mean ± t sd / sqrt(N), with the quantile t of N - 1 degrees of freedom. It takes the values to be
    normally distributed. It says what other seeds could have shown, on the same test set.

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
        raise ValueError(
            f"values has {len(values)}; it should have at least two, one has no spread"
        )
    mean, sd = fmean(values), stdev(values)
    half = (
        student_t_quantile(0.5 + _checked_confidence(confidence) / 2, len(values) - 1)
        * sd
        / sqrt(len(values))
    )
    return MeanInterval(mean, sd, mean - half, mean + half, len(values))


def student_t_quantile(probability, degrees):
    """The value below which Student's t lies with this probability.

    Found by bisection on the distribution function, P(|T| > t) = I_x(degrees / 2, 1 / 2) with
    x = degrees / (degrees + t²), where I is the regularised incomplete beta function.

    Parameters
    ----------
    probability : float
        More than 0, less than 1.
    degrees : float
        Degrees of freedom, more than 0.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        An argument is out of range.

    Examples
    --------
    >>> from lenet5c.training.statistics import student_t_quantile
    >>> print(f"{student_t_quantile(0.975, 4):.4f}")
    2.7764
    """
    if not 0 < probability < 1:
        raise ValueError(
            f"probability is {probability!r}; it should be more than 0 and less than 1"
        )
    if not degrees > 0:
        raise ValueError(f"degrees is {degrees!r}; it should be more than 0")
    if probability < 0.5:
        return -student_t_quantile(1 - probability, degrees)
    outside = 2 * (1 - probability)

    def too_small(t):
        return incomplete_beta(degrees / (degrees + t * t), degrees / 2, 0.5) > outside

    low, high = 0.0, 1.0
    while too_small(high):
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if too_small(middle) else (low, middle)
    return high if probability > 0.5 else 0.0


def incomplete_beta(x, a, b):
    """The regularised incomplete beta function I_x(a, b), by its continued fraction.

    Parameters
    ----------
    x : float
        0 to 1.
    a, b : float
        More than 0.

    Returns
    -------
    float
        0 to 1.

    References
    ----------
    NIST Digital Library of Mathematical Functions, 8.17.22; evaluated from the front by Lentz's method.

    Examples
    --------
    >>> from lenet5c.training.statistics import incomplete_beta
    >>> print(f"{incomplete_beta(0.25, 1, 2):.4f}")
    0.4375
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # there the fraction of the other end converges faster
        return 1 - incomplete_beta(1 - x, b, a)
    factor = exp(a * log(x) + b * log1p(-x) + lgamma(a + b) - lgamma(a) - lgamma(b)) / a
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    result = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            c, d = _not_zero(1 + term / c), 1 / _not_zero(1 + term * d)
            result *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return factor * result


def _not_zero(value):
    return value or 1e-300


def _checked_confidence(confidence):
    if not 0 < confidence < 1:
        raise ValueError(
            f"confidence is {confidence!r}; it should be more than 0 and less than 1, such as 0.95"
        )
    return confidence
