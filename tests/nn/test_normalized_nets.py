"""Nets with batch normalization and dropout as one program: the reference, identical bits."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from one_test import in_one_test

from lenet5c import kernels, nn, optim, reference
from lenet5c.nn.tile_layer import TileChain

BATCHES = [2, 15, 16, 17, 33, 130]
EPS = np.finfo(np.float32).eps


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def shaken(model):
    """Set different scales, shifts and running statistics in all layers."""
    rng = np.random.default_rng(5)
    for layer in model.all_layers():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            size = layer.num_features
            layer.params["weight"] = 1 + rng.standard_normal(size) / 2  # some are negative
            layer.params["bias"] = rng.standard_normal(size) / 2
            layer.buffers["running_mean"] = rng.standard_normal(size) / 4
            layer.buffers["running_var"] = 1 + rng.random(size)
    return model


def lenet():
    return (1, 14, 14), nn.LeNet5(
        input_size=14, kernel_size=3, pooling="max", batch_norm=True, dropout=0.3, rng=1
    )


def unfused():
    return (2, 8, 7), nn.Sequential(
        nn.Conv2d(2, 5, 3, rng=0),
        nn.BatchNorm2d(5, eps=1e-2),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Dropout(0.2, rng=1),
        nn.Conv2d(5, 18, 2, rng=2),
        nn.ReLU(),
        nn.BatchNorm2d(18),
        nn.Flatten(),
        nn.Dropout(0.5, rng=3),
        nn.Linear(18 * 2, 10, rng=4),
    )


def pooled_without_relu():
    return (3, 8, 8), nn.Sequential(
        nn.Conv2d(3, 4, 3, rng=0, bias=False),
        nn.BatchNorm2d(4),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(4, 6, 2, rng=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2, 1),
        nn.Flatten(),
        nn.Linear(6, 10, rng=2),
    )


def pooled_by_means():
    """Make a net of means that are part of the normalization, and of one that is not."""
    return (2, 12, 8), nn.Sequential(
        nn.BatchNorm2d(2),
        nn.AvgPool2d(2),
        nn.Conv2d(2, 17, 3, padding=1, rng=0),
        nn.BatchNorm2d(17),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.BatchNorm2d(17),
        nn.ReLU(),
        nn.AvgPool2d(2, 1),
        nn.Flatten(),
        nn.Linear(17 * 2, 10, rng=1),
    )


def first_and_last():
    return (5,), nn.Sequential(
        nn.BatchNorm1d(5),
        nn.Linear(5, 19, rng=0),
        nn.BatchNorm1d(19),
        nn.ReLU(),
        nn.Dropout(0.4, rng=1),
        nn.Dropout(0.0, rng=2),
        nn.Linear(19, 10, rng=3),
        nn.BatchNorm1d(10),
    )


def rows():
    """Make a net of samples (C, L), and with a layer that is frozen."""
    model = nn.Sequential(
        nn.BatchNorm1d(3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 17, rng=0), nn.BatchNorm1d(17),
        nn.ReLU(), nn.Linear(17, 10, rng=1), nn.BatchNorm1d(10),
    )  # fmt: skip
    model[4].frozen = True
    return (3, 4), model


def all_frozen():
    model = nn.Sequential(
        nn.Conv2d(2, 17, 3, rng=0), nn.BatchNorm2d(17), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(17 * 4, 10, rng=1), nn.BatchNorm1d(10),
    )  # fmt: skip
    for layer in model.flat_layers():
        layer.frozen = True
    return (2, 6, 6), model


def dropout_alone():
    return (2, 6, 6), nn.Sequential(
        nn.Dropout(0.1, rng=0), nn.Conv2d(2, 3, 3, rng=1), nn.Dropout(0.5, rng=2), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 10, rng=3),
    )  # fmt: skip


NETS = [
    lenet, unfused, pooled_without_relu, pooled_by_means, first_and_last, rows, all_frozen,
    dropout_alone,
]  # fmt: skip
each_net = pytest.mark.parametrize("make", NETS, ids=lambda make: make.__name__)


def forward(layer, x, passes):
    """Return the reference output of a layer in training, and its backward function."""
    weight, bias = layer.params.get("weight"), layer.params.get("bias")
    if isinstance(layer, nn.Conv2d):
        y = reference.conv2d(x, weight, bias, padding=layer.padding)
        return y, lambda dy: reference.conv2d_backward(dy, x, weight, padding=layer.padding)
    if isinstance(layer, nn.Linear):
        return reference.linear(x, weight, bias), lambda dy: reference.linear_backward(
            dy, x, weight
        )
    if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
        if layer.frozen:
            return frozen(layer, x)
        y = reference.batch_norm(x, weight, bias, layer.eps)
        return y, lambda dy: reference.batch_norm_backward(dy, x, weight, layer.eps)
    if isinstance(layer, nn.Dropout):
        mask = reference.draw_dropout_mask(x.shape, layer.p, layer.seed, passes)
        return reference.dropout(x, mask), lambda dy: [reference.dropout_backward(dy, mask)]
    if isinstance(layer, nn.MaxPool2d):
        window = layer.kernel_size, layer.stride
        y = reference.max_pool2d(x, *window)
        return y, lambda dy: [reference.max_pool2d_backward(dy, x, *window)]
    if isinstance(layer, nn.AvgPool2d):
        window = layer.kernel_size, layer.stride
        return reference.avg_pool2d(x, *window), lambda dy: [
            reference.avg_pool2d_backward(dy, x.shape, *window)
        ]
    if isinstance(layer, nn.Flatten):
        return x.reshape(len(x), -1), lambda dy: [dy.reshape(x.shape)]
    name = type(layer).__name__.lower()
    y = getattr(reference, name)(x)
    return y, lambda dy: [getattr(reference, f"{name}_backward")(dy, y)]


def frozen(layer, x):
    """Return the same for a layer of running statistics, which are constants."""
    weight, bias = layer.params["weight"], layer.params["bias"]
    mean, var = layer.buffers["running_mean"], layer.buffers["running_var"]
    y = reference.batch_norm_inference(x, weight, bias, mean, var, layer.eps)
    axes, spread = (0, *range(2, x.ndim)), (-1, *[1] * (x.ndim - 2))
    scale = 1 / np.sqrt(var.astype(np.float64) + layer.eps)
    known = (x - mean.reshape(spread)) * scale.reshape(spread)

    def backward(dy):
        dx = dy * (weight * scale).reshape(spread)
        return dx, (dy * known).sum(axes), dy.sum(axes)

    return y, backward


def reference_pass(model, x, dy, passes=0):
    """Return outputs, dx and the gradient vector in float64."""
    steps, y = [], x.astype(np.float64)
    for layer in model.flat_layers():
        y, back = forward(layer, y, passes)
        steps.append((layer, back))
    grads = []
    for layer, back in reversed(steps):
        dy, *gradients = back(dy)
        grads[:0] = [each.ravel() for each in gradients[: len(layer.params)]]
    return y, dy, np.concatenate(grads)


def assert_close(actual, expected, least=0.0):
    """Within 1e-5 of the norm, about 80 roundings."""
    error = np.linalg.norm(actual - expected)
    assert error <= 1e-5 * np.linalg.norm(expected) + least


@in_one_test
@each_net
@pytest.mark.parametrize("batch", BATCHES)
def test_forward_and_backward_are_those_of_the_counterparts(make, batch):
    shape, model = make()
    shaken(model)
    for passes in range(2):
        x, dy = normal(batch, *shape, seed=passes), normal(batch, 10, seed=7)
        expected = reference_pass(model, x, dy, passes)
        actual = model.forward(x, training=True), model.backward(dy), model.grad_vector
        # Two samples are hardly apart in some channels, whose differences are brought to 1: so
        # roundings show, as those of the weights do in the counterparts; and a gradient may vanish.
        counterpart = copy.deepcopy(model)
        counterpart.vector[:] *= 1 + EPS * np.random.default_rng(8).choice(
            [-1, 1], len(counterpart.vector)
        )
        shifted = reference_pass(counterpart, x, dy, passes)
        for value, right, other in zip(actual, expected, shifted, strict=True):
            least = 1e-5 * np.linalg.norm(dy)
            if batch == 2:
                least = 10 * (least + np.linalg.norm(right - other))
            assert_close(value, right, least)
        assert isinstance(model.segments[0], TileChain) and len(model.segments) == 1


@each_net
def test_gradients_by_central_differences(make):
    """Check the reference of the layers along random directions."""
    shape, model = make()
    shaken(model)
    x, dy = normal(7, *shape).astype(np.float64), normal(7, 10, seed=1)
    _, dx, grads = reference_pass(model, x, dy)
    rng, h = np.random.default_rng(2), 1e-3
    start = model.vector.copy()
    for _ in range(3):
        v, u = rng.standard_normal(len(start)), rng.standard_normal(x.shape)
        v, u = v / np.linalg.norm(v), u / np.linalg.norm(u)
        values = []
        for sign in (1, -1):
            step = (sign * h * v).astype(np.float32)
            model.vector[:] = start + step
            values.append((reference_pass(model, x + sign * h * u, dy)[0] * dy).sum())
        model.vector[:] = start
        slope = (values[0] - values[1]) / (2 * h)
        assert abs(slope - grads @ v - (dx * u).sum()) <= 2e-3 * np.linalg.norm(grads)


def train(make, batch_size, steps, single=False, threads=1, weights=None, kind=optim.Adam):
    """Return the state after some steps, as bytes."""
    kernels.set_num_threads(threads)
    shape, model = make()
    shaken(model)
    count = batch_size * steps - batch_size // 3
    x, labels = normal(count, *shape), np.random.default_rng(0).integers(10, size=count)
    weights = None if weights is None else weights(count)
    optimizer, loss = kind(model, 1e-2), nn.CrossEntropyLoss()
    rates = [1e-2] * steps
    if single:
        losses = []
        for step in range(steps):
            batch = slice(step * batch_size, (step + 1) * batch_size)
            part = None if weights is None else weights[batch]
            losses.append(model.train_step(x[batch], labels[batch], loss, part)[0])
            optimizer.step()
    else:
        losses, taken, _ = model.train_steps(
            x, labels, loss, optimizer, rates, batch_size=batch_size, sample_weight=weights
        )
        assert taken == steps
    states = {name: layer.rng_state for name, layer in model.random_layers().items()}
    arrays = [*model.state_dict().values(), model.grad_vector, np.array(losses)]
    return [each.tobytes() for each in arrays], states


@pytest.fixture(autouse=True)
def thread_count():
    before = kernels.get_num_threads()
    yield
    kernels.set_num_threads(before)


@in_one_test
@each_net
@pytest.mark.parametrize("batch_size", [4, 33, 130])
def test_many_steps_are_single_steps(make, batch_size):
    assert train(make, batch_size, 5) == train(make, batch_size, 5, single=True)


@each_net
@pytest.mark.parametrize("batch_size", [33, 250])
def test_the_bits_do_not_depend_on_threads(make, batch_size, monkeypatch):
    monkeypatch.setattr(nn.tile_layer.threads, "effective", lambda: 8)
    many = make
    expected = train(many, batch_size, 4, threads=1)
    for threads in (2, 3, 8):
        assert train(many, batch_size, 4, threads=threads) == expected


def test_a_step_is_its_passes():
    """Loss, gradients and running statistics of train_step, bit-identical."""
    shape, model = lenet()
    counterpart = copy.deepcopy(shaken(model))
    x, labels = normal(130, *shape), np.arange(130) % 10
    loss = nn.CrossEntropyLoss()
    for _ in range(2):
        value, _ = model.train_step(x, labels, loss)
        other, dy = loss(counterpart.forward(x, training=True), labels)
        counterpart.backward(dy)
        assert value == other
        assert_array_equal(model.grad_vector, counterpart.grad_vector)
        for name, array in model.state_dict().items():
            assert_array_equal(array, counterpart.state_dict()[name])
    assert model.random_layers()["dropout3"].passes == 2


def test_a_batch_of_more_tiles_than_fit_in_one_product():
    """More than 64 tiles: linear gradients are summed in parts."""
    shape, model = first_and_last()
    shaken(model)
    x, dy = normal(1100, *shape), normal(1100, 10, seed=1)
    y, dx, grads = reference_pass(model, x, dy)
    assert_close(model.forward(x, training=True), y)
    assert_close(model.backward(dy), dx)
    assert_close(model.grad_vector, grads)


def test_dead_lanes_do_not_count():
    """The copies of the first sample that fill a tile do not enter the statistics."""
    model = nn.BatchNorm1d(3)
    x = normal(17, 3)
    x[16] += 1000
    y = model.forward(x, training=True)
    assert_allclose(y, reference.batch_norm(x, np.ones(3), np.zeros(3)), atol=1e-3)
    assert_allclose(model.buffers["running_mean"], 0.1 * x.mean(axis=0), rtol=1e-6)


def test_samples_without_weight_count_in_the_statistics():
    """As in PyTorch: weights are the loss's, statistics those of the batch."""
    shape, model = lenet()
    counterpart = copy.deepcopy(model)
    x, labels = normal(20, *shape), np.arange(20) % 10
    weights = np.arange(20) % 3
    loss = nn.CrossEntropyLoss()
    model.train_step(x, labels, loss, weights)
    _, dy = loss(counterpart.forward(x, training=True), labels, weights)
    counterpart.backward(dy)
    assert not dy[::3].any()
    assert_array_equal(model.grad_vector, counterpart.grad_vector)
    for name, array in model.buffers.items():
        assert_array_equal(array, counterpart.buffers[name])


