"""Ranks from the environment variables set by ``mpiexec`` or another launcher."""

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
    """Return the rank of this process, or 0 if it was started alone."""
    for rank, _ in VARIABLES:
        if (value := os.environ.get(rank, "")).isdecimal():
            return int(value)
    return 0


def launched_size() -> int | None:
    """Return the number of processes, 1 if started alone, or None if only MPI knows it."""
    for rank, size in VARIABLES:
        if os.environ.get(rank, "").isdecimal():
            value = os.environ.get(size, "")
            return int(value) if value.isdecimal() else None
    return 1


def open_ranks(mpi: bool | None = None) -> Ranks:
    """Return the ranks to which this process belongs.

    Parameters
    ----------
    mpi : bool, optional
        Use MPI. Default: if ``mpiexec`` or a similar launcher has started several processes.

    Returns
    -------
    Ranks

    Raises
    ------
    MissingExtraError
        mpi4py or an MPI library is missing.

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
    from lenet5c.training.parallel.mpi import MPIRanks  # importing mpi4py joins the other processes

    return MPIRanks()
