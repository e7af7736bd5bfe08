"""Robustness: the same corrupted images for each model, and significance tests."""

import numpy as np
import pytest

from lenet5c import nn
from lenet5c.datasets import Dataset, Preparation
from lenet5c.datasets.corruptions import corrupt
from lenet5c.training import TrainedModel, evaluate, holm, mcnemar, measure_robustness, open_model


def test_rows_are_evaluations_of_corrupted_images(mnist_slice):
    test, trained = mnist_slice[1], open_model()
    told = []
    (found,) = measure_robustness(
        trained,
        test,
        severities=(1, 4),
        kinds=("fog", "rotate"),
        seed=3,
        on_kind=lambda *row: told.append(row),
    )
    assert told == [("fog", 1), ("fog", 4), ("rotate", 1), ("rotate", 4)]
    assert found.kinds == ("fog", "rotate") and found.severities == (1, 4)
    plain = evaluate(trained, test)
    assert (found.clean.correct == (plain.labels == plain.predictions)).all()
    for row in found.rows:
        images = corrupt(test.images, row.kind, row.severity, seed=3)
        result = evaluate(trained, Dataset(images, test.labels, 10))
        assert row.error == pytest.approx(1 - result.accuracy)
        assert (row.ece, row.nll) == (result.ece, result.nll)
        assert row.confidence == pytest.approx(float(result.confidences.mean()), rel=1e-5)
    assert found.mean_error == pytest.approx(np.mean([row.error for row in found.rows]))
    assert found.mean_ece == pytest.approx(np.mean([row.ece for row in found.rows]))


def test_another_model_sees_the_same_images(mnist_slice):
    test, trained = mnist_slice[1].take(range(200)), open_model()
    small = nn.Sequential(nn.Flatten(), nn.Linear(100, 3, rng=0), input_shape=(1, 10, 10))
    other = TrainedModel(small, Preparation((10, 10), "resize"), ("a", "b", "c"), (1, 10, 10))
    theirs = Dataset(test.images, test.labels % 3, 3)
    first, second, same = measure_robustness(
        trained, test, kinds=("fog",), others=[(other, theirs), (trained, test)]
    )
    assert len(second.rows) == 1 and second.rows[0].correct.shape == (200,)
    assert (first.rows[0].correct == same.rows[0].correct).all()
    ((test_of_same, p),) = first.compare(same)
    assert (test_of_same.only_a, test_of_same.only_b, p) == (0, 0, 1)
    ((found, p),) = first.compare(second)
    assert found == mcnemar(first.rows[0].correct, second.rows[0].correct)
    assert p == found.p_value


def test_of_many_images_some_are_chosen(mnist_slice):
    test = mnist_slice[1]
    a, b = (
        measure_robustness(open_model(), test, kinds=("fog",), max_images=50)[0] for _ in range(2)
    )
    assert a.clean.correct.shape == (50,) and (a.rows[0].correct == b.rows[0].correct).all()


@pytest.mark.parametrize("name", ["kinds", "severities"])
def test_nothing_to_measure(mnist_slice, name):
    with pytest.raises(ValueError, match=f"{name} must have at least one value, got none"):
        measure_robustness(open_model(), mnist_slice[1], **{name: ()})


def test_holm_by_hand_and_in_any_order():
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(p[::-1]) == pytest.approx([0.02, 0.06, 0.06, 0.03])
    assert holm([0.5, 0.9, 0.6]) == [1, 1, 1] and holm([]) == [] and holm([0.2]) == [0.2]


def test_holm_keeps_the_chance_of_a_false_difference():
    rng = np.random.default_rng(0)
    false = sum(min(holm(rng.random(15).tolist())) < 0.05 for _ in range(2000))
    assert false / 2000 == pytest.approx(0.05, abs=0.015)
