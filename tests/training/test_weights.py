"""Weights of images and classes, and soft targets, in training."""

from dataclasses import replace

import numpy as np
import pytest
from trainers import Countdown, all_bytes, lenet_trainer

from lenet5c import kernels
from lenet5c.datasets import Dataset, Preparation
from lenet5c.nn import CrossEntropyLoss, LeNet5, MLELoss, MSELoss
from lenet5c.optim import SDLM, SGD, Constant
from lenet5c.training import Trainer, evaluate
from lenet5c.training.loss_terms import describe_loss
from lenet5c.training.weights import class_weights


@pytest.fixture
def data(mnist_slice):
    """Return 200 images of unequal classes."""
    return mnist_slice[0].take(np.arange(200))


def weighted(data, **changes):
    """Return the data with weights and soft targets."""
    rng = np.random.default_rng(0)
    soft = np.full((len(data), 10), 0.02, np.float32)
    soft[np.arange(len(data)), data.labels] = 0.82
    weight = rng.uniform(0.1, 4, len(data)).astype(np.float32)
    return replace(data, **{"sample_weight": weight, "targets": soft} | changes)


@pytest.mark.parametrize("with_weights", [False, True])
def test_balanced_is_scikit_learns(data, with_weights):
    compute = pytest.importorskip("sklearn.utils.class_weight").compute_class_weight
    data = weighted(data) if with_weights else data
    classes = np.arange(10)
    expected = compute("balanced", classes=classes, y=data.labels, sample_weight=data.sample_weight)
    assert class_weights("balanced", data) == pytest.approx(expected)


def test_a_class_without_images_weighs_1_and_others_share_the_rest():
    data = Dataset(np.zeros((4, 1, 8, 8), np.uint8), np.array([0, 0, 0, 2]), 3)
    assert class_weights("balanced", data).tolist() == pytest.approx([4 / 6, 1, 2])
    assert class_weights({"2": 5, 0: np.float32(0.5)}, data).tolist() == [0.5, 1, 5]
    assert class_weights(None, data) is None


@pytest.mark.parametrize(
    "value, words",
    [
        ("equal", "must be None, 'balanced' or a dict"),
        ([1, 2], "must be None, 'balanced' or a dict"),
        ({"cat": 1}, "must have classes of the data as keys, 0, 1, "),
        ({"3": 0}, "must be a number from 1e-06 to 1e.06 for each class, got 0 for '3'"),
        ({"3": float("nan")}, "got nan for '3'"),
        ({"3": "x"}, "got 'x' for '3'"),
        ({"3": True}, "got True for '3'"),
    ],
)
def test_wrong_class_weights_are_refused(data, value, words):
    with pytest.raises(ValueError, match=f"^class_weight .*{words}"):
        lenet_trainer(data, class_weight=value)


def test_class_weights_are_those_of_the_cross_entropy(data):
    weights = class_weights("balanced", data).astype(np.float32)
    own = lenet_trainer(data, loss=CrossEntropyLoss(weights, label_smoothing=0.1))
    given = lenet_trainer(data, loss=CrossEntropyLoss(label_smoothing=0.1), class_weight="balanced")
    plain = lenet_trainer(data)
    for each in (own, given, plain):
        each.run()
    assert all_bytes(own) == all_bytes(given)
    assert all_bytes(own)[0] != all_bytes(plain)[0]


@pytest.mark.parametrize("equal", [{"class_weight": {str(i): 3 for i in range(10)}}, {}])
def test_equal_weights_have_no_effect(data, equal):
    same = data if equal else replace(data, sample_weight=np.full(200, 3, np.float32))
    trainers = lenet_trainer(data, epochs=1), lenet_trainer(same, epochs=1, **equal)
    for each in trainers:
        each.run()
    assert all_bytes(trainers[0]) == all_bytes(trainers[1])


