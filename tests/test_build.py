"""The build of the compiled modules by setup.py."""

import json
import os
import subprocess
import sys

import pytest
from debug_builds import CHECKOUT, needs_sources

pytestmark = needs_sources

# The extensions of setup.py, without a build: their dependencies there, and by Cython's own tree,
# which looks for what is cimported, included and declared.
DESCRIBE = """
import json, runpy, sys
import Cython.Build, setuptools
from Cython.Build.Dependencies import create_dependency_tree
from Cython.Compiler.Main import CompilationOptions, Context, default_options

def take(extensions, include_path, **options):
    found.extend(extensions)
    return []

found = []
Cython.Build.cythonize, setuptools.setup = take, lambda **options: None
runpy.run_path("setup.py", run_name="__main__")
options = CompilationOptions(default_options, include_path=["src"], language_level=3)
tree = create_dependency_tree(Context.from_options(options), quiet=True)
described = {}
for each in found:
    of_cython = set()
    for source in each.sources:
        if source.endswith(".pyx"):
            of_cython |= tree.all_dependencies(source) - {source}
            of_cython |= set(tree.distutils_info(source).values.get("depends", []))
    ours = [path for path in of_cython if path.startswith("src")]
    described[each.name] = {"sources": each.sources, "depends": each.depends, "cython": ours}
json.dump(described, sys.stdout)
"""


@pytest.fixture(scope="module")
def extensions():
    """Return sources and dependencies of the extensions by name."""
    variables = {key: value for key, value in os.environ.items() if key != "LENET5C_MODULES"}
    command = [sys.executable, "-c", DESCRIBE]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=variables, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def test_a_module_is_built_again_when_what_it_is_compiled_with_changes(extensions):
    for name, each in extensions.items():
        assert not set(each["cython"]) - set(each["depends"]), name
        assert all((CHECKOUT / path).exists() for path in each["depends"]), name


def test_dependencies_of_dependencies_are_found(extensions):
    kernels = "src/lenet5c/kernels"
    depends = {name.rpartition(".")[2]: set(each["depends"]) for name, each in extensions.items()}
    assert {f"{kernels}/ops/_distort.pxd", f"{kernels}/simd/tiles.pxd"} <= depends["_program"]
    assert f"{kernels}/direct/_strips.pxd" in depends["cykernels"]  # tiles.pxd by way of it, too
    for isa in {name.rpartition("_")[2] for name in depends if name.startswith("_tiles_")}:
        assert f"{kernels}/ops/winograd3x3.pxi" in depends[f"_tiles_{isa}"]
        assert f"{kernels}/simd/cpu.h" in depends[f"_tiles_{isa}"] or isa == "baseline"


def test_no_source_is_left_out(extensions):
    """Each file in kernels is compiled into a module, except for empty __init__ files."""
    used = {path for each in extensions.values() for path in each["depends"] + each["sources"]}
    endings = "pyx", "pxd", "pxi", "h", "c"
    files = [path for ending in endings for path in (CHECKOUT / "src").rglob(f"*.{ending}")]
    written = {path.relative_to(CHECKOUT).as_posix() for path in files if path.stat().st_size > 0}
    assert written - used == set()
