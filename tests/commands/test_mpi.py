"""`lenet5c train` on MPI ranks: the same files as one process, errors, and no repeated output."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mpi_programs import find_mpiexec, launch, run_on_ranks
from processes import HANGING
from train_command import digest, train

FILES = ("model.safetensors", "checkpoint.safetensors", "metrics.jsonl", "metrics.csv")
# Seconds in which all ranks end once one has failed.
END = 10 if "CI" not in os.environ else 60


@pytest.fixture(autouse=True)
def needs_mpi():
    if find_mpiexec() is None:
        pytest.skip("there is no mpiexec that runs mpi4py")


@pytest.fixture
def arguments(idx_files):
    """Return the arguments of Python for a run of the small data set in a folder."""

    def of(folder, *more):
        common = ["-m", "lenet5c", "train", "--data", idx_files, "--validation", 0.1]
        return [*common, "--no-report", "--out", folder, *more]

    return of


def assert_one_line(done, code, *words):
    assert done.returncode == code, (done.stdout, done.stderr)
    (line,) = done.stderr.strip().splitlines()
    assert "error: " in line
    for word in words:
        assert word in line


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_leave_the_files_of_one_process(tmp_path, quick, arguments, ranks):
    options = ["--epochs", 2, "--dropout", 0.2, "--batch-norm", "--average", 0.9]
    assert quick(*options, out="whole").returncode == 0
    done = run_on_ranks(ranks, *arguments(tmp_path / "run", *options), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Test accuracy") == 1
    for name in FILES:
        assert digest(tmp_path / "run" / name) == digest(tmp_path / "whole" / name)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["ranks"] == ranks
    again = run_on_ranks(ranks, *arguments(tmp_path / "run", "--resume"), cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]


def test_teachers_are_trained_on_all_ranks(tmp_path, quick, arguments):
    options = ["--epochs", 1, "--teachers", 1, "--label-smoothing", 0]
    assert quick(*options, out="whole").returncode == 0
    folder = tmp_path / "run"
    done = run_on_ranks(3, *arguments(folder, *options), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("checkpoint.safetensors", "summary.json"):  # as if the net itself had just begun
        (folder / name).unlink()
    for name in ("model.safetensors", "metrics.jsonl", "metrics.csv"):
        (folder / name).unlink()
    again = run_on_ranks(2, *arguments(folder, "--resume"), cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    for name in (*FILES, "teacher-1/model.safetensors"):
        assert digest(folder / name) == digest(tmp_path / "whole" / name)


def children(process):
    """Return the process IDs of all descendants of a process."""
    found = []
    for number in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        found += [int(number), *children(int(number))]
    return found


def is_alive(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
@pytest.mark.parametrize("victim", ["the first rank", "another rank", "mpiexec", "SIGTERM"])
def test_a_killed_run_ends_everywhere_and_resumes_on_other_ranks(
    tmp_path, quick, arguments, victim
):
    options = ["--epochs", 16, "--batch-size", 16]
    assert quick(*options, out="whole").returncode == 0
    folder = tmp_path / "run"
    command, environment = launch(3, *arguments(folder, *options))
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    metrics, deadline = folder / "metrics.jsonl", time.monotonic() + HANGING
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= 2):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    processes = children(process.pid)
    first = int((folder / ".lenet5c.lock").read_text())
    ranks = [
        number
        for number in processes
        if b"lenet5c" in Path(f"/proc/{number}/cmdline").read_bytes()
        and b"proxy" not in Path(f"/proc/{number}/cmdline").read_bytes()
    ]
    if victim == "SIGTERM":
        process.terminate()
    elif victim == "mpiexec":
        process.kill()
    else:
        others = [number for number in ranks if number != first]
        os.kill(first if victim == "the first rank" else others[-1], signal.SIGKILL)
    began = time.monotonic()
    _, errors = process.communicate(timeout=HANGING)
    while any(map(is_alive, processes)):
        assert time.monotonic() - began < END
        time.sleep(0.01)
    assert process.returncode != 0
    if victim == "SIGTERM":
        assert process.returncode == 143
        assert errors.count("Continue with:") == 1
    assert not (folder / "summary.json").exists()
    done = run_on_ranks(
        2, "-m", "lenet5c", "train", "--resume", "--no-report", "--out", folder, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    for name in FILES:
        assert digest(folder / name) == digest(tmp_path / "whole" / name)


# A disk that is full when the second checkpoint is written.
FULL_DISK = """
import errno, os, sys
from lenet5c import _files
from lenet5c.__main__ import start
write, written = _files.write_tensors, []
def write_tensors(path, *arguments):
    written.append(path)
    if len(written) > 1:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    return write(path, *arguments)
