"""Standard output and standard error that are full, closed or not read."""

import os
import shlex
import subprocess
import sys

import numpy as np
import pytest
from processes import HANGING

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
FULL = "error: cannot write standard output: No space left on device\n"
COMMANDS = {
    "train": "train --recipe fast --epochs 1 --no-report --data {data} --out {folder}/run",
    "evaluate": "evaluate --data {data}",
    "predict": "predict {folder}/bar.png",
    "export": "export best --to onnx --out {folder}/model.onnx",
    "summary": "summary best",
    "data inspect": "data inspect {data}",
    "data list": "data list",
    "data path": "data path",
    "recipes": "recipes",
    "doctor": "doctor",
    "completion": "completion bash",
    "help": "--help",
    "help of train": "train --help",
    "help of data list": "data list --help",
    "version": "--version",
}
SOME = ["train", "predict", "data list", "doctor", "help", "help of train"]
BAD_USE = {
    "train": "train --data nonexistent",
    "train, parser": "train --lr nan",
    "evaluate": "evaluate nonexistent",
    "predict": "predict nonexistent.png",
    "export": "export nonexistent --to c",
    "summary": "summary nonexistent",
    "data": "data inspect nonexistent",
    "demo": "demo --no-browser --model nonexistent",
    "reproduce": "reproduce nonexistent",
    "doctor": "doctor --with nonexistent",
    "recipes": "recipes nonexistent",
    "no command": "nonexistent",
}


@pytest.fixture
def run(tmp_path, idx_files):
    """run(command, redirection) -> the finished process."""
    from PIL import Image

    bar = np.full((40, 40), 255, np.uint8)
    bar[8:32, 18:22] = 0
    Image.fromarray(bar).save(tmp_path / "bar.png")

    def call(command, redirection):
        words = [sys.executable, "-m", "lenet5c"]
        words += shlex.split(command.format(folder=tmp_path, data=idx_files))
        line = f"{shlex.join(words)} {redirection}"
        return subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=HANGING
        )

    return call


@pytest.mark.parametrize("name", COMMANDS)
def test_output_that_cannot_be_written_is_a_failure(run, name):
    done = run(COMMANDS[name], ">/dev/full")
    assert done.returncode == 1 and done.stderr.endswith(FULL)
    assert len(done.stderr.splitlines()) == 1
    if name in ("train", "export"):  # the work is done all the same
        assert run("summary {folder}/run" if name == "train" else "recipes", "").returncode == 0


@pytest.mark.parametrize("name", SOME)
def test_nobody_need_read_the_output(run, name):
    done = run(COMMANDS[name], '| true; exit "${PIPESTATUS[0]}"')
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", SOME)
def test_closed_streams(run, name):
    done = run(COMMANDS[name], ">&- 2>&- <&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", BAD_USE)
@pytest.mark.parametrize("redirection", ["2>/dev/full", ">&- 2>&-"])
def test_bad_use_is_told_by_the_exit_code_in_any_case(run, name, redirection):
    done = run(BAD_USE[name], redirection)
    assert (done.returncode, done.stderr) == (2, "")
