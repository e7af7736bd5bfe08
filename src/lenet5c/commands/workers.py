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
    """Those that carry trainings out: an executor or None, and the number at a time."""

    executor: Executor | None
    jobs: int | None

    @property
    def are_here(self) -> bool:
        """Whether this process carries the trainings out."""
        return self.executor is None and self.jobs == 1


def add_workers(parser: _ActionsContainer, of: str = "", usual: str = "1") -> None:
    """Add the options to a parser."""
    parser.add_argument(
        "--jobs",
        type=whole(1, 1024),
        metavar="N",
        help=f"trainings at a time{of}; they share the cores (default: {usual}; of an executor "
        "all its workers)",
    )
    parser.add_argument(
        "--executor",
        metavar="mpi|dask:ADDRESS",
        help=f"carry the trainings{of.partition(',')[0]} out by MPI, after mpiexec -n N, or by "
        "the workers of Dask's scheduler at ADDRESS",
    )


@contextmanager
def open_workers(options: Namespace, usual: int | None = 1) -> Iterator[Workers | None]:
    """Yield the workers that the options ask for; None in a process that is one itself.

    There the work is done by then.
    """
    if options.executor is None:
        yield Workers(None, options.jobs or usual)
        return
    with name_executor(options.executor) as executor:
        yield None if executor is None else Workers(executor, options.jobs)
