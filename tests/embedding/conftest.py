"""The consumer project, tests/consumer, built out of tree with this lenet5c."""

import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CONSUMER = ROOT / "tests" / "consumer"


@pytest.fixture(scope="session")
def document():
    return (ROOT / "docs" / "howto" / "embedding.md").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def consumer(tmp_path_factory, document):
    """Return a function that imports a consumer's module."""
    for tool in ("Cython", "setuptools"):
        if importlib.util.find_spec(tool) is None:
            pytest.skip(f"{tool} is not installed")
    compiler = (sysconfig.get_config_var("CC") or "").split(" ")[0]
    if compiler and shutil.which(compiler) is None:
        pytest.skip(f"there is no C compiler: {compiler}")
    folder = tmp_path_factory.mktemp("embedding") / "project"
    shutil.copytree(
        CONSUMER, folder, ignore=shutil.ignore_patterns("build", "*.c", "*.so", "__pycache__")
    )
    (example,) = re.findall(r"^```cython\n(.*?)^```", document, re.DOTALL | re.MULTILINE)
    (folder / "consumer" / "document.pyx").write_text(example)
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
    built = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert built.returncode == 0, built.stdout
    sys.path.insert(0, str(folder))
    try:
        yield lambda name: importlib.import_module(f"consumer.{name}")
    finally:
        sys.path.remove(str(folder))


@pytest.fixture(scope="session")
def calls(consumer):
    return consumer("calls")
