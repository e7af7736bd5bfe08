"""Compilation and control of the shim of file operations."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")


def compile_shim(folder: Path) -> Path | str:
    """Return the path of the compiled shim in a folder, or the reason why there is none."""
    if sys.platform != "linux":
        return "the shim is for Linux"
    compiler = shutil.which("cc")
    if compiler is None:
        return "no compiler"
    path = folder / "shim.so"
    command = [compiler, "-O1", "-fPIC", "-shared", "-o", str(path), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    return path if done.returncode == 0 else f"the compiler failed: {done.stderr[-200:]}"


def begin() -> None:
    """Let the shim, if loaded, start counting."""
    if os.environ.get("TORTURE_FOLDER"):
        ctypes.CDLL(None).torture_begin()
