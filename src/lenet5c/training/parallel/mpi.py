"""Ranks on MPI, by mpi4py."""

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from itertools import accumulate
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

import lenet5c
from lenet5c._optional import require
from lenet5c.errors import MissingExtraError, RankError
from lenet5c.training.parallel.ranks import Ranks

#: Variable with the most ranks that share memory, for trying out what machines do.
NODE_SIZE = "LENET5C_MPI_NODE_SIZE"
# Seconds between two looks at whether the others are done.
PAUSE = 0.005
# Bytes of a line of cache; a window begins with one.
LINE = 64


class MPIRanks(Ranks):
    """The processes that ``mpiexec`` has started.

    Ranks of one machine, a *node*, share the memory of their window, so nothing is copied among
    them: they wait for one another. Of several nodes, the first rank of each exchanges. No sum is
    left to MPI.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm, optional
        Of these processes; all of them by default. The ranks of a node get neighboring numbers.
    node_size : int, optional
        Share memory among at most so many ranks.

    Raises
    ------
    MissingExtraError
        There is no mpi4py, or no MPI library.
    RankError
        A rank has another version of lenet5c or of NumPy.
    """

    def __init__(self, comm: Any = None, node_size: int | None = None) -> None:
        self.mpi = MPI = _import_mpi()
        world = MPI.COMM_WORLD if comm is None else comm
        node = world.Split_type(MPI.COMM_TYPE_SHARED)
        size = node_size or int(os.environ.get(NODE_SIZE, 0)) or node.size
        self.node = node.Split(node.rank // size, node.rank)
        leader = np.array([world.rank], np.int64)
        self.node.Bcast(leader)
        self.comm = world.Split(0, int(leader[0]) * world.size + self.node.rank)
        self.rank, self.size = self.comm.rank, self.comm.size
        self.neighbor, self.neighbors = self.node.rank, self.node.size
        leads = self.neighbor == 0
        self.leaders = self.comm.Split(0 if leads else MPI.UNDEFINED, self.rank)
        #: The first rank of each node.
        self.first_of_node = [rank for rank, flag in enumerate(self.gather(leads)) if flag]
        self._window = np.empty(0, np.float32)
        self._shared: Any = None
        self.compare({"version of lenet5c": lenet5c.__version__, "NumPy": np.__version__})

    def gather(self, number: int) -> list[int]:
        numbers = np.empty(self.size, np.int64)
        self.comm.Allgather(np.array([number], np.int64), numbers)
        return numbers.tolist()

    def broadcast(self, value: Any) -> Any:
        text = json.dumps(value, default=np.ndarray.tolist).encode() if self.first else b""
        length = np.array([len(text)], np.int64)
        self.comm.Bcast(length)
        content = np.frombuffer(text, np.uint8).copy() if self.first else np.empty(length, np.uint8)
        self.comm.Bcast(content)
        return json.loads(content.tobytes())

    def broadcast_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        kinds = self.broadcast([[name, a.dtype.str, a.shape] for name, a in arrays.items()])
        received = {}
        for name, dtype, shape in kinds:
            array = np.ascontiguousarray(arrays[name]) if self.first else np.empty(shape, dtype)
            self.comm.Bcast([array.reshape(-1).view(np.uint8), self.mpi.BYTE])
            received[name] = array.reshape(shape)
        return received

    def compare(self, facts: Mapping[str, str]) -> None:
        own = {**facts, "host": self.mpi.Get_processor_name()}
        text = np.frombuffer(json.dumps(own).encode(), np.uint8).copy()
        lengths = self.gather(len(text))
        texts = np.split(self._gather_bytes(text, lengths), np.cumsum(lengths)[:-1])
        first, *others = (json.loads(each.tobytes()) for each in texts)
        for rank, other in enumerate(others, 1):
            for name in facts:
                if first.get(name) != other.get(name):
                    raise RankError(
                        f"ranks must have the same {name}, got {first.get(name)} on rank 0 "
                        f"({first['host']}) and {other.get(name)} on rank {rank} ({other['host']})"
                    )

    def join(self, rows: NDArray[Any], count: int) -> NDArray[Any]:
        if len(rows) == count:  # each rank has all of them
            return rows
        content = np.ascontiguousarray(rows).reshape(-1).view(np.uint8)
        lengths = self.gather(content.size)
        return self._gather_bytes(content, lengths).view(rows.dtype).reshape(-1, *rows.shape[1:])

    def window(self, floats: int) -> NDArray[np.float32]:
        if len(self._window) < floats:
            self._allocate(floats)
        self.node.Barrier()
        return self._window

    def exchange(self, pieces: list[list[int]]) -> None:
        self.meet()
        if len(self.first_of_node) > 1:
            if self.neighbor == 0:
                self._exchange_of_nodes(pieces)
            self.meet()

    def meet(self) -> None:
        if self.neighbors == 1:
            return
        try:
            self._shared.Sync()
            self.node.Barrier()
            self._shared.Sync()
        except BaseException as error:  # the compiled code that calls cannot pass it on
            self.fail(error)

    def count_neighbors(self, processors: str) -> int:
        digest = hash_text(processors)
        all_of_node = np.empty(self.node.size, np.int64)
        self.node.Allgather(np.array([digest], np.int64), all_of_node)
        return int((all_of_node == digest).sum())

    def close(self) -> None:
        """Wait for all ranks to come here, without using a processor."""
        request = self.comm.Ibarrier()
        while not request.Test():
            time.sleep(PAUSE)

    def fail(self, error: BaseException) -> NoReturn:
        """End all ranks by an error that only this one may have seen, with a line about it."""
        interrupted = isinstance(error, KeyboardInterrupt)
        told = "interrupted" if interrupted else str(error) or type(error).__name__
        self.tell(f"lenet5c: error: rank {self.rank}: {' '.join(told.split())}")
        self.end(130 if interrupted else 1)

    def tell(self, line: str) -> None:
        """Print a line to standard error, also where the streams of this rank are silent."""
        with suppress(OSError, ValueError):
            stream = sys.__stderr__ or sys.stderr
            stream.write(f"{line}\n")
            stream.flush()

    def end(self, code: int) -> NoReturn:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        # MPI would add a line of its own.
        os.environ["MPIR_CVAR_SUPPRESS_ABORT_MESSAGE"] = "1"
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        self.comm.Abort(code)
        os._exit(code)

    def _gather_bytes(self, content: NDArray[np.uint8], lengths: list[int]) -> NDArray[np.uint8]:
        gathered = np.empty(sum(lengths), np.uint8)
        starts = [0, *accumulate(lengths)][:-1]
        byte = self.mpi.BYTE
        self.comm.Allgatherv([content, byte], [gathered, lengths, starts, byte])
        return gathered

    def _allocate(self, floats: int) -> None:
        """Make a window in the memory that the ranks of this node share."""
        if self._shared is not None:
            self._window = np.empty(0, np.float32)
            self._shared.Unlock_all()
            self._shared.Free()
        length = 4 * floats + LINE
        own = length if self.node.rank == 0 else 0
        self._shared = self.mpi.Win.Allocate_shared(own, 1, comm=self.node)
        self._shared.Lock_all()
        memory, _ = self._shared.Shared_query(0)
        content = np.frombuffer(memory, np.uint8, length)
        # Pages are shared, so the start of a line is at the same place for all.
        start = -content.ctypes.data % LINE
        self._window = content[start : start + 4 * floats].view(np.float32)

    def _exchange_of_nodes(self, pieces: list[list[int]]) -> None:
        content = self._window.view(np.uint8)
        try:
            for ends in pieces:
                starts = [ends[first] for first in self.first_of_node]
                stops = [*starts[1:], ends[-1]]
                counts = [stop - start for start, stop in zip(starts, stops, strict=True)]
                received = [content, counts, starts, self.mpi.BYTE]
                self.leaders.Allgatherv(self.mpi.IN_PLACE, received)
        except BaseException as error:  # as in `meet`
            self.fail(error)


def hash_text(text: str) -> int:
    """Return a number of 63 bits, the same in each process."""
    import hashlib

    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _import_mpi() -> Any:
    """Import mpi4py, which joins the other processes."""
    purpose = "trainings on several processes"
    try:
        return require("mpi4py.MPI", "mpi", purpose)
    except MissingExtraError:
        raise
    except (ImportError, RuntimeError, OSError) as error:
        raise MissingExtraError(
            f"{purpose} need an MPI library that mpi4py can load ({' '.join(str(error).split())}): "
            "pip install 'lenet5c[mpi]', or mpi4py for the MPI of this machine"
        ) from None
