"""Jobs on an executor, which are monitored and can be stopped.

Processes communicate only through files: a worker checks for a file that asks it to stop, and its
progress is visible in the folders of its runs. So any executor can be used, on any machine that can
access these files.
"""

import os
import socket
import tempfile
import threading
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lenet5c import kernels
from lenet5c.errors import NonFiniteError, RunError, TrainingError, UserError
from lenet5c.recipes.worker_pool import (
    SerialExecutor,
    WorkerDiedError,
    WorkerPool,
    end_orphan,
    orphaned,
)
from lenet5c.training.interrupt import StopRequest

#: Seconds between two checks of the workers, and the time they have to stop.
LOOK, GRACE = 0.1, 20.0
#: Variables with the number of processes on this machine, as set by MPI launchers.
LOCAL_RANKS = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "SLURM_NTASKS_PER_NODE")
# Identifies this process, also among those on other machines.
_PROCESS = uuid.uuid4().hex


class JobStoppedError(Exception):
    """Raised when a job has stopped on request."""


@dataclass(frozen=True)
class Job:
    """A call to execute: ``function(context, *arguments)``; both must be picklable."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


@dataclass
class Outcome:
    """The outcome of a job.

    Attributes
    ----------
    state : {'done', 'failed', 'stopped'}
    value : object
        Return value of the function.
    error : Exception or None
    trace : str
        The traceback of `error`.
    lines : list of str
        Lines printed by the function.
    """

    state: str
    value: Any = None
    error: Exception | None = None
    trace: str = ""
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class JobTerms:
    """Settings of one call of `run_jobs`, for its jobs in any process.

    Attributes
    ----------
    stop_file : str
        File that asks the jobs to stop when it exists.
    main : tuple of str and int
        Identifier of the process that submits the jobs.
    host : str
        Its host name.
    threads : int
        Threads of each job on that host.
    """

    stop_file: str
    main: tuple[str, int]
    host: str
    threads: int

    def is_main(self) -> bool:
        """Return True if this is the process that submits the jobs."""
        return self.main == (_PROCESS, os.getpid())

    def share(self) -> int:
        """Return the threads of a job on this machine."""
        if socket.gethostname() == self.host:
            return self.threads
        ranks = (os.environ.get(name, "") for name in LOCAL_RANKS)
        here = next((int(text) for text in ranks if text.isdecimal() and int(text) > 0), 0)
        return share_threads(here) if here else 1


@dataclass
class JobContext:
    """The first argument of each job's function.

    Attributes
    ----------
    threads : int
        Threads that the job may use.
    stopped : callable
        Returns whether the job must stop.
    on_message : callable
        Takes a line of text for the user.
    """

    threads: int
    stopped: Callable[[], bool]
    on_message: Callable[[str], object]


def share_threads(jobs: int) -> int:
    """Return the number of threads per job if this many run at once: at least one.

    The cores that this process may use are divided among the jobs, according to its affinity, the
    quota of a container, and `lenet5c.set_num_threads` or OMP_NUM_THREADS.
    """
    return max(1, kernels.get_num_threads() // max(1, jobs))


def count_workers(executor: Executor) -> int | None:
    """Return the number of concurrent calls of an executor, or None if unknown."""
    if isinstance(executor, SerialExecutor):
        return 1
    client = getattr(executor, "_client", None)
    if client is not None and hasattr(client, "nthreads"):  # of Dask
        return sum(client.nthreads().values()) or None
    for name in ("_max_workers", "num_workers"):
        count = getattr(executor, name, None)
        if isinstance(count, int) and count > 0:
            return count
    return None


def run_jobs(
    jobs: Iterable[Job],
    executor: Executor,
    on_outcome: Callable[[Job, Outcome], object],
    *,
    slots: int | None = None,
    folder: Path | None = None,
    on_message: Callable[[str], object] | None = None,
    poll: Callable[[], object] | None = None,
    stop: Callable[[], object] | None = None,
) -> bool:
    """Execute jobs on an executor; return True if all were executed, False if stopped.

    Parameters
    ----------
    jobs : iterable of Job
        The next job is taken when a worker is free.
    executor : concurrent.futures.Executor
        If it breaks, it is replaced by processes on this machine, which repeat the current jobs.
    on_outcome : callable
        Called as ``on_outcome(job, outcome)`` when a job ends, in this thread.
    slots : int, optional
        Number of concurrent jobs; by default the number of workers of the executor.
    folder : Path, optional
        Folder that all workers can access; by default the folder for temporary files.
    on_message : callable, optional
        Called with a line of text if the executor breaks.
    poll : callable, optional
        Called several times per second.
    stop : callable, optional
        Called as often; if it returns True, the jobs are asked to stop, and this function waits for
        them. If it is a context manager, it is entered.
    """
    slots = slots or count_workers(executor)
    stop_file = Path(folder or tempfile.gettempdir()) / f".stop-{uuid.uuid4().hex}"
    in_main = isinstance(executor, (SerialExecutor, ThreadPoolExecutor))
    threads = share_threads(slots or kernels.get_num_threads())
    terms = JobTerms(str(stop_file), (_PROCESS, os.getpid()), socket.gethostname(), threads)
    stopping: Any = stop if hasattr(stop, "__enter__") else nullcontext()
    heard = False

    def asked() -> bool:
        nonlocal heard
        heard = heard or bool(stop and stop())
        return heard

    with stopping, ExitStack() as held:
        held.callback(stop_file.unlink, missing_ok=True)
        if isinstance(executor, SerialExecutor):  # blocks this loop, so jobs poll and ask
            _asked[terms.stop_file] = lambda: bool((poll and poll(), asked())[1])
            held.callback(_asked.pop, terms.stop_file)
        elif in_main:
            held.enter_context(_thread_count.use(threads))
        dispatcher = _Dispatcher(iter(jobs), executor, slots, terms, on_message)
        held.callback(dispatcher.close)
        try:
            while dispatcher.submit():
                for job, outcome in dispatcher.collect(LOOK):
                    on_outcome(job, outcome)
                if poll:
                    poll()
                if asked():
                    for job, outcome in dispatcher.stop(stop_file):
                        on_outcome(job, outcome)
                    return False
        except BaseException:
            for _ in dispatcher.stop(stop_file):
                pass
            raise
    return True


class _Dispatcher:
    """Dispatcher of jobs to the workers of an executor, with the running and waiting jobs."""

    def __init__(
        self,
        jobs: Iterator[Job],
        executor: Executor,
        slots: int | None,
        terms: JobTerms,
        on_message: Callable[[str], object] | None,
    ) -> None:
        self.jobs, self.executor, self.slots = jobs, executor, slots
        self.terms, self.on_message = terms, on_message
        self.running: dict[Future[Outcome], Job] = {}
        self.again: list[Job] = []  # jobs of an executor that broke
        self.own: WorkerPool | None = None  # replacement for it

    def submit(self) -> bool:
        """Assign jobs to free workers; return whether any job is running."""
        while self.slots is None or len(self.running) < self.slots:
            job = self.again.pop(0) if self.again else next(self.jobs, None)
            if job is None:
                break
            try:
                future = self.executor.submit(carry_out, self.terms, job.function, job.arguments)
            except BrokenExecutor as error:
                self._replace(error)
                self.again.append(job)
                continue
            except RuntimeError as error:
                raise RunError(
                    f"executor must accept calls, got {self.executor!r} ({error}); pass one "
                    "that is not shut down"
                ) from None
            self.running[future] = job
            if future.done():  # it was executed in this process
                break
        return bool(self.running)

    def collect(self, timeout: float) -> Iterator[tuple[Job, Outcome]]:
        """Yield the jobs that end within this many seconds, returning after the first ones."""
        ended = wait(self.running, timeout, FIRST_COMPLETED).done
        for future in [each for each in self.running if each in ended]:
            job = self.running.pop(future)
            try:
                yield job, future.result()
            except BrokenExecutor as error:
                self._replace(error)
                self.again.append(job)
            except CancelledError:
                yield job, Outcome("failed", error=RunError("it was canceled"))
            except Exception as error:
                text = "".join(traceback.format_exception(error))
                yield job, Outcome("failed", error=make_picklable(error), trace=text)

    def stop(self, stop_file: Path) -> Iterator[tuple[Job, Outcome]]:
        """Ask all jobs to stop, and yield those that end within the time limit."""
        stop_file.touch()
        for future in list(self.running):
            if future.cancel():
                del self.running[future]
        try:
            wait(self.running, GRACE)
        finally:
            late = any(not future.done() for future in self.running)
            if late and isinstance(self.executor, WorkerPool):
                self.executor.kill()
        for future, job in self.running.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                yield job, future.result()
        self.running = {}

    def close(self) -> None:
        """End the processes that replaced an executor."""
        if self.own is not None:
            self.own.shutdown(cancel_futures=True)

    def _replace(self, error: BrokenExecutor) -> None:
        """Continue in processes on this machine, which report exactly which job failed."""
        if self.own is not None:
            return
        count = self.slots or kernels.get_num_threads()
        self.executor = self.own = WorkerPool(count, self.terms.threads)
        if self.on_message:
            self.on_message(
                f"warning: the executor is broken ({error}); its jobs continue in {count} processes"
            )


def carry_out(terms: JobTerms, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Outcome:
    """Run a job in the process chosen by the executor."""
    lines: list[str] = []
    in_main = terms.is_main()
    try:
        with ExitStack() as held:
            threads = terms.threads if in_main else terms.share()
            signals: Any = nullcontext(lambda: False) if in_main else StopRequest()
            signaled = held.enter_context(signals)
            if not in_main:
                held.enter_context(_thread_count.use(threads))

            def stopped() -> bool:
                asked = _asked.get(terms.stop_file)
                return bool(
                    signaled()
                    or orphaned.is_set()
                    or os.path.exists(terms.stop_file)
                    or (asked is not None and asked())
                )

            if stopped():
                return Outcome("stopped")
            context = JobContext(threads, stopped, lines.append)
            return Outcome("done", function(context, *arguments), lines=lines)
    except JobStoppedError:
        return Outcome("stopped", lines=lines)
    except Exception as error:
        text = traceback.format_exc()
        kept = error if in_main else make_picklable(error)
        return Outcome("failed", error=kept, trace=text, lines=lines)
    finally:
        end_orphan()


def make_picklable(error: BaseException) -> Exception:
    """Return an error that any process can unpickle, with the same message."""
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror or str(error), error.filename)
    if isinstance(error, (UserError, NonFiniteError)):
        return (RunError if isinstance(error, UserError) else NonFiniteError)(str(error))
    if isinstance(error, WorkerDiedError):
        return TrainingError(str(error))
    if isinstance(error, MemoryError):
        return MemoryError(*map(str, error.args))
    return RuntimeError(f"{type(error).__name__}: {error}")


class _ThreadCount:
    """Number of threads of this process while any job is running in it."""

    def __init__(self) -> None:
        self.lock, self.users, self.before = threading.Lock(), 0, 1

    @contextmanager
    def use(self, threads: int) -> Iterator[None]:
        """Use this many threads; overlapping jobs restore the earlier setting together."""
        with self.lock:
            if self.users == 0:
                self.before = kernels.get_num_threads()
                kernels.set_num_threads(threads)
            self.users += 1
        try:
            with _limit_blas(threads):
                yield
        finally:
            with self.lock:
                self.users -= 1
                if self.users == 0:
                    kernels.set_num_threads(self.before)


@contextmanager
def _limit_blas(threads: int) -> Iterator[None]:
    """Limit the threads of a loaded BLAS, if threadpoolctl is installed."""
    limits: Any = nullcontext()
    with suppress(ImportError):
        from threadpoolctl import threadpool_limits

        limits = threadpool_limits(threads, "blas")
    with limits:
        yield


_thread_count = _ThreadCount()
#: For jobs in the submitting thread: whether to stop, according to the stop file.
_asked: dict[str, Callable[[], bool]] = {}
