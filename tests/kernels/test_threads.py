"""Thread counts of calls, also in forked processes and from several Python threads."""

import multiprocessing
import os
import re
import sys
import threading

import numpy as np
import pytest
from processes import HANGING, output

from lenet5c import kernels, nn
from lenet5c.kernels import _openmp, threads

needs_openmp = pytest.mark.skipif(not _openmp.has_openmp, reason="built without OpenMP")
needs_fork = [
    pytest.mark.skipif(
        "fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork"
    ),
    pytest.mark.skipif(
        sys.platform == "darwin", reason="forking without exec is not safe in macOS's own libraries"
    ),
    # From Python 3.12 on: "use of fork() may lead to deadlocks in the child". That it does not is
    # tested here.
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]
ends_pools = sys.platform == "linux" and _openmp.end_pool()  # GNU OpenMP

COUNT = "from lenet5c import kernels; print(kernels.get_num_threads())"


@pytest.fixture
def default_threads():
    """Restore the default number of threads."""
    kernels.set_num_threads(None)
    yield kernels.get_num_threads()
    kernels.set_num_threads(None)


class TestNumThreads:
    def test_is_kept_until_reset(self, default_threads):
        for count in (1, 3, 1024, np.int64(2)):
            kernels.set_num_threads(count)
            assert kernels.get_num_threads() == count
        kernels.set_num_threads(None)
        assert kernels.get_num_threads() == default_threads

    @pytest.mark.parametrize("wrong", [0, -1, 1025, 1.0, "2", (2,), True])
    def test_wrong_values_are_errors(self, default_threads, wrong):
        kernels.set_num_threads(3)
        with pytest.raises(
            ValueError, match=f"num_threads must.* 1 to 1024, got {re.escape(repr(wrong))}"
        ):
            kernels.set_num_threads(wrong)
        assert kernels.get_num_threads() == 3

    def test_results_do_not_depend_on_it(self, default_threads):
        x = np.random.default_rng(0).standard_normal((100, 2, 9, 9)).astype(np.float32)
        weight = np.random.default_rng(1).standard_normal((3, 2, 3, 3)).astype(np.float32)
        results = set()
        for count in (1, 2, 3, 8):
            kernels.set_num_threads(count)
            results.add(kernels.conv2d(x, weight).tobytes())
        assert len(results) == 1


class TestUseful:
    def test_small_work_takes_one(self, default_threads):
        assert threads.useful(0, 8) == threads.useful(threads.THREAD_WORK - 1, 8) == 1
        assert threads.useful(1e3) == 1

    def test_each_more_has_work(self, default_threads):
        for count in range(1, 5):
            assert threads.useful(count * threads.THREAD_WORK, 8) == count + 1
            assert threads.useful(10**12, count) == count
        assert threads.useful(10**12) == default_threads

    @pytest.mark.parametrize("wrong", [0, -1, 1025, 1.0, "2"])
    def test_wrong_values_are_errors_whatever_the_work(self, wrong):
        for work in (0, 10**12):
            with pytest.raises(ValueError, match="num_threads must"):
                threads.useful(work, wrong)


