"""Programs on several MPI processes, if mpiexec is installed."""

import functools
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from processes import HANGING

LETS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


@functools.cache
def find_mpiexec():
    """Return the path of an mpiexec that runs mpi4py here, or None."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None or importlib.util.find_spec("mpi4py") is None:
        return None
    program = "from mpi4py import MPI; assert MPI.COMM_WORLD.size == 2"
    command = [found, "-n", "2", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, env=os.environ | LETS_ROOT, timeout=HANGING)
    return found if done.returncode == 0 else None


def launch(ranks, *arguments, others=(), **environment):
    """Return the command line and the environment of Python on `size` ranks.

    `others` are the arguments of one more rank.
    """
    mpiexec = find_mpiexec()
    if mpiexec is None:
        pytest.skip("there is no mpiexec that runs mpi4py")
    command = [mpiexec, "-n", str(ranks), sys.executable, *map(str, arguments)]
    if others:
        command += [":", "-n", "1", sys.executable, *map(str, others)]
    return command, {**os.environ, **LETS_ROOT, **environment}


def run_on_ranks(ranks, *arguments, cwd=None, **settings):
    """Run Python on several ranks; return the finished process."""
    command, environment = launch(ranks, *arguments, **settings)
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=HANGING
    )
