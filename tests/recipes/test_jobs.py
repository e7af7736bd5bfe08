"""Jobs on executors: results, dead workers, thread counts, and stopping."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import pool_jobs
import pytest
from processes import HANGING, run_python

import lenet5c
from lenet5c.errors import RunError, TrainingError
from lenet5c.recipes.jobs import Job, count_workers, run_jobs, share_threads
from lenet5c.recipes.worker_pool import BLAS_THREADS, SerialExecutor, WorkerDiedError, WorkerPool


@pytest.fixture
def threads():
    """Restores the number of threads."""
    before = lenet5c.get_num_threads()
    yield
    lenet5c.set_num_threads(before)


@pytest.fixture
def pool():
    with WorkerPool(2) as opened:
        yield opened


def carry_out(jobs, executor, **options):
    """Return the outcomes by the names of the jobs, in the order in which they ended."""
    outcomes = {}
    done = run_jobs(jobs, executor, lambda job, end: outcomes.update({job.name: end}), **options)
    assert done
    return outcomes


def spawning(count):
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))


@pytest.mark.parametrize(
    "kind", [SerialExecutor, lambda: ThreadPoolExecutor(2), lambda: WorkerPool(2)]
)
def test_each_job_has_an_outcome(kind):
    jobs = [Job(f"double {i}", pool_jobs.double, (i,)) for i in range(5)]
    jobs.insert(2, Job("bad", pool_jobs.fail, ("user",)))
    with kind() as executor:
        outcomes = carry_out(jobs, executor)
    assert outcomes.keys() == {job.name for job in jobs}
    bad = outcomes.pop("bad")
    assert (bad.state, str(bad.error)) == ("failed", "value must be other, got this one")
    assert isinstance(bad.error, RunError) and "in fail" in bad.trace
    for i in range(5):
        outcome = outcomes[f"double {i}"]
        assert (outcome.state, outcome.value) == ("done", 2 * i)
        assert outcome.lines == [f"doubles {i}"]


def test_errors_come_as_ones_that_can_be_pickled(pool):
    jobs = [Job(kind, pool_jobs.fail, (kind,)) for kind in ("system", "odd", "result")]
    jobs.append(Job("argument", pool_jobs.double, (lambda: 0,)))
    outcomes = carry_out(jobs, pool)
    assert {outcome.state for outcome in outcomes.values()} == {"failed"}
    assert type(outcomes["system"].error) is OSError or outcomes["system"].error.errno == 2
    assert outcomes["system"].error.filename == "there"
    assert str(outcomes["odd"].error).startswith("LocalError: ")
    for name in ("result", "argument"):
        assert "pickle" in str(outcomes[name].error)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_killed_worker_fails_its_own_job_alone(pool, tmp_path):
    jobs = [Job("dies", pool_jobs.die, (str(tmp_path),))]
    jobs += [Job(f"double {i}", pool_jobs.double, (i,)) for i in range(4)]
    outcomes = carry_out(jobs, pool)
    dead = outcomes.pop("dies")
    assert (dead.state, str(dead.error)) == ("failed", "its process was ended by SIGKILL")
    assert isinstance(dead.error, TrainingError)
    assert sorted(outcome.value for outcome in outcomes.values()) == [0, 2, 4, 6]
    again = carry_out([Job("dies", pool_jobs.die, (str(tmp_path),))], pool)
    assert again["dies"].value == "alive"
    # One that dies without work is replaced.
    for process in list(pool.processes):
        process.kill()
        process.join(HANGING)
    assert sorted(pool.submit(max, 1, i).result() for i in range(4)) == [1, 1, 2, 3]
    with pytest.raises(WorkerDiedError, match="exit code 7"):
        pool.submit(os._exit, 7).result()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_an_executor_that_breaks_is_replaced(tmp_path):
    lines = []
    jobs = [Job("dies", pool_jobs.die, (str(tmp_path),))]
    jobs += [Job(f"double {i}", pool_jobs.double, (i,)) for i in range(4)]
    with spawning(2) as executor:
        outcomes = carry_out(jobs, executor, on_message=lines.append)
    assert outcomes.pop("dies").value == "alive"
    assert sorted(outcome.value for outcome in outcomes.values()) == [0, 2, 4, 6]
    (line,) = lines
    assert line.startswith("warning: the executor is broken") and "2 processes" in line


def test_jobs_share_the_threads(threads):
    lenet5c.set_num_threads(8)
    assert [share_threads(jobs) for jobs in (1, 2, 3, 8, 9, 100)] == [8, 4, 2, 1, 1, 1]
    with WorkerPool(3, share_threads(3)) as pool:
        outcome = carry_out([Job("describe", pool_jobs.describe)], pool)["describe"]
    given = {name: os.environ.get(name) or "2" for name in BLAS_THREADS}
    assert outcome.value == (2, 2, given)
    assert lenet5c.get_num_threads() == 8
    assert not any(os.environ.get(name) == "2" for name in BLAS_THREADS)
    with ThreadPoolExecutor(4) as executor:  # they share those of this process
        outcome = carry_out([Job("describe", pool_jobs.describe)], executor)["describe"]
    assert outcome.value[:2] == (2, 2) and lenet5c.get_num_threads() == 8
    outcome = carry_out([Job("describe", pool_jobs.describe)], SerialExecutor())["describe"]
    assert outcome.value[:2] == (8, 8)


def test_a_quota_counts_as_the_cores(threads, monkeypatch):
    known = {"openmp": 16, "processors": 16, "quota": 3.5, "wish": None}
    monkeypatch.setattr("lenet5c.kernels.threads.limits", lambda: known)
    lenet5c.set_num_threads(None)
    assert [share_threads(jobs) for jobs in (1, 2, 3, 5)] == [4, 2, 1, 1]


def test_workers_are_counted():
    with WorkerPool(3) as pool, ThreadPoolExecutor(5) as team:
        assert [count_workers(each) for each in (SerialExecutor(), pool, team)] == [1, 3, 5]
    assert count_workers(object()) is None


def test_a_stop_ends_the_jobs_at_work_and_begins_no_others(pool, tmp_path):
    ended = []
    jobs = [Job(str(i), pool_jobs.wait_for, (str(tmp_path / "never"),)) for i in range(6)]
    asked = iter([False, False, True])
    done = run_jobs(jobs, pool, lambda *end: ended.append(end), stop=lambda: next(asked))
    assert not done
    assert {outcome.state for _, outcome in ended} <= {"stopped"} and len(ended) <= 2
    # The pool is as good as before, and no file is left.
    assert carry_out([Job("double", pool_jobs.double, (4,))], pool, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_exception_stops_the_jobs(pool, tmp_path):
    jobs = [Job("double", pool_jobs.double, (1,))]
    jobs.append(Job("waits", pool_jobs.wait_for, (str(tmp_path / "never"),)))

    def on_outcome(job, outcome):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, pool, on_outcome)
    (tmp_path / "never").touch()
    assert carry_out([Job("waits", pool_jobs.wait_for, (str(tmp_path / "never"),))], pool)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_workers_end_with_the_process_that_they_work_for(tmp_path):
    code = (
        "import os, pathlib, pool_jobs, signal, sys\n"
        "from lenet5c.recipes.jobs import Job, run_jobs\n"
        "from lenet5c.recipes.worker_pool import WorkerPool\n"
        "def poll():\n"
        "    if len(list(pathlib.Path(sys.argv[1]).iterdir())) == 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "jobs = [Job(str(i), pool_jobs.note_pid, (sys.argv[1],)) for i in range(2)]\n"
        "run_jobs(jobs, WorkerPool(2), print, poll=poll)\n"
    )
    path = os.pathsep.join(filter(None, (os.path.dirname(pool_jobs.__file__), *_python_path())))
    done = run_python(code, tmp_path, PYTHONPATH=path)
    assert done.returncode == -signal.SIGKILL
    numbers = [int(path.name) for path in tmp_path.iterdir()]
    deadline = time.monotonic() + HANGING
    while any(map(is_alive, numbers)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _python_path():
    return os.environ.get("PYTHONPATH", "").split(os.pathsep)


def is_alive(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    try:  # a zombie that nobody waits for
        with open(f"/proc/{number}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_new_worker_is_deaf_to_interrupts_before_it_can_ignore_them(tmp_path):
    # The main file is imported by a new worker before anything of the package is.
    script = tmp_path / "script.py"
    script.write_text(
        "import signal\n"
        "if __name__ == '__main__':\n"
        "    from lenet5c.recipes.worker_pool import WorkerPool\n"
        "    with WorkerPool(2) as pool:\n"
        "        [call.result() for call in [pool.submit(abs, -1) for _ in range(2)]]\n"
        "else:\n"
        "    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())\n"
        "    import os\n"
        "    os.write(1, b'deaf\\n' if {signal.SIGINT, signal.SIGHUP} <= blocked else b'open\\n')\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=HANGING)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()) == {"deaf"}
