"""LeNet5Classifier with weights, alone and in scikit-learn's ensembles."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier

from lenet5c.sklearn import LeNet5Classifier


@pytest.fixture(scope="module")
def digits():
    """(X, y) to train on, and to test on: 8 by 8 pixels, 0 to 16."""
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order], y[order]
    return (X[:600], y[:600]), (X[1200:], y[1200:])


def quick(**options):
    return LeNet5Classifier(**{"epochs": 2, "random_state": 0} | options)


def same(first, second, X):
    return np.array_equal(first.decision_function(X), second.decision_function(X))


def test_weights_have_an_effect_unless_they_are_equal(digits):
    (X, y), (X_test, _) = digits
    plain = quick().fit(X, y)
    assert same(quick().fit(X, y, sample_weight=np.full(600, 1e-60)), plain, X_test)
    assert same(quick(class_weight=dict.fromkeys(range(10), 2)).fit(X, y), plain, X_test)
    weight = np.random.default_rng(0).uniform(0.1, 2, 600)
    weighted = quick().fit(X, y, sample_weight=weight)
    assert not same(weighted, plain, X_test)
    # A power of two, so that no rounding differs.
    assert same(quick().fit(X, y, sample_weight=weight * 2.0**-200), weighted, X_test)


def test_samples_of_weight_0_are_as_none(digits):
    (X, y), (X_test, _) = digits
    counts = np.arange(600) % 4 > 0
    X = np.where(counts[:, None], X, 1000)
    without = quick().fit(X[counts], y[counts])
    assert same(quick().fit(X, y, sample_weight=counts.astype(float)), without, X_test)
    with pytest.raises(
        ValueError, match="sample_weight must be greater than 0 .* got only class 3"
    ):
        quick().fit(X, y, sample_weight=y == 3)


def test_a_heavy_class_is_predicted(digits):
    (X, y), (X_test, y_test) = digits
    rare = (y != 8) | (np.cumsum(y == 8) <= 3)
    X, y = X[rare], np.array([f"digit {label}" for label in y[rare]])
    of_8 = y_test == 8

    def recall(**options):
        fitted = quick(epochs=8, **options).fit(X, y)
        return (fitted.predict(X_test[of_8]) == "digit 8").mean()

    found = recall(), recall(class_weight="balanced"), recall(class_weight={"digit 8": 20})
    assert found[0] + 0.2 < min(found[1:])


def test_class_weights_go_by_labels_that_are_equal(digits):
    (X, y), (X_test, _) = digits
    weighted = [quick(class_weight={key: 5}).fit(X, y.astype(float)) for key in (3, 3.0)]
    assert same(*weighted, X_test)


def test_warm_start_keeps_the_weights_on_mirrored_images(digits):
    (X, y), _ = digits
    classifier = quick(epochs=8, warm_start=True).fit(X, y)
    before = classifier.trained_.model.vector.copy()
    classifier.set_params(epochs=1, learning_rate=1e-9)
    classifier.fit(X.reshape(-1, 8, 8)[:, :, ::-1].reshape(-1, 64), y)
    np.testing.assert_allclose(classifier.trained_.model.vector, before, atol=1e-6)


def test_partial_fit_takes_weights(digits):
    (X, y), (X_test, y_test) = digits
    classifier = quick(pixel_range=(0, 16), class_weight={3: 2})
    weight = np.where(y == 5, 0.0, 1.0)
    for _ in range(6):
        classifier.partial_fit(X, y, np.arange(10), weight)
    predicted = classifier.predict(X_test)
    assert 5 not in predicted and (predicted == y_test)[y_test != 5].mean() > 0.8
    with pytest.raises(ValueError, match="class_weight must be a dict or None for partial_fit"):
        quick(class_weight="balanced").partial_fit(X, y, np.arange(10))


def test_ensembles(digits):
    (X, y), (X_test, y_test) = digits
    boosted = AdaBoostClassifier(quick(), n_estimators=3, random_state=0).fit(X, y)
    assert len(boosted.estimators_) == 3 and boosted.score(X_test, y_test) > 0.6
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
    bagged = BaggingClassifier(quick(epochs=4), 3, random_state=0).fit(X, y, sample_weight=weight)
    assert bagged.score(X_test, y_test) > 0.6
    calibrated = CalibratedClassifierCV(quick(epochs=4), cv=2).fit(X, y, sample_weight=weight)
    assert calibrated.score(X_test, y_test) > 0.6


@pytest.mark.parametrize(
    "options, weight, words",
    [
        ({"class_weight": "equal"}, None, "class_weight must be balanced, or class names"),
        ({"class_weight": {3: 0}}, None, "class_weight must be balanced, or class names"),
        ({"class_weight": {"cat": 2}}, None, "class_weight must have classes of the data as keys"),
        ({}, -1, "Negative values in data passed to `sample_weight`"),
        ({"recipe": "paper1998", "class_weight": {3: 2}}, None, "batch_size must be at least 2"),
    ],
)
def test_wrong_weights_are_named(digits, options, weight, words):
    (X, y), _ = digits
    weights = None if weight is None else np.r_[weight, np.ones(len(X) - 1)]
    with pytest.raises(ValueError, match=words):
        quick(**options).fit(X, y, sample_weight=weights)
