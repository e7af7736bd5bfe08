"""The command `python -m lenet5c.train` in a separate process."""

import hashlib
import subprocess
import sys

from processes import HANGING


def command(*arguments, cwd):
    return [sys.executable, "-m", "lenet5c.train", "--no-report", *map(str, arguments)], {
        "cwd": cwd,
        "text": True,
    }


def train(*arguments, cwd):
    argv, options = command(*arguments, cwd=cwd)
    return subprocess.run(argv, capture_output=True, **options, timeout=HANGING)


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
