"""Ranks on MPI, with mpi4py."""

import ctypes
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from itertools import accumulate
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

import lenet5c
from lenet5c._optional import require
from lenet5c.errors import MissingExtraError, RankError
from lenet5c.training.parallel.ranks import Ranks

#: Variable with the maximum number of ranks that share memory, to simulate several machines.
NODE_SIZE = "LENET5C_MPI_NODE_SIZE"
# Number of tests of a request between two checks for failed ranks.
LOOKS = 256
# Yields the processor to a waiting thread.
YIELD = getattr(os, "sched_yield", lambda: time.sleep(0))
# Seconds between two checks of a rank that waits for a long time.
PAUSE = 0.005
# Seconds that a rank waits for the first one to raise the same error and to print it.
PATIENCE = 3.0
# Seconds within which all ranks must meet to end together after one has failed.
GRACE = 5.0
# Bytes of a cache line; a window starts with one.
LINE = 64


class MPIRanks(Ranks):
    """The processes started by ``mpiexec``.

    Ranks on the same machine, a *node*, share the memory of their window, so nothing is copied
    among them; they only wait for each other. Between nodes, the first rank of each node exchanges
    the data. MPI does not compute any sums.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm, optional
        Communicator of the processes; all of them by default. Ranks on the same node get
        consecutive numbers.
    node_size : int, optional
        Maximum number of ranks that share memory.

    Raises
    ------
    MissingExtraError
        mpi4py or an MPI library is missing.
    RankError
        The ranks have different versions of lenet5c or NumPy.
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
        self.alarm = self.comm.Dup()
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
        self._wait(self.comm.Iallgather(np.array([number], np.int64), numbers))
        return numbers.tolist()

    def broadcast(self, value: Any) -> Any:
        text = json.dumps(value, default=np.ndarray.tolist).encode() if self.first else b""
        length = np.array([len(text)], np.int64)
        self._wait(self.comm.Ibcast(length))
        content = np.frombuffer(text, np.uint8).copy() if self.first else np.empty(length, np.uint8)
        self._wait(self.comm.Ibcast(content))
        return json.loads(content.tobytes())

    def broadcast_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        kinds = self.broadcast([[name, a.dtype.str, a.shape] for name, a in arrays.items()])
        received = {}
        for name, dtype, shape in kinds:
            array = np.ascontiguousarray(arrays[name]) if self.first else np.empty(shape, dtype)
            self._wait(self.comm.Ibcast([array.reshape(-1).view(np.uint8), self.mpi.BYTE]))
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
        if len(rows) == count:  # each rank already has all of them
            return rows
        content = np.ascontiguousarray(rows).reshape(-1).view(np.uint8)
        lengths = self.gather(content.size)
        return self._gather_bytes(content, lengths).view(rows.dtype).reshape(-1, *rows.shape[1:])

    def window(self, floats: int) -> NDArray[np.float32]:
        if len(self._window) < floats:
            self._allocate(floats)
        self._wait(self.node.Ibarrier())
        return self._window

    def exchange(self, pieces: list[list[int]]) -> None:
        self.barrier()
        if len(self.first_of_node) > 1:
            if self.neighbor == 0:
                self._exchange_of_nodes(pieces)
            self.barrier()

    def barrier(self) -> None:
        if self.neighbors == 1:
            return
        try:
            self._shared.Sync()
            self._wait(self.node.Ibarrier())
            self._shared.Sync()
        except BaseException as error:  # the calling compiled code cannot propagate it
            self.fail(error)

    def count_neighbors(self, processors: str) -> int:
        # The same hash in each process.
        digest = int.from_bytes(sha256(processors.encode()).digest()[:8], "big") >> 1
        all_of_node = np.empty(self.neighbors, np.int64)
        self._wait(self.node.Iallgather(np.array([digest], np.int64), all_of_node))
        return int((all_of_node == digest).sum())

    def rest(self) -> None:
        self._wait(self.comm.Ibarrier(), PAUSE)

    def fail(self, error: BaseException, code: int = 1) -> NoReturn:
        if not self.first:
            # Most likely, the first rank raises the same error and prints it.
            until = time.monotonic() + PATIENCE
            while time.monotonic() < until:
                self._look()
                time.sleep(PAUSE)
        self._print(f"lenet5c: error: rank {self.rank}: {describe(error)}")
        self.end(code)

    def end(self, code: int) -> NoReturn:
        message = np.array([code], np.int64)
        others = [rank for rank in range(self.size) if rank != self.rank]
        self._sent = message, [self.alarm.Isend(message, rank) for rank in others]
        self._leave_soon(code)

    def leave(self, code: int) -> NoReturn:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        self.mpi.Finalize()
        with suppress(OSError, AttributeError, TypeError):
            # Like `sys.exit`, after which MPICH reports nothing, but also works in compiled code.
            ctypes.CDLL(None).exit(code)
        os._exit(code)

    def _look(self) -> None:
        """Exit if another rank has asked all ranks to end."""
        if self.alarm.Iprobe():
            code = np.empty(1, np.int64)
            self.alarm.Recv(code)
            self._leave_soon(int(code[0]))

    def _leave_soon(self, code: int) -> NoReturn:
        """End this process together with all others, or abort if one of them does not respond."""
        timer = threading.Timer(GRACE, os._exit, [code])
        timer.daemon = True
        timer.start()
        self.leave(code)

    def _print(self, line: str) -> None:
        """Print a line to standard error, even if the streams of this rank are silenced."""
        with suppress(OSError, ValueError):
            stream = sys.__stderr__ or sys.stderr
            stream.write(f"{line}\n")
            stream.flush()

    def _wait(self, request: Any, pause: float = 0.0) -> None:
        """Wait for a collective operation; exit if one of the ranks asks for it."""
        looks = 0
        while not request.Test():
            looks += 1
            if pause or looks % LOOKS == 0:
                self._look()
                time.sleep(pause) if pause else YIELD()

    def _gather_bytes(self, content: NDArray[np.uint8], lengths: list[int]) -> NDArray[np.uint8]:
        gathered = np.empty(sum(lengths), np.uint8)
        starts = [0, *accumulate(lengths)][:-1]
        byte = self.mpi.BYTE
        self._wait(self.comm.Iallgatherv([content, byte], [gathered, lengths, starts, byte]))
        return gathered

    def _allocate(self, floats: int) -> None:
        """Create a window in memory shared by the ranks of this node."""
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
        # Pages are shared, so the start of a cache line is at the same place for all.
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
                self._wait(self.leaders.Iallgatherv(self.mpi.IN_PLACE, received))
        except BaseException as error:  # as in `barrier`
            self.fail(error)


def describe(error: BaseException) -> str:
    """Return an error as one line."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return " ".join(str(error).split()) or type(error).__name__


def _import_mpi() -> Any:
    """Import mpi4py, which joins the other processes."""
    purpose = "trainings on several processes"
    try:
        return require("mpi4py.MPI", "mpi", purpose)
    except MissingExtraError:
        raise
    except (ImportError, RuntimeError, OSError) as error:
        raise MissingExtraError(
            f"{purpose} require an MPI library that mpi4py can load "
            f"({' '.join(str(error).split())}): "
            "pip install 'lenet5c[mpi]', or mpi4py for the MPI of this machine"
        ) from None
