"""Builds of the checkout in separate folders, with sleeping threads or ThreadSanitizer."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
DRIVE = Path(__file__).with_name("drive.py")
ENGINE = "src/lenet5c/kernels/engine"
REPORT = "WARNING: ThreadSanitizer"

# Faults put into the protocol, by file, text and what takes its place: the harness must find each.
FAULTS = {
    "parameters are updated in place, whoever reads them": (
        f"{ENGINE}/team.pxi",
        "buffer = unread_buffer(team, batch)",
        "buffer = batch.buffer",
    )
}


def find_clang():
    """Return the newest clang, or None if it or its libraries are missing."""
    names = [os.environ.get("CLANG", ""), *(f"clang-{v}" for v in range(25, 13, -1)), "clang"]
    clang = next((name for name in names if name and shutil.which(name)), None)
    return clang if clang and all(libraries(clang)) else None


def libraries(clang):
    """Return the paths of ThreadSanitizer's runtime and of OpenMP's archer, or None."""
    names = f"libclang_rt.tsan-{platform.machine()}.so", "libarcher.so"
    return [find_library(clang, name) for name in names]


def find_library(clang, name):
    command = [clang, f"-print-file-name={name}"]
    path = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    return path.resolve() if path.is_absolute() else None


def copy_sources(folder, compiled=False):
    """Copy the sources of a build, and optionally compiled modules."""
    skipped = shutil.ignore_patterns("__pycache__", *([] if compiled else ["*.so", "*.pyd"]))
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, folder)
    shutil.copytree(CHECKOUT / "src", folder / "src", ignore=skipped, dirs_exist_ok=True)


def break_protocol(folder, fault):
    """Insert one of the faults into the copy."""
    name, text, instead = FAULTS[fault]
    path = folder / name
    source = path.read_text()
    if source.count(text) != 1:
        raise ValueError(f"{name} must have {text!r} once, got {source.count(text)}")
    path.write_text(source.replace(text, instead))


def build(folder, modules="", **variables):
    """Compile the modules in place, with points at which threads sleep."""
    environment = os.environ | {"LENET5C_SLEEPS": "1", "LENET5C_MODULES": modules} | variables
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace", f"-j{os.cpu_count()}"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)


def build_with_sanitizer(folder, clang, modules=""):
    """Compile under ThreadSanitizer; -O1 comes last, as -O3 takes half an hour."""
    compiler = folder / "clang-O1"
    compiler.write_text(f'#!/bin/sh\nexec {clang} "$@" -O1 -Wno-unused-command-line-argument\n')
    compiler.chmod(0o755)
    omp = find_library(clang, "libomp.so").parent
    build(
        folder,
        modules,
        CC=str(compiler),
        CFLAGS="-fsanitize=thread -g",
        LDFLAGS=f"-fsanitize=thread -shared-libsan -L{omp} -Wl,-rpath,{omp}",
        LENET5C_REQUIRE_OPENMP="1",
    )


def drive(folder, *arguments, clang=None, isa="", halt=False):
    """Run `drive.py` in a build; return exit code, output, ThreadSanitizer's reports and errors.

    With `halt`, the first report ends it.
    """
    environment = os.environ | {"PYTHONPATH": str(folder / "src"), "LENET5C_ISA": isa}
    if clang:
        runtime, archer = libraries(clang)
        # The interpreter is not instrumented: the runtime comes first, and what Python, NumPy and
        # OpenMP do among themselves is not looked at.
        environment |= {
            "LD_PRELOAD": str(runtime),
            "OMP_TOOL_LIBRARIES": str(archer),
            "TSAN_OPTIONS": "ignore_noninstrumented_modules=1 history_size=7 exitcode=66 "
            f"halt_on_error={halt:d}",
            "OPENBLAS_NUM_THREADS": "1",
        }
    command = [sys.executable, str(DRIVE), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600)
    reports = done.stderr.split("==================\n")
    return done.returncode, done.stdout, [text for text in reports if REPORT in text], done.stderr
