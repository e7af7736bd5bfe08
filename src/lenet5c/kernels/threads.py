"""How many threads a call takes. Results never depend on it."""

import os
from operator import index

from lenet5c.kernels import _program

_chosen = None
_used = False
_inherited_pool = False


def set_num_threads(num_threads):
    """Threads for every call that does not say otherwise; None goes back to the default.

    The default is OpenMP's: the processors this process may run on, or OMP_NUM_THREADS.
    """
    global _chosen
    _chosen = None if num_threads is None else check_num_threads(num_threads)


def get_num_threads():
    """Threads that a call takes when it does not say otherwise."""
    return _program.max_threads() if _chosen is None else _chosen


def check_num_threads(num_threads):
    try:
        count = index(num_threads)
    except TypeError:
        count = 0
    if not 1 <= count <= 1024:
        raise ValueError(f"num_threads is {num_threads!r}; it should be an integer from 1 to 1024")
    return count


def effective(num_threads=None):
    """The thread count of one call: its own wish, or the default.

    A process forked after its parent had used threads stays serial: the parent's OpenMP pool did not survive the
    fork, and GNU OpenMP would wait for it forever.
    """
    global _used
    count = get_num_threads() if num_threads is None else check_num_threads(num_threads)
    if _inherited_pool:
        return 1
    _used = _used or count > 1
    return count


def _after_fork():
    global _inherited_pool
    _inherited_pool = _used


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
