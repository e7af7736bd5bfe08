"""Executors of this package: processes that fail one by one, and this process itself."""

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

#: Variables that set the threads of a BLAS, which reads them when it is loaded.
BLAS_THREADS = (
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
#: Remedy where new processes of Python cannot import the script that starts them.
GUARD = 'a script must be a file, with its code under if __name__ == "__main__":'
#: Set in a worker once the process that it works for is dead.
orphaned = threading.Event()
_environment = threading.Lock()


class WorkerDiedError(RuntimeError):
    """The process of a call has ended before the call, as by a signal or for lack of memory."""


class WorkerPool(Executor):
    """Processes made by spawn, each a pool of its own: one that dies takes its own call along.

    A `ProcessPoolExecutor` of several breaks as a whole when one dies. Here the call fails with a
    `WorkerDiedError`, and the next one gets a new process.

    Parameters
    ----------
    max_workers : int
    threads : int
        Threads of each worker's BLAS.
    """

    def __init__(self, max_workers: int, threads: int = 1) -> None:
        self._max_workers, self._threads = max_workers, threads
        self._local = threading.local()
        self._pools: list[ProcessPoolExecutor] = []
        self.processes: list[Any] = []
        self._callers = ThreadPoolExecutor(max_workers, "lenet5c-worker", _keep_signals_out)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function in the next process that is free."""
        return self._callers.submit(self._call, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes, after their present calls."""
        self._callers.shutdown(wait, cancel_futures=cancel_futures)
        with ThreadPoolExecutor() as each:  # all end at the same time
            for pool in self._pools:
                each.submit(pool.shutdown, wait, cancel_futures=cancel_futures)

    def kill(self) -> None:
        """End the processes at once."""
        self._callers.shutdown(wait=False, cancel_futures=True)
        for process in list(self.processes):
            process.kill()

    def _call(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        try:
            future = self._open().submit(fn, *args, **kwargs)
        except BrokenExecutor:  # it has died since its last call
            self._drop()
            future = self._open().submit(fn, *args, **kwargs)
        try:
            return future.result()
        except BrokenExecutor:
            first = self._local.first
            begun = first.done() and first.exception() is None
            raise WorkerDiedError(_describe_end(self._drop(), begun)) from None

    def _open(self) -> ProcessPoolExecutor:
        """Return the process of this thread, a new one if it has none."""
        local = self._local
        if not hasattr(local, "pool"):
            pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initialize_worker)
            _keep_signals_out()  # Python has let SIGINT in, if it has started its resource tracker
            with _limit_blas(self._threads):
                before = set(multiprocessing.active_children())
                local.first = pool.submit(os.getpid)  # it is made
                made = set(multiprocessing.active_children()) - before
            local.pool, local.process = pool, made.pop() if len(made) == 1 else None
            self._pools.append(pool)
            self.processes += [local.process] if local.process else []
        return local.pool

    def _drop(self) -> Any:
        """Forget the process of this thread, which is dead, and return it."""
        local = self._local
        self._pools.remove(local.pool)
        del local.pool
        if local.process:
            self.processes.remove(local.process)
        return local.process


class SerialExecutor(Executor):
    """Calls in this process, each done when `submit` returns."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def initialize_worker() -> None:
    """Prepare a new worker: interrupts are the business of the process that it works for."""
    for name in ("SIGINT", "SIGHUP"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGHUP})
    threading.Thread(target=_watch_parent, daemon=True).start()


def end_orphan() -> None:
    """End this worker if the process that it works for is dead: nobody waits for its results."""
    if orphaned.is_set():
        os._exit(1)


def _watch_parent() -> None:
    """Wait for the death of the parent, and let the present call end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        orphaned.set()
        # The call ends the worker, which may be idle, or unable to stop.
        threading.Event().wait(10)
        os._exit(1)


def _keep_signals_out() -> None:
    """Let processes that this thread makes begin deaf to interrupts, until they can ignore them.

    Ctrl-C reaches all processes of a terminal. One that was still importing would print a
    traceback.
    """
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})


@contextmanager
def _limit_blas(threads: int) -> Iterator[None]:
    """Let processes that are made in this context load their BLAS with so many threads."""
    with _environment:
        before = {name: os.environ.get(name) for name in BLAS_THREADS}
        for name, value in before.items():
            if value is None:  # else the user has set it
                os.environ[name] = str(threads)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]


def _describe_end(process: Any, begun: bool) -> str:
    """Return in words how a worker's process ended, which may not have begun to work."""
    code = None
    if process is not None:
        process.join(10)
        end = time.monotonic() + 10
        # The pool's own thread may have waited for the process, and not yet have noted its code.
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
