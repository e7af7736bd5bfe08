"""Executors of other libraries, and their names; all produce the same files."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from processes import HANGING
from run_digests import digests

from lenet5c.errors import MissingExtraError, RunError
from lenet5c.recipes import grid, run_many
from lenet5c.recipes.executors import name_executor

# Of the environment of this Python, or of the system.
MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
OPTIONS = "--recipe fast --epochs 2 --train-size 300 --batch-size 20 --seeds 3"


def carry_out(idx_files, folder, **options):
    changes = {"data": idx_files, "epochs": 2, "train_size": 300, "batch_size": 20}
    return run_many(grid("fast", seed=range(3), **changes), folder, progress=False, **options)


def test_loky(idx_files, tmp_path):
    loky = pytest.importorskip("loky")
    executor = loky.ProcessPoolExecutor(2)
    try:
        there = carry_out(idx_files, tmp_path / "there", executor=executor)
    finally:
        executor.shutdown(kill_workers=True)
    assert there.rows == carry_out(idx_files, tmp_path / "here", jobs=1).rows
    assert digests(tmp_path / "there") == digests(tmp_path / "here")


@pytest.mark.filterwarnings("default")  # those of Dask are its own
def test_dask(idx_files, tmp_path):
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        distributed.LocalCluster(**options) as cluster,
        name_executor(f"dask:{cluster.scheduler_address}") as executor,
    ):
        carry_out(idx_files, tmp_path / "there", executor=executor)
    carry_out(idx_files, tmp_path / "here", jobs=1)
    assert digests(tmp_path / "there") == digests(tmp_path / "here")


@pytest.mark.skipif(MPIEXEC is None, reason="needs mpiexec")
def test_mpi(idx_files, tmp_path):
    pytest.importorskip("mpi4py")
    words = [MPIEXEC, "-n", "3", sys.executable, "-m", "lenet5c", "sweep", *OPTIONS.split()]
    words += ["--data", str(idx_files), "--executor", "mpi", "--out", str(tmp_path / "there")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=HANGING)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("of 3 runs") == 1  # a single process prints
    carry_out(idx_files, tmp_path / "here", jobs=1)
    assert digests(tmp_path / "there") == digests(tmp_path / "here")


def open_and_close(name):
    with name_executor(name):
        pass


def test_names_that_are_none(monkeypatch):
    with pytest.raises(RunError, match="executor must be mpi or dask:ADDRESS, got 'slurm'"):
        open_and_close("slurm")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    monkeypatch.setitem(sys.modules, "distributed", None)
    for name, extra in (("mpi", "mpi"), ("dask:tcp://localhost:1", "dask")):
        with pytest.raises(MissingExtraError, match=f"pip install 'lenet5c.{extra}.'"):
            open_and_close(name)