class TestDefault:
    def test_is_at_least_one(self, default_threads):
        assert default_threads >= 1

    @pytest.mark.parametrize(
        "openmp, processors, quota, wish, expected",
        [
            (8, 8, None, None, 8),
            (8, 3, None, None, 3),  # the affinity has changed since OpenMP was loaded
            (2, 8, None, None, 2),  # a limit set in OpenMP
            (8, 8, 2.0, None, 2),
            (8, 8, 1.5, None, 2),
            (8, 8, 0.001, None, 1),
            (8, 8, 64.0, None, 8),
            (6, 4, 1.5, 6, 6),  # a wish beats processors and quota
            (1, 4, 1.5, 6, 1),  # but not a limit set later
        ],
    )
    def test_is_made_from_the_limits(self, openmp, processors, quota, wish, expected):
        assert threads.default(openmp, processors, quota, wish) == expected

    @pytest.mark.parametrize(
        "text, count",
        [
            ("4", 4),
            (" 4 ", 4),
            ("3,2", 3),
            ("", None),
            ("0", None),
            ("-1", None),
            ("two", None),
            ("2,", None),
            ("2,x", None),
            ("1.5", None),
            ("²", None),
            ("0x2", None),
        ],
    )
    def test_wish_in_omp_num_threads(self, text, count):
        assert threads.wished(text) == count

    @needs_openmp
    @pytest.mark.parametrize("count", [1, 3])
    def test_respects_omp_num_threads(self, count):
        assert output(COUNT, OMP_NUM_THREADS=str(count)) == [str(count)]

    @needs_openmp
    def test_a_choice_beats_omp_num_threads(self):
        code = (
            "from lenet5c import kernels; kernels.set_num_threads(2); "
            "print(kernels.get_num_threads())"
        )
        assert output(code, OMP_NUM_THREADS="3") == ["2"]

    @pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the affinity cannot be set")
    def test_respects_the_affinity_before_and_after_the_import(self):
        bind = "import os; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1])\n"
        assert output(bind + COUNT, OMP_NUM_THREADS=None) == ["1"]
        if ends_pools or not _openmp.has_openmp:  # other runtimes look once
            assert output("from lenet5c import kernels\n" + bind + COUNT, OMP_NUM_THREADS=None) == [
                "1"
            ]

    @needs_openmp
    @pytest.mark.skipif(sys.platform != "linux", reason="OMP_PROC_BIND binds on Linux")
    def test_a_thread_that_openmp_has_bound_may_still_have_others(self):
        code = (
            "from lenet5c.kernels import threads; "
            "print(threads.get_num_threads() == threads.limits()['openmp'])"
        )
        assert output(code, OMP_NUM_THREADS=None, OMP_PROC_BIND="true") == ["True"]

    @needs_openmp
    def test_respects_threadpoolctl(self, default_threads):
        threadpoolctl = pytest.importorskip("threadpoolctl")
        with threadpoolctl.threadpool_limits(limits=1, user_api="openmp"):
            assert kernels.get_num_threads() == 1
        assert kernels.get_num_threads() == default_threads


def convolve(num_threads):
    # Work for three threads in im2col
    x = np.random.default_rng(0).standard_normal((300, 2, 9, 9)).astype(np.float32)
    dy = np.ones((300, 3, 7, 7), np.float32)
    weight = np.ones((3, 2, 3, 3), np.float32)
    dx, dweight, dbias = kernels.conv2d_backward(dy, x, weight, num_threads=num_threads)
    return (
        kernels.im2col(x, 3, num_threads=num_threads).tobytes()
        + dx.tobytes()
        + dweight.tobytes()
        + dbias.tobytes()
    )


# In a process of its own, so that it has no pool yet and a hang ends with the time limit.
FORK = """
import os, signal, sys, threading, time
from pathlib import Path
sys.path[:0] = [{helpers!r}, {kernel_tests!r}]
from lenet5c.kernels import _openmp, threads
from test_threads import convolve

def child(check):
    "The exit code of a forked child that runs check; negative if it had to be killed."
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = int(check())
        finally:
            os._exit(code)
    end = time.monotonic() + 60
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            return -os.waitpid(pid, 0)[1]
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(ended[1])

def tasks():
    return len(os.listdir("/proc/self/task"))

expected = convolve(1)
"""


def fork(code):
    here = os.path.dirname(__file__)
    helpers = os.path.join(os.path.dirname(here), "helpers")
    setup = FORK.format(helpers=helpers, kernel_tests=here)
    return output(setup + code, PYTHONWARNINGS="ignore", timeout=HANGING)


