"""Training with weights, ignored labels, sums and soft targets."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from one_test import in_one_test
from sequential_models import MODELS, labels_for, lenet5, normal, with_groups, with_numpy_layers

from lenet5c import nn, optim
from lenet5c.nn.curvatures import SECOND_CHUNK

CLASS_WEIGHT = np.linspace(0.2, 2, 10)


def sample_weight(batch):
    weight = np.random.default_rng(2).uniform(0, 2, batch)
    weight[1::4] = 0
    return weight


def cases(batch):
    """Loss, targets and sample weights by name; after an `RBF` layer they make little sense."""
    labels, weight = labels_for(batch), sample_weight(batch)
    ignored = np.where(np.arange(batch) % 3 == 1, -100, labels)
    soft = np.random.default_rng(3).dirichlet(np.ones(10), size=batch)
    return {
        "sample weights": (nn.CrossEntropyLoss(), labels, weight),
        "class weights": (nn.CrossEntropyLoss(CLASS_WEIGHT), labels, None),
        "all": (nn.CrossEntropyLoss(CLASS_WEIGHT, label_smoothing=0.1), ignored, weight),
        "sum": (nn.CrossEntropyLoss(reduction="sum"), ignored, None),
        "probabilities": (nn.CrossEntropyLoss(label_smoothing=0.1), soft, weight),
        "negative log-likelihood": (nn.NLLLoss(CLASS_WEIGHT), ignored, weight),
        "squared error": (nn.MSELoss(), labels, weight),
        "squared error of targets": (nn.MSELoss("sum"), soft, None),
        "mle": (nn.MLELoss(), labels, weight),
        "map": (nn.MAPLoss(2), labels, weight),
    }


each_case = pytest.mark.parametrize("case", cases(1))


@in_one_test
@each_case
@pytest.mark.parametrize("batch", [1, 3, 5, 16, 33, 300])
@pytest.mark.parametrize("make", [*MODELS, with_groups], ids=lambda make: make.__name__)
def test_a_step_is_a_step_by_hand(make, batch, case):
    """Bit-identical: loss, number of correct predictions, gradients."""
    one, other = make(), make()
    x, (loss, target, weight) = normal(batch, 1, 16, 16), cases(batch)[case]
    value, correct = one.train_step(x, target, loss, weight)
    outputs = other.forward(x, training=True)
    expected, dy = loss(outputs, target, weight)
    other.backward(dy)
    assert value == expected
    assert one.grad_vector.tobytes() == other.grad_vector.tobytes()
    labels = target if target.ndim == 1 else target.argmax(axis=1)
    right = other.classes(outputs) == labels
    assert correct == (right if weight is None else right & (weight > 0)).sum()


@in_one_test
@each_case
@pytest.mark.parametrize("batch_size, samples", [(1, 5), (4, 11), (16, 50), (50, 173)])
@pytest.mark.parametrize(
    "make", [lenet5, with_numpy_layers, with_groups], ids=lambda make: make.__name__
)
def test_a_run_of_steps_is_steps_one_by_one(make, batch_size, samples, case):
    """Bit-identical, with samples selected by index."""
    one, other = make(), make()
    images, index = normal(200, 1, 16, 16), np.random.default_rng(4).permutation(200)[:samples]
    loss, target, weight = cases(samples)[case]
    if batch_size == 1:  # not one of weight 0 by itself
        target = np.where(target == -100, 1, target) if target.ndim == 1 else target
        weight = None if weight is None else weight + 0.1
    steps = -(-samples // batch_size)
    rates = np.linspace(1e-5, 1e-4, steps)
    losses, taken, correct = one.train_steps(
        nn.Samples(images, index),
        target,
        loss,
        optim.SGD(one, 1.0, 0.9),
        rates,
        batch_size=batch_size,
        sample_weight=weight,
    )
    optimizer, right = optim.SGD(other, 1.0, 0.9), 0
    for step, rate in enumerate(rates):
        part = np.s_[step * batch_size : (step + 1) * batch_size]
        value, correct_of_step = other.train_step(
            images[index[part]], target[part], loss, None if weight is None else weight[part]
        )
        assert losses[step] == value
        right += correct_of_step
        optimizer.lr = rate
        optimizer.step()
    assert (taken, correct) == (steps, right)
    assert one.vector.tobytes() == other.vector.tobytes()


@pytest.mark.parametrize("batch_size", [4, 16])
def test_a_batch_without_any_weight_is_refused(batch_size):
    model = lenet5()
    x, labels, before = normal(40, 1, 16, 16), labels_for(40), model.vector.copy()
    weight = np.ones(40)
    weight[batch_size : 2 * batch_size] = 0
    ignored = np.where(weight == 0, -100, labels)
    optimizer, rates = optim.SGD(model, 0.1), [0.1] * -(-40 // batch_size)
    for target, given in ((labels, weight), (ignored, None)):
        message = f"got 0 for all from {batch_size} to {2 * batch_size - 1}"
        with pytest.raises(ValueError, match=message):
            model.train_steps(
                x,
                target,
                nn.CrossEntropyLoss(),
                optimizer,
                rates,
                batch_size=batch_size,
                sample_weight=given,
            )
    assert_array_equal(model.vector, before)
    # A sum of nothing is 0, and a step goes on from there.
    _, taken, _ = model.train_steps(
        x,
        labels,
        nn.CrossEntropyLoss(reduction="sum"),
        optimizer,
        [1e-3] * len(rates),
        batch_size=batch_size,
        sample_weight=weight,
    )
    assert taken == len(rates)


@pytest.mark.parametrize("make", [lenet5, with_numpy_layers], ids=lambda make: make.__name__)
def test_a_loss_of_each_sample_is_refused(make):
    model, loss = make(), nn.CrossEntropyLoss(reduction="none")
    x, labels = normal(4, 1, 16, 16), labels_for(4)
    with pytest.raises(ValueError, match="loss must have the reduction 'mean' or 'sum'"):
        model.train_step(x, labels, loss)
    with pytest.raises(ValueError, match="loss must have the reduction 'mean' or 'sum'"):
        model.train_steps(x, labels, loss, optim.SGD(model, 0.1), [0.1], batch_size=4)
    with pytest.raises(ValueError, match="loss must have the reduction 'mean' or 'sum'"):
        model.second_derivatives(x, labels, loss)


@pytest.mark.parametrize("make", [lenet5, with_numpy_layers], ids=lambda make: make.__name__)
def test_weights_of_another_number_are_refused(make):
    model, x, labels = make(), normal(4, 1, 16, 16), labels_for(4)
    with pytest.raises(ValueError, match=r"sample_weight must be numbers of shape \(4,\)"):
        model.train_step(x, labels, nn.MSELoss(), np.ones(5))
    with pytest.raises(ValueError, match="weight must have a value for each of the 10 classes"):
        model.train_step(x, labels, nn.CrossEntropyLoss([1, 2]))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_second_derivatives_of_weighted_samples(reduction):
    """Over several chunks, whose weights differ: those of repeated samples."""
    count = 2 * SECOND_CHUNK + 30
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 8, rng=0), nn.Tanh(), nn.Linear(8, 10))
    x, labels = normal(count, 1, 16, 16), labels_for(count)
    weight = np.arange(count) // 60 % 3
    repeated = np.repeat(np.arange(count), weight)
    for loss in (
        nn.CrossEntropyLoss(reduction=reduction),
        nn.CrossEntropyLoss(CLASS_WEIGHT, reduction=reduction, label_smoothing=0.1),
        nn.MSELoss(reduction),
    ):
        got = model.second_derivatives(x, labels, loss, weight).copy()
        expected = model.second_derivatives(x[repeated], labels[repeated], loss)
        assert_allclose(got, expected, rtol=1e-5)
