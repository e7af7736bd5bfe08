"""The training loop: learning, order, history, and errors."""

from types import SimpleNamespace

import numpy as np
import pytest
from trainers import MAKE, all_bytes, lenet_trainer, sdlm_trainer

from lenet5c import set_num_threads
from lenet5c.datasets import Dataset, Preparation
from lenet5c.nn import CrossEntropyLoss, Flatten, LeNet5, Linear, MSELoss, Sequential
from lenet5c.optim import SDLM, SGD, Constant
from lenet5c.recipes import recipe
from lenet5c.training import NonFiniteError, Trainer, evaluate


@pytest.fixture(autouse=True)
def default_threads():
    yield
    set_num_threads(None)


def test_two_epochs_of_mnist_reach_98_percent():
    from lenet5c.datasets import mnist

    train, test = mnist()
    trainer, trained = recipe("fast", validation=5000).build(train, seed=0)
    assert trainer.run()
    assert evaluate(trained.model, test, trained.preparation).accuracy > 0.98
    assert trainer.history[-1]["validation_accuracy"] > 0.98


@pytest.mark.parametrize(
    "loss, epochs, least",
    [
        (CrossEntropyLoss(), 6, 0.95),
        (CrossEntropyLoss(label_smoothing=0.1), 6, 0.95),
        (MSELoss(), 15, 0.8),
    ],
)
def test_a_few_epochs_fit_a_small_set(mnist_slice, loss, epochs, least):
    trainer = lenet_trainer(mnist_slice[0], epochs=epochs, loss=loss)
    trainer.run()
    losses = [row["train_loss"] for row in trainer.history]
    assert losses[-1] < losses[0]
    assert trainer.history[-1]["train_accuracy"] > least


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize("make", MAKE)
def test_bits_do_not_depend_on_threads(mnist_slice, make, threads):
    set_num_threads(1)
    alone = make(mnist_slice[0])
    alone.run()
    set_num_threads(threads)
    together = make(mnist_slice[0])
    together.run()
    assert all_bytes(alone) == all_bytes(together)