@pytest.mark.parametrize("loss", [CrossEntropyLoss(label_smoothing=0.1), MSELoss()])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("class_weight", [None, {"3": 7, "5": 0.1}])
def test_losses_are_weighted_means_over_all_images(data, loss, soft, class_weight):
    """With a negligible rate, the epoch's loss is that of all images in one call."""
    data = weighted(data) if soft else weighted(data, targets=None)
    trainer = lenet_trainer(data, epochs=1, lr=1e-30, loss=loss, class_weight=class_weight)
    trainer.validation_set = trainer.train_set
    trainer.run()
    (row,) = trainer.history
    weight, loss_weight = data.sample_weight, np.ones(10, np.float32)
    for name, value in (class_weight or {}).items():
        loss_weight[int(name)] = value
    if isinstance(loss, MSELoss):
        weight = weight * loss_weight[data.labels]
    else:
        loss = CrossEntropyLoss(loss_weight, label_smoothing=0.1)
    outputs = trainer.model.outputs(trainer.samples(np.arange(200)))
    expected = loss.value(outputs, data.targets if soft else data.labels, weight)
    assert row["train_loss"] == pytest.approx(expected, rel=1e-5)
    assert row["validation_loss"] == pytest.approx(expected, rel=1e-6)
    # Accuracies count each image once; and an evaluation without a loss is of the labels alone.
    correct = (outputs.argmax(axis=1) == data.labels).mean()
    assert row["train_accuracy"] == row["validation_accuracy"] == correct
    plain = evaluate(trainer.model, data, trainer.preparation)
    assert plain.loss == CrossEntropyLoss().value(outputs, data.labels)


def test_a_label_that_is_left_out_counts_nowhere(data):
    loss = CrossEntropyLoss(ignore_index=3)
    trainer = lenet_trainer(data, epochs=1, lr=1e-30, loss=loss)
    trainer.run()
    outputs = trainer.model.outputs(trainer.samples(np.arange(200)))
    assert trainer.history[0]["train_loss"] == pytest.approx(loss.value(outputs, data.labels))


def test_the_same_bits_at_any_number_of_threads_and_after_a_resume(data, tmp_path):
    def make():
        loss = CrossEntropyLoss(label_smoothing=0.05)
        trainer = lenet_trainer(weighted(data), loss=loss, class_weight="balanced")
        trainer.stretch_seconds = 0
        return trainer

    before, results = kernels.get_num_threads(), []
    try:
        for count in (1, 2, 3, 8):
            kernels.set_num_threads(count)
            trainer = make()
            assert not trainer.run(stop=Countdown(3))
            trainer.save(tmp_path / "x")
            resumed = make()
            resumed.load(tmp_path / "x")
            assert trainer.run() and resumed.run()
            results += [all_bytes(trainer), all_bytes(resumed)]
    finally:
        kernels.set_num_threads(before)
    assert all(each == results[0] for each in results)
    other = lenet_trainer(data, class_weight="balanced")
    with pytest.raises(Exception, match="must come from a training with loss"):
        other.load(tmp_path / "x")


def make(data, loss, optimizer=SGD, batch_size=64):
    model = LeNet5(rng=0)
    settings = {"batch_size": batch_size, "epochs": 1}
    preparation = Preparation.named("default")
    chosen = optimizer(model, 0.001)
    return Trainer(model, chosen, Constant(0.001), loss, preparation, data, None, **settings)


def test_curvatures_have_the_weights(data):
    trainer = make(weighted(data), CrossEntropyLoss(), SDLM)
    calls = []
    estimate = trainer.optimizer.estimate
    trainer.optimizer.estimate = lambda *given: calls.append(given) or estimate(*given)
    trainer.run()
    ((_, target, _, weight),) = calls
    assert target.shape == (200, 10) and sorted(weight) == sorted(weighted(data).sample_weight)


@pytest.mark.parametrize(
    "changes, options, words",
    [
        (
            {"sample_weight": np.r_[0, np.ones(199)].astype(np.float32)},
            {},
            "sample_weight must be greater than 0 for each training image, got 0",
        ),
        ({}, {"batch_size": 1}, "batch_size must be at least 2 with weights"),
        ({}, {"loss": MLELoss()}, "loss must be CrossEntropyLoss or MSELoss for soft targets"),
    ],
)
def test_what_would_have_no_meaning_is_refused(data, changes, options, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        make(weighted(data, **changes), **{"loss": CrossEntropyLoss()} | options)


def test_what_a_loss_is_of(data):
    def of(data=data, **options):
        return describe_loss(lenet_trainer(data, **options))

    smooth = CrossEntropyLoss(label_smoothing=0.05)
    assert of() == ""
    assert of(loss=MSELoss()) == "mean squared error"
    assert of(loss=smooth) == "cross-entropy with label smoothing 0.05 (at least 0.282)"
    assert (
        of(weighted(data), loss=smooth, class_weight="balanced")
        == "cross-entropy with label smoothing 0.05, soft targets and weights"
    )
