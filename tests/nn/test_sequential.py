"""Models: one call, a manual step and single layers are bit-identical."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from one_test import in_one_test
from sequential_models import (
    CROSS_ENTROPY,
    MODELS,
    each_model,
    labels_for,
    leaves,
    lenet5,
    normal,
    step_by_hand,
    with_groups,
    with_numpy_layers,
)

from lenet5c import nn, optim, reference
from lenet5c.nn.sequential import CHUNK


@in_one_test
@pytest.mark.parametrize(
    "loss",
    [
        CROSS_ENTROPY,
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.MSELoss(),
        nn.MLELoss(),
        nn.MAPLoss(3),
    ],
    ids=repr,
)
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 16, 33, 300])
@pytest.mark.parametrize("make", [*MODELS, with_groups], ids=lambda make: make.__name__)
def test_train_step_is_a_step_by_hand(make, batch, loss):
    """Bit-identical: loss, number of correct predictions, gradients, and running statistics."""
    one, other = make(), make()
    x, labels = normal(batch, 1, 16, 16), labels_for(batch)
    for _ in range(2):
        value, correct = one.train_step(x, labels, loss)
        assert (value, correct) == step_by_hand(other, x, labels, loss)[:2]
        assert one.grad_vector.any()
        assert one.grad_vector.tobytes() == other.grad_vector.tobytes()
        for name, array in other.state_dict().items():
            assert_array_equal(one.state_dict()[name], array)
        for model in (one, other):
            optim.SGD(model, lr=1e-4).step()  # 0.1 saturates every unit of LeNet5_1998


@in_one_test
@pytest.mark.parametrize("batch", [1, 3, 4, 33])
@each_model
def test_layer_by_layer_is_the_same(make, batch):
    """Bit-identical: outputs, gradients, and the input gradient."""
    whole, parts = make(), make()
    x, labels = normal(batch, 1, 16, 16), labels_for(batch)
    _, _, dx = step_by_hand(whole, x, labels)
    y = x
    for layer in leaves(parts):
        y = layer.forward(y, training=True)
    _, dy = CROSS_ENTROPY(y, labels)
    for layer in reversed(leaves(parts)):
        dy = layer.backward(dy)
    assert dy.tobytes() == dx.tobytes()
    assert parts.grad_vector.tobytes() == whole.grad_vector.tobytes()


@in_one_test
@pytest.mark.parametrize("batch", [1, 3, 4, 33])
@each_model
def test_layers_alone_are_the_same(make, batch):
    """Copies of the layers without a model have the same gradients."""
    model = make()
    alone = [copy.deepcopy(layer) for layer in leaves(model)]
    x, labels = normal(batch, 1, 16, 16), labels_for(batch)
    step_by_hand(model, x, labels)
    y = x
    for layer in alone:
        y = layer.forward(y, training=True)
    _, dy = CROSS_ENTROPY(y, labels)
    for layer in reversed(alone):
        dy = layer.backward(dy)
    for layer, counterpart in zip(leaves(model), alone, strict=True):
        assert layer.params.keys() == counterpart.params.keys()
        for name in layer.params:
            assert layer.grads[name].tobytes() == counterpart.grads[name].tobytes()


def test_matches_reference():
    """Nested and with a layer in NumPy: within 16 roundings of the norm, like its parts."""
    x, dy = normal(17, 2, 6, 6), normal(17, 3, seed=1)
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(2, 4, 3, rng=0), nn.BatchNorm2d(4)),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(64, 3, rng=1),
    )
    y = model.forward(x, training=True)
    dx = model.backward(dy)
    conv, norm, fc = model[0][0].params, model[0][1].params, model[3].params
    a = reference.conv2d(x, conv["weight"], conv["bias"])
    b = reference.batch_norm(a, norm["weight"], norm["bias"])
    c = reference.tanh(b)
    d, dfc, dfc_bias = reference.linear_backward(dy, c.reshape(17, 64), fc["weight"])
    d = reference.tanh_backward(d.reshape(c.shape), c)
    d, dnorm, dnorm_bias = reference.batch_norm_backward(d, a, norm["weight"])
    d, dconv, _dconv_bias = reference.conv2d_backward(d, x, conv["weight"])
    expected = [
        d,
        dconv,
        dnorm,
        dnorm_bias,
        dfc,
        dfc_bias,
        reference.linear(c.reshape(17, 64), **fc),
    ]
    actual = [
        dx,
        model[0][0].grads["weight"],
        *model[0][1].grads.values(),
        *model[3].grads.values(),
        y,
    ]
    for got, wanted in zip(actual, expected, strict=True):
        assert np.linalg.norm(got - wanted) <= 16 * np.finfo(np.float32).eps * np.linalg.norm(
            wanted
        )
    # Normalization takes the mean away: a bias before it has no gradient but rounding.
    assert np.linalg.norm(model[0][0].grads["bias"]) <= 1e-6 * np.linalg.norm(dconv)


BYTES = np.random.default_rng(3).integers(256, size=(70, 1, 16, 16), dtype=np.uint8)
OFFSET = normal(1, 16, 16, seed=4)
SCALE = 1 / 77.7
FLOATS = BYTES.astype(np.float32) * np.float32(SCALE) + OFFSET
INDEX = np.random.default_rng(5).integers(70, size=33)


@in_one_test
@pytest.mark.parametrize(
    "samples",
    [
        nn.Samples(BYTES, INDEX, SCALE, OFFSET),
        nn.Samples(BYTES[INDEX], None, SCALE, OFFSET),
        nn.Samples(FLOATS, INDEX),
        nn.Samples(np.asfortranarray(BYTES), INDEX, SCALE, OFFSET.astype(np.float64)),
    ],
    ids=["bytes and index", "bytes", "index", "any layout"],
)
@each_model
def test_samples_in_other_forms(make, samples):
    """Bit-identical to the results for the batch as float32."""
    one, other = make(), make()
    labels = labels_for(33)
    assert one.train_step(samples, labels, CROSS_ENTROPY) == other.train_step(
        FLOATS[INDEX], labels, CROSS_ENTROPY
    )
    assert one.grad_vector.tobytes() == other.grad_vector.tobytes()
    assert one.outputs(samples).tobytes() == other.forward(FLOATS[INDEX]).tobytes()


@each_model
def test_arrays_that_float32_holds(make):
    """Converted, not scaled: bit-identical to the results for the same numbers in float32."""
    numbers = BYTES % 2 - np.float32(0.5)
    for x in (numbers.astype(np.float16), numbers.astype(">f4"), memoryview(numbers), BYTES % 2):
        one, other = make(), make()
        same, labels = np.asarray(x).astype(np.float32), labels_for(70)
        assert one.forward(x).tobytes() == other.forward(same).tobytes()
        assert one.outputs(x).tobytes() == other.outputs(same).tobytes()
        assert one.train_step(x, labels, CROSS_ENTROPY) == other.train_step(
            same, labels, CROSS_ENTROPY
        )
        assert one.grad_vector.tobytes() == other.grad_vector.tobytes()


@in_one_test
@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 3])
@each_model
def test_outputs_in_chunks(make, count):
    model = make()
    x = normal(count, 1, 16, 16)
    expected = model.forward(x)
    assert expected.shape == (count, 10)
    assert model.outputs(x).tobytes() == expected.tobytes()
    order = np.random.default_rng(6).permutation(count)
    assert model.outputs(nn.Samples(x, order)).tobytes() == expected[order].tobytes()
    assert_array_equal(model.predict(x), model.classes(expected))


@in_one_test
@pytest.mark.parametrize("call", ["outputs", "train_step"])
class TestWrongSamples:
    def run(self, call, make, images, index=None):
        samples = images if index is None else nn.Samples(images, index)
        if call == "outputs":
            make().outputs(samples)
        else:
            make().train_step(samples, np.zeros(len(samples), int), CROSS_ENTROPY)

    @pytest.mark.parametrize("wrong", [-1, 70, 2**40])
    @each_model
    def test_index_out_of_range(self, call, make, wrong):
        with pytest.raises(IndexError, match=str(wrong)):
            self.run(call, make, FLOATS, index=np.array([0, wrong, 2]))

    @each_model
    def test_samples_of_bytes_without_an_offset(self, call, make):
        with pytest.raises(ValueError, match="offset"):
            self.run(call, make, BYTES, index=INDEX)

    @each_model
    def test_another_dtype(self, call, make):
        with pytest.raises((TypeError, ValueError), match=r"float64|double"):
            self.run(call, make, FLOATS.astype(np.float64))


@pytest.mark.parametrize("wrong", [-1, 10, 300])
@each_model
def test_labels_out_of_range(make, wrong):
    with pytest.raises(ValueError, match=rf"labels must be from 0 to 9, got {wrong} at 1"):
        make().train_step(FLOATS[:3], np.array([0, wrong, 9]), CROSS_ENTROPY)


@in_one_test
@pytest.mark.parametrize(
    "labels",
    [np.zeros(4, int), np.zeros((3, 1), int), np.zeros(3), np.zeros((3, 10), int)],
    ids=["too many", "a column", "floats", "one-hot"],
)
@each_model
def test_labels_of_another_kind(make, labels):
    with pytest.raises(ValueError, match="labels must be integers"):
        make().train_step(FLOATS[:3], labels, CROSS_ENTROPY)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "uint64"])
def test_labels_of_any_integers(dtype):
    one, other = lenet5(), lenet5()
    expected = other.train_step(FLOATS, labels_for(70), CROSS_ENTROPY)
    assert one.train_step(FLOATS, labels_for(70).astype(dtype), CROSS_ENTROPY) == expected


class Plain:
    """A custom optimizer with only lr and step; its `update` has another meaning."""

    def __init__(self, model, lr):
        self.model, self.lr, self.calls = model, lr, 0

    def step(self):
        self.calls += 1
        self.model.vector[:] -= np.float32(self.lr) * self.model.grad_vector

    def update(self):
        raise AssertionError


class Damped(optim.SGD):
    """A lenet5c optimizer with a custom step."""

    def step(self):
        self.model.grad_vector[:] *= np.float32(0.5)
        super().step()


class Doubled(nn.Sequential):
    """A model with a custom training step."""

    def train_step(self, *args, **options):
        result = super().train_step(*args, **options)
        self.grad_vector[:] *= 2
        return result


def sgd_of_other_parameters(model, lr):
    return optim.SGD(model["1"], lr)


@pytest.mark.parametrize(
    "make", [nn.Sequential, Doubled, with_numpy_layers], ids=lambda make: make.__name__
)
@pytest.mark.parametrize(
    "optimizer",
    [
        optim.SGD,
        optim.Adam,
        lambda model, lr: optim.SGD(model, lr, momentum=0.9, weight_decay=0.1),
        Plain,
        Damped,
        sgd_of_other_parameters,
    ],
    ids=["sgd", "adam", "momentum", "plain", "damped", "of one layer"],
)
def test_a_run_of_steps_asks_the_optimizer_it_is_given(make, optimizer):
    """The compiled run replaces `train_step` and `step` only if the results are bit-identical."""
    if make is with_numpy_layers:
        if optimizer is sgd_of_other_parameters:
            pytest.skip("its layers have other names")
        one, other = make(), make()
    else:
        one, other = (
            make(nn.Flatten(), nn.Linear(256, 12, rng=0), nn.ReLU(), nn.Linear(12, 10, rng=1))
            for _ in "12"
        )
    x, labels, index = normal(50, 1, 16, 16), labels_for(50), np.arange(50)[::-1]
    rates = [0.1, 0.01, 0.05, 0.02]
    run, by_hand = optimizer(one, 1.0), optimizer(other, 1.0)
    losses, taken, correct = one.train_steps(
        nn.Samples(x, index), labels[index], CROSS_ENTROPY, run, rates, batch_size=16
    )
    expected = []
    for i, rate in enumerate(rates):
        batch = index[16 * i : 16 * i + 16]
        expected.append(other.train_step(nn.Samples(x, batch), labels[batch], CROSS_ENTROPY))
        by_hand.lr = rate
        by_hand.step()
    assert [*losses] == [loss for loss, _ in expected]
    assert (taken, correct) == (4, sum(right for _, right in expected))
    assert run.lr == rates[-1]
    assert getattr(run, "steps", 4) == getattr(run, "calls", 4) == 4
    assert_array_equal(one.vector, other.vector)
    assert_array_equal(one.grad_vector, other.grad_vector)
