"""The guards of tools/torture detect reads out of bounds and wrong results."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

TOOLS = Path(__file__).parents[2] / "tools"
pytestmark = pytest.mark.skipif(
    not TOOLS.exists() or sys.platform == "win32", reason="needs the checkout, and mmap"
)

READ = """
import ctypes, sys
import numpy as np
from torture.guarded import PAGE, GuardedMemory
memory = GuardedMemory()
for seed in range(4):  # which end it lies at is drawn
    memory.begin(np.random.default_rng(seed))
    array = memory.put(np.ones(5, np.float32), ("contiguous",))
    at = array.ctypes.data
    assert ctypes.c_float.from_address(at + 16).value == 1
    if (at + 20) % PAGE == 0 or at % PAGE == 0:
        beyond = at + 20 if at % PAGE else at - 4
        print("guarded", flush=True)
        ctypes.c_float.from_address(beyond).value
"""


@pytest.fixture
def torture(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)


def test_an_element_too_far_is_a_fault():
    code = f"import sys; sys.path.insert(0, {str(TOOLS)!r})\n{READ}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "guarded\n" and done.returncode != 0, done.stderr  # -11, or a report


def test_what_is_written_beside_an_array_is_noticed(torture):
    from torture.guarded import GuardedMemory

    memory = GuardedMemory()
    memory.begin(np.random.default_rng(0))
    memory.empty((3, 4), np.float32)
    memory.check()
    memory.watched[0][5] = 0
    with pytest.raises(AssertionError, match="beside an array"):
        memory.check()


@pytest.mark.parametrize("layout", ["contiguous", "strided", "reversed", "permuted", "misaligned"])
def test_layouts_hold_the_values(torture, layout):
    from torture.guarded import GuardedMemory

    memory, values = GuardedMemory(), np.arange(24.0).reshape(2, 3, 4)
    for seed in range(5):
        memory.begin(np.random.default_rng(seed))
        array = memory.put(values, (layout,))
        assert (array == values).all() and not array.flags.writeable
        assert array.flags.aligned == (layout != "misaligned")


def test_a_sum_that_is_off_is_found(torture):
    from torture.rounding import check, sum_error

    exact = np.random.default_rng(0).standard_normal((50, 300))
    error = sum_error(300) * abs(exact).sum(axis=1)
    rounded = exact.astype(np.float32)
    check("sum", rounded.sum(axis=1), exact.sum(axis=1), error)
    check("infinite", np.float32([np.inf]), np.array([np.inf]), 0)
    with pytest.raises(AssertionError, match="sum: 50 of 50 wrong, first at"):
        check("sum", rounded[:, 1:].sum(axis=1), exact.sum(axis=1), error)
    with pytest.raises(AssertionError, match="1 wrong|1 of 1 wrong"):
        check("not-a-number", np.float32([np.nan]), np.zeros(1), 1)


def test_a_crash_is_a_failure_and_the_next_case_runs(torture, monkeypatch, tmp_path):
    from torture.campaign import Campaign
    from torture.parts import kernels

    worker = tmp_path / "worker.py"
    worker.write_text(
        "import json, os, sys\n"
        "for line in sys.stdin:\n"
        "    print(json.dumps({'begun': 'conv2d'}), flush=True)\n"
        "    if int(line) == 3:\n"
        "        os.abort()\n"
        "    answer = {'name': 'conv2d', 'digest': os.environ['LENET5C_ISA'][:3], 'wrong': ''}\n"
        "    print(json.dumps(answer), flush=True)\n"
    )
    monkeypatch.setattr(kernels, "WORKER", worker)
    campaign = Campaign("kernels", 60, 0)
    numbers = iter([(number, None) for number in range(12)])
    monkeypatch.setattr(campaign, "tries", lambda: numbers)
    kernels.run(campaign)
    assert [failure.partition(",")[0] for failure in campaign.failures] == ["attempt 3: conv2d"]
    assert "ended with -6" in campaign.failures[0]
    assert campaign.counts["conv2d"] >= 12
