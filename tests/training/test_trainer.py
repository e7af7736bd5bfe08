"""The training loop: it learns, it stops and goes on, it reports what went wrong."""

import copy

import numpy as np
import pytest

from lenet5c import set_num_threads
from lenet5c.datasets import Dataset, Preparation
from lenet5c.nn import (
    AvgPool2d,
    BatchNorm1d,
    Conv2d,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    LeNet5,
    Linear,
    MaxPool2d,
    MSELoss,
    ReLU,
    Sequential,
    Tanh,
)
from lenet5c.nn.tile_layer import TileChain
from lenet5c.optim import (
    SDLM,
    SGD,
    Adagrad,
    Adam,
    Constant,
    OneCycle,
    Piecewise,
    ReduceOnPlateau,
    RMSprop,
)
from lenet5c.recipes import recipe
from lenet5c.training import NonFiniteError, Trainer, evaluate
from lenet5c.training.average import WeightAverage
from lenet5c.training.selection import best_row, epochs_since_best


@pytest.fixture(autouse=True)
def default_threads():
    yield
    set_num_threads(None)


def lenet_trainer(data, epochs=2, lr=3e-3, loss=None, **options):
    model = LeNet5(rng=1)
    return Trainer(
        model,
        Adam(model, lr),
        OneCycle(lr, epochs * 32),
        loss or CrossEntropyLoss(),
        Preparation.named("default"),
        data,
        None,
        batch_size=64,
        epochs=epochs,
        seed=3,
        **options,
    )


def random_layers_trainer(data, epochs=2):
    """A model with random layers and buffers outside the compiled core."""
    model = Sequential(
        Conv2d(1, 4, 5, rng=0),
        ReLU(),
        MaxPool2d(4),
        Flatten(),
        BatchNorm1d(196),
        Dropout(0.3, rng=7),
        Linear(196, 10, rng=1),
    )
    return Trainer(
        model,
        SGD(model, 0.05, 0.9),
        Constant(0.05),
        CrossEntropyLoss(),
        Preparation.named("default"),
        data,
        None,
        batch_size=50,
        epochs=epochs,
        seed=3,
    )


def sdlm_trainer(data, epochs=2, order="constant", rate=1.0):
    """One sample a step, in the paper's way, of 150 images; a random layer, and one with statistics."""
    model = Sequential(
        Conv2d(1, 3, 5, rng=0),
        Tanh(),
        AvgPool2d(4),
        Flatten(),
        Linear(147, 12, rng=1),
        Tanh(),
        Dropout(0.2, rng=7),
        Linear(12, 10, rng=2),
    )
    schedule = Piecewise((0.002 * rate, 0.001 * rate), (150,))
    return Trainer(
        model,
        SDLM(model, 1.0, samples=60),
        schedule,
        MSELoss(),
        Preparation.named("default"),
        data.take(np.arange(150)),
        None,
        batch_size=1,
        epochs=epochs,
        seed=3,
        order=order,
    )


def selective_trainer(data, epochs=4, **options):
    """Held-out images, an average, the best weights, a rate that falls on a plateau, random layers and buffers."""
    model = LeNet5(rng=1, batch_norm=True, dropout=0.2)
    rest, held_out = data.split(200, 0)
    options = {"average": 0.9, "keep": "best"} | options
    return Trainer(
        model,
        RMSprop(model, 2e-3),
        ReduceOnPlateau(2e-3, factor=0.5, patience=0),
        CrossEntropyLoss(),
        Preparation.named("default"),
        rest,
        held_out,
        batch_size=50,
        epochs=epochs,
        seed=3,
        **options,
    )


def averaging_trainer(data, epochs=2):
    model = LeNet5(rng=1)
    return Trainer(
        model,
        Adagrad(model, 0.01),
        Constant(0.01),
        CrossEntropyLoss(),
        Preparation.named("default"),
        data,
        data.take(np.arange(100)),
        batch_size=70,
        epochs=epochs,
        seed=3,
        average=0.95,
    )


def all_bytes(trainer):
    values, arrays = trainer.state()
    return {name: array.tobytes() for name, array in arrays.items()}, values


def test_two_epochs_of_mnist_reach_98_percent():
    from lenet5c.datasets import mnist

    train, test = mnist()
    trainer, trained = recipe("fast", validation=5000).build(train, seed=0)
    assert trainer.run()
    assert evaluate(trained.model, test, trained.preparation).accuracy > 0.98
    assert trainer.history[-1]["validation_accuracy"] > 0.98


@pytest.mark.parametrize(
    "loss, epochs, least",
    [(CrossEntropyLoss(), 6, 0.95), (CrossEntropyLoss(0.1), 6, 0.95), (MSELoss(), 15, 0.8)],
)
def test_a_few_epochs_fit_a_small_set(mnist_slice, loss, epochs, least):
    trainer = lenet_trainer(mnist_slice[0], epochs=epochs, loss=loss)
    trainer.run()
    losses = [row["train_loss"] for row in trainer.history]
    assert losses[-1] < losses[0]
    assert trainer.history[-1]["train_accuracy"] > least


