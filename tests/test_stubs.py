"""The types: mypy on the package and on a user's program, stubs of compiled modules by stubtest."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import lenet5c

PROJECT = Path(__file__).parent.parent
PACKAGE = Path(lenet5c.__file__).parent
TYPING = Path(__file__).parent / "typing"

needs_mypy = pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")


def run(folder, *arguments):
    """Return the output of an interpreter that starts in `folder`, where there is no source."""
    # mypy finds an installed package itself, and refuses to be told where it is.
    path = "" if PACKAGE.parent.name == "site-packages" else str(PACKAGE.parent)
    environment = os.environ | {"MYPYPATH": path, "MYPY_CACHE_DIR": str(folder / "cache")}
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
def test_the_package_is_typed(tmp_path):
    config = PROJECT / "pyproject.toml"
    run(tmp_path, "-m", "mypy", "--config-file", config, "-p", "lenet5c")


@needs_mypy
def test_stubs_agree_with_what_runs(tmp_path):
    stubs = [path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("[!_]*.pyi")]
    modules = [".".join(stub.with_suffix("").parts) for stub in stubs]
    assert "lenet5c.kernels.cykernels" in modules
    options = ["--concise", "--ignore-unused-allowlist", "--mypy-config-file", TYPING / "mypy.ini"]
    options += ["--allowlist", TYPING / "allowlist.txt"]
    run(tmp_path, "-m", "mypy.stubtest", *modules, *options)


@needs_mypy
def test_a_users_program_is_strictly_typed(tmp_path):
    run(tmp_path, "-m", "mypy", "--strict", "--config-file", os.devnull, TYPING / "user.py")


def test_a_users_program_runs(tmp_path):
    run(tmp_path, TYPING / "user.py")


def test_only_public_compiled_modules_have_stubs():
    stubs = {path.stem for path in (PACKAGE / "kernels").rglob("*.pyi")}
    assert stubs == {"cykernels"}
