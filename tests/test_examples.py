"""Each example runs; both versions agree."""

import re
import subprocess
import sys
from pathlib import Path

from lenet5c.datasets.source import open_source
from lenet5c.training import evaluate, open_model

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_numpy_net(tmp_path):
    command = [
        sys.executable,
        "-W",
        "error",
        EXAMPLES / "numpy_net.py",
        "--images",
        "200",
        "--epochs",
        "2",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after, last = done.stdout.splitlines()
    assert re.match(r"before +losses \d\.\d{4} \d\.\d{4}  \d+\.\d %  ", before)
    numbers = [
        [float(number) for number in re.findall(r"\d+\.\d+", line)[:2]] for line in (before, after)
    ]
    assert abs(numbers[0][0] - numbers[1][0]) < 1e-3 and abs(numbers[0][1] - numbers[1][1]) < 1e-3
    assert re.fullmatch(r"\d+\.\d times as fast", last)


def test_own_hand(tmp_path):
    command = [sys.executable, "-W", "error", EXAMPLES / "own_hand.py", "hand", "--samples", "2"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    source = open_source(str(tmp_path / "hand"))
    assert len(source.train) == 20 and len(source.test) == 10_000
    assert 0.3 < evaluate(open_model(), source.test.take(range(1000))).accuracy < 0.5
