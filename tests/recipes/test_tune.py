"""Hyperparameter search: trials, stored studies, and invalid arguments."""

import csv
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pool_jobs
import pytest

from lenet5c.__main__ import main
from lenet5c.datasets import Source, mnist
from lenet5c.errors import RunError, TrainingError
from lenet5c.recipes import RunConfig, train, tune
from lenet5c.recipes.config_file import read_config_file
from lenet5c.recipes.search_space import Options, Span, default_space, read_space
from lenet5c.recipes.worker_pool import WorkerPool

optuna = pytest.importorskip("optuna")


@pytest.fixture(scope="module")
def source():
    train, test = mnist()
    return Source(train.take(range(400)), test.take(range(50)))


def configure(folder=None, **changes):
    settings = {"epochs": 2, "validation": 100} | changes
    return RunConfig.named("default", folder=folder, **settings)


def test_texts_say_what_is_searched():
    recipe = configure().settings
    texts = [
        "lr=1e-4:1e-1:log",
        "batch-size=16,32",
        "epochs=2:9",
        "activation=tanh,relu",
        "dropout",
    ]
    assert read_space(recipe, texts) == {
        "lr": Span(1e-4, 1e-1, log=True),
        "batch_size": Options((16, 32)),
        "epochs": Span(2, 9),
        "activation": Options(("tanh", "relu")),
        "dropout": Span(0.0, 0.5),
    }
    assert list(default_space(recipe)) == ["lr", "weight_decay", "batch_size", "label_smoothing"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("lrr", "got lrr; did you mean lr"),
        ("data=a,b", "must name settings of a recipe, got data"),
        ("lr=1:0.5", "must have LOW < HIGH"),
        ("lr=0:1", "lr must be a number greater than 0, got 0"),
        ("label_smoothing=0:0.5:log", "0 < LOW < HIGH"),
        ("lr=1e-4:nan", "NAME=LOW:HIGH"),
        ("lr=1e-4:1:linear", "NAME=LOW:HIGH:log"),
        ("activation=tanh,rlu", "one of relu"),
        ("schedule", "must have values for schedule"),
    ],
)
def test_texts_that_say_nothing_are_refused(text, message):
    with pytest.raises(RunError, match=message):
        read_space(configure().settings, [text])


def test_a_search_follows_from_its_seed(source):
    space = {"lr": Span(1e-4, 1e-2, log=True), "activation": Options(("tanh", "relu"))}
    one, again = (tune(configure(), space, source, trials=3) for _ in range(2))
    assert one.trials == again.trials and len(one.trials) == 3
    other = tune(configure(seed=1), space, source, trials=3)
    assert [row["lr"] for row in other.trials] != [row["lr"] for row in one.trials]
    done = [row for row in one.trials if row["state"] == "complete"]
    assert one.accuracy == max(row["validation_accuracy"] for row in done)
    assert one.config.settings.lr == one.best["lr"]
    assert one.config.get("activation") == one.best["activation"]


def test_a_study_goes_on_where_it_was_stopped(source, tmp_path):
    space = {"lr": Span(1e-4, 1e-2, log=True)}
    config = configure(tmp_path / "study")
    seen = []

    def stop():
        seen.append(None)
        return len(seen) > 4

    stopped = tune(config, space, source, trials=3, stop=stop)
    assert stopped.interrupted and len(stopped.trials) < 3
    result = tune(config, space, source, trials=3)
    assert len(result.trials) == 3 and not result.interrupted
    whole = tune(configure(), space, source, trials=3)
    assert {row["lr"] for row in whole.trials} == {row["lr"] for row in result.trials}
    # Nothing is left to do.
    assert tune(config, space, source, trials=3).trials == result.trials
    read = read_config_file(tmp_path / "study" / "best.json")
    assert read.settings == result.config.settings
    with open(tmp_path / "study" / "trials.csv", newline="") as file:
        assert [float(row["lr"]) for row in csv.DictReader(file)] == [
            row["lr"] for row in result.trials
        ]
    left = {path.name for path in (tmp_path / "study").iterdir()}
    assert left == {"best.json", "study.journal", "trials.csv", "tune.json"}


