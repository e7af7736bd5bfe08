"""ROC curves and error-reject curves: by hand, compared with scikit-learn, and properties."""

import numpy as np
import pytest
from evaluations import make_evaluation

from lenet5c.training import reject_by_confidence, roc_areas, roc_curve
from lenet5c.training.ranking import auc_interval


@pytest.mark.parametrize("digits", [1, 8])  # one digit: mostly ties
def test_roc_is_that_of_scikit_learn(digits):
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(digits)
    scores = rng.random(700).round(digits)
    positive = rng.random(700) < scores
    found = roc_curve(scores, positive)
    false, true, _ = metrics.roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose(found.false_positive, false)
    np.testing.assert_allclose(found.true_positive, true)
    assert found.auc == pytest.approx(metrics.roc_auc_score(positive, scores))
    assert (found.positives, found.negatives) == (positive.sum(), (~positive).sum())


def test_areas_leave_out_classes_without_images():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(6), 300).round(2).astype(np.float32)
    labels = rng.choice([0, 1, 3], 300)
    areas = roc_areas(p, labels)
    assert np.isnan(areas[[2, 4, 5]]).all()
    for k in (0, 1, 3):
        assert areas[k] == pytest.approx(metrics.roc_auc_score(labels == k, p[:, k]))
    assert np.isnan(roc_areas(p, np.zeros(300, int))).all()


def test_constant_scores_are_a_coin():
    assert roc_curve([0.5] * 4, [True, False, False, True]).auc == 0.5
    assert np.isnan(roc_curve([0.5], [True]).auc)
    assert roc_curve(np.array([0, 1, 2], np.uint8), [False, False, True]).auc == 1
    with pytest.raises(ValueError, match="scores and positive must be"):
        roc_curve([], np.array([], bool))


def test_the_interval_holds_the_area_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    shift = 1.2
    from statistics import NormalDist

    true = NormalDist().cdf(shift / np.sqrt(2))
    inside = 0
    for _ in range(300):
        scores = np.concatenate([rng.normal(shift, 1, 15), rng.normal(0, 1, 40)])
        area = roc_curve(scores, np.arange(55) < 15).auc
        low, high = auc_interval(area, 15, 40)
        assert 0 <= low <= area <= high <= 1
        inside += low <= true <= high
    assert 0.9 < inside / 300 <= 1
    assert auc_interval(1.0, 1, 1)[0] < 0.3 and auc_interval(0.0, 4, 4)[0] == 0
    assert auc_interval(0.5, 0, 9) == (0, 1)


def test_rejections_by_hand():
    found = reject_by_confidence([0.9, 0.8, 0.8, 0.5], [True, False, True, False])
    np.testing.assert_array_equal(found.accepted, [4, 3, 1])
    np.testing.assert_array_equal(found.errors, [2, 1, 0])
    np.testing.assert_allclose(found.threshold, [0.5, 0.8, 0.9])
    np.testing.assert_allclose(found.rejected, [0, 0.25, 0.75])
    assert [found.reach(rate) for rate in (0.6, 0.4, 0.2, 0.0)] == [0, 1, 2, 2]
    # With two of the same confidence in either order: errors 0, 0.5, 1, 2 of 1, 2, 3, 4.
    assert found.area == pytest.approx((0 + 0.25 + 1 / 3 + 0.5) / 4)
    assert found.best_area == pytest.approx((0 + 0 + 1 / 3 + 0.5) / 4)


def test_area_of_ties_is_the_mean_over_their_orders():
    rng = np.random.default_rng(0)
    sure = rng.random(60).round(1)
    right = rng.random(60) < 0.6
    areas = []
    for seed in range(400):
        order = np.random.default_rng(seed).permutation(60)
        order = order[np.argsort(-sure[order], kind="stable")]
        areas.append((np.cumsum(~right[order]) / np.arange(1, 61)).mean())
    assert reject_by_confidence(sure, right).area == pytest.approx(np.mean(areas), abs=3e-3)


def test_an_error_that_is_most_certain_cannot_be_rejected():
    found = reject_by_confidence([0.9, 0.6], [False, True])
    assert found.reach(0.0) is None and found.reach(0.5) == 0


def test_thresholds_do_what_they_say():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 4, (2, 500))
    sure = rng.uniform(0.25, 1, 500)
    result = make_evaluation(labels, predictions, sure, 4)
    found = result.rejections
    for place in (0, 17, 200):
        left = result.confidences >= found.threshold[place]
        assert left.sum() == found.accepted[place]
        assert (labels != predictions)[left].sum() == found.errors[place]


@pytest.mark.parametrize("correct", [[True], [1, 0], [[True, False]]])
def test_arguments_that_do_not_fit(correct):
    with pytest.raises(ValueError, match="confidences and correct must be"):
        reject_by_confidence([0.5, 0.6], correct)
    with pytest.raises(ValueError, match="scores and positive must be"):
        roc_curve([0.5, 0.6], correct)
