"""Stopping and resuming a training, and invalid states."""

import copy

import numpy as np
import pytest
from trainers import (
    MAKE,
    Countdown,
    all_bytes,
    lenet_trainer,
    random_layers_trainer,
    replace_train_steps,
    sdlm_trainer,
    selective_trainer,
)


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
    """After an interrupt, as in a notebook, calling `run` again gives the same bytes."""
    whole = lenet_trainer(mnist_slice[0])
    whole.run()
    trainer = lenet_trainer(mnist_slice[0])
    monkeypatch.setattr(trainer, "stretch_seconds", 0.002)
    calls = []

    def interrupted(train_steps, **arguments):
        train_steps(**arguments)
        calls.append(1)
        if len(calls) % 3 == 2:
            raise KeyboardInterrupt

    replace_train_steps(monkeypatch, interrupted)
    interrupts = 0
    while trainer.epoch < trainer.epochs:
        try:
            trainer.run()
        except KeyboardInterrupt:
            interrupts += 1
    assert interrupts > 3
    assert all_bytes(trainer) == all_bytes(whole)


def test_a_state_of_another_model_is_refused(mnist_slice):
    state = random_layers_trainer(mnist_slice[0]).state()
    trainer = lenet_trainer(mnist_slice[0])
    before = all_bytes(trainer)
    with pytest.raises(ValueError):
        trainer.load_state(*state)
    assert all_bytes(trainer) == before


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
    """Within an epoch, the curvature comes from the state; between two, it is measured."""
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


def test_a_measurement_interrupted_is_made_again(mnist_slice, monkeypatch):
    """It does not advance the random generators of layers, so the bytes are the same."""
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
        with pytest.raises(ValueError, match="(average|best) weights must have this trainer's"):
            selective_trainer(mnist_slice[0], epochs=2, **options).load_state(*trainer.state())
    values, arrays = trainer.state()
    values = values | {"history": [{"epoch": 1}]}
    with pytest.raises(ValueError, match="history"):
        selective_trainer(mnist_slice[0], epochs=2, average=0, keep="last").load_state(
            values, arrays
        )


@pytest.fixture(scope="module")
def second_epoch(mnist_slice):
    """Return the state of a trainer with state of all kinds, in its second epoch."""
    trainer = selective_trainer(mnist_slice[0], epochs=2)
    trainer.stretch_seconds = 0
    trainer.run(stop=Countdown(40))
    return copy.deepcopy(trainer.state())


def random_state(**changes):
    """Return a change of the state of the first layer with random numbers."""

    def change(values):
        values["random"][min(values["random"])] |= changes

    return change