def test_a_trial_of_a_killed_process_is_repeated(tmp_path):
    # Long enough to be killed in its first trial, where it asks for a second.
    command = [sys.executable, "-m", "lenet5c", "tune", "--out", "study", "--train-size", "400"]
    command += ["--search", "lr", "--trials", "1", "--quiet", "--epochs", "60"]
    killed = subprocess.Popen(command, cwd=tmp_path)
    journal = tmp_path / "study" / "study.journal"
    while killed.poll() is None and b'"lr"' not in _read(journal):
        with suppress(subprocess.TimeoutExpired):
            killed.wait(0.02)
    killed.kill()
    assert killed.wait() != 0
    assert len(list((tmp_path / "study").glob(".worker-*"))) == 1
    subprocess.run(command, cwd=tmp_path, check=True)
    backend = optuna.storages.journal.JournalFileBackend(str(journal))
    storage = optuna.storages.JournalStorage(backend)
    first, second = optuna.load_study(study_name="lenet5c", storage=storage).trials
    assert (first.state.name, second.state.name) == ("FAIL", "COMPLETE")
    assert first.params == second.params
    assert not list((tmp_path / "study").glob(".worker-*"))


def test_the_lock_of_a_killed_process_is_taken_away(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.modules["lenet5c.recipes.tune"], "_LOCK_SECONDS", 3)
    os.mkdir("study")
    lock = tmp_path / "study" / "study.journal.lock"
    if sys.platform == "win32":
        lock.write_bytes(b"")
    else:
        lock.symlink_to(tmp_path / "study" / "study.journal")
    space = {"lr": Span(1e-4, 1e-2, log=True)}
    result = tune(configure(Path("study"), epochs=1), space, source, trials=1)
    assert [row["state"] for row in result.trials] == ["complete"]
    assert not lock.is_symlink() and not lock.exists()


def _read(path):
    return path.read_bytes() if path.exists() else b""


def test_trials_at_once_are_what_they_are_alone(source):
    space = {"lr": Span(1e-3, 1e-2, log=True)}
    told = []
    result = tune(configure(), space, source, trials=3, jobs=2, on_trial=told.append)
    assert [row["trial"] for row in result.trials] == [0, 1, 2] and len(told) == 3
    assert len({row["lr"] for row in result.trials}) == 3
    for row in result.trials:
        config = configure(lr=row["lr"])
        alone = train(config, source).history[: row["epochs"]]
        assert alone[-1]["validation_accuracy"] == row["validation_accuracy"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_trial_whose_worker_is_killed_is_repeated(source, tmp_path, monkeypatch):
    space = {"lr": Span(1e-3, 1e-2, log=True)}
    config = configure(tmp_path / "study")
    with monkeypatch.context() as patched:
        module = sys.modules["lenet5c.recipes.tune"]
        patched.setattr(module, "_run_apart", pool_jobs.die_before_training)
        message = "trial 0 failed: its process was ended by SIGKILL"
        with WorkerPool(2) as pool, pytest.raises(TrainingError, match=message):
            tune(config, space, source, trials=1, executor=pool)
    result = tune(config, space, source, trials=2, jobs=2)
    alone = tune(configure(), space, source, trials=2)
    assert {row["lr"] for row in result.trials} == {row["lr"] for row in alone.trials}


def test_what_cannot_be_searched_is_refused(source, tmp_path):
    config = configure(tmp_path)
    tune(config, {"lr": Span(1e-3, 1e-2)}, source, trials=1)
    with pytest.raises(RunError, match="whose space differs in lr; choose another folder"):
        tune(config, {"lr": Span(1e-3, 1e-1)}, source, trials=1)
    with pytest.raises(RunError, match="whose run differs in epochs"):
        tune(configure(tmp_path, epochs=3), {"lr": Span(1e-3, 1e-2)}, source, trials=1)
    with pytest.raises(RunError, match="validation must be greater than 0"):
        tune(configure(validation=0), None, source, trials=1)
    with pytest.raises(RunError, match="search of dropout: dropout must be"):
        tune(configure(), {"dropout": Span(0.0, 1.5)}, source, trials=1)


def test_the_command_prints_trials_and_the_next_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["tune", "--train-size", "400", "--epochs", "1", "--trials", "2", "--search", "lr"]
    assert main([*arguments, "--out", "study"]) == 0
    out = capsys.readouterr().out
    assert "trial   0" in out and "train --config study/best.json" in out
    assert json.loads((tmp_path / "study" / "best.json").read_text())["train_size"] == 400
    assert main(["tune", "--search", "lrr"]) == 2
