"""Mixup: the same mixtures of images and targets, within a batch, on any thread."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lenet5c import reference, set_num_threads
from lenet5c.datasets import Dataset, Distortion, Preparation
from lenet5c.nn import (
    BatchNorm2d,
    Conv2d,
    CrossEntropyLoss,
    Flatten,
    LeNet5,
    Linear,
    MLELoss,
    MSELoss,
    ReLU,
    Samples,
    Sequential,
)
from lenet5c.optim import SGD, Adam, Constant
from lenet5c.training import Trainer
from lenet5c.training.weights import Targets

MIXUP = Distortion(mixup=0.7)
ALL = Distortion.from_dict(Distortion.named("pictures-mixup").to_dict() | {"probability": 0.9})


@pytest.fixture(autouse=True)
def default_threads():
    yield
    set_num_threads(None)


def some_data(count, channels=3, side=20, classes=5, seed=0, **more):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, channels, side, side), np.uint8)
    return Dataset(images, rng.integers(0, classes, count), classes, **more)


def model_of(which="compiled", channels=3, side=20, classes=5):
    if which == "compiled":
        return LeNet5(num_classes=classes, rng=1, in_channels=channels, input_size=side)
    return Sequential(
        Conv2d(channels, 3, 5, rng=0),
        BatchNorm2d(3),
        ReLU(),
        Flatten(),
        Linear(768, classes, rng=1),
    )


class TestShares:
    def test_are_the_reference(self):
        epoch = Distortion(mixup=0.3, probability=0.8).for_epoch(5, 2)
        shares = epoch.mix_shares(np.arange(40))
        keys = reference.distortion_keys(5, 2, 40)
        expected = [
            reference.distortion_draws(k, epoch.distortion.to_dict())["share"] for k in keys
        ]
        assert_allclose(shares, expected, rtol=0, atol=2e-6)
        assert 3 <= (shares == 1).sum() <= 16

    @pytest.mark.parametrize("alpha", [0.1, 0.2, 1, 3])
    def test_are_the_larger_part_of_the_beta_distribution(self, alpha):
        beta = pytest.importorskip("scipy.stats").beta(alpha, alpha)
        shares = np.sort(Distortion(mixup=alpha).for_epoch(0).mix_shares(np.arange(20_000)))
        levels = (np.arange(20_000) + 0.5) / 20_000
        # The statistic of Kolmogorov and Smirnov; 1.95 is exceeded once in a thousand samples. For
        # a small alpha, shares near 1 are rounded to it.
        inside = shares < 1 - 1e-5
        assert abs(2 * beta.cdf(shares) - 1 - levels)[inside].max() < 1.95 / np.sqrt(20_000)
        assert shares.min() >= 0.5 and shares.max() <= 1

    def test_are_1_where_nothing_is_mixed(self):
        assert_array_equal(Distortion(flip=1).for_epoch(0).mix_shares(np.arange(9)), 1)


class TestImages:
    @pytest.mark.parametrize("distortion", [MIXUP, ALL], ids=["alone", "all"])
    @pytest.mark.parametrize("count", [1, 2, 5, 16, 17, 40])
    def test_are_the_reference(self, distortion, count):
        images, settings = some_data(count, side=9).images, distortion.to_dict()
        keys = reference.distortion_keys(1, 2, count)
        plain = [reference.distort(i, k, settings) for i, k in zip(images, keys, strict=True)]
        for n, result in enumerate(distortion(images, 1, 2)):
            share = reference.distortion_draws(keys[n], settings)["share"]
            expected = reference.mix(plain[n], plain[(n + 1) % count], share)
            assert_allclose(result, expected, rtol=0, atol=1e-2)

    def test_an_original_stays_as_it_is(self):
        images = some_data(400, side=6).images
        distortion = Distortion.from_dict(ALL.to_dict() | {"probability": 0.5})
        shares = distortion.for_epoch(0).mix_shares(np.arange(400))
        seen, draws = distortion(images, 0), reference.distortion_keys(0, 0, 400)
        whole = [reference.distortion_draws(k, distortion.to_dict())["distorted"] for k in draws]
        originals = ~np.array(whole)
        assert originals.sum() > 100 and (shares[originals] == 1).all()
        assert_array_equal(seen[originals], images[originals])

    @pytest.mark.parametrize("which", ["compiled", "partly"])
    @pytest.mark.parametrize("batch", [1, 2, 5, 6, 16, 33, 1100])
    @pytest.mark.parametrize("indexed", [False, True])
    def test_a_step_is_what_one_does_by_hand(self, which, batch, indexed):
        if which == "partly" and batch == 1:
            pytest.skip("batch normalization needs two samples")
        data, offset = some_data(batch + 3), np.zeros((3, 20, 20), np.float32)
        index = np.random.default_rng(1).integers(0, batch + 3, batch) if indexed else None
        images = data.images if indexed else data.images[:batch]
        target = np.random.default_rng(2).dirichlet(np.ones(5), batch).astype(np.float32)
        one, other, loss = model_of(which), model_of(which), CrossEntropyLoss()
        x = ALL(images, 4, 2, index) * np.float32(1 / 128)
        value, dy = loss(other.forward(x, training=True), target)
        other.backward(dy)
        samples = Samples(images, index, np.float32(1 / 128), offset, ALL.for_epoch(4, 2))
        got, _ = one.train_step(samples, target, loss)
        assert got == pytest.approx(value, rel=1e-6)
        assert_array_equal(one.grad_vector, other.grad_vector)

    @pytest.mark.parametrize("which", ["compiled", "partly"])
    @pytest.mark.parametrize("batch_size", [7, 16, 300])
    def test_steps_are_single_steps(self, which, batch_size):
        data, offset = some_data(310), np.zeros((3, 20, 20), np.float32)
        order = np.random.default_rng(2).permutation(310)[:303]
        loss, rates = CrossEntropyLoss(), [0.05] * -(-303 // batch_size)
        samples = Samples(data.images, order, np.float32(1 / 128), offset, ALL.for_epoch(0, 1))
        target = np.random.default_rng(2).dirichlet(np.ones(5), 303).astype(np.float32)
        one, other = model_of(which), model_of(which)
        optimizer = SGD(one, 0.05, 0.9)
        for start in range(0, 303, batch_size):
            batch = slice(start, start + batch_size)
            one.train_step(samples[batch], target[batch], loss)
            optimizer.step()
        other.train_steps(
            samples, target, loss, SGD(other, 0.05, 0.9), rates, batch_size=batch_size
        )
        assert_array_equal(one.vector, other.vector)

    @pytest.mark.parametrize("threads", [2, 3, 8])
    @pytest.mark.parametrize("batch", [5, 40, 1100])
    def test_bits_do_not_depend_on_threads(self, batch, threads):
        data, vectors = some_data(batch), []
        for count in (1, threads):
            set_num_threads(count)
            model = model_of()
            samples = Samples(
                data.images, None, 1 / 128, np.zeros((3, 20, 20), np.float32), ALL.for_epoch(1)
            )
            model.train_step(samples, data.labels, CrossEntropyLoss())
            vectors.append(model.grad_vector.copy())
        assert_array_equal(*vectors)


def for_steps(data, loss, batch_size, index, distortion=MIXUP):
    epoch = distortion.for_epoch(3, 1)
    target, weight = Targets(data, loss, batch_size, distortion).for_steps(index, epoch)
    return target, weight, epoch.mix_shares(index)


def following(count, batch_size):
    starts = range(0, count, batch_size)
    return [
        start + (i + 1) % min(batch_size, count - start)
        for start in starts
        for i in range(min(batch_size, count - start))
    ]


class TestTargets:
    @pytest.mark.parametrize(
        "count, batch_size", [(1, 4), (4, 4), (11, 4), (12, 4), (6, 100), (3, 1)]
    )
    def test_of_labels(self, count, batch_size):
        data = some_data(20)
        index = np.random.default_rng(0).permutation(20)[:count]
        target, weight, shares = for_steps(data, CrossEntropyLoss(), batch_size, index)
        onehot, others = np.eye(5)[data.labels[index]], following(count, batch_size)
        expected = shares[:, None] * onehot + (1 - shares[:, None]) * onehot[others]
        assert target.dtype == np.float32 and weight is None
        assert_allclose(target, expected, rtol=0, atol=1e-7)

    def test_of_soft_targets(self):
        soft = np.random.default_rng(0).dirichlet(np.ones(5), 20).astype(np.float32)
        data = some_data(20, targets=soft)
        index = np.arange(20)[::-1]
        target, _, shares = for_steps(data, CrossEntropyLoss(), 8, index)
        own = soft[index]
        expected = shares[:, None] * own + (1 - shares[:, None]) * own[following(20, 8)]
        assert_allclose(target, expected, rtol=0, atol=1e-7)

    @pytest.mark.parametrize("smoothing", [0.0, 0.1])
    def test_the_loss_is_that_of_both_images_with_their_weights(self, smoothing):
        weight = np.random.default_rng(0).uniform(0.2, 3, 12).astype(np.float32)
        data, loss = (
            some_data(12, sample_weight=weight),
            CrossEntropyLoss(label_smoothing=smoothing),
        )
        index = np.arange(12)
        target, mixed, shares = for_steps(data, loss, 12, index)
        z = np.random.default_rng(1).normal(size=(12, 5)).astype(np.float32)
        others = np.array(following(12, 12))
        each = CrossEntropyLoss(label_smoothing=smoothing, reduction="none")
        own, other = each.value(z, data.labels), each.value(z, data.labels[others])
        expected = shares * weight * own + (1 - shares) * weight[others] * other
        total = (shares * weight + (1 - shares) * weight[others]).sum()
        assert loss.value(z, target, mixed) == pytest.approx(expected.sum() / total, rel=1e-5)

    def test_ignored_labels_have_no_part(self):
        data, loss = some_data(30), CrossEntropyLoss(ignore_index=2)
        target, weight, _ = for_steps(data, loss, 30, np.arange(30))
        ignored = data.labels == 2
        assert ignored.any() and (target[weight > 0][:, 2] == 0).all()
        both = ignored & ignored[following(30, 30)]
        assert_array_equal(weight == 0, both)

    def test_mean_squares_take_them(self):
        target, _, _ = for_steps(some_data(6), MSELoss(), 6, np.arange(6))
        assert_allclose(target.sum(axis=1), 1, rtol=1e-6)

    def test_losses_without_soft_targets_are_refused(self):
        with pytest.raises(ValueError, match="loss must be CrossEntropyLoss or MSELoss for mixup"):
            Targets(some_data(6), MLELoss(), 6, MIXUP)


def trainer(data, distortion=ALL, epochs=2, **more):
    model = LeNet5(num_classes=5, rng=1, in_channels=3)
    more = {"average": 0.9} | more
    loss = CrossEntropyLoss(label_smoothing=0.1)
    preparation = Preparation(size=(32, 32), fit="resize")
    return Trainer(
        model, Adam(model, 1e-3), Constant(1e-3), loss, preparation, data, data.take(np.arange(40)),
        batch_size=48, epochs=epochs, seed=3, distortion=distortion, **more
    )  # fmt: skip


class TestTrainer:
    @pytest.mark.parametrize("steps", [1, 3, 5, 7])
    def test_stopped_and_resumed_is_the_same_to_the_bit(self, steps):
        weight = np.random.default_rng(0).uniform(0.2, 3, 300).astype(np.float32)
        data = some_data(300, sample_weight=weight)
        whole = trainer(data, class_weight="balanced")
        assert whole.run()
        first = trainer(data, class_weight="balanced")
        left = iter(range(steps, 0, -1))
        first.stretch_seconds = 0
        assert not first.run(stop=lambda: next(left) == 1)
        state = copy.deepcopy(first.state())
        second = trainer(data, class_weight="balanced")
        second.load_state(*state)
        assert second.run()
        assert_array_equal(second.model.vector, whole.model.vector)
        assert second.history == whole.history

    def test_trains_on_mixtures_and_counts_the_larger_share(self):
        """Mixtures of pure colors are easy: most are classified as their larger part."""
        data = some_data(400, classes=3)
        images = np.zeros((400, 3, 20, 20), np.uint8)
        images[np.arange(400), data.labels] = 200
        data = Dataset(images, data.labels, 5)
        trained = trainer(data, Distortion(mixup=1.0), epochs=6, average=0.0)
        trained.run()
        last = trained.history[-1]
        assert last["validation_accuracy"] == 1
        assert 0.7 < last["train_accuracy"] < 1
        # The least loss of a mixture is the entropy of its shares, 0.5 on average for alpha 1.
        assert last["train_loss"] > 0.4

    def test_threads_do_not_change_a_bit(self):
        vectors = []
        for threads in (1, 3):
            set_num_threads(threads)
            run = trainer(some_data(200))
            run.run()
            vectors.append(run.model.vector.copy())
        assert_array_equal(*vectors)
