"""Runs by `train`: in memory, in a folder, interrupted and resumed."""

import hashlib
import json

import pytest

from lenet5c import kernels
from lenet5c.datasets import Source
from lenet5c.errors import RunError
from lenet5c.recipes import RunConfig, run, run_summary, train
from lenet5c.recipes.run import open_run
from lenet5c.training import evaluate
from lenet5c.training.run_folder import RunFolder


@pytest.fixture
def source(mnist_slice):
    return Source(*mnist_slice)


def digests(folder):
    names = ("model.safetensors", "checkpoint.safetensors", "metrics.jsonl", "config.json")
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names]


def test_a_run_in_memory(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = kernels.get_num_threads()
    seen = []
    result = train(
        RunConfig.named("fast", seed=1, threads=1, epochs=2),
        source,
        on_start=lambda trainer, config: seen.append((trainer.epoch, config.seed)),
        on_epoch=lambda trainer, row: seen.append((row["epoch"], kernels.get_num_threads())),
    )
    assert [epoch for epoch, _ in seen] == [0, 1, 2] and seen[-1][1] == 1
    assert kernels.get_num_threads() == before
    assert result.accuracy == result.evaluation.correct / 500 > 0.8
    assert len(result.history) == 2 and result.trained is result.trainer.trained
    assert (result.interrupted, result.folder, result.summary) == (False, None, None)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_resumes_to_the_same_bytes(source, tmp_path):
    whole = RunConfig.named("fast", keep="best", validation=0.1, folder=tmp_path / "whole")
    finished = train(whole, source)
    config = RunConfig.named("fast", keep="best", validation=0.1, folder=tmp_path / "run")
    assert train(config, source, stop=lambda: True).interrupted
    assert not (tmp_path / "run/summary.json").exists()
    with pytest.raises(RunError, match="must contain a finished run"):
        open_run(RunFolder(tmp_path / "run"), source)
    resumed = train(config, source, resume=True)
    assert digests(tmp_path / "run") == digests(tmp_path / "whole")
    assert resumed.summary["resumed"] and "resumed" not in finished.summary
    assert resumed.summary == RunFolder(tmp_path / "run").read_summary()
    assert (
        resumed.summary.items() <= json.loads((tmp_path / "run/summary.json").read_text()).items()
    )
    opened = open_run(RunFolder(tmp_path / "run"), source)
    assert (opened.evaluation.predictions == finished.evaluation.predictions).all()


def test_a_finished_run_loses_the_lock_of_a_killed_process(source, tmp_path):
    config = RunConfig.named("fast", epochs=1, folder=tmp_path / "run")
    train(config, source)
    before = sorted(path.name for path in config.folder.iterdir())
    lock = RunFolder(config.folder).lock_path
    lock.write_text("4711\n")
    train(config, source, resume=True)
    assert sorted(path.name for path in config.folder.iterdir()) == before
    with RunFolder(config.folder).lock():  # of a process that still uses it
        train(config, source, resume=True)
        assert lock.exists()


def test_the_test_images_are_looked_at_once(source, tmp_path, monkeypatch):
    looks = []

    def look(*arguments, **options):
        looks.append(1)
        return evaluate(*arguments, **options)

    for module in (run, run_summary):
        monkeypatch.setattr(module, "evaluate", look)
    result = train(RunConfig.named("fast", epochs=1, folder=tmp_path / "run"), source)
    assert result.accuracy == result.evaluation.accuracy and len(looks) == 1


def test_other_data_or_a_folder_in_use_are_refused(source, tmp_path):
    config = RunConfig.named("fast", epochs=1, folder=tmp_path)
    train(config, source)
    with pytest.raises(RunError, match="already holds a run"):
        train(config, source)
    swapped = Source(source.test, source.train)
    with pytest.raises(RunError, match="data must be the same mnist .* got other images"):
        train(RunConfig.read(RunFolder(tmp_path)), swapped, resume=True)
    with pytest.raises(RunError, match="validation must hold out at least one"):
        train(RunConfig.named("default", validation=5000), source)
