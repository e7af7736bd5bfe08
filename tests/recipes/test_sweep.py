"""Parallel runs: the same files as in sequence, kept, resumed, and named."""

import csv
import gc
import json
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pool_jobs
import pytest
from processes import HANGING
from run_digests import digests

import lenet5c
from lenet5c.datasets import Source
from lenet5c.errors import RunError
from lenet5c.recipes import RunConfig, cross_validate, grid, run_many, sweep, train
from lenet5c.recipes.placement import place
from lenet5c.recipes.sweep_bar import SweepBar
from lenet5c.training.run_folder import RunFolder

QUICK = {"epochs": 2, "batch_size": 20}


@pytest.fixture
def source(mnist_slice):
    train_set, test_set = mnist_slice
    return Source(train_set.take(range(300)), test_set.take(range(100)))


def carry_out(configs, folder, **options):
    return run_many(configs, folder, progress=False, **options)


def test_the_bytes_are_those_of_one_after_the_other(idx_files, tmp_path):
    runs = grid("fast", data=idx_files, lr=[2e-3, 4e-3], seed=range(2), train_size=300, **QUICK)
    one, two = (carry_out(runs, tmp_path / str(jobs), jobs=jobs) for jobs in (1, 2))
    assert digests(tmp_path / "1") == digests(tmp_path / "2")
    assert one.rows == two.rows and not two.failed and not two.interrupted
    assert [(row["lr"], row["seed"]) for row in two.rows] == [
        (2e-3, 0),
        (2e-3, 1),
        (4e-3, 0),
        (4e-3, 1),
    ]
    # And those of the run by itself.
    for config, row, model in zip(two.configs, two.rows, two.models(), strict=True):
        alone = train(replace(config, folder=tmp_path / "alone" / row["run"]))
        assert alone.accuracy == row["test_accuracy"]
        mine = (config.folder / "model.safetensors").read_bytes()
        assert mine == (tmp_path / "alone" / row["run"] / "model.safetensors").read_bytes()
        assert model.path == config.folder / "model.safetensors"
    # The files have the rows.
    lines = (tmp_path / "2/results.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == two.rows
    with open(tmp_path / "2/results.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["test_accuracy"]) for row in table] == [
        row["test_accuracy"] for row in two.rows
    ]
    first, second = two.spread()
    assert (first["lr"], first["count"], second["lr"]) == (2e-3, 2, 4e-3)
    assert first["mean"] == pytest.approx(sum(row["test_accuracy"] for row in two.rows[:2]) / 2)
    assert len(str(two).splitlines()) == 5


def test_finished_runs_are_kept_and_more_are_added(source, tmp_path):
    runs = grid("fast", seed=range(2), **QUICK)
    before = carry_out(runs, tmp_path, source=source, jobs=1)
    told, began = [], digests(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*")}
    runs = grid("fast", seed=range(3), **QUICK)
    after = carry_out(runs, tmp_path, source=source, jobs=1, on_run=told.append)
    assert [row["seed"] for row in told] == [0, 1, 2] and told == after.rows
    assert after.rows[:2] == before.rows
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert began.keys() < digests(tmp_path).keys()


def test_a_stopped_run_goes_on_from_its_checkpoint(source, tmp_path):
    runs = grid("fast", seed=range(2), **QUICK | {"epochs": 3})
    whole = carry_out(runs, tmp_path / "whole", source=source, jobs=1)

    def stop():
        return len(list(tmp_path.glob("part/*/metrics.jsonl"))) == 2

    part = carry_out(runs, tmp_path / "part", source=source, jobs=1, stop=stop)
    assert part.interrupted and [row["state"] for row in part.rows] == ["done", "stopped"]
    assert list(tmp_path.glob("part/fast-1-*/checkpoint.safetensors"))
    with pytest.raises(RunError, match="runs must be finished, got fast-1-.*, which has stopped"):
        part.models()
    done = carry_out(runs, tmp_path / "part", source=source, jobs=2)
    assert done.rows == whole.rows and digests(tmp_path / "part") == digests(tmp_path / "whole")


def test_one_that_fails_is_told_and_the_others_go_on(source, tmp_path):
    good = grid("fast", seed=range(2), **QUICK)
    bad = RunConfig.named("fast", epochs=2, batch_size=301)
    result = carry_out([good[0], bad, good[1]], tmp_path, source=source, jobs=2)
    assert [row["state"] for row in result.rows] == ["done", "failed", "done"]
    (row,) = result.failed
    assert "batch_size must be at most 300, the number of training images" in row["error"]
    assert "Traceback" in result.traces[row["run"]]
    with pytest.raises(RunError, match="which has failed .batch_size must be"):
        result.models()
    assert "failed" in str(result)


def test_one_whose_process_is_killed_can_be_trained_alone(source, tmp_path, monkeypatch):
    runs = grid("fast", seed=range(3), **QUICK)
    with monkeypatch.context() as patched:

        def job(number):
            config = runs[number]
            return die if config.seed == 1 else sweep.train_job

        die = pool_jobs.die_before_training
        real = sweep.Job
        patched.setattr(sweep, "Job", lambda name, _, args: real(name, job(int(name)), args))
        result = carry_out(runs, tmp_path, source=source, jobs=2)
    assert [row["state"] for row in result.rows] == ["done", "failed", "done"]
    assert result.rows[1]["error"] == "its process was ended by SIGKILL"
    told = []
    result = carry_out(runs, tmp_path, source=source, jobs=1, on_run=told.append)
    assert [row["seed"] for row in told] == [0, 2, 1] and not result.failed
    whole = carry_out(runs, tmp_path / "whole", source=source, jobs=1)
    assert whole.rows == result.rows


def test_a_run_whose_last_worker_is_about_to_end_is_waited_for(source, tmp_path):
    (config,) = place(grid("fast", **QUICK), tmp_path, [source])
    folder, looks = RunFolder(config.folder), []
    with ExitStack() as held:
        held.enter_context(folder.lock())
        (tmp_path / ".stop-0").touch()  # of the call that was killed

        def stop():
            looks.append(folder.is_locked())
            if len(looks) == 4:
                held.close()
            return False

        result = carry_out(grid("fast", **QUICK), tmp_path, source=source, jobs=1, stop=stop)
    assert not result.failed and looks[:4] == [True] * 4
    assert not folder.is_locked() and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("kind", ["threads", "spawned"])
def test_executors_of_python(source, tmp_path, kind):
    runs = grid("fast", seed=range(3), **QUICK)
    here = carry_out(runs, tmp_path / "here", source=source, jobs=1)
    executors = {
        "threads": lambda: ThreadPoolExecutor(2),
        "spawned": lambda: ProcessPoolExecutor(2, get_context("spawn")),
    }
    with executors[kind]() as executor:
        there = carry_out(runs, tmp_path / "there", source=source, executor=executor)
    assert there.rows == here.rows and digests(tmp_path / "here") == digests(tmp_path / "there")


def test_without_a_folder_the_files_go_with_the_result(source):
    result = carry_out(grid("fast", seed=range(2), **QUICK), None, source=source, jobs=1)
    folder = result.configs[0].folder.parent
    assert folder.is_dir() and len(result.models()) == 2
    del result
    gc.collect()
    assert not folder.exists()


def test_a_run_with_folds_is_one_of_each_fold(source, tmp_path):
    config = RunConfig.named("fast", folds=3, **QUICK)
    result = carry_out([config], tmp_path / "many", source=source, jobs=1)
    assert [row["fold"] for row in result.rows] == [1, 2, 3]
    crossed = cross_validate(replace(config, folder=tmp_path / "crossed"), source, jobs=2)
    assert [row["test_correct"] for row in result.rows] == [row["correct"] for row in crossed.rows]
    here = cross_validate(replace(config, folder=tmp_path / "here"), source)
    assert crossed.to_dict() == here.to_dict()
    assert digests(tmp_path / "crossed") == digests(tmp_path / "here")
    assert (crossed.evaluation.probabilities == here.evaluation.probabilities).all()


def test_folds_at_once_without_a_folder_and_one_that_fails(source):
    config = RunConfig.named("fast", folds=2, **QUICK)
    seen = []
    result = cross_validate(config, source.train, jobs=2, on_fold=seen.append)
    assert sorted(run.config.fold for run in seen) == [1, 2]
    assert result.to_dict() == cross_validate(config, source.train).to_dict()
    lines = []
    bad = RunConfig.named("fast", folds=2, batch_size=200)
    with pytest.raises(RunError, match="fold 1 failed: batch_size must be at most 150"):
        cross_validate(bad, source, jobs=2, on_message=lines.append)
    assert sorted(lines)[1].startswith("Fold 2 failed: batch_size")


def test_what_is_asked_wrongly(source, tmp_path):
    with pytest.raises(RunError, match="configs must differ .*, got fast, seed 0 twice"):
        carry_out(["fast", "fast"], tmp_path, source=source)
    with pytest.raises(RunError, match="source must be one for each of 1 runs, got 2"):
        carry_out(["fast"], tmp_path, source=[source, source])
    with pytest.raises(ValueError, match="recipe must be one of"):
        carry_out(["fastest"], tmp_path)
    assert not list(tmp_path.glob("fast*"))


def test_each_run_may_have_data_of_its_own(mnist_slice, tmp_path):
    train_set, test_set = mnist_slice
    test = test_set.take(range(100))
    sources = [Source(train_set.take(range(count)), test) for count in (200, 300)]
    runs = [RunConfig.named("fast", **QUICK)] * 2
    result = carry_out(runs, tmp_path, source=sources, jobs=1)  # data is a difference
    for data, row in zip(sources, result.rows, strict=True):
        assert row["test_accuracy"] == train(runs[0], data).accuracy


def test_a_folder_is_of_settings_and_data(idx_files, mnist_slice, tmp_path):
    config = RunConfig.named("fast", data=idx_files)

    def name(config, **options):
        (placed,) = place([config], tmp_path, **options)
        return placed.folder.name

    names = [name(config), name(replace(config, seed=1)), name(RunConfig.named("fast"))]
    names.append(name(config, sources=[Source(*mnist_slice[::-1])]))
    path = next(idx_files.glob("train-labels*"))
    content = bytearray(path.read_bytes())
    content[-1] = (content[-1] + 1) % 10
    path.write_bytes(content)
    names.append(name(config))
    assert len(set(names)) == 5 and all(each.startswith("fast-") for each in names)
    assert name(config) == names[-1] == name(replace(config, folder=Path("x"), threads=2))


def test_a_grid_has_each_combination():
    runs = grid("fast", lr=[1e-3, 2e-3], seed=range(3), channels=[[4, 8]], epochs=2)
    assert [(run.settings.lr, run.seed) for run in runs] == [
        (lr, seed) for lr in (1e-3, 2e-3) for seed in range(3)
    ]
    assert {tuple(run.get("channels")) for run in runs} == {(4, 8)}
    assert [run.recipe for run in grid(seed=[1, 2])] == ["default"] * 2
    with pytest.raises(TypeError, match="got lrr; did you mean lr"):
        grid("fast", lrr=[1])


def test_the_bar_counts_epochs_of_all(tmp_path, monkeypatch):
    class Terminal(list):
        def write(self, text):
            self.append(text)

        def flush(self):
            pass

        def isatty(self):
            return True

    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    runs = [replace(run, folder=tmp_path / str(run.seed)) for run in grid(seed=range(3))]
    bar = SweepBar(runs, True)
    assert bar.bar.total == 30
    bar.begin(0)
    bar.begin(1)
    (tmp_path / "1").mkdir()
    (tmp_path / "1/metrics.jsonl").write_text("{}\n{}\n{}\n")
    bar.look()
    assert bar.bar.n == 3
    bar.end(0)
    bar.end(1, failed=True)
    assert bar.bar.n == 20 and "2/3 runs, 1 failed" in "".join(shown)
    bar.close()
    assert SweepBar(runs, False).bar is None


def test_it_is_at_the_top():
    assert lenet5c.run_many is run_many and "run_many" in lenet5c.__all__


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"configs": None}, TypeError, "configs must be a list of RunConfig, got None"),
        ({"configs": "fast"}, TypeError, "configs must be a list of RunConfig, got 'fast'"),
        ({"configs": RunConfig.named("fast")}, TypeError, "list of RunConfig, got a single Run"),
        ({"configs": [{"recipe": "fast"}]}, TypeError, "configs must hold RunConfig or names"),
        ({"source": "mnist"}, TypeError, "source must be a Source, or a list with one for each"),
        ({"jobs": 0}, ValueError, "jobs must be an integer of at least 1, or None, got 0"),
        ({"jobs": "2"}, ValueError, "jobs must be an integer of at least 1, or None, got '2'"),
        ({"executor": "mpi"}, TypeError, "executor must be a concurrent.futures.Executor"),
        ({"executor": ThreadPoolExecutor}, TypeError, "executor must be a concurrent.futures"),
    ],
)
def test_arguments_of_other_types_are_named(options, kind, message):
    with pytest.raises(kind, match=message):
        run_many(**{"configs": ["fast"], "progress": False} | options)


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_an_executor_that_was_shut_down_is_told(kind, source, tmp_path):
    executor = kind(1)
    executor.shutdown()
    runs = grid("fast", seed=range(2), **QUICK)
    with pytest.raises(RunError, match="executor must accept calls, got .*not shut down"):
        carry_out(runs, tmp_path, source=source, executor=executor)
    assert not list(tmp_path.glob(".*"))
    assert not carry_out(runs, tmp_path, source=source, jobs=1).failed


