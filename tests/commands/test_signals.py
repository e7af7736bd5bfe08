"""Signals at any time in any command: exit code, at most one line, and complete files."""

import os
import random
import shlex
import signal
import subprocess
import sys
import time

import pytest
from processes import HANGING, run_python

from lenet5c.training import open_model
from lenet5c.training.interrupt import StopRequest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
NAMES = ["SIGINT", "SIGTERM", "SIGHUP"]
# Commands that do not end by themselves within some tenths of a second come first.
COMMANDS = [
    "train --recipe fast --epochs 50 --out {folder}/run --data {data} --quiet",
    "evaluate --part train --out {folder}/evaluation",
    "sweep --recipe fast --epochs 50 --seeds 3 --jobs 2 --data {data} --out {folder}/sweep --quiet",
    "reproduce fast --seeds 2 --epochs 50 --data {data} --work {folder}/work --out {folder}/out",
    "demo --no-browser --samples {folder}/samples",
    "export best --to onnx --out {folder}/model.onnx",
    "data inspect {data} --contact-sheet {folder}/sheet.png",
    "summary best",
    "doctor",
    "recipes",
]


def handles_signals(process):
    """Return whether the command has begun; before that, a signal ends Python itself."""
    try:
        with open(f"/proc/{process.pid}/status") as file:
            caught = next(line for line in file if line.startswith("SigCgt"))
    except (OSError, StopIteration):
        return True
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def start(words, folder):
    return subprocess.Popen(
        [sys.executable, "-m", "lenet5c", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupt(words, folder, after, bursts):
    """Send bursts of signals to a command; return the finished process and its errors."""
    process = start(words, folder)
    while not handles_signals(process):
        time.sleep(0.001)
    time.sleep(after)
    for number, pause in bursts:
        process.send_signal(number)
        time.sleep(pause)
    _, errors = process.communicate(timeout=HANGING)
    return process, errors


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
@pytest.mark.parametrize("command", COMMANDS, ids=lambda text: text.split()[0])
def test_bursts_of_signals_at_random_moments(command, tmp_path, idx_files):
    rng = random.Random(command)
    for attempt in range(4 if command.startswith("train") else 2):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        words = shlex.split(command.format(folder=folder, data=idx_files))
        numbers = [getattr(signal, rng.choice(NAMES))] * 6
        if attempt % 2:
            numbers = [getattr(signal, rng.choice(NAMES)) for _ in range(6)]
        bursts = [(number, rng.uniform(0, 0.001)) for number in numbers]
        process, errors = interrupt(words, folder, rng.uniform(0, 1) ** 2 * 1.5, bursts)
        codes = {128 + number for number in numbers}
        if not errors:  # it was done already, or Python was about to end
            codes |= {0} | {-number for number in numbers}
        assert process.returncode in codes, (attempt, process.returncode, errors)
        assert "Traceback" not in errors and "Exception ignored" not in errors, errors
        lines = errors.strip().splitlines()
        assert len(lines) <= 1 or "Stopped in epoch" in errors, errors
        left = [path for path in folder.rglob("*") if ".tmp" in path.name]
        assert not left, left
        for path in folder.rglob("*.safetensors"):
            if path.name == "model.safetensors":
                open_model(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_burst_stops_a_training_with_a_checkpoint(name, tmp_path, idx_files):
    number = getattr(signal, name)
    folder = tmp_path / "run"
    process = start(
        ["train", "--epochs", "500", "--data", str(idx_files), "--out", str(folder)], tmp_path
    )
    while not (folder / "metrics.jsonl").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    for _ in range(6):
        process.send_signal(number)
        time.sleep(0.0005)
    _, errors = process.communicate(timeout=HANGING)
    assert process.returncode == 128 + number and "Traceback" not in errors
    assert f"lenet5c train --resume --out {folder}" in errors
    assert (folder / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_a_signal_that_is_ignored_stays_so(name, tmp_path, idx_files):
    """As under nohup, and in the background of a shell without job control."""
    code = (
        f"import os, signal, sys; signal.signal(signal.{name}, signal.SIG_IGN)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'lenet5c', *sys.argv[1:]])"
    )
    options = f"--epochs 8 --data {idx_files} --out {tmp_path / 'run'} --no-report"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", *options.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "run/config.json").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(getattr(signal, name))
    output, errors = process.communicate(timeout=HANGING)
    assert (process.returncode, errors) == (0, "") and "Test accuracy" in output


def test_a_stop_request_takes_signals_soon_after_the_first_as_the_same():
    handler = signal.getsignal(signal.SIGINT)
    with StopRequest(grace=60) as stop:
        assert not stop()
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
        assert stop() and stop.signal == signal.SIGHUP
    assert signal.getsignal(signal.SIGINT) is handler
    with pytest.raises(KeyboardInterrupt), StopRequest(grace=0) as stop:
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.001)
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    "work",
    [
        "raise RuntimeError('made of an interrupt')",  # as extension modules do
        "raise ImportError('made of an interrupt')",  # as NumPy does
        "pass",  # it was swallowed
        "type('T', (), {'__del__': lambda self: interrupt()})()",  # where nothing can be raised
    ],
)
def test_an_interrupt_that_gets_lost_ends_the_command_all_the_same(work):
    done = run_python(
        "import os, signal, sys\n"
        "from lenet5c.__main__ import start\n"
        "from lenet5c.commands import recipes\n"
        "def interrupt():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    for _ in range(1000): pass\n"
        "def run(options):\n"
        "    try: interrupt() if 'interrupt()' not in work else None\n"
        "    except KeyboardInterrupt: pass\n"
        "    exec(work, {'interrupt': interrupt})\n"
        f"work = {work!r}\n"
        "recipes.run = run\n"
        "sys.argv[1:] = ['recipes']\n"
        "start()"
    )
    assert done.returncode == 143, done.stderr
    assert done.stderr in ("", "lenet5c recipes: error: interrupted\n") and done.stdout == ""


def test_a_second_interrupt_does_not_wait_for_the_first():
    done = run_python(
        "import os, signal, sys, time\n"
        "from lenet5c.__main__ import start\n"
        "from lenet5c.commands import recipes, signals\n"
        "signals.GRACE = 0.01\n"
        "def run(options):\n"
        "    try: os.kill(os.getpid(), signal.SIGINT); time.sleep(60)\n"
        "    finally: time.sleep(0.1); os.kill(os.getpid(), signal.SIGINT); time.sleep(60)\n"
        "recipes.run = run\n"
        "sys.argv[1:] = ['recipes']\n"
        "start()"
    )
    assert (done.returncode, done.stderr) == (130, "")
