"""Number of threads of calls, also after a fork. It has no effect on results."""

import os
import threading
from math import ceil
from operator import index
from typing import Any

import lenet5c.kernels._openmp as _openmp
from lenet5c.kernels.quota import cpu_quota

# Elementary operations for which it pays to wake another thread.
THREAD_WORK: int = _openmp.thread_work

_chosen: int | None = None  # by set_num_threads
_used = False  # whether a call of this process has used more than one thread
_stranded = False  # whether OpenMP in this forked child still relies on the parent's threads
_fork = threading.local()


def set_num_threads(num_threads: int | None) -> None:
    """Set the number of threads for calls without `num_threads`; None restores the default.

    The default is the number of processors that the process may run on, limited by the CPU quota of
    a container, rounded up, and by a limit set in OpenMP itself, for example by threadpoolctl.
    OMP_NUM_THREADS, if set before the start, replaces the number of processors and the quota. This
    function overrides all of them.

    Parameters
    ----------
    num_threads : int or None
    """
    global _chosen
    _chosen = None if num_threads is None else check_num_threads(num_threads)


def get_num_threads() -> int:
    """Return the number of threads for calls without `num_threads`."""
    return default(**limits()) if _chosen is None else _chosen


def default(openmp: int, processors: int, quota: float | None, wish: int | None) -> int:
    """Return the default for these `limits`."""
    if wish is not None:
        return openmp  # OMP_NUM_THREADS, or a limit set later
    return max(1, min(openmp, processors, processors if quota is None else ceil(quota)))


def limits() -> dict[str, Any]:
    """Return OpenMP's count, the processors, the quota or None, and OMP_NUM_THREADS or None."""
    return {
        "openmp": _openmp.max_threads(),
        "processors": _openmp.processors(),
        "quota": cpu_quota(),
        "wish": _wish,
    }


def wished(text: str) -> int | None:
    """Return the count in a value of OMP_NUM_THREADS, such as '4' or (nested) '4,2', or None."""
    counts = [part.strip() for part in text.split(",")]
    if all(count.isascii() and count.isdecimal() and int(count) > 0 for count in counts):
        return int(counts[0])
    return None  # OpenMP ignores it, too


# Read at import, as OpenMP reads it when it is loaded.
_wish = wished(os.environ.get("OMP_NUM_THREADS", ""))


def check_num_threads(num_threads: Any) -> int:
    """Return a number of threads as an int after checking it."""
    try:
        count = 0 if isinstance(num_threads, bool) else index(num_threads)
    except TypeError:
        count = 0
    if not 1 <= count <= 1024:
        raise ValueError(f"num_threads must be an integer from 1 to 1024, got {num_threads!r}")
    return count


def effective(num_threads: int | None = None) -> int:
    """Return the number of threads of a call; 1 in a forked child without a thread pool."""
    global _used
    count = get_num_threads() if num_threads is None else check_num_threads(num_threads)
    if _stranded:
        return 1
    _used = _used or count > 1
    return count


def useful(work: float, num_threads: int | None = None) -> int:
    """Return the number of threads that pays off for a call.

    Parameters
    ----------
    work : float
        Elementary operations: multiply-adds, or elements moved.
    num_threads : int, optional
        Upper limit; the default number of threads if not given.
    """
    if num_threads is not None:
        num_threads = check_num_threads(num_threads)
    if work < THREAD_WORK:
        return 1  # without querying the number of processors, which is slow
    return min(effective(num_threads), 1 + int(work // THREAD_WORK))


# A fork copies the forking thread only. GNU OpenMP in the child would wait forever for the threads
# of its pool, so the pool is ended before the fork; parent and child start new ones when they need
# them. Pools of other Python threads are not changed: they do not exist in the child. If a pool
# cannot be ended (another runtime, a fork inside a region), a child of a process that has used
# threads is serial.


def _before_fork() -> None:
    # Kept per thread: another thread may fork at the same time, with another result.
    _fork.pool_ended = not _stranded and _openmp.end_pool()


def _after_fork_in_parent() -> None:
    _fork.pool_ended = False


def _after_fork_in_child() -> None:
    global _stranded, _used
    # Some servers fork in C and only call the handlers that run after the fork.
    ended = getattr(_fork, "pool_ended", False)
    _stranded = _stranded or (_used and not ended)
    _used = _fork.pool_ended = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
