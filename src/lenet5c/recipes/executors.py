"""Executors for running trainings in parallel."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from lenet5c import kernels
from lenet5c._optional import require
from lenet5c.errors import RunError
from lenet5c.nn.kind import whole
from lenet5c.recipes.jobs import share_threads
from lenet5c.recipes.worker_pool import GUARD, SerialExecutor, WorkerPool

DASK = "dask:"
_JOBS = whole(1, optional=True)


@contextmanager
def open_executor(
    executor: Executor | None, jobs: int | None, most: int
) -> Iterator[tuple[Executor, int | None]]:
    """Yield an executor and its number of parallel jobs.

    Parameters
    ----------
    executor : concurrent.futures.Executor or None
    jobs : int or None
        Number of parallel jobs; by default the number of workers of the executor, or of cores.
    most : int
        Total number of jobs.
    """
    if executor is not None:
        yield executor, jobs
        return
    count = min(jobs or kernels.get_num_threads(), most)
    if count <= 1:
        yield SerialExecutor(), 1
        return
    with WorkerPool(count, share_threads(count)) as pool:
        yield pool, count


def check_workers(executor: object, jobs: object) -> int | None:
    """Return the number of parallel jobs; raise an error if an argument is invalid.

    Raises
    ------
    TypeError
        If `executor` is neither an executor nor None.
    ValueError
        If `jobs` is neither an integer of at least 1 nor None.
    RunError
        If called while a new Python process imports the script that started it.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RunError(f"trainings must not start while a new process imports the script; {GUARD}")
    if executor is not None and (
        isinstance(executor, type) or not callable(getattr(executor, "submit", None))
    ):
        raise TypeError(
            "executor must be a concurrent.futures.Executor, such as ProcessPoolExecutor(4), or "
            f"None, got {executor!r}"
        )
    return _JOBS.check("jobs", jobs)


@contextmanager
def name_executor(name: str) -> Iterator[Executor | None]:
    """Yield the executor of a name; in worker processes, yield None at the end.

    Parameters
    ----------
    name : str
        'mpi': the other processes started by ``mpiexec -n N``. 'dask:ADDRESS': the workers of a
        Dask scheduler, such as ``dask:tcp://10.0.0.1:8786``.

    Raises
    ------
    RunError
        If there is no such executor, no scheduler at the address, or only one MPI process.
    MissingExtraError
        If mpi4py or Dask is not installed.
    """
    if name == "mpi":
        futures = require("mpi4py.futures", "mpi", "trainings by MPI")
        size = require("mpi4py.MPI", "mpi", "trainings by MPI").COMM_WORLD.Get_size()
        if size == 1:
            raise RunError(
                "executor mpi must have at least 2 processes, one of which distributes the work, "
                "got 1; start the command with mpiexec -n 3"
            )
        with futures.MPICommExecutor() as executor:
            yield executor
    elif name.startswith(DASK):
        distributed = require("distributed", "dask", "trainings by Dask")
        try:
            client = distributed.Client(name.removeprefix(DASK), timeout="10s")
        except (OSError, ValueError) as error:
            raise RunError(
                f"executor must have the address of a Dask scheduler, got {name!r} ({error}); "
                "start one with: dask scheduler"
            ) from None
        with client:
            yield client.get_executor(pure=False)
    else:
        raise RunError(f"executor must be mpi or {DASK}ADDRESS, got {name!r}")
