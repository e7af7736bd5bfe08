"""Processes that share a training, called *ranks*: a single one, or several with MPI."""

from lenet5c.training.parallel.environment import launched_rank, launched_size, open_ranks
from lenet5c.training.parallel.ranks import ALONE, Ranks

__all__ = ["ALONE", "Ranks", "launched_rank", "launched_size", "open_ranks"]
