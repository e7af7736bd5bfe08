"""Options ``--jobs`` and ``--executor`` of the commands that train several times."""

from argparse import Namespace, _ActionsContainer
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass

from lenet5c.commands.cli import whole
from lenet5c.recipes.executors import name_executor


@dataclass(frozen=True)
class Workers:
    """Workers for trainings: an executor or None, and the number of parallel trainings."""

    executor: Executor | None
    jobs: int | None

    @property
    def are_here(self) -> bool:
        """True if the trainings run in this process."""
        return self.executor is None and self.jobs == 1


def add_workers(parser: _ActionsContainer, of: str = "", usual: str = "1", also: str = "") -> None:
    """Add the options to a parser; `also` are trainings that need no executor."""
    parser.add_argument(
        "--jobs",
        type=whole(1, 1024),
        metavar="N",
        help=(
            f"number of trainings{of}{also} to run in parallel; they share the cores (default: "
            f"{usual}, or all workers of an executor)"
        ),
    )
    parser.add_argument(
        "--executor",
        metavar="mpi|dask:ADDRESS",
        help=(
            f"run the trainings{of} with MPI (under mpiexec -n N), or on the "
            "workers of the Dask scheduler at ADDRESS"
        ),
    )


@contextmanager
def open_workers(options: Namespace, usual: int | None = 1) -> Iterator[Workers | None]:
    """Yield the workers given by the options; None in a worker process.

    In a worker process, the work is done by then.
    """
    if options.executor is None:
        yield Workers(None, options.jobs or usual)
        return
    with name_executor(options.executor) as executor:
        yield None if executor is None else Workers(executor, options.jobs)