MAKE = [lenet_trainer, random_layers_trainer, selective_trainer, averaging_trainer, sdlm_trainer]


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


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize("steps", [1, 31, 32, 40])
def test_stopped_and_resumed_is_the_same_to_the_bit(mnist_slice, make, steps):
    whole = make(mnist_slice[0])
    assert whole.run()

    first = make(mnist_slice[0])
    first.stretch_seconds = 0
    assert not first.run(stop=Countdown(steps))
    state = copy.deepcopy(first.state())
    second = make(mnist_slice[0])
    second.load_state(*state)
    assert second.run()
    assert all_bytes(second) == all_bytes(whole)
    assert second.model.vector.tobytes() == whole.model.vector.tobytes()


def test_steps_before_a_keyboard_interrupt_count(mnist_slice, monkeypatch):
    """Whoever interrupts a run, in a notebook say, may call `run` again and end with the same bytes."""
    whole = lenet_trainer(mnist_slice[0])
    whole.run()
    trainer = lenet_trainer(mnist_slice[0])
    monkeypatch.setattr(trainer, "stretch_seconds", 0.002)
    original, calls = TileChain.train_steps, []

    def interrupted(*args):
        original(*args)
        calls.append(1)
        if len(calls) % 3 == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(TileChain, "train_steps", interrupted)
    interrupts = 0
    while trainer.epoch < trainer.epochs:
        try:
            trainer.run()
        except KeyboardInterrupt:
            interrupts += 1
    assert interrupts > 3
    assert all_bytes(trainer) == all_bytes(whole)


class Countdown:
    def __init__(self, steps):
        self.steps = steps

    def __call__(self):
        self.steps -= 1
        return self.steps == 0


def test_every_sample_is_seen_once_an_epoch_in_a_new_order(mnist_slice, monkeypatch):
    trainer = lenet_trainer(mnist_slice[0].take(np.arange(101)), epochs=2)
    seen = []

    def train_steps(samples, labels, loss, optimizer, rates, *, batch_size, record):
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


def test_a_state_of_another_model_is_refused(mnist_slice):
    state = random_layers_trainer(mnist_slice[0]).state()
    trainer = lenet_trainer(mnist_slice[0])
    before = all_bytes(trainer)
    with pytest.raises(ValueError):
        trainer.load_state(*state)
    assert all_bytes(trainer) == before


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
        NonFiniteError, match=r"step 3 .*conv2\.bias is not finite since the step before"
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


@pytest.mark.parametrize(
    "change",
    [
        {"step": 0.5},
        {"epoch": -1},
        {"epoch": True},
        {"optimizer_steps": -5},
        {"history": "a"},
        {"history": [1]},
        {"loss_sum": float("nan")},
        {"correct": "3"},
        {"random": {"fc": {}}},
    ],
    ids=str,
)
def test_an_impossible_state_is_refused(mnist_slice, change):
    trainer = lenet_trainer(mnist_slice[0])
    trainer.stretch_seconds = 0
    trainer.run(stop=Countdown(40))
    values, arrays = trainer.state()
    lenet_trainer(mnist_slice[0]).load_state(values, arrays)
    with pytest.raises((ValueError, TypeError)):
        lenet_trainer(mnist_slice[0]).load_state(values | change, arrays)


@pytest.mark.parametrize("steps", [1, 149, 150, 151, 200])
def test_a_run_with_sdlm_stopped_and_resumed_is_the_same_to_the_bit(mnist_slice, steps):
    """In the middle of an epoch, where the curvature comes from the state, and between two, where it is measured."""
    whole = sdlm_trainer(mnist_slice[0])
    assert whole.run()
    first = sdlm_trainer(mnist_slice[0])
    first.stretch_seconds = 0
    assert not first.run(stop=Countdown(steps))
    state = copy.deepcopy(first.state())
    second = sdlm_trainer(mnist_slice[0])
    second.load_state(*state)
    assert second.run()
    assert all_bytes(second) == all_bytes(whole)


class Measuring(SDLM):
    """Remembers what it was given to measure on."""

    def estimate(self, samples, labels, loss):
        super().estimate(samples, labels, loss)
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


def test_a_measurement_interrupted_is_made_again(mnist_slice, monkeypatch):
    """It leaves the random generators of layers where they were, so that the bytes are the same."""
    whole = sdlm_trainer(mnist_slice[0])
    whole.run()
    trainer = sdlm_trainer(mnist_slice[0])
    original = trainer.optimizer.estimate

    def interrupted(*args, **options):
        original(*args, **options)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer.optimizer, "estimate", interrupted, raising=True)
    with pytest.raises(KeyboardInterrupt):
        trainer.run()
    assert (trainer.epoch, trainer.step) == (0, 0)
    assert trainer.run()
    assert all_bytes(trainer) == all_bytes(whole)