def test_a_folder_of_a_name_that_is_too_long(tmp_path):
    with pytest.raises(RunError, match="folder of a run must be writable"):
        carry_out(["fast"], tmp_path / ("x" * 300))


def test_a_grid_takes_arrays():
    runs = grid("fast", lr=np.array([1e-3, 2e-3]), seed=np.arange(2))
    assert [(run.get("lr"), run.seed) for run in runs] == [
        (1e-3, 0),
        (1e-3, 1),
        (2e-3, 0),
        (2e-3, 1),
    ]
    assert all(type(run.seed) is int and type(run.get("lr")) is float for run in runs)


def test_lines_about_the_data_are_told_once(tmp_path):
    folder = tmp_path / "pictures"
    for name in "ab":
        (folder / name).mkdir(parents=True)
        for number in range(20):
            image = np.full((28, 28), 10 * number, np.uint8)
            (folder / name / f"{number}.pgm").write_bytes(b"P5 28 28 255\n" + image.tobytes())
    (folder / "a/notes.txt").write_text("no image")
    lines = []
    runs = grid("fast", data=folder, seed=range(2), epochs=1, batch_size=5)
    assert not carry_out(runs, tmp_path / "out", jobs=1, on_message=lines.append).failed
    assert lines and len(lines) == len(set(lines))


def test_a_script_without_a_guard_is_told_what_it_lacks(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import lenet5c\n"
        "runs = lenet5c.recipes.grid('fast', seed=range(2), train_size=300)\n"
        "result = lenet5c.run_many(runs, 'out', jobs=2, progress=False)\n"
        "print([row['error'] for row in result.failed])\n"
    )
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=HANGING
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("its process ended with exit code 1 before it could begin") == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("lenet5c.errors.RunError: trainings must not start while a new process")
    for text in (done.stdout, last):
        assert 'with its code under if __name__ == "__main__":' in text
