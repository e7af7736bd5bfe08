"""The types that users see, held against what runs: mypy's stubtest, and `mypy --strict` on a user's program."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from lenet5c import kernels

TYPING = Path(__file__).parent / "typing"

needs_mypy = pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")


def run(folder, *arguments):
    """Output of an interpreter that starts in `folder`, where no source lies about."""
    environment = os.environ | {"MYPYPATH": "", "MYPY_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@needs_mypy
def test_stubs_agree_with_what_runs(tmp_path):
    run(
        tmp_path,
        "-m",
        "mypy.stubtest",
        "lenet5c",
        "--concise",
        "--mypy-config-file",
        TYPING / "mypy.ini",
        "--allowlist",
        TYPING / "allowlist.txt",
        "--ignore-unused-allowlist",
    )


@needs_mypy
def test_a_users_program_is_strictly_typed(tmp_path):
    run(tmp_path, "-m", "mypy", "--strict", "--config-file", os.devnull, TYPING / "user.py")


def test_a_users_program_runs(tmp_path):
    run(tmp_path, TYPING / "user.py")


def test_only_public_compiled_modules_have_stubs():
    stubs = {path.stem for path in Path(kernels.__file__).parent.rglob("*.pyi")}
    assert stubs == {"cykernels"}