class TestFork:
    pytestmark = needs_fork

    @pytest.mark.skipif(not ends_pools, reason="needs GNU OpenMP")
    def test_a_child_keeps_its_threads(self):
        """Several forks in a row, and in children; the parent continues."""
        code = """
def check():
    return convolve(3) == expected and threads.effective(3) == 3 and tasks() >= 3

for _ in range(3):
    assert convolve(3) == expected
    print(child(check), child(lambda: check() and child(check) and check()))
print(convolve(3) == expected)
"""
        assert fork(code) == ["1", "1"] * 3 + ["True"]

    def test_a_child_of_a_process_without_threads_may_use_them(self):
        code = "threads.effective(1)\nprint(child(lambda: threads.effective(3)))"
        assert fork(code) == ["3"]

    def test_a_child_is_serial_where_the_pool_cannot_be_ended(self):
        """So are its children, but not the parent."""
        code = """
_openmp.end_pool = lambda: False
convolve(3)
def serial():
    return threads.effective(3) == 1 and convolve(3) == expected

print(child(lambda: serial() and child(lambda: threads.effective(3)) == 1))
print(threads.effective(3), convolve(3) == expected)
"""
        assert fork(code) == ["1", "3", "True"]

    def test_a_fork_that_runs_no_hook_before_it_leaves_a_serial_child(self):
        """As in servers that fork in C."""
        code = """
convolve(2)
threads._after_fork_in_child()
print(threads.effective(3))
"""
        assert fork(code) == ["1"]

    def test_while_other_threads_are_inside_regions(self):
        """Pools belong to threads: the child does not wait for those of other threads."""
        code = """
done, results = threading.Event(), set()

def work():
    while not done.is_set():
        results.add(convolve(2))

others = [threading.Thread(target=work) for _ in range(2)]
for other in others:
    other.start()
codes = set()
for _ in range(20):
    assert convolve(3) == expected
    codes.add(child(lambda: convolve(3) == expected and convolve(2) == expected))
done.set()
for other in others:
    other.join()
print(codes, results == {expected}, convolve(3) == expected)
"""
        assert fork(code) == ["{1}", "True", "True"]

    @needs_openmp
    def test_a_pool_of_processes(self):
        expected = convolve(2)  # the parent's threads now exist
        pool = multiprocessing.get_context("fork").Pool(2)
        try:
            assert pool.map_async(convolve, [1, 2, 3, None]).get(60) == [expected] * 4
        finally:
            pool.terminate()
            pool.join()
        assert convolve(2) == expected


class TestPythonThreads:
    """Eight concurrent calls with results bit-identical to serial ones."""

    ROUNDS = 10

    def together(self, job, arguments):
        """Return the results of the job for each argument, run repeatedly in a thread for each."""
        results, errors = [set() for _ in arguments], []
        start = threading.Barrier(len(arguments))

        def work(i):
            try:
                start.wait(60)
                for _ in range(self.ROUNDS):
                    results[i].add(job(arguments[i]))
            except BaseException as error:
                errors.append(error)

        workers = [threading.Thread(target=work, args=(i,)) for i in range(len(arguments))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert errors == []
        return results

    @pytest.fixture(autouse=True)
    def two_threads(self, default_threads):
        kernels.set_num_threads(2)

    @staticmethod
    def images(seed, batch=40, size=28):
        return (
            np.random.default_rng(seed).standard_normal((batch, 1, size, size)).astype(np.float32)
        )

    def test_conv2d(self):
        weight = np.random.default_rng(0).standard_normal((5, 1, 3, 3)).astype(np.float32)

        def job(seed):
            return kernels.conv2d(self.images(seed), weight).tobytes()

        assert self.together(job, range(8)) == [{job(seed)} for seed in range(8)]

    def test_train_step_on_own_models(self):
        labels = np.arange(40) % 10

        def job(seed):
            model = nn.LeNet5(input_size=28, rng=seed)
            optimized = [
                model.train_step(self.images(seed), labels, nn.CrossEntropyLoss()) for _ in range(2)
            ]
            return repr(optimized).encode() + model.grad_vector.tobytes()

        assert self.together(job, range(8)) == [{job(seed)} for seed in range(8)]

    def test_forward_of_one_new_model(self):
        """No thread may see an incomplete program; with more sizes than cached programs."""
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3, rng=0), nn.ReLU(), nn.BatchNorm2d(4), nn.MaxPool2d(2)
        )
        same = nn.Sequential(
            nn.Conv2d(1, 4, 3, rng=0), nn.ReLU(), nn.BatchNorm2d(4), nn.MaxPool2d(2)
        )
        sizes = [(12, 14, 16, 18, 20, 22, 24, 26, 28, 30)[i:] for i in range(8)]

        def job(sizes, model=model):
            return b"".join(model.forward(self.images(size, 3, size)).tobytes() for size in sizes)

        results = self.together(job, sizes)
        assert results == [{job(some, same)} for some in sizes]
