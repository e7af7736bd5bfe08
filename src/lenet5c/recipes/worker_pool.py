"""Executors of this package: a pool of processes that fail independently, and serial execution."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import contextmanager, suppress
from typing import Any

#: Environment variables for the number of BLAS threads, read when a BLAS is loaded.
BLAS_THREADS = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
#: Remedy if new Python processes cannot import the script that starts them.
GUARD = 'a script must be a file, with its code under if __name__ == "__main__":'
#: Set in a worker once its parent process has died.
orphaned = threading.Event()
_environment = threading.Lock()


class WorkerDiedError(RuntimeError):
    """Raised if the process of a call ended before the call, by a signal or for lack of memory."""


class WorkerPool(Executor):
    """Pool of spawned processes in which a dying process affects only its own call.

    A `ProcessPoolExecutor` breaks as a whole when one of its processes dies. Here each process has
    its own pool: the call fails with a `WorkerDiedError`, and the next call gets a new process.

    Parameters
    ----------
    max_workers : int
        Maximum number of processes.
    threads : int
        Number of BLAS threads of each process.
    """

    def __init__(self, max_workers: int, threads: int = 1) -> None:
        self._max_workers, self._threads = max_workers, threads
        self._local = threading.local()
        self._pools: list[ProcessPoolExecutor] = []
        self.processes: list[Any] = []
        self._callers = ThreadPoolExecutor(max_workers, "lenet5c-worker", _keep_signals_out)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Schedule a call in the next free process."""
        return self._callers.submit(self._call, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes after their current calls."""
        self._callers.shutdown(wait, cancel_futures=cancel_futures)
        with ThreadPoolExecutor() as each:  # end all at the same time
            for pool in self._pools:
                each.submit(pool.shutdown, wait, cancel_futures=cancel_futures)

    def kill(self) -> None:
        """Kill the processes immediately."""
        self._callers.shutdown(wait=False, cancel_futures=True)
        for process in list(self.processes):
            process.kill()

    def _call(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        try:
            future = self._open().submit(fn, *args, **kwargs)
        except BrokenExecutor:  # the process has died since its last call
            self._drop()
            future = self._open().submit(fn, *args, **kwargs)
        try:
            return future.result()
        except BrokenExecutor:
            first = self._local.first
            begun = first.done() and first.exception() is None
            raise WorkerDiedError(_describe_end(self._drop(), begun)) from None

    def _open(self) -> ProcessPoolExecutor:
        """Return the pool of this thread, creating it if needed."""
        local = self._local
        if hasattr(local, "pool") and local.process and not local.process.is_alive():
            self._drop()  # its pool may not have noticed yet, and would fail the call
        if not hasattr(local, "pool"):
            pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initialize_worker)
            _keep_signals_out()  # starting Python's resource tracker unblocks SIGINT
            with _limit_blas(self._threads):
                before = set(multiprocessing.active_children())
                local.first = pool.submit(os.getpid)  # starts the process
                made = set(multiprocessing.active_children()) - before
            local.pool, local.process = pool, made.pop() if len(made) == 1 else None
            self._pools.append(pool)
            self.processes += [local.process] if local.process else []
        return local.pool

    def _drop(self) -> Any:
        """Discard the dead process of this thread and return it."""
        local = self._local
        self._pools.remove(local.pool)
        del local.pool
        if local.process:
            self.processes.remove(local.process)
        return local.process


class SerialExecutor(Executor):
    """Executor that runs each call in this process before `submit` returns."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function and return its finished future."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def initialize_worker() -> None:
    """Initialize a worker: ignore interrupts, which the parent handles, and watch the parent."""
    for name in ("SIGINT", "SIGHUP"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGHUP})
    threading.Thread(target=_watch_parent, daemon=True).start()


def end_orphan() -> None:
    """End this worker if its parent process has died."""
    if orphaned.is_set():
        os._exit(1)


def _watch_parent() -> None:
    """Wait until the parent process dies, then give the current call time to stop."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        orphaned.set()
        # The call ends the worker when it stops; exit here if the worker is idle or cannot stop.
        threading.Event().wait(10)
        os._exit(1)


def _keep_signals_out() -> None:
    """Block interrupts in this thread, so that new processes start with them blocked.

    Ctrl-C reaches all processes of a terminal, and a process that is still importing would print a
    traceback. Workers unblock the signals once they ignore them.
    """
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})


@contextmanager
def _limit_blas(threads: int) -> Iterator[None]:
    """Set the number of BLAS threads for processes started in this context."""
    with _environment:
        before = {name: os.environ.get(name) for name in BLAS_THREADS}
        for name, value in before.items():
            if value is None:  # not set by the user
                os.environ[name] = str(threads)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]


def _describe_end(process: Any, begun: bool) -> str:
    """Describe how a worker's process ended; `begun` is False if it never started to work."""
    code = None
    if process is not None:
        process.join(10)
        end = time.monotonic() + 10
        # The pool's own thread may have waited for the process without recording its exit code yet.
        while (code := process.exitcode) is None and time.monotonic() < end:
            time.sleep(0.01)
    if code is None:
        return "its process ended"
    if code < 0:
        name = str(-code)
        with suppress(ValueError):
            name = signal.Signals(-code).name
        return f"its process was ended by {name}"
    remedy = "" if begun else f" before it could begin; {GUARD}"
    return f"its process ended with exit code {code}{remedy}"