def test_every_sample_is_seen_once_an_epoch_in_a_new_order(mnist_slice, monkeypatch):
    trainer = lenet_trainer(mnist_slice[0].take(np.arange(101)), epochs=2)
    seen = []

    def train_steps(samples, labels, loss, optimizer, rates, *, batch_size, record, **_):
        assert -(-len(samples) // batch_size) == len(rates)
        seen.append(samples.index)
        record.taken = len(rates)

    monkeypatch.setattr(trainer.model, "train_steps", train_steps)
    trainer.run()
    first, second = np.split(np.concatenate(seen), 2)
    assert sorted(first) == sorted(second) == list(range(101))
    assert (first != second).any()


def test_history_counts_the_short_last_batch_by_its_size(mnist_slice, monkeypatch):
    trainer = lenet_trainer(mnist_slice[0].take(np.arange(96)), epochs=1)
    trainer.stretch_seconds = 0
    results = iter([(1.0, 64), (4.0, 0)])

    def train_steps(*_, record, **__):
        record.losses[0], record.correct = next(results)
        record.taken = 1

    monkeypatch.setattr(trainer.model, "train_steps", train_steps)
    trainer.run()
    assert trainer.history[0]["train_loss"] == pytest.approx((64 * 1 + 32 * 4) / 96)
    assert trainer.history[0]["train_accuracy"] == pytest.approx(64 / 96)


@pytest.mark.parametrize("distortion", [SimpleNamespace(warp=None), "modern", False])
def test_what_is_no_distortion_is_refused(mnist_slice, distortion):
    model = LeNet5(rng=0)
    arguments = SGD(model, 0.1), Constant(0.1), CrossEntropyLoss(), Preparation.named("default")
    with pytest.raises(TypeError, match="distortion must be a Distortion or None, got "):
        Trainer(
            model, *arguments, mnist_slice[0], None, batch_size=10, epochs=1, distortion=distortion
        )


def test_overflow_names_the_step_and_the_layer(mnist_slice):
    trainer = lenet_trainer(mnist_slice[0], epochs=1)
    trainer.model["fc2"].params["weight"] = np.full((84, 120), 3e38)
    with pytest.raises(NonFiniteError, match=r"at step 1 \(epoch 1\): the output of layer fc2"):
        trainer.run()


def test_a_broken_parameter_is_named(mnist_slice):
    trainer = lenet_trainer(mnist_slice[0], epochs=1)
    trainer.stretch_seconds = 0

    def break_it(trainer, samples):
        if trainer.step == 2:
            trainer.model["conv2"].params["bias"][3] = np.nan

    with pytest.raises(
        NonFiniteError, match=r"step 3 .*conv2\.bias is not finite since the previous step"
    ):
        trainer.run(on_step=break_it)


def test_weights_that_break_in_the_last_step_are_noticed(mnist_slice):
    trainer = lenet_trainer(mnist_slice[0], epochs=1)
    trainer.stretch_seconds = 0

    def break_it(trainer, samples):
        if trainer.step == trainer.steps_per_epoch:
            trainer.model["fc3"].params["weight"][0, 0] = np.inf

    with pytest.raises(NonFiniteError, match="fc3.weight"):
        trainer.run(on_step=break_it)


def test_evaluation_counts_and_averages(mnist_slice):
    images = mnist_slice[1].images[:5]
    model = Sequential(Flatten(), Linear(1024, 3, rng=0))
    model["1"].params["weight"] = np.zeros((3, 1024))
    model["1"].params["bias"] = np.array([0, 2, 0])
    result = evaluate(
        model, Dataset(images, np.array([1, 1, 0, 2, 1]), 3), Preparation.named("default")
    )
    wrong = np.log(2 + np.exp(2))
    assert (result.correct, result.count, result.accuracy) == (3, 5, 0.6)
    assert result.loss == pytest.approx((3 * (wrong - 2) + 2 * wrong) / 5, rel=1e-6)
    assert str(result) == "60.00% (3/5)"


class Measuring(SDLM):
    """Records the samples on which it measures."""

    def estimate(self, samples, labels, loss, sample_weight):
        super().estimate(samples, labels, loss, sample_weight)
        drawn = (self.steps, samples.index, labels, self.curvature)
        self.drawn = [*getattr(self, "drawn", []), drawn]


def test_sdlm_measures_before_each_epoch(mnist_slice):
    trainer = sdlm_trainer(mnist_slice[0], epochs=3)
    trainer.optimizer = Measuring(trainer.model, 1.0, samples=60)
    trainer.run()
    drawn = trainer.optimizer.drawn
    assert [steps for steps, *_ in drawn] == [0, 150, 300]
    for _, index, labels, _ in drawn:
        assert len(set(index)) == 60  # no sample twice
        np.testing.assert_array_equal(labels, trainer.train_set.labels[index])
    assert (drawn[0][1] != drawn[1][1]).any()
    assert (drawn[0][3] != drawn[1][3]).any()


def test_sdlm_measures_on_all_samples_if_there_are_few(mnist_slice):
    trainer = sdlm_trainer(mnist_slice[0], epochs=1)
    trainer.optimizer = Measuring(trainer.model, 1.0, samples=500)
    trainer.run()
    assert sorted(trainer.optimizer.drawn[0][1]) == list(range(150))


def test_a_curvature_that_is_not_finite_ends_the_run(mnist_slice):
    trainer = sdlm_trainer(mnist_slice[0])
    trainer.model[7].params["weight"][:] = 1e30
    with pytest.raises(
        NonFiniteError,
        match="before epoch 1: curvature of 0.weight must be .* got (inf|nan); check the ",
    ):
        trainer.run()


@pytest.mark.parametrize("order, equal", [("constant", True), ("reshuffled", False)])
def test_order(mnist_slice, monkeypatch, order, equal):
    """'constant' repeats the order of the first epoch, and that is the one of 'reshuffled'."""
    trainer = sdlm_trainer(mnist_slice[0], epochs=3, order=order)
    seen = []
    original = trainer.model.train_steps
    monkeypatch.setattr(
        trainer.model,
        "train_steps",
        lambda samples, *args, **options: (
            seen.append(samples.index) or original(samples, *args, **options)
        ),
    )
    trainer.run()
    first, second, third = np.split(np.concatenate(seen), 3)
    assert sorted(first) == sorted(second) == sorted(third) == list(range(150))
    assert (first == second).all() == (second == third).all() == equal
    np.testing.assert_array_equal(first, np.random.default_rng([3, 1, 0]).permutation(150))


def test_an_unknown_order_is_an_error(mnist_slice):
    with pytest.raises(ValueError, match="order must be one of reshuffled, constant, got 'sorted'"):
        sdlm_trainer(mnist_slice[0], order="sorted")


@pytest.mark.parametrize(
    "change, word",
    [
        ({"keep": "first"}, "keep must be one of last, best, got 'first'"),
        ({"keep": "best"}, "validation_set must be a Dataset for keep 'best', got None"),
        ({"patience": 3}, "validation_set must be a Dataset for patience 3"),
        ({"patience": -1}, "patience must be .* got -1"),
        ({"patience": 1.5}, "patience must be .* got 1.5"),
        ({"seed": "a"}, "seed must be an integer of at least 0, got 'a'"),
        ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
        ({"average": 1}, "average must be .* got 1"),
        ({"average": -0.1}, "average must be .* got -0.1"),
        ({"average": float("nan")}, "average must be .* got nan"),
    ],
)
def test_impossible_settings(mnist_slice, change, word):
    with pytest.raises(ValueError, match=word):
        lenet_trainer(mnist_slice[0], **change)


def test_an_optimizer_of_another_model_is_refused(mnist_slice):
    trainer = lenet_trainer(mnist_slice[0])
    with pytest.raises(ValueError, match="optimizer must belong to the model .* SGD.model, "):
        Trainer(
            trainer.model,
            SGD(LeNet5(rng=1), 0.1),
            Constant(0.1),
            CrossEntropyLoss(),
            trainer.preparation,
            mnist_slice[0],
            None,
            batch_size=64,
            epochs=1,
        )


def test_a_trainer_runs_once_at_a_time(mnist_slice):
    trainer = lenet_trainer(mnist_slice[0], epochs=1)
    with pytest.raises(RuntimeError, match="trainer must not be running"):
        trainer.run(on_epoch=lambda trainer, row: trainer.run())
    assert trainer.run()


def test_validation_outputs_that_are_not_finite_end_the_run(mnist_slice):
    trainer = lenet_trainer(mnist_slice[0], average=0.9)
    trainer.validation_set = trainer.train_set

    def overflow(trainer, samples):
        if trainer.step == trainer.steps_per_epoch:
            trainer.average.vector[:] = 1e38

    with pytest.raises(NonFiniteError, match="after epoch 1: outputs of the model must be finite"):
        trainer.run(on_step=overflow)
