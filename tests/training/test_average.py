"""The running average of the weights."""

import numpy as np
import pytest
from trainers import averaging_trainer

import lenet5c
from lenet5c.nn import Linear
from lenet5c.training import evaluate
from lenet5c.training.average import WeightAverage

#: Without repeats and rehearsal.
SHORT = {"epochs": 1, "epoch_images": 0, "rehearse": "none", "distortion": "none", "batch_size": 64}


def test_the_average_is_the_average(mnist_slice):
    """The mean of the parameters after every second step, in float64, however steps are grouped."""
    trainer = averaging_trainer(mnist_slice[0])  # 29 steps an epoch
    every = trainer.average.every
    expected = trainer.model.vector.astype(np.float64)
    seen = []

    def look(trainer, samples):
        nonlocal expected
        steps = trainer.steps_taken
        if steps % every == 0:
            seen.append(steps)
            decay = min(0.95, (1 + steps) / (10 + steps)) ** every
            expected = decay * expected + (1 - decay) * trainer.model.vector

    trainer.run(on_step=look)
    assert every == 2 and seen == list(range(2, 58 + 1, 2))
    np.testing.assert_allclose(trainer.average.vector, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(trainer.model.vector, trainer.average.vector)


def test_the_average_is_of_16_updates_an_epoch_or_more():
    model = Linear(3, 2, rng=0)
    for steps, every in ((1, 1), (16, 1), (17, 2), (240, 15), (241, 16), (100_000, 16)):
        assert WeightAverage(model, 0.5, steps).every == every


def test_a_run_of_few_steps_does_not_keep_the_weights_it_began_with(mnist_slice):
    train, _ = mnist_slice
    start = lenet5c.training.open_model().model.vector
    for count in (50, 150):  # one step and three
        trainer = lenet5c.trainer("finetune", train.take(range(count)), start="best", **SHORT)
        raw = []
        trainer.run(on_step=lambda trainer, _, raw=raw: raw.append(trainer.model.vector.copy()))
        expected = start.astype(np.float64)
        for n, vector in enumerate(raw, 1):
            decay = (1 + n) / (10 + n)
            expected = decay * expected + (1 - decay) * vector
        assert len(raw) == trainer.steps_taken == (count + 63) // 64
        np.testing.assert_allclose(trainer.model.vector, expected, rtol=1e-5, atol=1e-6)
        assert np.abs(trainer.model.vector - start).max() > 1e-4


def test_the_average_is_what_is_evaluated(mnist_slice):
    trainer = averaging_trainer(mnist_slice[0])
    figures = []

    def look(trainer, row):
        raw = trainer.model.vector.copy()
        with trainer.average.in_place():
            result = evaluate(trainer.model, trainer.validation_set, trainer.preparation)
        assert (trainer.model.vector == raw).all() and (raw != trainer.average.vector).any()
        figures.append(
            (result.loss, result.accuracy, row["validation_loss"], row["validation_accuracy"])
        )

    trainer.run(on_epoch=look)
    assert len(figures) == 2 and all(figure[:2] == figure[2:] for figure in figures)


def test_an_average_that_is_interrupted_gives_the_weights_back():
    model = Linear(3, 2, rng=0)
    average = WeightAverage(model, 0.5, 1)
    model.vector[:] += 1
    raw = model.vector.copy()
    with pytest.raises(KeyboardInterrupt), average.in_place():
        raise KeyboardInterrupt
    np.testing.assert_array_equal(model.vector, raw)
