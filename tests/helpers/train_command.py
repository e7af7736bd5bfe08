"""The command `python -m lenet5c.train` in a separate process."""

import atexit
import functools
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from processes import HANGING
from torture.processes import Server


def command(*arguments, cwd):
    """Return the arguments of `subprocess.Popen` of the command in a new interpreter."""
    return [sys.executable, "-m", "lenet5c.train", "--no-report", *map(str, arguments)], {
        "cwd": cwd,
        "text": True,
    }


@functools.cache
def start_server():
    """Start the process whose forks run commands, once for all tests of this process."""
    server = Server()
    atexit.register(server.close)
    return server


def run_command(*arguments, cwd=None):
    """Run `lenet5c` in a process of its own; return it finished, with what it printed.

    Where processes can fork, it takes no half second to import everything.
    """
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        child = start_server().start(arguments, output, errors=errors, folder=cwd)
        code = child.wait(HANGING)
        printed = [path.read_text(encoding="locale") for path in (output, errors)]
    return subprocess.CompletedProcess(["lenet5c", *map(str, arguments)], code, *printed)


def train(*arguments, cwd):
    """Run `lenet5c train` without a report."""
    return run_command("train", "--no-report", *arguments, cwd=cwd)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def assert_bad_use(result, *words):
    """Assert one line of output, exit code 2, and no traceback."""
    assert result.returncode == 2, result.stderr
    (message,) = result.stderr.strip().splitlines()
    assert message.startswith("lenet5c train: error: ")
    for word in words:
        assert str(word) in message
    assert result.stdout == ""
