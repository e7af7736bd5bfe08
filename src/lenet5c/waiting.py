"""How the threads of a command wait for each other. Import it before anything that loads OpenMP."""

import os


def wait_briefly():
    """Let GNU OpenMP's threads sleep after some microseconds instead of milliseconds, unless the user has decided.

    A thread that spins at a barrier keeps the processor from the very thread it waits for, once other programs share
    the machine: an epoch beside a busy process on each core took 5 to 25 times as long as alone, with brief waiting 4
    times. Libraries must not decide this for a program, so only commands call it.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "2000"
