"""Jobs on an executor: shared out, watched, stopped; each ends in an outcome of its own.

All that goes from one process to another is a file: a worker looks for a file that asks it to stop,
and what it does is told by the folders of its runs. So any executor will do, on any machine that
has these files.
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

#: Seconds between two looks at what the workers do, and those that they have to stop.
LOOK, GRACE = 0.1, 20.0
#: Variables with the number of processes on this machine, as starters of MPI programs set them.
LOCAL_RANKS = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "SLURM_NTASKS_PER_NODE")
# Tells this process from others, also on other machines.
_PROCESS = uuid.uuid4().hex


class JobStoppedError(Exception):
    """A job that has stopped because it was asked to."""


@dataclass(frozen=True)
class Job:
    """A call to carry out: ``function(context, *arguments)``, both of them to be pickled."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()


@dataclass
class Outcome:
    """The end of a job.

    Attributes
    ----------
    state : {'done', 'failed', 'stopped'}
    value : object
        Returned by the function.
    error : Exception or None
    trace : str
        The traceback of `error`.
    lines : list of str
        Told by the function.
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
        A file that asks the jobs to stop, once it exists.
    main : tuple of str and int
        Identity of the process that submits the jobs.
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
        """Return whether this is the process that submits the jobs."""
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
        Returns whether the job has to stop.
    tell : callable
        Takes a line of text for the user.
    """

    threads: int
    stopped: Callable[[], bool]
    tell: Callable[[str], object]


def share_threads(jobs: int) -> int:
    """Return the threads of each of so many jobs at once: the cores divided, at least one.

    The cores are those that this process may use: its affinity, a container's quota, and what
    `lenet5c.set_num_threads` or OMP_NUM_THREADS say.
    """
    return max(1, kernels.get_num_threads() // max(1, jobs))


def count_workers(executor: Executor) -> int | None:
    """Return the number of calls that an executor makes at once; None if it does not tell."""
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
    tell: Callable[[str], object] | None = None,
    poll: Callable[[], object] | None = None,
    stop: Callable[[], object] | None = None,
) -> bool:
    """Carry out jobs on an executor; return whether all were, false if `stop` was true.

    Parameters
    ----------
    jobs : iterable of Job
        The next one is asked for when a worker is free.
    executor : concurrent.futures.Executor
        One that breaks is replaced by processes of this machine, which repeat what it was at.
    on_outcome : callable
        ``on_outcome(job, outcome)`` as they end, in this thread.
    slots : int, optional
        Jobs at a time; by default the executor's workers.
    folder : Path, optional
        A folder that all workers see; by default that of temporary files.
    tell : callable, optional
        Called with a line of text if the executor breaks.
    poll : callable, optional
        Called some times a second.
    stop : callable, optional
        Asked as often. True asks the jobs to stop, and waits for them. If it is a context manager,
        it is entered.
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
        if isinstance(executor, SerialExecutor):  # which leaves no time between to look
            _asked[terms.stop_file] = lambda: bool((poll and poll(), asked())[1])
            held.callback(_asked.pop, terms.stop_file)
        elif in_main:
            held.enter_context(_thread_count.use(threads))
        dispatcher = _Dispatcher(iter(jobs), executor, slots, terms, tell)
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
    """The jobs that are at work, and those that wait."""

    def __init__(
        self,
        jobs: Iterator[Job],
        executor: Executor,
        slots: int | None,
        terms: JobTerms,
        tell: Callable[[str], object] | None,
    ) -> None:
        self.jobs, self.executor, self.slots = jobs, executor, slots
        self.terms, self.tell = terms, tell
        self.running: dict[Future[Outcome], Job] = {}
        self.again: list[Job] = []  # of an executor that broke
        self.own: WorkerPool | None = None  # in place of it

    def submit(self) -> bool:
        """Give jobs to workers that are free; return whether any is at work."""
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
                    f"executor must accept calls, got {self.executor!r} ({error}); pass one that is "
                    "not shut down"
                ) from None
            self.running[future] = job
            if future.done():  # it was carried out here
                break
        return bool(self.running)

    def collect(self, timeout: float) -> Iterator[tuple[Job, Outcome]]:
        """Yield the jobs that end within so many seconds, at most until the first of them."""
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
        """Ask all to stop, and yield those that end within the time they have."""
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
        """End the processes that took the place of an executor."""
        if self.own is not None:
            self.own.shutdown(cancel_futures=True)

    def _replace(self, error: BrokenExecutor) -> None:
        """Go on in processes of this machine; those report exactly who has failed."""
        if self.own is not None:
            return
        count = self.slots or kernels.get_num_threads()
        self.executor = self.own = WorkerPool(count, self.terms.threads)
        if self.tell:
            self.tell(
                f"warning: the executor is broken ({error}); its jobs go on in {count} processes"
            )


def carry_out(terms: JobTerms, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Outcome:
    """Do a job, where the executor wants it done."""
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
    """Threads of this process, for as long as any job is at work in it."""

    def __init__(self) -> None:
        self.lock, self.users, self.before = threading.Lock(), 0, 1

    @contextmanager
    def use(self, threads: int) -> Iterator[None]:
        """Compute on so many threads; jobs that overlap take back what was before together."""
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
    """Limit the threads of a BLAS that is loaded already, where threadpoolctl is installed."""
    limits: Any = nullcontext()
    with suppress(ImportError):
        from threadpoolctl import threadpool_limits

        limits = threadpool_limits(threads, "blas")
    with limits:
        yield


_thread_count = _ThreadCount()
#: Of jobs in the very thread that gives them: whether to stop, by the file that says so.
_asked: dict[str, Callable[[], bool]] = {}
