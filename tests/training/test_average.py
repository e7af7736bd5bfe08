"""The running average of the weights."""

import numpy as np
import pytest
from trainers import averaging_trainer

from lenet5c.nn import Linear
from lenet5c.training import evaluate
from lenet5c.training.average import WeightAverage


def test_the_average_is_the_average(mnist_slice):
    """Of the parameters after each 16th step, in float64, whatever the stretches were."""
    trainer = averaging_trainer(mnist_slice[0])  # 29 steps an epoch
    expected = trainer.model.vector.astype(np.float64)
    seen = []

    def look(trainer, samples):
        nonlocal expected
        steps = trainer.steps_taken
        if steps % WeightAverage.EVERY == 0:
            seen.append(steps)
            decay = min(0.95, (1 + steps) / (10 + steps)) ** WeightAverage.EVERY
            expected = decay * expected + (1 - decay) * trainer.model.vector

    trainer.run(on_step=look)
    assert seen == [16, 32, 48]
    np.testing.assert_allclose(trainer.average.vector, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(trainer.model.vector, trainer.average.vector)


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
    average = WeightAverage(model, 0.5)
    model.vector[:] += 1
    raw = model.vector.copy()
    with pytest.raises(KeyboardInterrupt), average.in_place():
        raise KeyboardInterrupt
    np.testing.assert_array_equal(model.vector, raw)