_files.write_tensors = write_tensors
start()
"""


def test_a_full_disk_ends_all_ranks_with_a_checkpoint(tmp_path, quick, arguments):
    assert quick("--epochs", 3, out="whole").returncode == 0
    given = arguments(tmp_path / "run", "--epochs", 3)
    full = run_on_ranks(2, "-c", FULL_DISK, *given[2:], cwd=tmp_path)
    assert_one_line(full, 1, "No space left on device", "checkpoint.safetensors")
    assert not (tmp_path / "run" / ".lenet5c.lock").exists()
    result = train("--resume", "--out", tmp_path / "run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert digest(tmp_path / "run" / FILES[0]) == digest(tmp_path / "whole" / FILES[0])


OTHER_VERSION = """
import lenet5c
lenet5c.__version__ = "9.9"
from lenet5c.__main__ import start
start()
"""
# One label is another.
OTHER_DATA = """
from dataclasses import replace
from lenet5c.__main__ import start
from lenet5c.recipes import RunConfig
opened = RunConfig.open
def open_other(self, tell=None):
    source = opened(self, tell)
    labels = source.train.labels.copy()
    labels[7] = (labels[7] + 1) % 10
    return replace(source, train=replace(source.train, labels=labels))
RunConfig.open = open_other
start()
"""


@pytest.mark.parametrize(
    "program, more, words",
    [
        (OTHER_VERSION, [], ("version of lenet5c", "9.9", "rank 2")),
        (OTHER_DATA, [], ("the same data", "rank 2")),
        ("", ["--seed", "5"], ("the same seed, got 0 on rank 0", "5 on rank 2")),
    ],
    ids=["another version", "other data", "another seed"],
)
def test_a_rank_that_does_not_fit_ends_all(tmp_path, arguments, program, more, words):
    given = arguments(tmp_path / "run")
    others = ["-c", program, *given[2:]] if program else [*given, *more]
    done = run_on_ranks(2, *given, others=others, cwd=tmp_path)
    assert_one_line(done, 1, *words)
    assert not (tmp_path / "run" / "config.json").exists()


def test_without_mpi4py_mpiexec_is_refused(tmp_path, arguments):
    package = tmp_path / "without" / "mpi4py"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ModuleNotFoundError('none', name='mpi4py')\n")
    path = os.pathsep.join(filter(None, [str(package.parent), os.environ.get("PYTHONPATH")]))
    done = run_on_ranks(3, *arguments(tmp_path / "run"), cwd=tmp_path, PYTHONPATH=path)
    assert_one_line(done, 2, "mpi4py", "pip install 'lenet5c[mpi]'")


@pytest.mark.parametrize(
    "more, words",
    [
        (["--epoch", "x"], ("--epoch",)),
        (["--folds", "3"], ("--folds cannot be combined",)),
        (["--data", "nowhere"], ("nowhere",)),
    ],
)
def test_bad_use_is_told_once(tmp_path, arguments, more, words):
    done = run_on_ranks(2, *arguments(tmp_path / "run", *more), cwd=tmp_path)
    assert_one_line(done, 2, *words)


@pytest.mark.parametrize(
    "command, words",
    [
        (["distill", "best", "--lr", "x"], ("--lr",)),
        (["sweep", "--executor", "mpi", "--jobs", "x"], ("--jobs",)),
        (["sweep", "--executor", "mpi", "--vary", "bogus=1"], ("--vary", "bogus")),
        (["train", "--no-mpi", "--lr", "x"], ("--lr",)),
        (["train", "--recipe", "record", "--jobs", "2"], ("--jobs is incompatible",)),
        (["predict", "--nope"], ("--nope",)),
    ],
    ids=["distill", "sweep", "a setting of sweep", "each alone", "teachers", "predict"],
)
def test_bad_use_of_any_command_is_told_once(tmp_path, command, words):
    done = run_on_ranks(3, "-m", "lenet5c", *command, cwd=tmp_path)
    assert_one_line(done, 2, *words)


def test_each_process_alone_prints_for_itself(tmp_path):
    done = run_on_ranks(2, "-m", "lenet5c", "--version", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.count("lenet5c") == 2


def test_a_training_that_fails_on_all_ranks_is_told_once(tmp_path, arguments):
    options = ["--optimizer", "sgd", "--lr", "1e30"]
    done = run_on_ranks(3, *arguments(tmp_path / "run", *options), cwd=tmp_path)
    assert_one_line(done, 1, "training failed")
