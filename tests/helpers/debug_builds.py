"""Debug builds of some compiled modules."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from lenet5c import kernels

CHECKOUT = Path(__file__).parents[2]

needs_sources = pytest.mark.skipif(
    not (CHECKOUT / "setup.py").exists() or find_spec("Cython") is None or sys.platform == "win32",
    reason="needs the sources, Cython and a compiler",
)


def build_modules(folder, variable, *modules):
    """Build a copy of the package with some modules compiled with a variable set; return its `src`.

    The others are as installed.
    """
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, folder)
    shutil.copytree(
        CHECKOUT / "src", folder / "src", ignore=shutil.ignore_patterns("*.so", "*.pyd")
    )
    installed = Path(kernels.__file__).parent
    for path in [*installed.rglob("*.so"), *installed.rglob("*.pyd")]:
        if path.name.partition(".")[0] not in modules:
            shutil.copy(path, folder / "src/lenet5c/kernels" / path.relative_to(installed))
    variables = {variable: "1", "LENET5C_MODULES": " ".join(modules)}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=folder, env=os.environ | variables, check=True, capture_output=True)
    return folder / "src"