def test_a_curvature_that_is_not_finite_ends_the_run(mnist_slice):
    trainer = sdlm_trainer(mnist_slice[0])
    trainer.model[7].params["weight"][:] = 1e30
    with pytest.raises(
        NonFiniteError, match="before epoch 1: the curvature of 0.weight is (inf|nan); lower the "
    ):
        trainer.run()


@pytest.mark.parametrize("order, equal", [("constant", True), ("reshuffled", False)])
def test_order(mnist_slice, monkeypatch, order, equal):
    """'constant' is the first epoch's order again and again, and that is the one of 'reshuffled'."""
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
    with pytest.raises(
        ValueError, match="order is 'sorted'; it should be 'reshuffled' or 'constant'"
    ):
        sdlm_trainer(mnist_slice[0], order="sorted")


def test_the_average_is_the_average(mnist_slice):
    """Of the parameters after each 16th step of the run, in float64, whatever the stretches were."""
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


def test_the_best_weights_are_kept(mnist_slice, monkeypatch):
    """Those of the epoch with the most right answers, buffers and all, though later ones are worse."""
    trainer = selective_trainer(mnist_slice[0], epochs=5, average=0)
    states = []

    def spoil(trainer, row):
        states.append(copy.deepcopy(trainer.model.state_dict()))
        if len(states) == 3:
            trainer.model.vector[:] = -trainer.model.vector

    assert trainer.run(on_epoch=spoil)
    accuracies = [row["validation_accuracy"] for row in trainer.history]
    best = trainer.kept_row["epoch"]
    assert accuracies[best - 1] == max(accuracies) and best < 5
    result = trainer.model.state_dict()
    assert result.keys() == states[best - 1].keys()
    for name, array in states[best - 1].items() if best != 3 else ():
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


@pytest.mark.parametrize(
    "change, word",
    [
        ({"keep": "first"}, "keep is 'first'.*last, best"),
        ({"keep": "best"}, "keep needs a validation set"),
        ({"patience": 3}, "patience needs a validation set"),
        ({"patience": -1}, "patience is -1"),
        ({"patience": 1.5}, "patience is 1.5"),
        ({"average": 1}, "average is 1"),
        ({"average": -0.1}, "average is -0.1"),
        ({"average": float("nan")}, "average is nan"),
    ],
)
def test_impossible_settings(mnist_slice, change, word):
    with pytest.raises(ValueError, match=word):
        lenet_trainer(mnist_slice[0], **change)


def test_a_plateau_needs_a_validation_set(mnist_slice):
    model = LeNet5(rng=1)
    with pytest.raises(ValueError, match="schedule needs a validation set"):
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


@pytest.mark.parametrize(
    "spoil",
    [
        lambda arrays: arrays.pop("average.vector"),
        lambda arrays: arrays.update({"average.vector": arrays["average.vector"][:-1]}),
        lambda arrays: arrays.pop("best.conv1.weight"),
        lambda arrays: arrays.update({"best.conv1.weight": np.zeros(3, np.float32)}),
        lambda arrays: arrays.update({"best.more": np.zeros(3, np.float32)}),
        lambda arrays: arrays.update({"worst.more": np.zeros(3, np.float32)}),
    ],
)
def test_a_state_with_another_average_or_other_best_weights_is_refused(mnist_slice, spoil):
    trainer = selective_trainer(mnist_slice[0], epochs=2)
    trainer.stretch_seconds = 0
    trainer.run(stop=Countdown(40))
    values, arrays = trainer.state()
    selective_trainer(mnist_slice[0], epochs=2).load_state(values, arrays)
    spoil(arrays)
    other = selective_trainer(mnist_slice[0], epochs=2)
    before = all_bytes(other)
    with pytest.raises((ValueError, KeyError)):
        other.load_state(values, arrays)
    assert all_bytes(other) == before


def test_a_state_without_them_is_refused(mnist_slice):
    trainer = selective_trainer(mnist_slice[0], epochs=2, average=0, keep="last")
    trainer.stretch_seconds = 0
    trainer.run(stop=Countdown(40))
    for options in ({"average": 0}, {"keep": "last"}):
        with pytest.raises(ValueError, match="than this run"):
            selective_trainer(mnist_slice[0], epochs=2, **options).load_state(*trainer.state())
    values, arrays = trainer.state()
    values = values | {"history": [{"epoch": 1}]}
    with pytest.raises(ValueError, match="history"):
        selective_trainer(mnist_slice[0], epochs=2, average=0, keep="last").load_state(
            values, arrays
        )
