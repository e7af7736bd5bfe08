"""The structure: layers of packages, cycles, the diagram of the rooms, and file lengths."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "lenet5c"
CODE = {".py", ".pyx", ".pxd", ".pxi", ".pyi", ".h", ".c", ".js", ".css", ".html"}

pytestmark = pytest.mark.skipif(not SOURCE.is_dir(), reason="needs a checkout")


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.suffix in CODE and path.is_file())


def test_a_floor_imports_only_floors_below_it():
    pytest.importorskip("importlinter")
    code = (
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


def test_compiled_kernels_import_nothing_above_them():
    # import-linter reads Python only.
    imports = re.compile(r"^\s*(?:from|cimport|import) +(lenet5c[\w.]*)", re.MULTILINE)
    compiled = [path for path in files(SOURCE) if path.suffix in (".pyx", ".pxd", ".pxi")]
    names = {
        (path.name, name) for path in compiled for name in imports.findall(path.read_text("utf-8"))
    }
    assert len(names) > 10
    assert {name for name in names if not name[1].startswith("lenet5c.kernels")} == set()


def test_the_rooms_are_drawn_as_they_are():
    pytest.importorskip("grimp")
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "rooms.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_top_of_the_package_holds_rooms_and_leaves_only():
    names = {
        path.stem
        for path in SOURCE.iterdir()
        if path.name not in ("__pycache__", "py.typed") and path.stem != "__init__"
    }
    assert len(names) <= 20
    settings = (ROOT / "pyproject.toml").read_text("utf-8")
    floors = re.search(r'type = "layers".*?layers = \[(.*?)\]', settings, re.DOTALL)[1]
    assert names == set(re.findall(r"\w+", floors))


@pytest.mark.parametrize(("folder", "most"), [("src/lenet5c", 450), ("tests", 600)])
def test_no_file_is_too_long(folder, most):
    lengths = {path: path.read_text("utf-8").count("\n") for path in files(ROOT / folder)}
    assert len(lengths) > 50
    assert {str(path): count for path, count in lengths.items() if count > most} == {}


def test_the_walk_in_the_design_names_files_that_exist():
    text = (ROOT / "docs" / "design.md").read_text("utf-8")
    walk = text.partition("## The walk of one image")[2].partition("\n## ")[0]
    names = re.findall(r"`([\w/.]+\.(?:py|pyx|pxi|pxd|h))`", walk)
    assert 10 < len(dict.fromkeys(names)) <= 35
    assert [name for name in names if not (SOURCE / name).exists()] == []


def test_each_tool_is_listed_and_called():
    """.ci/run calls each tool, except for two that build a system of their own."""
    tools = ROOT / "tools"
    if not (ROOT / ".ci").is_dir():
        pytest.skip("needs the repository")
    names = {
        path.name
        for path in tools.iterdir()
        if (path / "__main__.py").exists()
        or (path.is_file() and path.read_bytes().startswith((b"#!", b'"""')))
    }
    assert len(names) > 8
    listed = set(re.findall(r"^\| `([\w.-]+)` \|", (tools / "README.md").read_text("utf-8"), re.M))
    assert names == listed
    run = (ROOT / ".ci" / "run").read_text("utf-8")
    called = set(re.findall(r"^ *try .*?tools/([\w.-]+)", run, re.M))
    assert names - called == {"check-arm64", "check-debian"}
    weekly = (ROOT / ".github/workflows/thorough.yml").read_text("utf-8")
    assert "tools/check-arm64" in weekly
