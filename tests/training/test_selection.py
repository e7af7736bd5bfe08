"""Selection of the best epoch: kept weights, patience, rates on a plateau."""

import copy

import numpy as np
import pytest
from trainers import selective_trainer

from lenet5c.datasets import Preparation
from lenet5c.nn import CrossEntropyLoss, LeNet5
from lenet5c.optim import SGD, ReduceOnPlateau
from lenet5c.training import Trainer, evaluate
from lenet5c.training.selection import best_row, epochs_since_best


def test_the_best_weights_are_kept(mnist_slice, monkeypatch):
    """Weights and buffers of the epoch with the highest accuracy, though later ones are worse."""
    trainer = selective_trainer(mnist_slice[0], epochs=5, average=0)
    states = []

    def spoil(trainer, row):
        states.append(copy.deepcopy(trainer.model.state_dict()))
        if len(states) == 4:
            trainer.model.vector[:] = -trainer.model.vector

    assert trainer.run(on_epoch=spoil)
    accuracies = [row["validation_accuracy"] for row in trainer.history]
    best = trainer.kept_row["epoch"]
    assert accuracies[best - 1] == max(accuracies) and best < 5
    result = trainer.model.state_dict()
    assert result.keys() == states[best - 1].keys()
    for name, array in states[best - 1].items():
        np.testing.assert_array_equal(result[name], array)
    assert evaluate(trainer.model, trainer.validation_set, trainer.preparation).accuracy == max(
        accuracies
    )


def rows(*figures):
    return [
        {"validation_accuracy": accuracy, "validation_loss": loss} for accuracy, loss in figures
    ]


@pytest.mark.parametrize(
    "figures, best, since",
    [
        ([(0.9, 0.3)], 0, 0),
        ([(0.9, 0.3), (0.91, 0.4)], 1, 0),
        ([(0.9, 0.3), (0.9, 0.2), (0.9, 0.2)], 1, 1),
        ([(0.9, 0.3), (0.8, 0.1), (0.85, 0.1)], 0, 2),
    ],
)
def test_which_epoch_is_the_best(figures, best, since):
    history = rows(*figures)
    assert best_row(history) is history[best]
    assert epochs_since_best(history) == since
    assert best_row([]) is None and epochs_since_best([]) == 0


def test_patience_ends_a_run_also_a_resumed_one(mnist_slice):
    def spoil(trainer, row):
        if row["epoch"] >= 2:  # no longer any better than chance
            trainer.model.vector[:] = 0

    trainer = selective_trainer(mnist_slice[0], epochs=9, average=0, patience=2)
    assert trainer.run(on_epoch=spoil)
    best = trainer.kept_row["epoch"]
    assert best in (1, 2) and trainer.epoch == best + 2 and trainer.done
    again = selective_trainer(mnist_slice[0], epochs=9, average=0, patience=2)
    again.load_state(*trainer.state())
    assert again.done and again.run()
    assert again.epoch == trainer.epoch
    np.testing.assert_array_equal(again.model.vector, trainer.model.vector)


def test_the_rate_follows_the_plateau(mnist_slice):
    trainer = selective_trainer(mnist_slice[0], epochs=6)
    trainer.run()
    losses = [row["validation_loss"] for row in trainer.history]
    assert [row["lr"] for row in trainer.history] == [
        trainer.schedule(0, losses[:epoch]) for epoch in range(6)
    ]
    assert trainer.optimizer.lr == trainer.history[-1]["lr"]


def test_a_plateau_needs_a_validation_set(mnist_slice):
    model = LeNet5(rng=1)
    with pytest.raises(
        ValueError, match="validation_set must be a Dataset for schedule ReduceOnPlateau"
    ):
        Trainer(
            model,
            SGD(model, 0.1),
            ReduceOnPlateau(0.1),
            CrossEntropyLoss(),
            Preparation.named("default"),
            mnist_slice[0],
            None,
            batch_size=64,
            epochs=1,
        )
