"""Ranks by what the program that starts the processes, such as ``mpiexec``, tells each of them."""

import os

from lenet5c.training.parallel.ranks import ALONE, Ranks

#: Variables with the number of a process and, where there is one, of all: those of MPICH, Intel MPI
#: and Slurm's PMI-2, of Open MPI, and of PMIx.
VARIABLES = (
    ("PMI_RANK", "PMI_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMIX_RANK", ""),
)


def launched_rank() -> int:
    """Return the number of this process among those started together, 0 if it was started alone."""
    for rank, _ in VARIABLES:
        if (value := os.environ.get(rank, "")).isdecimal():
            return int(value)
    return 0


def launched_size() -> int | None:
    """Return how many processes were started together, 1 if this one alone; None if MPI knows."""
    for rank, size in VARIABLES:
        if os.environ.get(rank, "").isdecimal():
            value = os.environ.get(size, "")
            return int(value) if value.isdecimal() else None
    return 1


def open_ranks(mpi: bool | None = None) -> Ranks:
    """Return the ranks that this process is one of.

    Parameters
    ----------
    mpi : bool, optional
        Use MPI; by default where ``mpiexec`` or the like has started several processes.

    Returns
    -------
    Ranks

    Raises
    ------
    MissingExtraError
        There is no mpi4py, or no MPI library.

    Examples
    --------
    >>> from lenet5c.training.parallel import open_ranks
    >>> ranks = open_ranks()
    >>> ranks.rank, ranks.size
    (0, 1)
    """
    if mpi is None:
        mpi = launched_size() != 1
    if not mpi:
        return ALONE
    from lenet5c.training.parallel.mpi import (
        MPIRanks,  # mpi4py joins the others when it is imported
    )

    return MPIRanks()
