"""Consistency of the release files, in the repository and in the sdist."""

import re
import tomllib
from pathlib import Path

import pytest

import lenet5c

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("CITATION.cff", r"^version: (.+)$"),
        ("packaging/conda-forge/recipe.yaml", r'^  version: "(.+)"$'),
        ("CHANGELOG.md", r"^## ([0-9.]+) \("),
    ],
)
def test_version_is_the_same_everywhere(path, pattern):
    found = re.findall(pattern, (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    assert found[0] == lenet5c.__version__.partition(".dev")[0]


def test_conda_recipe_needs_what_the_package_needs():
    recipe = (ROOT / "packaging/conda-forge/recipe.yaml").read_text(encoding="utf-8")
    needed = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    listed = [line.strip(" -").replace(" ", "") for line in recipe.splitlines()]
    assert [each for each in needed if each not in listed] == []


def test_each_tool_is_explained():
    text = (ROOT / "tools/README.md").read_text(encoding="utf-8")
    tools = [
        path.name
        for path in (ROOT / "tools").iterdir()
        if path.name != "README.md" and not path.name.startswith((".", "__"))
    ]
    assert [name for name in tools if f"`{name}`" not in text and f"`{name}/`" not in text] == []


def test_macos_wheels_run_on_macos_12():
    settings = PROJECT["tool"]["cibuildwheel"]["macos"]
    assert float(settings["environment"]["MACOSX_DEPLOYMENT_TARGET"]) <= 12
    assert re.search(r"llvm-openmp=[0-9.]+$", settings["before-all"][-1])
