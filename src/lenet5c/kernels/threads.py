"""Thread counts of calls, also after a fork. Results do not depend on them."""

import os
import threading
from math import ceil
from operator import index
from typing import Any

import lenet5c.kernels._openmp as _openmp
from lenet5c.kernels.quota import cpu_quota

# Elementary operations that are worth waking another thread for.
THREAD_WORK: int = _openmp.thread_work

_chosen: int | None = None  # by set_num_threads
_used = False  # whether a call of this process has had more than one thread
_stranded = False  # whether OpenMP of this forked child still counts on the parent's threads
_fork = threading.local()


def set_num_threads(num_threads: int | None) -> None:
    """Set the number of threads of calls without `num_threads`; None restores the default.

    The default is the number of processors that the process may run on, at most a container's quota
    of processor time, rounded up, and at most a limit set in OpenMP itself, as by threadpoolctl.
    OMP_NUM_THREADS, set before the start, takes the place of processors and quota. This function
    overrides all of them.

    Parameters
    ----------
    num_threads : int or None
    """
    global _chosen
    _chosen = None if num_threads is None else check_num_threads(num_threads)


def get_num_threads() -> int:
    """Return the number of threads of calls without `num_threads`."""
    return default(**limits()) if _chosen is None else _chosen


def default(openmp: int, processors: int, quota: float | None, wish: int | None) -> int:
    """Return the default for these `limits`."""
    if wish is not None:
        return openmp  # the wish, or a limit set since
    return max(1, min(openmp, processors, processors if quota is None else ceil(quota)))


def limits() -> dict[str, Any]:
    """Return OpenMP's count, processors, quota or None, OMP_NUM_THREADS or None."""
    return {
        "openmp": _openmp.max_threads(),
        "processors": _openmp.processors(),
        "quota": cpu_quota(),
        "wish": _wish,
    }


def wished(text: str) -> int | None:
    """Return the count in a value of OMP_NUM_THREADS, as '4' or (nested) '4,2', or None."""
    counts = [part.strip() for part in text.split(",")]
    if all(count.isascii() and count.isdecimal() and int(count) > 0 for count in counts):
        return int(counts[0])
    return None  # OpenMP ignores it, too


# At the import, as OpenMP reads it at its loading.
_wish = wished(os.environ.get("OMP_NUM_THREADS", ""))


def check_num_threads(num_threads: Any) -> int:
    """Return a thread count as an int after checking it."""
    try:
        count = 0 if isinstance(num_threads, bool) else index(num_threads)
    except TypeError:
        count = 0
    if not 1 <= count <= 1024:
        raise ValueError(f"num_threads must be an integer from 1 to 1024, got {num_threads!r}")
    return count


def effective(num_threads: int | None = None) -> int:
    """Return the thread count of a call; 1 in a forked child without a thread pool."""
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
        At most so many; the default count if not given.
    """
    if num_threads is not None:
        num_threads = check_num_threads(num_threads)
    if work < THREAD_WORK:
        return 1  # found without asking the system how many there are, which takes long
    return min(effective(num_threads), 1 + int(work // THREAD_WORK))


# A fork copies the forking thread only. GNU OpenMP in the child would wait forever for the threads
# of its pool, so the pool is ended before the fork; parent and child start new ones when they need
# them. Pools of other Python threads stay as they are: the child never sees their threads nor their
# pools again. Where a pool cannot be ended (another runtime, a fork inside a region), a child of a
# process that has used threads is serial.


def _before_fork() -> None:
    # Kept for the thread: another one may fork at the same time, with another answer.
    _fork.pool_ended = not _stranded and _openmp.end_pool()


def _after_fork_in_parent() -> None:
    _fork.pool_ended = False


def _after_fork_in_child() -> None:
    global _stranded, _used
    # Some servers fork in C and only call what comes after.
    ended = getattr(_fork, "pool_ended", False)
    _stranded = _stranded or (_used and not ended)
    _used = _fork.pool_ended = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
