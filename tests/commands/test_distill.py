"""`lenet5c distill` on the command line."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from processes import HANGING
from train_command import digest, run_command

from lenet5c.training import open_model

SMALL = ("--recipe", "fast", "--channels", 4, 8, "--units", 20, "--no-report")


@pytest.fixture
def distill(tmp_path, idx_files):
    """Run the command on the small data set."""

    def run(*arguments):
        return run_command("distill", *arguments, cwd=tmp_path)

    return run


def test_a_run(distill, idx_files, tmp_path):
    options = ("best", "--data", idx_files, *SMALL, "--teaching-temperature", 2)
    result = distill(*options, "--teaching-weight", 0.75, "--out", "run")
    assert result.returncode == 0, result.stderr
    assert "Taught by best at temperature 2, labels weighted 25 %" in result.stdout
    assert "Test accuracy of best, the teacher:" in result.stdout
    config = json.loads((tmp_path / "run/config.json").read_text())
    assert (config["taught_by"], config["teaching_temperature"]) == ("best", 2)
    assert (config["teaching_weight"], config["label_smoothing"]) == (0.75, 0)
    assert open_model(tmp_path / "run").model.num_params < 10_000
    longer = distill("--resume", "--out", "run", "--epochs", 2, "--no-report")
    assert longer.returncode == 0, longer.stderr
    assert digest(tmp_path / "run/teacher.safetensors") == digest(open_model().path)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_killed_run_resumes_to_the_same_bytes(distill, idx_files, tmp_path):
    options = ("best", "--data", idx_files, *SMALL, "--distortion", "modern", "--epochs", 8)
    assert distill(*options, "--out", "whole").returncode == 0
    argv = [sys.executable, "-m", "lenet5c", "distill", *map(str, options), "--out", "killed"]
    process = subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    metrics, deadline = tmp_path / "killed/metrics.jsonl", time.monotonic() + HANGING
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= 2):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=HANGING)
    assert not (tmp_path / "killed/summary.json").exists()
    resumed = distill("--resume", "--out", "killed", "--threads", 1, "--no-report")
    assert resumed.returncode == 0, resumed.stderr
    for name in ("model.safetensors", "checkpoint.safetensors", "metrics.jsonl"):
        assert digest(tmp_path / "killed" / name) == digest(tmp_path / "whole" / name)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "MODEL must be the teacher"),
        (("nowhere",), "nowhere, which does not exist"),
        (("best", "--taught-by", "signs"), "--taught-by cannot be combined with MODEL"),
        (("best", "--folds", 3), "--folds must be omitted with taught_by"),
        (("best", "--label-smoothing", 0.1), "--label-smoothing must be 0 with taught_by"),
        (("signs", "--train-size", 100), "--taught-by must have the classes"),
    ],
)
def test_one_line_for_bad_use(distill, arguments, words):
    result = distill(*arguments)
    assert result.returncode == 2 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("lenet5c distill: error: ") and words in line
