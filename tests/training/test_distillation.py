"""Soft targets from trained models."""

from dataclasses import replace

import numpy as np
import pytest

from lenet5c import reference
from lenet5c.datasets import Distortion
from lenet5c.errors import RunError
from lenet5c.recipes import trainer
from lenet5c.training import add_soft_targets, open_model
from lenet5c.training.distillation import DistillationTargets


@pytest.fixture(scope="module")
def models(mnist_slice):
    """Return two different models, trained briefly."""
    made = [trainer("fast", data=mnist_slice[0], seed=seed, channels=(4, 8)) for seed in (0, 1)]
    for each in made:
        each.run()
    return [each.trained for each in made]


@pytest.mark.parametrize("temperature, share", [(1.0, 1.0), (3.0, 1.0), (2.0, 0.25)])
def test_targets_are_the_mean_of_the_models(mnist_slice, models, temperature, share):
    data = mnist_slice[0]
    taught = add_soft_targets(data, models, temperature, share)
    said = [
        reference.softmax(model.logits(data.images).astype(np.float64) / temperature)
        for model in models
    ]
    expected = share * np.mean(said, axis=0) + (1 - share) * np.eye(10)[data.labels]
    np.testing.assert_allclose(taught.targets, expected, atol=1e-6)
    assert taught.targets.dtype == np.float32 and taught.images is data.images
    assert np.array_equal(taught.labels, data.labels)


def test_the_temperature_of_a_model_has_no_effect(mnist_slice):
    data, model = mnist_slice[0].take(range(20)), open_model()
    before = add_soft_targets(data, [model]).targets
    model.temperature *= 5
    assert np.array_equal(add_soft_targets(data, [model]).targets, before)


def test_targets_are_taught_again(mnist_slice, models):
    data = mnist_slice[0].take(range(30))
    twice = add_soft_targets(add_soft_targets(data, models[:1]), models[1:], share=0.5)
    np.testing.assert_allclose(twice.targets, add_soft_targets(data, models).targets, atol=1e-6)


def test_a_net_learns_from_them(mnist_slice):
    data = mnist_slice[0]
    unlabeled = add_soft_targets(data, [open_model()])
    student = trainer("fast", data=unlabeled, epochs=4, label_smoothing=0)
    student.run()
    assert (student.trained.predict(data.images) == data.labels).mean() > 0.7


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"teachers": []}, "teachers must contain at least one model"),
        ({"temperature": 0.0}, "temperature must be a number greater than 0, got 0.0"),
        ({"temperature": np.inf}, "temperature must be"),
        ({"share": 0.0}, "share must be greater than 0"),
        ({"share": 1.5}, "share must be greater than 0 and at most 1, got 1.5"),
    ],
)
def test_arguments_out_of_range(mnist_slice, models, changes, message):
    with pytest.raises(ValueError, match=message):
        add_soft_targets(mnist_slice[0], **{"teachers": models} | changes)


def test_other_classes_are_refused(mnist_slice, models):
    data = mnist_slice[0]
    named = replace(data, class_names=tuple("abcdefghij"))
    with pytest.raises(RunError, match="teachers must have the classes"):
        add_soft_targets(named, models)


def test_targets_of_the_augmented_images(mnist_slice, models):
    distortion = Distortion.named("modern")
    student = trainer("fast", data=mnist_slice[0], distortion=distortion.to_dict())
    taught = DistillationTargets(student.train_set, student.loss, 32, models, 2.0)
    index = np.array([5, 1999, 17])
    for epoch in (0, 3):
        drawn = distortion.for_epoch(7, epoch)
        targets, weight = taught.for_steps(index, drawn)
        seen = drawn(student.train_set.images, index)
        said = [
            each.model.forward(
                seen * np.float32(each.preparation.scale) + each.preparation.offset(1)
            )
            for each in models
        ]
        expected = np.mean([reference.softmax(each.astype(np.float64) / 2) for each in said], 0)
        np.testing.assert_allclose(targets, expected, atol=1e-5)
        assert weight is None and len(taught.drawn) == 1  # it does not repeat


def test_draws_are_kept_where_they_repeat(mnist_slice, models):
    student = trainer("fast", data=mnist_slice[0], epochs=5, distortion="modern", draws=2)
    student.targets = taught = DistillationTargets(
        student.train_set, student.loss, student.batch_size, models, draws=2
    )
    drawn = []
    student.run(on_epoch=lambda trainer, row: drawn.append(trainer.epoch_distortion().epoch))
    assert drawn == [1, 0, 1, 0, 1] and sorted(taught.drawn) == [(0, 0), (0, 1)]
    plain = DistillationTargets(student.train_set, student.loss, 64, models)
    expected = add_soft_targets(mnist_slice[0], models).targets[:9]
    np.testing.assert_allclose(plain.for_steps(np.arange(9), None)[0], expected, atol=1e-6)


def test_teachers_of_other_images_are_refused(mnist_slice, models):
    student = trainer("fast", data=mnist_slice[0], input_size=32, fit="resize")
    with pytest.raises(
        ValueError, match=r"teachers must have the input size of the student, \(1, 32, 32\)"
    ):
        DistillationTargets(student.train_set, student.loss, 64, models, fit="resize")
