"""Distortions: effects, random draws, and identical bits in training."""

import copy
import json
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from one_test import in_one_test

from lenet5c import reference, set_num_threads
from lenet5c.datasets import Dataset, Distortion, EpochDistortion, Preparation
from lenet5c.nn import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    CrossEntropyLoss,
    Flatten,
    LeNet5,
    Linear,
    ReLU,
    Samples,
    Sequential,
)
from lenet5c.optim import SGD, Adam, Constant
from lenet5c.training import NonFiniteError, Trainer

EVERYTHING = Distortion(
    translation=2.5,
    scaling=0.2,
    squeeze=0.15,
    shear=0.3,
    rotation=25,
    elastic=30,
    elastic_sigma=3.5,
    flip=0.3,
    probability=0.8,
)
EACH = [
    Distortion(),
    Distortion(translation=3),
    Distortion(scaling=0.3),
    Distortion(squeeze=0.3),
    Distortion(shear=0.5),
    Distortion(rotation=180),
    Distortion(elastic=40),
    Distortion(elastic=9, elastic_sigma=1.2),
    Distortion(flip=0.5),
    Distortion(flip_vertical=0.5),
    Distortion(translation=500),
    Distortion(scaling=0.9, squeeze=0.9, shear=10),
    EVERYTHING,
]


@pytest.fixture(autouse=True)
def default_threads():
    yield
    set_num_threads(None)


