"""The ranks of a training: what they agree on, and what they exchange."""

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

# Samples that go through a net together; those of a rank are whole tiles.
TILE = 16


class Ranks:
    """The processes that share a training; here this one is the only one.

    `lenet5c.training.parallel.mpi.MPIRanks` are several. Each has the whole model and the list of
    all samples, and takes all steps; it computes a part of each batch, and gets what the others
    have computed.
    All but `rank` and `size` are to be called by all ranks, in the same order.

    Attributes
    ----------
    rank : int
        The number of this process, from 0.
    size : int
        Number of processes.
    neighbor, neighbors : int
        The same among those who have their window in the same memory.
    """

    rank, size = 0, 1
    neighbor, neighbors = 0, 1

    @property
    def first(self) -> bool:
        """True of the rank that writes and prints."""
        return self.rank == 0

    def gather(self, number: int) -> list[int]:
        """Return the integer that each rank gives."""
        return [number]

    def broadcast(self, value: Any) -> Any:
        """Return the value of the first rank, as JSON has it."""
        return value

    def broadcast_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the arrays of the first rank."""
        return dict(arrays)

    def compare(self, facts: Mapping[str, str]) -> None:
        """See that all ranks have the same facts.

        Parameters
        ----------
        facts : mapping of str to str
            By what they are called in an error, such as 'version of lenet5c'.

        Raises
        ------
        RankError
            On all ranks.
        """

    def share(self, count: int) -> slice:
        """Return the samples of this rank, of so many to evaluate: all if they are few."""
        if count < 2 * TILE * self.size:
            return slice(0, count)
        tiles = -(-count // TILE)
        first, stop = (tiles * rank // self.size for rank in (self.rank, self.rank + 1))
        return slice(first * TILE, min(stop * TILE, count))

    def join(self, rows: NDArray[Any], count: int) -> NDArray[Any]:
        """Return the rows of all ranks, of so many samples that `share` has shared out."""
        return rows

    def window(self, floats: int) -> NDArray[np.float32]:
        """Return a vector of so many values at least, for `exchange`.

        A rank that has returned knows that all have called, so that none uses what `exchange` got
        before.
        """
        return np.empty(floats, np.float32)

    def exchange(self, pieces: list[list[int]]) -> None:
        """Bring what each rank has written to its part of the window to all ranks.

        Parameters
        ----------
        pieces : list of list of int
            For each piece of the window the `size` + 1 bytes at which the parts of the ranks begin,
            and the last one ends.
        """

    def meet(self) -> None:
        """Wait for the neighbors, and see what they have written to the window."""

    def count_neighbors(self, processors: str) -> int:
        """Return how many ranks of this machine, with this one, may run on the same processors."""
        return 1

    def rest(self) -> None:
        """Wait for all ranks to come here, without the use of a processor."""

    def leave(self, code: int) -> NoReturn:
        """End this process with an exit code; all ranks come here."""
        raise SystemExit(code)

    def fail(self, error: BaseException, code: int = 1) -> NoReturn:
        """End all ranks by an error that only this one may have met, with a line about it."""
        raise error

    def end(self, code: int) -> NoReturn:
        """End all ranks, wherever they wait for one another, with this exit code."""
        self.leave(code)


#: This process alone.
ALONE = Ranks()
