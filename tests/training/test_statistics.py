"""Intervals and tests compared with tables, brute force and SciPy."""

from itertools import product
from math import comb, sqrt

import numpy as np
import pytest

from lenet5c.training import mcnemar, mean_interval, wilson_interval
from lenet5c.training.statistics import describe_accuracy, student_quantile

# Quantiles of Student's t as printed in tables, to three decimals:
# degrees of freedom -> 0.95, 0.975, 0.995.
T_TABLE = {
    1: (6.314, 12.706, 63.657),
    2: (2.920, 4.303, 9.925),
    3: (2.353, 3.182, 5.841),
    4: (2.132, 2.776, 4.604),
    9: (1.833, 2.262, 3.250),
    30: (1.697, 2.042, 2.750),
    100: (1.660, 1.984, 2.626),
}


def pairs(both, only_a, only_b, neither):
    """Return the correctness of two models with these counts."""
    a = [True] * both + [True] * only_a + [False] * only_b + [False] * neither
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return a, b


@pytest.mark.parametrize(
    "correct, count", [(0, 10), (1, 10), (5, 10), (10, 10), (9932, 10000), (1, 1), (0, 1)]
)
@pytest.mark.parametrize("confidence, z", [(0.95, 1.959963984540054), (0.99, 2.5758293035489004)])
def test_wilsons_ends_are_where_the_score_is_z(correct, count, confidence, z):
    low, high = wilson_interval(correct, count, confidence)
    share = correct / count
    assert 0 <= low <= share <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            assert abs(share - end) == pytest.approx(z * sqrt(end * (1 - end) / count), rel=1e-9)
    assert (low == 0) == (correct == 0) and (high == 1) == (correct == count)


def test_wilson_against_published_values():
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    for correct, count, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson_interval(correct, count) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    "correct, count, confidence", [(-1, 5, 0.9), (6, 5, 0.9), (0, 0, 0.9), (1, 5, 0), (1, 5, 1)]
)
def test_wilson_refuses_what_is_out_of_range(correct, count, confidence):
    with pytest.raises(ValueError, match="(correct|confidence) must be"):
        wilson_interval(correct, count, confidence)


@pytest.mark.parametrize(
    "only_a, only_b", [(0, 0), (0, 1), (1, 0), (3, 3), (9, 2), (2, 9), (0, 6), (10, 4)]
)
def test_mcnemar_against_all_outcomes_of_fair_coins(only_a, only_b):
    count, observed = only_a + only_b, min(only_a, only_b)
    tails = [min(sum(coins), count - sum(coins)) for coins in product((0, 1), repeat=count)]
    expected = sum(tail <= observed for tail in tails) / 2**count
    result = mcnemar(*pairs(5, only_a, only_b, 3))
    assert (result.only_a, result.only_b) == (only_a, only_b)
    assert result.p_value == pytest.approx(expected, rel=1e-14)
    if only_a == only_b:
        assert result.mid_p == 1
    else:
        assert result.mid_p == pytest.approx(expected - comb(count, observed) / 2**count, rel=1e-12)


def test_mcnemar_against_known_values():
    assert mcnemar(*pairs(0, 6, 16, 0)).p_value == pytest.approx(
        0.0524788, abs=5e-8
    )  # 2 P(X <= 6), n = 22
    assert mcnemar(*pairs(0, 0, 10, 0)).p_value == 2 / 1024


def test_mcnemar_at_many_images():
    # Far beyond what floats can hold on the way; the normal distribution with correction is close.
    result = mcnemar(*pairs(0, 5200, 4800, 0))
    assert result.p_value == pytest.approx(6.6e-5, rel=0.02)
    assert mcnemar(*pairs(0, 5000, 5000, 0)).p_value == 1


@pytest.mark.parametrize(
    "a, b",
    [
        ([True], [True, False]),
        ([1, 0], [True, False]),
        ([[True]], [True]),
        ([True], np.ones((1, 1), bool)),
    ],
)
def test_mcnemar_refuses_other_shapes_and_types(a, b):
    with pytest.raises(ValueError, match="correct_[ab]"):
        mcnemar(a, b)


@pytest.mark.parametrize("degrees", T_TABLE)
def test_quantiles_of_t_are_those_of_tables(degrees):
    values = np.tile([-1.0, 1.0], 60)[: degrees + 1]
    for confidence, expected in zip((0.9, 0.95, 0.99), T_TABLE[degrees], strict=True):
        result = mean_interval(values, confidence)
        t = (result.high - result.mean) / result.sd * sqrt(degrees + 1)
        assert t == pytest.approx(expected, abs=5.01e-4)


def test_mean_and_its_interval():
    result = mean_interval([1, 2, 3, 4, 5])
    assert (result.mean, result.count) == (3, 5)
    assert result.sd == pytest.approx(sqrt(2.5))
    half = 2.776445105 * sqrt(2.5) / sqrt(5)
    assert (result.low, result.high) == pytest.approx((3 - half, 3 + half), rel=1e-8)
    assert mean_interval([2.0, 2.0]).low == 2


def test_the_interval_covers_the_mean_as_often_as_it_says():
    samples = np.random.default_rng(0).standard_normal((4000, 4))
    covered = sum(result.low <= 0 <= result.high for result in map(mean_interval, samples))
    assert covered / 4000 == pytest.approx(0.95, abs=0.012)  # 3.5 standard errors


@pytest.mark.parametrize("values", [[], [1.0]])
def test_one_value_has_no_spread(values):
    with pytest.raises(ValueError, match="at least two"):
        mean_interval(values)


def test_accuracies_of_few_images_come_with_their_interval():
    assert describe_accuracy(10, 12) == "83.33% (10/12), 95 % interval 55 to 95 %"
    assert describe_accuracy(3, 3) == "100.00% (3/3), 95 % interval 44 to 100 %"
    assert describe_accuracy(9949, 10000) == "99.49% (9949/10000)"


def test_all_against_scipy():
    stats = pytest.importorskip("scipy.stats")
    for freedom, confidence in product((1, 2, 3, 8, 61, 2000), (1e-6, 0.5, 0.95, 0.9999)):
        expected = stats.t.ppf(0.5 + confidence / 2, freedom)
        assert student_quantile(confidence, freedom) == pytest.approx(expected, rel=1e-9)
    values = [99.2, 99.3, 99.35, 99.5]
    expected = stats.t.interval(0.9, 3, np.mean(values), stats.sem(values))
    result = mean_interval(values, 0.9)
    assert (result.low, result.high) == pytest.approx(expected, rel=1e-9)
    for only_a, only_b in product((0, 3, 40), (1, 17, 300)):
        expected = stats.binomtest(only_a, only_a + only_b).pvalue
        assert mcnemar(*pairs(1, only_a, only_b, 1)).p_value == pytest.approx(expected, rel=1e-9)
    for correct, count in ((3, 10), (9932, 10000)):
        expected = stats.binomtest(correct, count).proportion_ci(method="wilson")
        assert wilson_interval(correct, count) == pytest.approx(
            (expected.low, expected.high), rel=1e-9
        )
