"""The ranks of a training, and the data that they exchange."""

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

# Samples that a net processes together; a rank gets whole tiles.
TILE = 16


class Ranks:
    """The processes that share a training; in this class, only this process.

    `lenet5c.training.parallel.mpi.MPIRanks` is for several processes. Each has the whole model and
    the list of all samples, and performs all steps; it computes a part of each batch and receives
    the results of the others. All methods must be called by all ranks, in the same order; `rank`
    and `size` are attributes.

    Attributes
    ----------
    rank : int
        Rank of this process, starting at 0.
    size : int
        Number of processes.
    neighbor, neighbors : int
        The same among the processes whose window is in the same memory.
    """

    rank, size = 0, 1
    neighbor, neighbors = 0, 1

    @property
    def first(self) -> bool:
        """True for the rank that writes files and prints."""
        return self.rank == 0

    def gather(self, number: int) -> list[int]:
        """Return the integers passed by all ranks."""
        return [number]

    def broadcast(self, value: Any) -> Any:
        """Return the value of the first rank, transferred as JSON."""
        return value

    def broadcast_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the arrays of the first rank."""
        return dict(arrays)

    def compare(self, facts: Mapping[str, str]) -> None:
        """Check that all ranks have the same facts.

        Parameters
        ----------
        facts : mapping of str to str
            Values by name; the names are used in errors, such as 'version of lenet5c'.

        Raises
        ------
        RankError
            On all ranks.
        """

    def share(self, count: int) -> slice:
        """Return this rank's share of the samples to evaluate, or all if there are few."""
        if count < 2 * TILE * self.size:
            return slice(0, count)
        tiles = -(-count // TILE)
        first, stop = (tiles * rank // self.size for rank in (self.rank, self.rank + 1))
        return slice(first * TILE, min(stop * TILE, count))

    def join(self, rows: NDArray[Any], count: int) -> NDArray[Any]:
        """Return the rows of all ranks for samples that `share` has divided among them."""
        return rows

    def window(self, floats: int) -> NDArray[np.float32]:
        """Return a vector with at least this many values, for `exchange`.

        When this returns, all ranks have called it, so none uses the data of an earlier `exchange`
        anymore.
        """
        return np.empty(floats, np.float32)

    def exchange(self, pieces: list[list[int]]) -> None:
        """Send the part of the window that each rank has written to all ranks.

        Parameters
        ----------
        pieces : list of list of int
            For each piece of the window, `size` + 1 byte offsets: the start of the part of each
            rank, and the end of the last part.
        """

    def barrier(self) -> None:
        """Wait for the neighbors, so that their data in the window are visible."""

    def count_neighbors(self, processors: str) -> int:
        """Return the number of ranks, with this one, that may run on the same processors."""
        return 1

    def rest(self) -> None:
        """Wait for all ranks, without using the processor."""

    def leave(self, code: int) -> NoReturn:
        """End this process with an exit code; called by all ranks."""
        raise SystemExit(code)

    def fail(self, error: BaseException, code: int = 1) -> NoReturn:
        """End all ranks because of an error that may affect only this one, with a message."""
        raise error

    def end(self, code: int) -> NoReturn:
        """End all ranks with this exit code, wherever they wait for each other."""
        self.leave(code)


#: Only this process.
ALONE = Ranks()
