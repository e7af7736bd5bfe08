"""Requirements of an installed copy."""

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib import metadata, resources
from pathlib import Path

import pytest

import lenet5c
from lenet5c import kernels

QEMU = shutil.which("qemu-x86_64-static") or shutil.which("qemu-x86_64")

# What `import NAME` brings into a fresh interpreter that already has NumPy.
IMPORTED = """
import sys, numpy
before = set(sys.modules)
import {name}
print(*set(sys.modules) - before)
"""

# All that can be imported here: one module that does not declare its support enables the GIL.
IMPORT_ALL = """
import importlib, pkgutil, sys
import lenet5c
for module in pkgutil.walk_packages(lenet5c.__path__, "lenet5c."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ImportError as error:  # an extra, or instructions that the processor lacks
            assert not (error.name or "").startswith("lenet5c") or "lacks" in str(error), error
print(getattr(sys, "_is_gil_enabled", lambda: True)())
"""

# Each tile module is imported: those for instructions that the processor lacks must say so.
IMPORT_TILES = """
from importlib import import_module
from lenet5c.kernels.simd import _cpu
for isa in {names}:
    for kind in "tiles", "doubles":
        try:
            import_module(f"lenet5c.kernels.simd._{{kind}}_{{isa}}")
            imported = True
        except ImportError as error:
            assert "processor lacks" in str(error), error
            imported = False
        assert imported == (isa in _cpu.supported()), isa
    print(isa, imported)
"""


def run(code, cwd, before=()):
    """Return the output of the code in an interpreter that sees the installed packages only."""
    environment = {
        key: value for key, value in os.environ.items() if key not in ("LENET5C_ISA", "PYTHONPATH")
    }
    command = [*before, sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=cwd, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def compiled_modules():
    """Name and file-name suffix of the extension modules."""
    files = (path.name.partition(".") for path in Path(kernels.__file__).parent.rglob("*"))
    return {name: dot + suffix for name, dot, suffix in files if suffix.endswith(("so", "pyd"))}


def test_version_is_the_distribution_version():
    assert metadata.version("lenet5c") == lenet5c.__version__


def test_command_prints_the_version(tmp_path):
    (command,) = metadata.entry_points(group="console_scripts", name="lenet5c")
    module, function = command.value.split(":")
    code = f"import sys; sys.argv[1:] = ['--version']; from {module} import {function} as start"
    assert run(f"{code}; start()", tmp_path) == f"lenet5c {lenet5c.__version__}\n"


def test_extension_modules_are_for_the_stable_abi():
    modules = compiled_modules()
    assert {"_cpu", "_im2col", "_openmp", "_program", "_tiles_baseline", "cykernels"} <= set(
        modules
    )
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        expected = sysconfig.get_config_var("EXT_SUFFIX")  # free-threaded CPython has no stable ABI
    else:
        expected = ".pyd" if sys.platform == "win32" else ".abi3.so"
    assert set(modules.values()) == {expected}


def test_no_module_enables_the_gil(tmp_path):
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    assert run(IMPORT_ALL, tmp_path).strip() == str(not free_threaded)


@pytest.mark.parametrize(
    "path",
    [
        "__init__.pxd",
        "py.typed",
        "kernels/__init__.pxd",
        "kernels/cykernels.pxd",
        "kernels/cykernels.pyi",
        "kernels/simd/tiles.pxd",
        "datasets/named_sets.json",
        "datasets/mnist_data/NOTICE.md",
        "datasets/mnist_data/train-images-idx3-ubyte.gz",
        "datasets/mnist_data/train-labels-idx1-ubyte.gz",
        "datasets/mnist_data/t10k-images-idx3-ubyte.gz",
        "datasets/mnist_data/t10k-labels-idx1-ubyte.gz",
        "training/pretrained_data/README.md",
        "training/pretrained_data/config.json",
        "training/pretrained_data/model.safetensors",
        "training/pretrained_data/strings.safetensors",
        "training/pretrained_data/signs.safetensors",
        "training/pretrained_data/summary.json",
        "demo/page/demo.js",
        "export/page/index.html",
        "recipes/reached.json",
        "report/page.css",
    ],
)
def test_data_file_is_installed(path):
    assert resources.files("lenet5c").joinpath(path).is_file()


def test_licences_are_installed():
    licences = [path.name for path in metadata.files("lenet5c") if "licenses" in path.parts]
    assert sorted(licences) == ["LICENSE", "NOTICE.md"]


@pytest.mark.parametrize(
    "name", ["lenet5c", "lenet5c.kernels", "lenet5c.nn", "lenet5c.optim", "lenet5c.datasets"]
)
def test_import_needs_only_numpy_and_the_standard_library(name, tmp_path):
    packages = {
        module.partition(".")[0] for module in run(IMPORTED.format(name=name), tmp_path).split()
    }
    # Cython keeps what its modules share in modules of its own making.
    others = {
        package for package in packages if not package.startswith(("_cython", "cython_runtime"))
    }
    assert others - sys.stdlib_module_names - {"numpy"} == {"lenet5c"}  # numpy.typing


def test_kernels_import_nothing_else_of_the_package(tmp_path):
    modules = run(IMPORTED.format(name="lenet5c.kernels"), tmp_path).split()
    ours = {".".join(module.split(".")[:2]) for module in modules if module.startswith("lenet5c")}
    assert ours == {"lenet5c", "lenet5c.kernels"}


@pytest.mark.parametrize(
    "emulator",
    [
        [],
        pytest.param(
            [QEMU, "-cpu", "Nehalem"],
            id="nehalem",
            marks=[
                pytest.mark.skipif(not QEMU, reason="needs qemu-x86_64"),
                pytest.mark.skipif(
                    not sysconfig.get_platform().endswith("x86_64"),
                    reason="needs Python for x86-64",
                ),
            ],
        ),
    ],
)
def test_tile_module_for_missing_instructions_is_an_import_error(emulator, tmp_path):
    if emulator:
        numpy = subprocess.run([*emulator, sys.executable, "-c", "import numpy"], cwd=tmp_path)
        if numpy.returncode != 0:
            pytest.skip("NumPy does not run on this emulator's processor")
    names = [
        name.removeprefix("_tiles_") for name in compiled_modules() if name.startswith("_tiles_")
    ]
    lines = run(IMPORT_TILES.format(names=names), tmp_path, emulator).splitlines()
    assert "baseline True" in lines
    if emulator:  # Nehalem is older than AVX
        assert [line for line in lines if line.endswith("True")] == ["baseline True"]