def test_weighted_steps_in_one_region():
    def weights(count):
        return np.random.default_rng(3).integers(0, 3, count)

    assert train(lenet, 33, 4, weights=weights) == train(lenet, 33, 4, weights=weights, single=True)


def test_a_loss_that_is_not_finite_ends_the_run():
    shape, model = lenet()
    x, labels = normal(5 * 32, *shape), np.arange(160) % 10
    x[70] = np.nan
    counterpart = copy.deepcopy(model)
    losses, taken, _ = model.train_steps(
        x, labels, nn.CrossEntropyLoss(), optim.SGD(model, 0.1), [0.1] * 5, batch_size=32
    )
    assert taken == 2 and np.isnan(losses[2]) and not losses[3:].any()
    counterpart.train_steps(
        x[:64],
        labels[:64],
        nn.CrossEntropyLoss(),
        optim.SGD(counterpart, 0.1),
        [0.1] * 2,
        batch_size=32,
    )
    assert_array_equal(model.vector, counterpart.vector)
    # As after a training forward pass of the third batch, which changes statistics, too.
    assert model.random_layers()["dropout3"].passes == 3
    assert model.buffers["norm1.num_batches_tracked"] == 3


@pytest.mark.parametrize("count", [1, 33])
def test_a_batch_without_a_variance_is_refused(count):
    """Before any step, also if it is the last one."""
    _, model = first_and_last()
    state = model.state_dict()
    x, labels = normal(count, 5), np.zeros(count, int)
    with pytest.raises(
        ValueError, match=r"x must have more than one value per channel in training"
    ):
        model.train_steps(
            x, labels, nn.CrossEntropyLoss(), optim.SGD(model, 0.1),
            [0.1] * -(-count // 32), batch_size=32,
        )  # fmt: skip
    for name, array in model.state_dict().items():
        assert_array_equal(array, state[name])


@in_one_test
@each_net
@pytest.mark.parametrize("batch", [1, 4, 5, 6, 40])
def test_inference_is_that_of_the_running_statistics(make, batch):
    """A few samples one by one, more in tiles."""
    shape, model = make()
    shaken(model)
    x = normal(batch, *shape)
    expected = x.astype(np.float64)
    for layer in model.flat_layers():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            expected, _ = frozen(layer, expected)
        elif not isinstance(layer, nn.Dropout):
            expected, _ = forward(layer, expected, 0)
    assert_close(model.forward(x), expected)
    assert_close(model.outputs(x), expected)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_frozen_net_on_few_samples(batch):
    """One by one, too: no batch statistics are used."""
    shape, model = all_frozen()
    shaken(model)
    x, dy = normal(batch, *shape), normal(batch, 10, seed=1)
    before = {name: array.copy() for name, array in model.buffers.items()}
    y, dx, grads = reference_pass(model, x, dy)
    assert_close(model.forward(x, training=True), y)
    assert_close(model.backward(dy), dx)
    assert_close(model.grad_vector, grads)
    for name, array in model.buffers.items():
        assert_array_equal(array, before[name])


def test_backward_is_of_the_last_training_pass():
    """Also with another training step, and other settings, in between."""
    shape, model = lenet()
    counterpart = copy.deepcopy(model)
    x, dy = normal(20, *shape), normal(20, 10, seed=1)
    counterpart.forward(x, training=True)
    expected = counterpart.backward(dy)
    model.forward(x, training=True)
    start = model.vector.copy()
    model.train_step(normal(9, *shape), np.zeros(9, int), nn.CrossEntropyLoss())
    model["norm1"].frozen = True
    model["dropout3"].p = 0.9
    assert_array_equal(model.vector, start)
    assert_array_equal(model.backward(dy), expected)


def test_settings_that_change_are_heeded():
    shape, model = lenet()
    x = normal(20, *shape)
    model.forward(x, training=True)
    for name in ("norm1", "norm2", "norm3", "norm4"):
        model[name].frozen = True
    for name in ("dropout3", "dropout4"):
        model[name].p = 0.0
    before = {name: array.copy() for name, array in model.buffers.items()}
    assert_close(model.forward(x, training=True), model.forward(x))
    for name, array in model.buffers.items():
        assert_array_equal(array, before[name])


class TestLikeTorch:
    STEPS, BATCH = 100, 16

    def test_a_hundred_steps(self):
        """Loss, weights and running statistics; PyTorch computes in float64."""
        torch = pytest.importorskip("torch")
        torch.set_num_threads(1)
        model = nn.LeNet5(input_size=20, kernel_size=3, batch_norm=True, activation="tanh",
                          pooling="avg", rng=0)  # fmt: skip
        counterpart = torch.nn.Sequential(
            torch.nn.Conv2d(1, 6, 3), torch.nn.BatchNorm2d(6), torch.nn.Tanh(),
            torch.nn.AvgPool2d(2), torch.nn.Conv2d(6, 16, 3), torch.nn.BatchNorm2d(16),
            torch.nn.Tanh(), torch.nn.AvgPool2d(2), torch.nn.Flatten(),
            torch.nn.Linear(16 * 9, 120), torch.nn.BatchNorm1d(120), torch.nn.Tanh(),
            torch.nn.Linear(120, 84), torch.nn.BatchNorm1d(84), torch.nn.Tanh(),
            torch.nn.Linear(84, 10),
        ).double()  # fmt: skip
        values = (torch.tensor(array) for array in model.state_dict().values())
        counterpart.load_state_dict(dict(zip(counterpart.state_dict(), values, strict=True)))
        count = self.STEPS * self.BATCH
        x, labels = normal(count, 1, 20, 20), np.random.default_rng(1).integers(10, size=count)
        losses, *_ = model.train_steps(
            x, labels, nn.CrossEntropyLoss(), optim.SGD(model, 0.05, 0.9),
            [0.05] * self.STEPS, batch_size=self.BATCH,
        )  # fmt: skip
        theirs, optimizer = [], torch.optim.SGD(counterpart.parameters(), 0.05, 0.9)
        for step in range(self.STEPS):
            batch = slice(step * self.BATCH, (step + 1) * self.BATCH)
            optimizer.zero_grad()
            logits = counterpart(torch.tensor(x[batch], dtype=torch.float64))
            loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels[batch]))
            loss.backward()
            optimizer.step()
            theirs.append(loss.item())
        assert_allclose(losses, theirs, rtol=1e-3)
        for (name, array), expected in zip(
            model.state_dict().items(), counterpart.state_dict().values(), strict=True
        ):
            # The gradient of a bias before a normalization is 0, but for rounding.
            error = np.linalg.norm(array - expected.numpy())
            assert error <= 1e-3 * np.linalg.norm(expected.numpy()) + 1e-5, name
