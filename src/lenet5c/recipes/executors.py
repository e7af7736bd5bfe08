"""Executors by name, and by default."""

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
    """Yield an executor and its jobs at a time: the given one, processes, or this process.

    Parameters
    ----------
    executor : concurrent.futures.Executor or None
    jobs : int or None
        Jobs at a time; by default the executor's workers, without an executor the cores.
    most : int
        Jobs in all.
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
    """Return the jobs at a time; raise an error if these are no executor and number of jobs.

    Raises
    ------
    TypeError
        `executor` is neither an executor nor None.
    ValueError
        `jobs` is neither an integer of at least 1 nor None.
    RunError
        A new process of Python imports the script that has started it, and so comes here.
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
    """Yield the executor of a name; in the processes that work for another, None at the end.

    Parameters
    ----------
    name : str
        'mpi': the other processes that ``mpiexec -n N`` has started. 'dask:ADDRESS': the workers
        of a scheduler of Dask, such as ``dask:tcp://10.0.0.1:8786``.

    Raises
    ------
    RunError
        There is no such executor, no scheduler at the address, or a single process of MPI.
    MissingExtraError
        mpi4py or Dask is not installed.
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
