"""Imports: no optional libraries, and no traceback on Ctrl-C."""

import os
import sys

import pytest
from processes import output, run_python

from lenet5c import __main__ as entry
from lenet5c.commands import parser

# What extras install, and what else would make an import slow.
OPTIONAL = {
    "matplotlib",
    "PIL",
    "sklearn",
    "scipy",
    "onnx",
    "onnxruntime",
    "tensorboard",
    "tensorflow",
    "google",
    "torch",
    "pandas",
    "IPython",
    "ipykernel",
    "ipywidgets",
    "shtab",
    "selenium",
}
OPTIONAL_MODULES = {"tqdm.notebook", "tqdm.auto", "tqdm.autonotebook", "asyncio"}
PACKAGES = [
    "lenet5c",
    "lenet5c.kernels",
    "lenet5c.nn",
    "lenet5c.optim",
    "lenet5c.datasets",
    "lenet5c.training",
    "lenet5c.recipes",
    "lenet5c.reference",
    "lenet5c.__main__",
]


def imported(code):
    """Return the optional modules that this code brings into a new interpreter."""
    names = set(
        output(f"import sys; before = set(sys.modules); {code}; print(*set(sys.modules) - before)")
    )
    return {
        name for name in names if name.partition(".")[0] in OPTIONAL or name in OPTIONAL_MODULES
    }


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_imports_no_optional_library(name):
    assert imported(f"import {name}") == set()


@pytest.mark.parametrize("name", parser.COMMANDS)
def test_the_options_of_a_command_need_no_optional_library(name):
    code = f"from lenet5c.commands.parser import make_parser; make_parser('{name}')"
    assert imported(code) == set()


@pytest.mark.parametrize(
    "name",
    [
        "datasets",
        "errors",
        "export",
        "recognition",
        "kernels",
        "nn",
        "optim",
        "recipes",
        "reference",
        "report",
        "training",
    ],
)
def test_packages_are_attributes_once_they_are_asked_for(name):
    listed = f"'{name}' in lenet5c.__all__, '{name}' in dir(lenet5c)"
    code = f"import lenet5c; print({listed}, lenet5c.{name}.__name__)"
    assert output(code) == ["True", "True", f"lenet5c.{name}"]


def test_pictures_are_an_attribute_of_report():
    assert output("import lenet5c; print(lenet5c.report.pictures.curves.__name__)") == ["curves"]
    assert imported("import lenet5c; lenet5c.report") == set()


def test_the_estimator_is_an_attribute_where_it_can_be():
    pytest.importorskip("sklearn")
    code = "import lenet5c; print('sklearn' in dir(lenet5c), lenet5c.sklearn.__name__)"
    assert output(code) == ["True", "lenet5c.sklearn"]


def test_what_is_listed_is_there_without_scikit_learn():
    code = (
        "import sys; sys.modules['sklearn'] = None; import lenet5c; from lenet5c import *; "
        "import importlib.util as u; find = u.find_spec; "
        "u.find_spec = lambda name: None if name == 'sklearn' else find(name); "
        "print('sklearn' in dir(lenet5c), all(hasattr(lenet5c, name) for name in dir(lenet5c)))"
    )
    assert output(code) == ["False", "True"]


def test_the_package_alone_loads_no_kernels():
    assert (
        output(
            "import sys, lenet5c; print('numpy' in sys.modules, 'lenet5c.kernels' in sys.modules)"
        )
        == ["False"] * 2
    )


@pytest.mark.parametrize("arguments", [["train", "--epochs", "1"], ["recipes"]])
def test_ctrl_c_while_a_command_is_imported(monkeypatch, capsys, arguments):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(parser, "import_module", interrupted)
    assert entry.main(arguments) == 130
    assert capsys.readouterr().err == f"lenet5c {arguments[0]}: error: interrupted\n"


def test_ctrl_c_at_the_very_first(tmp_path):
    (tmp_path / "argparse.py").write_text(
        "raise KeyboardInterrupt"
    )  # imported before anything of ours can answer
    done = run_python(
        "import sys, runpy; sys.argv = ['lenet5c', 'train']; "
        "runpy.run_module('lenet5c', run_name='__main__')",
        PYTHONSAFEPATH=None,
        PYTHONPATH=f"{tmp_path}{os.pathsep}{os.pathsep.join(sys.path)}",
    )
    assert done.returncode == 130 and "Traceback" not in done.stderr
