"""`lenet5c sweep`, and `--jobs` of other commands."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest
from processes import HANGING

from lenet5c.__main__ import main

SMALL = ["--recipe", "fast", "--train-size", "300", "--batch-size", "20"]


def read(folder):
    with open(folder / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def is_there(group):
    """Return whether a process group is not empty."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_each_combination_and_seed(idx_files, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["sweep", *SMALL, "--data", str(idx_files), "--out", str(out), "--jobs", "2"]
    command += ["--vary", "lr=2e-3,4e-3", "channels=4+8,6+16", "--seed", "5"]
    assert main([*command, "--seeds", "2"]) == 0
    said = capsys.readouterr().out
    rows = read(out)
    assert [(row["lr"], row["channels"], row["seed"]) for row in rows] == [
        (lr, channels, seed)
        for lr in ("0.002", "0.004")
        for channels in ("4, 8", "6, 16")
        for seed in ("5", "6")
    ]
    assert said.count("(mean and standard deviation of 2 runs)") == 4
    assert f"Results: {out}/results.csv\n" in said
    assert "fast 5 0.002 4, 8" in " ".join(said.split())
    assert main([*command, "--seeds", "1", "--quiet"]) == 0
    assert capsys.readouterr().out == f"Results: {out}/results.csv\n"
    assert [row["seed"] for row in read(out)] == ["5"] * 4
    assert main(["runs", str(out)]) == 0
    assert capsys.readouterr().out.count("fast-300-") == 8


def test_recipes_and_seeds_are_varied_too(idx_files, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["sweep", *SMALL[2:], "--data", str(idx_files), "--out", str(out), "--jobs", "1"]
    command += ["--epochs", "1", "--vary", "recipe=fast,default", "seed=3,7"]
    assert main([*command, "--quiet"]) == 0
    rows = read(out)
    assert [(row["recipe"], row["seed"]) for row in rows] == [
        (recipe, seed) for recipe in ("fast", "default") for seed in ("3", "7")
    ]
    # The recipe says the rest.
    assert "lr" not in rows[0] and "input_size" not in rows[0]
    said = capsys.readouterr().out
    assert "fast: " in said and "default: " in said
    assert main([*command, "lr=1e-3,2e-3"]) == 0
    assert {row["lr"] for row in read(out)} == {"0.001", "0.002"}
    assert "input_size" not in read(out)[0]


def test_what_cannot_be_swept(idx_files, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out"), "--data", str(idx_files)]
    for words, message in (
        (["--vary", "lr=1e-3:1e-1"], "--vary must be NAME=A,B,C, got a range for lr"),
        (["--vary", "lr=1,a"], "--vary must be NAME"),
        (["--vary", "lr=1e-3", "lr=2e-3"], "--vary must have each setting once, got lr twice"),
        (["--vary", "lr=1e-3,0.001"], "--vary must have different values, got lr=1e-3,0.001"),
        (["--vary", "lr=1,2", "--lr", "3"], "--lr cannot be combined with --vary lr, got 3"),
        (["--vary", "recipe=best"], "--recipe cannot be combined with --vary recipe, got fast"),
        (["--vary", "data=mnist"], "--vary must name settings of a recipe, got data"),
        (["--vary", "seed=1,2", "--seeds", "2"], "configs must differ from each other"),
        (["--vary", "lrr=1"], "got lrr; did you mean lr"),
        (["--executor", "slurm"], "executor must be mpi or dask:ADDRESS"),
    ):
        assert main(["sweep", *SMALL, *out, *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert main(["train", *SMALL, *out, "--jobs", "2"]) == 2
    assert "--jobs requires --folds N, teachers, or" in capsys.readouterr().err
    assert main(["train", *SMALL, *out, "--executor", "mpi"]) == 2
    assert "--executor requires --folds N" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_that_fails_is_named(idx_files, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["sweep", *SMALL[:4], "--data", str(idx_files), "--out", str(out), "--jobs", "2"]
    assert main([*command, "--vary", "batch-size=20,301"]) == 1
    lines = capsys.readouterr().err.splitlines()
    failed = read(out)[1]
    assert [row["state"] for row in read(out)] == ["done", "failed"]
    assert len(lines) == 2 and all(failed["run"] in line for line in lines)
    assert lines[1].startswith("lenet5c sweep: error: ") and "batch_size must be at" in lines[1]


def test_the_commands_that_take_jobs(idx_files, tmp_path, capsys):
    data = ["--data", str(idx_files)]
    for jobs in ("1", "2"):
        out = ["--out", str(tmp_path / f"folds{jobs}"), "--no-report"]
        assert main(["train", *SMALL, *data, "--folds", "2", "--jobs", jobs, *out]) == 0
        said = capsys.readouterr().out
        assert "Fold 1 of 2: " in said and "Accuracy over 2 folds" in said
    one, two = (tmp_path / f"folds{jobs}" / "cross-validation.json" for jobs in ("1", "2"))
    assert one.read_bytes() == two.read_bytes()
    pytest.importorskip("optuna")
    search = ["--search", "lr", "--trials", "3", "--validation", "50", "--epochs", "2"]
    out = tmp_path / "study"
    assert main(["tune", *SMALL, *data, *search, "--jobs", "2", "--out", str(out)]) == 0
    assert capsys.readouterr().out.count("\ntrial ") + 1 >= 3
    with open(out / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == ["0", "1", "2"]
    assert {row["state"] for row in rows} <= {"complete", "pruned"}
    assert not list(out.glob(".*"))


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("words", ["sweep --seeds 2", "train --folds 2"])
def test_ctrl_c_ends_all_workers_and_the_same_command_goes_on(words, idx_files, tmp_path):
    command = [sys.executable, "-m", "lenet5c", *words.split(), *SMALL, "--quiet", "--jobs", "2"]
    command += ["--data", str(idx_files), "--out", str(tmp_path / "out"), "--epochs", "150"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **pipes, start_new_session=True)
    deadline = time.monotonic() + HANGING
    while len(list(tmp_path.glob("out/*/metrics.jsonl"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=HANGING)
    assert process.returncode == 130 and "Traceback" not in errors, errors
    assert "Stopped" in errors
    while is_there(process.pid):  # the last of them is Python's resource tracker
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(list(tmp_path.glob("out/*/checkpoint.safetensors"))) == 2
    assert not list(tmp_path.glob("out/.*"))
    again = command
    if "train" in words:
        again = [sys.executable, "-m", "lenet5c", "train", "--resume", "--jobs", "2"]
        again += ["--out", str(tmp_path / "out"), "--no-report"]
    assert subprocess.run(again, timeout=HANGING, stdout=subprocess.DEVNULL).returncode == 0
    assert len(list(tmp_path.glob("out/*/summary.json"))) == 2
