"""Running a command on all processes started by ``mpiexec``."""

import argparse
import os
import traceback
from collections.abc import Callable

from lenet5c import kernels
from lenet5c.commands import cli
from lenet5c.training.parallel import Ranks, open_ranks


def run_on_ranks(
    options: argparse.Namespace, work: Callable[[argparse.Namespace, Ranks], int]
) -> int:
    """Call ``work(options, ranks)`` and return its exit code; a failing rank ends all ranks."""
    # The processes of an executor run one training each.
    ranks = open_ranks(options.mpi if options.executor is None else False)
    if ranks.size == 1:
        return work(options, ranks)
    try:
        _share_threads(options, ranks)
        code = work(options, ranks)
    except cli.EXPECTED as error:
        code = cli.fail_with(options.prog, error)
        if not ranks.first:
            ranks.fail(error, code)
        ranks.end(code)
    except Exception as error:
        traceback.print_exc()
        ranks.fail(error)
    ranks.rest()
    ranks.leave(cli.finish(options.prog, code))


def _share_threads(options: argparse.Namespace, ranks: Ranks) -> None:
    """Divide the processors among the ranks of this machine, unless set by the user."""
    if options.threads is None and kernels.threads.limits()["wish"] is None:
        own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        neighbors = ranks.count_neighbors(" ".join(map(str, own)))
        kernels.set_num_threads(max(1, kernels.get_num_threads() // neighbors))
