"""Reliability of probabilities: by hand, compared with scikit-learn and NumPy, and properties."""

import numpy as np
import pytest

from lenet5c.training import measure_reliability
from lenet5c.training.reliability import _mean_deviation, brier_score, negative_log_likelihood


def test_by_hand():
    found = measure_reliability(
        [0.05, 0.15, 0.15, 0.95, 1.0], [False, True, False, True, False], bins=10
    )
    np.testing.assert_allclose(found.low, [0, 0.1, 0.9])
    np.testing.assert_allclose(found.high, [0.1, 0.2, 1])
    np.testing.assert_array_equal(found.count, [1, 2, 2])
    np.testing.assert_array_equal(found.correct, [0, 1, 1])
    np.testing.assert_allclose(found.confidence, [0.05, 0.15, 0.975])
    assert found.ece == pytest.approx((0.05 + 2 * 0.35 + 2 * 0.475) / 5)
    reliability, resolution, uncertainty = found.parts
    assert reliability == pytest.approx((0.05**2 + 2 * 0.35**2 + 2 * 0.475**2) / 5)
    assert resolution == pytest.approx((0.4**2 + 4 * 0.1**2) / 5)
    assert uncertainty == pytest.approx(0.24)


def test_a_confidence_at_an_end_is_of_the_lower_bin():
    found = measure_reliability([0.0, 0.5, 0.5000001, 1.0], [True] * 4, bins=2)
    np.testing.assert_array_equal(found.count, [2, 2])


@pytest.mark.parametrize("equal", ["width", "mass"])
def test_bins_are_those_of_scikit_learn(equal):
    calibration = pytest.importorskip("sklearn.calibration")
    rng = np.random.default_rng(0)
    sure = rng.beta(5, 1, 3000)
    right = rng.random(3000) < sure**2
    strategy = {"width": "uniform", "mass": "quantile"}[equal]
    accuracy, confidence = calibration.calibration_curve(right, sure, n_bins=15, strategy=strategy)
    found = measure_reliability(sure, right, equal=equal)
    # Quantiles are between images there, images here: one image may be in the next bin.
    tolerance = 1e-12 if equal == "width" else 0.01
    np.testing.assert_allclose(found.accuracy, accuracy, atol=tolerance)
    np.testing.assert_allclose(found.confidence, confidence, atol=tolerance)
    if equal == "mass":
        assert found.count.max() - found.count.min() <= 1


def test_equal_confidences_share_a_bin_whatever_their_order():
    sure = np.array([0.5] * 40 + [0.9] * 3 + [1.0] * 57)
    right = np.random.default_rng(0).random(100) < 0.7
    found = measure_reliability(sure, right, equal="mass")
    assert found.count.sum() == 100 and len(found.count) <= 3
    order = np.random.default_rng(1).permutation(100)
    again = measure_reliability(sure[order], right[order], equal="mass")
    assert again.ece == pytest.approx(found.ece)
    (only,) = measure_reliability([1.0] * 5, [True] * 5, equal="mass").count
    assert only == 5


@pytest.mark.parametrize("equal", ["width", "mass"])
def test_a_perfect_model_has_the_ece_of_chance(equal):
    rng = np.random.default_rng(0)
    for count in (100, 10_000):
        eces, chances = [], []
        for _ in range(60):
            sure = rng.uniform(0.3, 1, count)
            found = measure_reliability(sure, rng.random(count) < sure, equal=equal)
            eces.append(found.ece)
            chances.append(found.ece_by_chance)
        assert np.mean(eces) == pytest.approx(np.mean(chances), rel=0.1)
        assert np.mean(eces) < 0.5 / np.sqrt(count) * np.sqrt(15)


def test_mean_deviation_is_that_of_all_outcomes():
    from math import comb

    for n in (1, 2, 7, 30):
        for p in (0.01, 0.3, 0.5, 0.97):
            exact = sum(
                comb(n, k) * p**k * (1 - p) ** (n - k) * abs(k - n * p) for k in range(n + 1)
            )
            assert _mean_deviation(n, p) == pytest.approx(exact)
    assert _mean_deviation(9, 0.0) == _mean_deviation(9, 1.0) == 0


def test_parts_of_the_brier_score_add_up():
    rng = np.random.default_rng(0)
    sure = rng.choice([0.35, 0.55, 0.75, 0.95], 2000)
    right = rng.random(2000) < 0.8 * sure
    reliability, resolution, uncertainty = measure_reliability(sure, right).parts
    assert reliability - resolution + uncertainty == pytest.approx(((sure - right) ** 2).mean())
    assert min(reliability, resolution, uncertainty) >= 0


@pytest.mark.parametrize("classes", [2, 3, 1000])
def test_scores_are_those_of_scikit_learn(classes):
    pytest.importorskip("sklearn", "1.7")  # whose Brier score knows many classes
    from sklearn.metrics import brier_score_loss, log_loss

    rng = np.random.default_rng(classes)
    p = rng.dirichlet(np.ones(classes), 500).astype(np.float32)
    p /= p.sum(axis=1, keepdims=True)
    labels = rng.integers(0, max(2, classes - 3), 500)  # some classes have no images
    names = np.arange(classes)
    assert negative_log_likelihood(p, labels) == pytest.approx(
        log_loss(labels, p, labels=names), rel=1e-4
    )
    theirs = brier_score_loss(labels, p, labels=names, scale_by_half=False)
    assert brier_score(p, labels) == pytest.approx(theirs, rel=1e-4)


def test_a_probability_of_0_is_finite():
    assert 87 < negative_log_likelihood(np.float32([[0, 1]]), np.array([0])) < 88
    assert brier_score(np.float32([[0, 1]]), np.array([0])) == 2


@pytest.mark.parametrize(
    "arguments, words",
    [
        (([], np.zeros(0, bool)), "confidences must be a nonempty array of numbers from 0 to 1"),
        (([1.5], [True]), "confidences must be a nonempty array of numbers from 0 to 1"),
        (([np.nan], [True]), "confidences must be a nonempty array of numbers from 0 to 1"),
        (([0.5], [1]), "correct must be bool"),
        (([0.5], [True, False]), "correct must be bool"),
        (([0.5], [True], 0), "bins must be an integer of at least 1, got 0"),
        (([0.5], [True], 15, "size"), "equal must be 'width' or 'mass', got 'size'"),
    ],
)
def test_arguments_that_do_not_fit(arguments, words):
    with pytest.raises(ValueError, match=words):
        measure_reliability(*arguments)