def some_images(count, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def draws_of(distortion, seed, epoch, count):
    keys = reference.distortion_keys(seed, epoch, count)
    return [reference.distortion_draws(int(key), distortion.to_dict()) for key in keys]


def reach(key, settings, H, W):
    """Return the maximum distance of positions from the center, in pixels.

    They are rounded relative to it.
    """
    draws = reference.distortion_draws(key, settings)
    if not draws["distorted"]:
        return 0
    field = reference.distortion_field(key, settings, H, W) if settings["elastic"] else np.zeros(1)
    steepest = abs(reference.distortion_map(draws)).max()
    return steepest * (max(H, W) + settings["translation"]) + abs(field).max()


class TestWarp:
    @in_one_test
    @pytest.mark.parametrize(
        "shape",
        [(1, 28, 28), (1, 32, 32), (3, 13, 21), (2, 5, 48), (1, 1, 1), (1, 40, 3), (4, 2, 17)],
    )
    @pytest.mark.parametrize("distortion", EACH, ids=str)
    def test_is_the_reference(self, distortion, shape):
        images = some_images(5, *shape)
        warped = distortion(images, seed=3, epoch=2)
        assert warped.dtype == np.float32 and warped.shape == images.shape
        for image, result, key in zip(
            images, warped, reference.distortion_keys(3, 2, 5), strict=True
        ):
            expected = reference.distort(image, int(key), distortion.to_dict())
            # A position has a rounding error of some 1e-5 pixels where the map is steep, times the
            # slope of the image.
            slope = 255 * reach(int(key), distortion.to_dict(), *shape[1:])
            assert_allclose(result, expected, rtol=0, atol=1e-3 + 1e-6 * slope)

    def test_of_nothing_is_the_image(self):
        images = some_images(20, 2, 9, 30)
        assert_array_equal(Distortion()(images, 0), images)
        assert_array_equal(EVERYTHING.for_epoch(0).distortion, EVERYTHING)
        assert_array_equal(
            Distortion(rotation=90, elastic=50, flip=1, probability=0)(images, 0), images
        )

    def test_a_flip_mirrors(self):
        images = some_images(20, 2, 9, 30)
        assert_array_equal(Distortion(flip=1)(images, 0), images[..., ::-1])

    def test_stays_within_gray_levels(self):
        warped = EVERYTHING(some_images(50, 1, 20, 20), 0)
        assert warped.min() >= 0 and warped.max() <= 255

    def test_takes_any_memory_order(self):
        images = some_images(9, 12, 12, 2).transpose(0, 3, 1, 2)
        assert_array_equal(EVERYTHING(images, 0), EVERYTHING(images.copy(), 0))

    def test_of_no_image(self):
        assert EVERYTHING(some_images(0, 1, 5, 6), 0).shape == (0, 1, 5, 6)
        assert EVERYTHING(some_images(4, 1, 5, 6), 0, index=np.array([], int)).shape == (0, 1, 5, 6)


class TestDraws:
    COUNT = 4000

    def test_reach_their_ranges_on_both_sides(self):
        draws = draws_of(EVERYTHING, 0, 0, self.COUNT)
        for name, low, high in (
            ("right", -2.5, 2.5),
            ("down", -2.5, 2.5),
            ("scaling", 0.8, 1.2),
            ("squeeze", 0.85, 1.15),
            ("shear", -0.3, 0.3),
            ("rotation", -25, 25),
        ):
            values = np.array([each[name] for each in draws])
            assert low <= values.min() < low + 0.01 * (high - low)
            assert high - 0.01 * (high - low) < values.max() <= high
            # Uniform: mean within five standard errors, and the four quarters as often.
            assert abs(values.mean() - (low + high) / 2) < 5 * (high - low) / np.sqrt(
                12 * self.COUNT
            )
            quarters = np.histogram(values, 4, (low, high))[0]
            assert abs(quarters - self.COUNT / 4).max() < 5 * np.sqrt(self.COUNT * 3 / 16)

    def test_are_independent(self):
        names = ("right", "down", "scaling", "squeeze", "shear", "rotation")
        draws = draws_of(EVERYTHING, 0, 0, self.COUNT)
        values = np.array([[each[name] for name in names] for each in draws])
        both = np.concatenate([values[:-1], values[1:]], axis=1)  # of a sample and of the next one
        off_diagonal = np.corrcoef(both.T) - np.eye(12)
        assert abs(off_diagonal).max() < 5 / np.sqrt(self.COUNT)

    def test_noise_is_uniform_and_independent(self):
        noise = np.array(
            [
                reference.distortion_noise(int(key), 8, 8)
                for key in reference.distortion_keys(0, 0, 500)
            ]
        )
        assert -1 <= noise.min() < -0.999 and 0.999 < noise.max() < 1
        assert abs(noise.mean()) < 5 / np.sqrt(3 * noise.size)
        assert abs(np.corrcoef(noise.reshape(500, -1).T) - np.eye(128)).max() < 5.5 / np.sqrt(500)

    def test_probability_is_the_share_of_the_distorted(self):
        images = some_images(self.COUNT, 1, 4, 4)
        changed = (Distortion(translation=2, probability=0.9)(images, 5) != images).any(
            axis=(1, 2, 3)
        )
        assert abs(changed.mean() - 0.9) < 5 * np.sqrt(0.09 / self.COUNT)

    def test_elastic_moves_pixels_as_far_as_is_said(self):
        settings = EVERYTHING.to_dict() | {"elastic": 30.0, "elastic_sigma": 4.0}
        keys = reference.distortion_keys(0, 0, 20)
        moves = [reference.distortion_field(int(key), settings, 64, 64) for key in keys]
        # 40 fields of some five independent places each: three standard errors.
        assert np.std(np.array(moves)[:, :, 16:48, 16:48]) == pytest.approx(
            0.041 * 30, rel=3 / np.sqrt(2 * 40 * 5)
        )

    def test_differ_by_seed_epoch_and_sample(self):
        image = np.repeat(some_images(1, 1, 16, 16), 3, axis=0)
        warps = [EVERYTHING(image, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
        distinct = {
            each.tobytes() for warp in warps for each in warp if not np.array_equal(each, image[0])
        }
        assert len(distinct) > 6
        assert not np.array_equal(EVERYTHING(image, 0, 1), EVERYTHING(image, 1, 0))

    def test_of_a_sample_do_not_depend_on_the_others(self):
        images = some_images(70, 1, 16, 18)
        whole = EVERYTHING(images, 7, 3)
        order = np.random.default_rng(0).permutation(70)
        assert_array_equal(EVERYTHING(images, 7, 3, order), whole[order])
        for number in (0, 1, 33, 69):
            assert_array_equal(EVERYTHING(images, 7, 3, np.array([number])), whole[[number]])
        assert_array_equal(EVERYTHING(images[:40], 7, 3), whole[:40])

    @pytest.mark.parametrize("threads", [2, 3, 8])
    def test_do_not_depend_on_threads(self, threads):
        images = some_images(300, 1, 28, 28)
        set_num_threads(1)
        alone = EVERYTHING(images, 1)
        set_num_threads(threads)
        assert_array_equal(EVERYTHING(images, 1), alone)

    def test_take_seeds_of_any_size(self):
        image = some_images(20, 1, 8, 8)
        assert not np.array_equal(EVERYTHING(image, 2**100), EVERYTHING(image, 2**100 + 1))


def models():
    compiled = LeNet5(rng=1, input_size=20)
    partly = Sequential(
        Conv2d(1, 3, 5, rng=0), BatchNorm2d(3), ReLU(), Flatten(), Linear(768, 10, rng=1)
    )
    return compiled, partly


class TestTraining:
    SCALE = np.float32(0.0123)

    def data(self, count, seed=0):
        offset = np.random.default_rng(seed).normal(size=(1, 20, 20)).astype(np.float32)
        return some_images(count, 1, 20, 20), np.arange(count) % 10, offset

    @in_one_test
    @pytest.mark.parametrize("which", [0, 1])
    @pytest.mark.parametrize("batch", [1, 5, 16, 50, 1100])
    @pytest.mark.parametrize("indexed", [False, True])
    def test_a_step_is_what_one_does_by_hand(self, which, batch, indexed):
        images, labels, offset = self.data(batch + 3)
        if indexed:
            index = np.random.default_rng(1).integers(0, batch + 3, batch)
        else:
            images, labels, index = images[:batch], labels[:batch], None
        labels = labels if index is None else labels[index]
        one, other, loss = models()[which], models()[which], CrossEntropyLoss()
        x = EVERYTHING(images, 4, 2, index) * self.SCALE + offset
        logits = other.forward(x, training=True)
        value, dy = loss(logits, labels)
        other.backward(dy)
        samples = Samples(images, index, self.SCALE, offset, EVERYTHING.for_epoch(4, 2))
        got, _ = one.train_step(samples, labels, loss)
        assert got == pytest.approx(value, rel=1e-6)
        assert_array_equal(one.grad_vector, other.grad_vector)

    @pytest.mark.parametrize("which", [0, 1])
    @pytest.mark.parametrize("batch_size", [7, 16, 300])
    def test_steps_are_single_steps(self, which, batch_size):
        images, labels, offset = self.data(310)
        order = np.random.default_rng(2).permutation(310)[:301]
        loss, rates = CrossEntropyLoss(), [0.05] * -(-301 // batch_size)
        samples = Samples(images, order, self.SCALE, offset, EVERYTHING.for_epoch(0, 1))
        one, other = models()[which], models()[which]
        optimizer = SGD(one, 0.05, 0.9)
        for start in range(0, 301, batch_size):
            batch = slice(start, start + batch_size)
            one.train_step(samples[batch], labels[order[batch]], loss)
            optimizer.step()
        other.train_steps(
            samples, labels[order], loss, SGD(other, 0.05, 0.9), rates, batch_size=batch_size
        )
        assert_array_equal(one.vector, other.vector)

    @pytest.mark.parametrize("threads", [2, 3, 8])
    @pytest.mark.parametrize("batch", [5, 40, 1100])
    def test_bits_do_not_depend_on_threads(self, batch, threads):
        images, labels, offset = self.data(batch)
        vectors = []
        for count in (1, threads):
            set_num_threads(count)
            model = models()[0]
            samples = Samples(images, None, self.SCALE, offset, EVERYTHING.for_epoch(1))
            model.train_step(samples, labels, CrossEntropyLoss())
            vectors.append(model.grad_vector.copy())
        assert_array_equal(*vectors)

    def test_of_nothing_is_training_as_ever(self):
        images, labels, offset = self.data(100)
        one, other = models()[0], models()[0]
        plain = Samples(images, None, self.SCALE, offset)
        nothing = Samples(images, None, self.SCALE, offset, Distortion().for_epoch(1))
        loss = CrossEntropyLoss()
        assert one.train_step(plain, labels, loss) == other.train_step(nothing, labels, loss)
        assert_array_equal(one.grad_vector, other.grad_vector)

    def test_float_samples_are_refused(self):
        images, _, offset = self.data(20)
        with pytest.raises(TypeError, match="uint8 to be distorted, got float32"):
            Samples(images.astype(np.float32), distortion=EVERYTHING.for_epoch(1))
        with pytest.raises(TypeError, match=r"for_epoch.* got a Distortion"):
            Samples(images, offset=offset, distortion=EVERYTHING)

    def test_flat_samples_are_refused(self):
        images = np.zeros((4, 9), np.uint8)
        with pytest.raises(TypeError, match=r"images \(N, C, H, W\)"):
            Samples(images, offset=np.zeros(9), distortion=EVERYTHING.for_epoch(1))


def trainer(data, distortion, epochs=2):
    model = LeNet5(rng=1)
    return Trainer(
        model,
        Adam(model, 1e-3),
        Constant(1e-3),
        CrossEntropyLoss(),
        Preparation.named("default"),
        data,
        data.take(np.arange(50)),
        batch_size=64,
        epochs=epochs,
        seed=3,
        distortion=distortion,
    )


def all_bytes(trained):
    values, arrays = trained.state()
    return {name: array.tobytes() for name, array in arrays.items()}, values


class TestTrainer:
    def test_sees_other_images_in_each_epoch(self, mnist_slice, monkeypatch):
        run, seen = trainer(mnist_slice[0].take(np.arange(100)), Distortion.named("modern")), []
        original = run.model.train_steps
        monkeypatch.setattr(
            run.model,
            "train_steps",
            lambda samples, *args, **options: (
                seen.append(samples.distortion),
                original(samples, *args, **options),
            ),
        )
        run.run()
        assert {(each.seed, each.epoch) for each in seen} == {(3, 0), (3, 1)}

    @pytest.mark.parametrize("steps", [1, 9, 16, 20])
    def test_stopped_and_resumed_is_the_same_to_the_bit(self, mnist_slice, steps):
        data = mnist_slice[0].take(np.arange(1000))
        whole = trainer(data, EVERYTHING)
        assert whole.run()
        first, left = trainer(data, EVERYTHING), iter(range(steps, 0, -1))
        first.stretch_seconds = 0
        assert not first.run(stop=lambda: next(left) == 1)
        state = copy.deepcopy(first.state())
        second = trainer(data, EVERYTHING)
        second.load_state(*state)
        assert second.run()
        assert all_bytes(second) == all_bytes(whole)
        assert all_bytes(whole) != all_bytes(trained_without(data))

    def test_names_what_is_not_finite_with_the_images_it_saw(self, mnist_slice):
        run = trainer(mnist_slice[0], EVERYTHING)
        run.model["fc2"].params["weight"] = np.full((84, 120), 3e38)
        with pytest.raises(NonFiniteError, match=r"at step 1 \(epoch 1\): the output of layer fc2"):
            run.run()

    def test_never_distorts_what_it_validates_on(self, mnist_slice):
        """Shift all training images out of the frame: only validation images are recognized."""
        data = Dataset(np.full((64, 1, 32, 32), 255, np.uint8), np.zeros(64, int), 10)
        seen = []
        run = trainer(data, Distortion(translation=1000), epochs=1)
        original = run.model.outputs
        run.model.outputs = lambda samples, **options: (
            seen.append(options),
            original(samples, **options),
        )[1]
        run.run()
        assert seen and all("distort" not in options for options in seen)


def trained_without(data):
    run = trainer(data, None)
    run.run()
    return run


class TestSettings:
    @in_one_test
    @pytest.mark.parametrize(
        "name, value, error",
        [
            ("translation", -1, ValueError),
            ("translation", 1025, ValueError),
            ("scaling", 0.95, ValueError),
            ("squeeze", 1, ValueError),
            ("shear", -0.1, ValueError),
            ("rotation", 181, ValueError),
            ("elastic", float("nan"), ValueError),
            ("elastic", float("inf"), ValueError),
            ("elastic_sigma", 0, ValueError),
            ("elastic_sigma", 100, ValueError),
            ("flip", 1.5, ValueError),
            ("flip_vertical", -1, ValueError),
            ("crop_padding", 1.5, ValueError),
            ("crop_padding", -1, ValueError),
            ("crop", 1, ValueError),
            ("outside", "white", ValueError),
            ("outside", 0, ValueError),
            ("brightness", 1.1, ValueError),
            ("contrast", float("nan"), ValueError),
            ("saturation", -0.1, ValueError),
            ("hue", 200, ValueError),
            ("grayscale", 2, ValueError),
            ("erasing", "yes", TypeError),
            ("erasing_area", 1.5, ValueError),
            ("mixup", 11, ValueError),
            ("mixup", 1e-9, ValueError),
            ("probability", -0.5, ValueError),
            ("probability", "0.5", TypeError),
            ("flip", True, TypeError),
            ("shear", None, TypeError),
        ],
    )
    def test_are_checked(self, name, value, error):
        with pytest.raises(error, match=name):
            Distortion(**{name: value})

    @pytest.mark.parametrize("name", Distortion.NAMES)
    def test_survive_json(self, name):
        distortion = Distortion.named(name)
        assert distortion != Distortion()
        assert Distortion.from_dict(json.loads(json.dumps(distortion.to_dict()))) == distortion

    def test_an_unknown_name_is_refused(self):
        with pytest.raises(ValueError, match="name must be one of paper1998, .*, got 'wild'"):
            Distortion.named("wild")

    def test_dicts_from_files_are_checked(self):
        values = Distortion().to_dict()
        with pytest.raises(TypeError, match="values must be a dict, got list"):
            Distortion.from_dict([1])
        with pytest.raises(ValueError, match="values must only have .*got 'sheer'"):
            Distortion.from_dict(
                {name if name != "shear" else "sheer": value for name, value in values.items()}
            )
        with pytest.raises(TypeError, match="rotation"):
            Distortion.from_dict(values | {"rotation": [5]})

    @pytest.mark.parametrize(
        "seed, epoch, error, text",
        [
            (-1, 0, ValueError, "seed must not be negative, got -1"),
            (0, -2, ValueError, "epoch must not be negative, got -2"),
            (0.5, 0, TypeError, "seed must be an int, got 0.5"),
            (0, True, TypeError, "epoch must be an int, got True"),
        ],
    )
    def test_seed_and_epoch_are_checked(self, seed, epoch, error, text):
        with pytest.raises(error, match=text):
            Distortion().for_epoch(seed, epoch)

    def test_an_epoch_that_was_used_can_be_pickled(self):
        images = np.arange(128, dtype=np.uint8).reshape(2, 1, 8, 8)
        used = Distortion(rotation=20).for_epoch(3, 1)
        expected = used(images)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(used))(images), expected)

    def test_an_epoch_needs_a_distortion(self):
        with pytest.raises(TypeError, match="distortion must be a Distortion, got dict"):
            EpochDistortion({}, 0)

    @pytest.mark.parametrize(
        "images", [np.zeros((2, 1, 4, 4), np.float32), np.zeros((4, 4), np.uint8), [[1]]], ids=repr
    )
    def test_images_are_checked(self, images):
        with pytest.raises((TypeError, ValueError), match="images must (be|have)"):
            Distortion()(images, 0)

    def test_images_of_too_many_pixels_are_refused(self):
        image = np.zeros((1, 1, 1, 2**23), np.uint8)
        with pytest.raises(
            ValueError, match="fewer than 16777216 pixels to be distorted, got 1 by 8388608"
        ):
            Distortion()(image, 0)
        samples = Samples(image, None, 1.0, np.zeros(2**23), Distortion().for_epoch(0))
        with pytest.raises(
            ValueError, match="fewer than 16777216 pixels to be distorted, got 1 by 8388608"
        ):
            Sequential(AvgPool2d((1, 2**20)), Flatten(), Linear(8, 2, rng=0)).train_step(
                samples, np.zeros(1, int), CrossEntropyLoss()
            )

    @pytest.mark.parametrize(
        "index, error",
        [([5], IndexError), ([-1], IndexError), ([0.5], ValueError), ([[0]], ValueError)],
    )
    def test_index_is_checked(self, index, error):
        with pytest.raises(error, match="index"):
            Distortion()(some_images(5, 1, 4, 4), 0, index=np.array(index))
