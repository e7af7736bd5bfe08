"""`Trainer.fit`: interrupted anywhere and called again, it has the same result."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
from processes import HANGING, run_python
from trainers import replace_train_steps

import lenet5c
from lenet5c.datasets import Preparation
from lenet5c.errors import MissingExtraError
from lenet5c.nn import (
    BatchNorm1d,
    CrossEntropyLoss,
    Dropout,
    Flatten,
    Layer,
    LeNet5,
    Linear,
    MaxPool2d,
    Sequential,
)
from lenet5c.optim import SGD, Adam, OneCycle, ReduceOnPlateau, RMSprop
from lenet5c.training import (
    History,
    NonFiniteError,
    RunError,
    Trainer,
    evaluate,
    open_model,
    save_model,
)


class Hook(Layer):
    """Identity layer that calls a function first."""

    def __init__(self):
        self.before = lambda: None

    def forward(self, x, training=False):
        if training:
            self.before()
        return x

    def backward(self, dy):
        return dy


def compiled_trainer(data, epochs=3, seed=3, **options):
    """Compiled steps only; an average, the best weights, a rate that falls on a plateau."""
    model = LeNet5(rng=1)
    rest, held_out = data.take(np.arange(700)).split(100, 0)
    return Trainer(
        model,
        RMSprop(model, 2e-3),
        ReduceOnPlateau(2e-3, factor=0.5, patience=0),
        CrossEntropyLoss(),
        Preparation.named("default"),
        rest,
        held_out,
        batch_size=20,
        epochs=epochs,
        seed=seed,
        average=0.9,
        keep="best",
        **options,
    )


def plain_trainer(data, epochs=2):
    """Make a trainer of a model in the compiled core alone."""
    model = LeNet5(rng=1)
    return Trainer(
        model,
        Adam(model, 3e-3),
        OneCycle(3e-3, epochs * 38),
        CrossEntropyLoss(),
        Preparation.named("default"),
        data.take(np.arange(600)),
        None,
        batch_size=16,
        epochs=epochs,
    )


def layers_trainer(data, epochs=2):
    """Layers with random states and statistics, and a custom one between them."""
    model = Sequential(
        MaxPool2d(4), Flatten(), BatchNorm1d(49), Dropout(0.3, rng=7), Linear(49, 10, rng=1), Hook()
    )
    return Trainer(
        model,
        SGD(model, 0.05, 0.9),
        OneCycle(0.05, epochs * 30),
        CrossEntropyLoss(),
        Preparation.named("double-range"),
        data.take(np.arange(300)),
        None,
        batch_size=10,
        epochs=epochs,
    )


def everything(trainer):
    values, arrays = trainer.state()
    return {name: array.tobytes() for name, array in arrays.items()}, json.dumps(
        values, default=repr
    )


@pytest.mark.parametrize("make", [compiled_trainer, plain_trainer])
def test_a_kernel_interrupt_ends_the_fit_between_steps(mnist_slice, monkeypatch, make, capsys):
    """A signal in the middle of the compiled steps, sent twice."""
    whole = make(mnist_slice[0])
    assert whole.fit(progress=False).done
    trainer = make(mnist_slice[0])
    trainer.stretch_seconds = 0.004
    calls = 0

    def interrupted(train_steps, **arguments):
        nonlocal calls
        calls += 1
        if calls % 4 == 2:
            signal.raise_signal(signal.SIGINT)
        train_steps(**arguments)
        if calls % 4 == 2:
            signal.raise_signal(signal.SIGINT)

    replace_train_steps(monkeypatch, interrupted)
    stops = 0
    while not (history := trainer.fit()).done:
        stops += 1
        assert not trainer.done and "fit() to continue" in repr(history)
        assert capsys.readouterr().out.splitlines()[-1].endswith("call fit() to continue.")
    assert stops > 1 and "Interrupted" not in capsys.readouterr().out
    assert everything(trainer) == everything(whole)
    assert history == whole.history and len(history) == trainer.epochs
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("place", ["forward", "optimizer", "evaluate", "callback", "end of epoch"])
def test_a_keyboard_interrupt_raised_anywhere_is_taken_back(mnist_slice, monkeypatch, place):
    make = compiled_trainer if place in ("evaluate", "callback") else layers_trainer
    whole = make(mnist_slice[0])
    whole.fit(progress=False)
    trainer = make(mnist_slice[0])
    trainer.stretch_seconds = 0.002
    calls = 0

    def interrupt(*args, **options):
        nonlocal calls
        calls += 1
        if calls in (1, 3, 17, 18):
            raise KeyboardInterrupt

    def after(function):
        def changed(*args, **options):
            result = function(*args, **options)
            interrupt()
            return result

        return changed

    if place == "forward":  # behind a layer that has drawn, and one that has counted
        trainer.model.layers["5"].before = interrupt
    elif place == "optimizer":
        monkeypatch.setattr(trainer.optimizer, "step", after(trainer.optimizer.step))
    elif place == "evaluate":
        monkeypatch.setattr("lenet5c.training.trainer.evaluate", after(evaluate))
    elif place == "end of epoch":
        monkeypatch.setattr(trainer, "rate", after(trainer.rate))
    stops = 0
    while not (
        history := trainer.fit(False, on_epoch=interrupt if place == "callback" else None)
    ).done:
        stops += 1
        assert stops < 10
    assert stops >= 2
    assert everything(trainer) == everything(whole) and history == whole.history


def test_a_fit_that_is_done_stays_as_it_is(mnist_slice, capsys):
    trainer = compiled_trainer(mnist_slice[0], epochs=2)
    first = trainer.fit()
    shown = capsys.readouterr().out
    assert shown.count("/2") == 2 and "The weights of epoch" in shown
    before = everything(trainer)
    again = trainer.fit(progress=False)
    assert capsys.readouterr().out == ""
    assert again == first and again is not first and again.done and everything(trainer) == before


def test_run_and_fit_are_the_same_training(mnist_slice):
    one, other = plain_trainer(mnist_slice[0]), plain_trainer(mnist_slice[0])
    rows = []
    assert one.run(on_epoch=lambda trainer, row: rows.append(row))
    history = other.fit(progress=False, on_epoch=lambda trainer, row: rows.remove(row))
    assert rows == [] and history == one.history and everything(one) == everything(other)


def test_errors_of_the_training_are_not_hidden(mnist_slice):
    trainer = plain_trainer(mnist_slice[0])
    trainer.schedule = lambda step: 1e30
    with pytest.raises(NonFiniteError, match="lower the learning rate"):
        trainer.fit(progress=False)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_saved_training_goes_on_elsewhere(tmp_path, mnist_slice):
    whole = compiled_trainer(mnist_slice[0])
    whole.fit(progress=False)
    first = compiled_trainer(mnist_slice[0])

    def stop(trainer, row):
        raise KeyboardInterrupt

    assert not first.fit(False, on_epoch=stop).done
    first.save(tmp_path / "half.safetensors")
    other = compiled_trainer(mnist_slice[0])
    other.load(tmp_path / "half.safetensors")
    assert other.epoch == 1 and other.fit(progress=False).done
    assert everything(other) == everything(whole)
    other.save(tmp_path / "done.safetensors")
    third = compiled_trainer(mnist_slice[0])
    third.load(tmp_path / "done.safetensors")
    assert third.fit(progress=False).done and everything(third) == everything(whole)


def test_a_runs_checkpoint_goes_on_in_a_notebook(tmp_path, idx_files, mnist_slice):
    done = run_python(
        "import sys; from lenet5c.__main__ import main; sys.exit(main(['train', *sys.argv[1:]]))",
        "--no-report",
        "--recipe",
        "fast",
        "--data",
        idx_files,
        "--seed",
        "5",
        "--out",
        tmp_path / "run",
    )
    assert done.returncode == 0, done.stderr
    trainer = lenet5c.trainer("fast", data=idx_files, seed=5)
    trainer.load(tmp_path / "run/checkpoint.safetensors")
    assert trainer.fit(progress=False).done
    model = open_model(tmp_path / "run/model.safetensors").model
    assert model.vector.tobytes() == trainer.trained.model.vector.tobytes()
    other = lenet5c.trainer("fast", data=idx_files, seed=5, optimizer="sgd")
    before = everything(other)
    with pytest.raises(RunError, match=r"must come from a training with optimizer \["):
        other.load(tmp_path / "run/checkpoint.safetensors")
    assert everything(other) == before


def test_an_optimizer_of_the_users_own(mnist_slice):
    class Own:
        def __init__(self, model):
            self.model, self.lr, self.steps = model, 0.1, 0

        def step(self):
            self.steps += 1
            self.model.vector[:] -= self.lr * self.model.grad_vector

    trainer = plain_trainer(mnist_slice[0])
    trainer.optimizer = Own(trainer.model)

    def interrupt(trainer, row):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.fit(False, on_epoch=interrupt)
    assert trainer.fit(progress=False).done and trainer.optimizer.steps == 2 * 38


@pytest.mark.parametrize(
    "other, words",
    [
        (lambda data: compiled_trainer(data, epochs=2), "epochs 2, got 3"),
        (lambda data: compiled_trainer(data, seed=4), "seed 4, got 3"),
        (lambda data: compiled_trainer(data, patience=1), "patience 1, got 0"),
        (lambda data: compiled_trainer(data.take(np.arange(1, 701))), "data_digest "),
        (plain_trainer, "epochs 2, got 3"),
    ],
)
def test_another_training_is_refused(tmp_path, mnist_slice, other, words):
    trainer = compiled_trainer(mnist_slice[0])
    trainer.save(tmp_path / "file")
    other = other(mnist_slice[0])
    before = everything(other)
    with pytest.raises(RunError, match="create the trainer with the same settings") as caught:
        other.load(tmp_path / "file")
    assert words in str(caught.value) and everything(other) == before


def test_files_that_are_none(tmp_path, mnist_slice):
    trainer = lenet5c.trainer("fast", epochs=1, train_size=100)
    with pytest.raises(FileNotFoundError):
        trainer.load(tmp_path / "none")
    (tmp_path / "file").write_bytes(b"garbage")
    with pytest.raises(RunError, match="file must be a lenet5c checkpoint file, got a different"):
        trainer.load(tmp_path / "file")
    save_model(tmp_path / "model", trainer.trained)
    with pytest.raises(RunError, match="must be a lenet5c checkpoint file"):
        trainer.load(tmp_path / "model")


def test_a_trainer_in_one_call(tmp_path, mnist_slice, idx_files):
    trainer = lenet5c.trainer("fast", data=idx_files, seed=5, epochs=2)
    assert len(trainer.train_set) == 2000 and trainer.epochs == 2 and trainer.seed == 5
    history = trainer.fit(progress=False)
    test = mnist_slice[1]
    assert evaluate(trainer.trained.model, test, trainer.trained.preparation).accuracy > 0.85
    assert history.done and history.best is None
    save_model(tmp_path / "model", trainer.trained)
    again = open_model(tmp_path / "model")
    assert (
        again.probabilities(test.images[:5]) == trainer.trained.probabilities(test.images[:5])
    ).all()
    in_memory = lenet5c.trainer("fast", data=mnist_slice[0], seed=5, epochs=2)
    assert in_memory.fit(progress=False) == history
    with pytest.raises(ValueError, match="data must be a file or folder.*, got 'nowhere'"):
        lenet5c.trainer(data="nowhere")
    with pytest.raises(ValueError, match="recipe must be one of .*, got 'fats'"):
        lenet5c.trainer("fats")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_in_a_program(tmp_path):
    """A real signal to a real process."""
    code = (
        "import lenet5c, os, signal\n"
        "trainer = lenet5c.trainer('fast', epochs=1, train_size=3000)\n"
        "trainer.stretch_seconds = 0.01\n"
        "def on_step(*_): os.kill(os.getpid(), signal.SIGINT)\n"
        "import lenet5c.training.progress as p\n"
        "p.Progress.step = on_step\n"
        "history = trainer.fit()\n"
        "print(history.done, len(history))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANGING
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    first, last = done.stdout.splitlines()
    assert first.startswith("Interrupted in epoch 1 of 1, after step ") and last == "False 0"


def test_a_history_is_a_list_and_more():
    rows = [
        {
            "epoch": n,
            "step": n,
            "lr": 0.1,
            "train_loss": 1 / n,
            "train_accuracy": 0.9,
            "validation_loss": 0.5,
            "validation_accuracy": 0.9 + (n == 3) / 100,
        }
        for n in range(1, 31)
    ]
    history = History(rows, epochs=40, done=False)
    assert history == rows and history[2:4] == rows[2:4] and history[-1] is rows[-1]
    assert history["epoch"].dtype == np.int64 and history["train_loss"].tolist() == [
        row["train_loss"] for row in rows
    ]
    assert list(history.to_dict()) == list(rows[0]) and json.loads(json.dumps(history)) == rows
    assert history.best["epoch"] == 3
    with pytest.raises(KeyError, match="columns epoch, step.* got 'loss'"):
        history["loss"]
    text = repr(history)
    assert len(text.splitlines()) == 1 + 11 + 2 + 1 and "..." in text and "30 of 40 epochs" in text
    page = history._repr_html_()
    assert page.count("<tr>") == 1 + 11 + 4 and "█" in page


def test_a_history_on_a_terminal_without_blocks(monkeypatch):
    history = History(
        [{"train_loss": 0.5, "train_accuracy": 0.5}, {"train_loss": 0.1, "train_accuracy": 0.9}]
    )
    assert "loss 0.5000 █▁ 0.1000" in repr(history)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    print(history)
    assert "loss 0.5000 #_ 0.1000" in repr(history)


def test_a_plot_marks_the_kept_epoch(mnist_slice):
    pytest.importorskip("matplotlib")
    trainer = compiled_trainer(mnist_slice[0], epochs=2)
    history = trainer.fit(progress=False)
    assert history.kept_epoch == trainer.kept_row["epoch"]
    assert "kept" in {
        text.get_text().strip() for axes in history.plot().axes for text in axes.texts
    }
    assert history.plot()._repr_png_().startswith(b"\x89PNG")
    assert pickle.loads(pickle.dumps(history.plot()))._repr_png_() == history.plot()._repr_png_()


def test_a_plot_without_matplotlib(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lenet5c\[plots\]'"):
        History([{"epoch": 1, "train_loss": 0.5, "train_accuracy": 0.5}]).plot()


def test_a_history_of_nothing_and_of_odd_rows():
    empty = History([], epochs=3, done=False)
    assert (
        repr(empty) == "0 of 3 epochs; call the trainer's fit() to continue."
        and "<td>" not in empty._repr_html_()
    )
    assert empty.best is None and empty.to_dict() == {}
    with pytest.raises(KeyError, match="no epoch is finished"):
        empty["lr"]
    odd = History(
        [{"epoch": 1, "train_loss": float("nan"), "<b>": "<i>"}, {"epoch": 2, "train_loss": 0.5}]
    )
    assert np.isnan(odd["train_loss"][0])
    assert (
        "&lt;b&gt;" in odd._repr_html_()
        and "<b>" not in odd._repr_html_()
        and "<i>" not in odd._repr_html_()
    )
    assert "nan" in repr(odd)