def row(**changes):
    return lambda values: values["history"][0].update(changes)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("epoch"),
        lambda values: values.update(more=1),
        lambda values: values.update(loss_sum=10**400),
        lambda values: values.update(loss_sum="1"),
        lambda values: values.update(loss_sum=1),
        lambda values: values.update(correct=10**6),
        lambda values: values.update(history=None),
        lambda values: values.update(history=tuple(values["history"])),
        lambda values: values.update(random=[]),
        row(epoch=2),
        row(step=1),
        row(step=36.0),
        row(lr="x"),
        row(lr=float("nan")),
        row(lr=10**400),
        row(train_loss=float("inf")),
        row(train_accuracy=1.5),
        row(train_accuracy=None),
        row(validation_accuracy=-0.1),
        row(validation_loss="low"),
        row(test_accuracy="high"),
        random_state(seed=-1),
        random_state(seed=2**63),
        random_state(seed=1.0),
        random_state(seed="1"),
        random_state(passes=-1),
        random_state(passes=2**63),
        random_state(passes=True),
        random_state(passes=None),
        random_state(more=1),
        lambda values: values["random"]["dropout3"].pop("passes"),
        lambda values: values["random"].update(dropout3=None),
    ],
)
def test_an_impossible_value_is_refused_and_changes_nothing(mnist_slice, second_epoch, change):
    values, arrays = copy.deepcopy(second_epoch)
    selective_trainer(mnist_slice[0], epochs=2).load_state(values, arrays)
    other = selective_trainer(mnist_slice[0], epochs=2)
    before = all_bytes(other), repr(other.state()[0])
    change(values)
    with pytest.raises(ValueError):
        other.load_state(values, arrays)
    assert (all_bytes(other), repr(other.state()[0])) == before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda arrays: arrays["model.conv1.weight"].__setitem__(0, np.nan),
        lambda arrays: arrays["best.conv1.weight"].__setitem__(0, np.inf),
        lambda arrays: arrays["average.vector"].__setitem__(0, np.nan),
        lambda arrays: arrays["optimizer.squares"].__setitem__(0, -1),
        lambda arrays: arrays["optimizer.velocity"].__setitem__(0, np.nan),
        lambda arrays: arrays.update({"optimizer.velocity": np.zeros(3, np.float32)}),
        lambda arrays: arrays.update({"model.conv1.bias": np.zeros(6)}),
        lambda arrays: arrays.pop("model.conv1.bias"),
        lambda arrays: arrays.update({"": np.zeros(3, np.float32)}),
    ],
)
def test_impossible_arrays_are_refused_and_change_nothing(mnist_slice, second_epoch, spoil):
    values, arrays = copy.deepcopy(second_epoch)
    spoil(arrays)
    other = selective_trainer(mnist_slice[0], epochs=2)
    before = all_bytes(other), repr(other.state()[0])
    with pytest.raises(ValueError):
        other.load_state(values, arrays)
    assert (all_bytes(other), repr(other.state()[0])) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("part", ["model", "optimizer"])
def test_an_interrupted_load_changes_nothing(mnist_slice, second_epoch, monkeypatch, error, part):
    other = selective_trainer(mnist_slice[0], epochs=2)
    before = all_bytes(other), repr(other.state()[0])
    real = getattr(other, part).load_state_dict
    calls = []

    def interrupt(state):
        calls.append(1)
        real(state)
        if len(calls) == 1:
            raise error

    monkeypatch.setattr(getattr(other, part), "load_state_dict", interrupt)
    with pytest.raises(error):
        other.load_state(*second_epoch)
    assert (all_bytes(other), repr(other.state()[0])) == before


@pytest.mark.parametrize(
    "changes, inner",
    [
        ({"bit_generator": "MT19937"}, {}),
        ({"has_uint32": 2}, {}),
        ({"has_uint32": True}, {}),
        ({"has_uint32": -1}, {}),
        ({"uinteger": 2**32}, {}),
        ({"uinteger": 0.5}, {}),
        ({"uinteger": "0"}, {}),
        ({"state": None}, {}),
        ({"more": 1}, {}),
        ({}, {"state": 2**128}),
        ({}, {"state": -1}),
        ({}, {"state": 1.5}),
        ({}, {"inc": 2}),
        ({}, {"inc": 2**128 + 1}),
        ({}, {"inc": "1"}),
        ({}, {"more": 1}),
    ],
)
def test_an_impossible_state_of_a_generator_is_refused(mnist_slice, changes, inner):
    """NumPy accepts most of these states, and then draws different numbers."""
    trainer = random_layers_trainer(mnist_slice[0])
    values, arrays = copy.deepcopy(trainer.state())
    before = all_bytes(trainer), repr(trainer.state()[0])
    trainer.load_state(values, arrays)
    values["random"]["6"]["state"] |= inner
    values["random"]["6"] |= changes
    with pytest.raises(ValueError, match="random state of 6 must be one of PCG64, got"):
        trainer.load_state(values, arrays)
    assert (all_bytes(trainer), repr(trainer.state()[0])) == before


@pytest.mark.parametrize("kind", ["PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"])
def test_states_of_other_generators_are_taken(mnist_slice, kind):
    trainer = random_layers_trainer(mnist_slice[0])
    layer = trainer.model[6]
    layer.rng = np.random.Generator(getattr(np.random, kind)(3))
    layer.rng.random(5, np.float32)
    state = copy.deepcopy(trainer.state())
    expected = layer.rng.random()
    trainer.load_state(*state)
    assert layer.rng.random() == expected
