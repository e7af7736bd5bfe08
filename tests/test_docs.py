"""Documentation: code runs and has the printed output, links work, pages build."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

import lenet5c
from lenet5c import kernels

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
BUILT = ("_build", "generated")
TEXTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
TEXTS += [path for path in sorted(DOCS.rglob("*.md")) if not set(BUILT) & set(path.parts)]


def load(name):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pages = load("pages")
NAMES = [path.relative_to(DOCS).as_posix() for path in pages.pages()]


@pytest.fixture
def one_thread():
    """Results do not depend on it; more threads are slow for small calls on a busy machine."""
    kernels.set_num_threads(1)
    yield
    kernels.set_num_threads(None)


@pytest.mark.parametrize("name", NAMES)
def test_page(name, tmp_path, monkeypatch, one_thread):
    monkeypatch.chdir(tmp_path)
    pictures = tmp_path if importlib.util.find_spec("matplotlib") else None
    try:
        pages.run_page(DOCS / name, pictures)
    except pages.PageError as error:
        if not isinstance(error.__cause__, ImportError):
            raise
        pytest.skip(str(error))  # an optional library is not installed


def test_there_are_pages():
    assert {
        "howto/embedding.md",
        "tutorial/1-from-the-pixel-to-the-maps.md",
        "tutorial/4-training.md",
    } <= set(NAMES)


def test_pages_are_held_against_what_they_print(tmp_path):
    page = tmp_path / "page.md"
    block = "```python\nprint(1 + 1)\n```\n{}```output\n{}\n```\n"
    page.write_text(block.format("", 2), encoding="utf-8")
    pages.run_page(page)
    page.write_text(block.format("", 3), encoding="utf-8")
    with pytest.raises(
        pages.PageError, match=r"page.md, line 4: the page says\n3\nbut the code prints\n2"
    ):
        pages.run_page(page)
    page.write_text(block.format("<!-- about 0.5 -->\n", 3), encoding="utf-8")
    pages.run_page(page)
    page.write_text(block.format("<!-- about 0.5 -->\n", "x"), encoding="utf-8")
    with pytest.raises(pages.PageError):
        pages.run_page(page)
    pages.run_page(page, write=True)
    assert page.read_text(encoding="utf-8") == block.format("<!-- about 0.5 -->\n", 2)
    page.write_text("```pycon\n>>> 1 + 1\n3\n```\n", encoding="utf-8")
    with pytest.raises(pages.PageError, match="Expected"):
        pages.run_page(page)
    page.write_text("```python\n1 / 0\n```\n", encoding="utf-8")
    with pytest.raises(pages.PageError, match="line 1: ZeroDivisionError"):
        pages.run_page(page)


def test_pictures_of_the_pages():
    drawn = {part["name"] for path in pages.pages() for part in pages.parts(path) if part["name"]}
    there = {path.name: path.stat().st_size for path in pages.PICTURES.iterdir()}
    assert drawn == set(there)  # python docs/pages.py draws them
    assert max(there.values()) < 80_000


def prose(path):
    """Return a text without code, to find its links and headings."""
    text = re.sub(
        r"^(```+|~~~+)[^\n]*\n.*?^\1\s*$",
        "",
        path.read_text(encoding="utf-8"),
        flags=re.DOTALL | re.MULTILINE,
    )
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


def anchors(path):
    """Return the name of a heading in a link, as hosting sites have it."""
    found = []
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", prose(path), re.MULTILINE):
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        found.append(slug if slug not in found else f"{slug}-{found.count(slug)}")
    return found


def links(path):
    return re.findall(
        r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)", re.sub(r"`[^`\n]*`", "", prose(path))
    )


def is_there(path):
    """Return whether the repository has a file, also if the tests run without it."""
    if not path.is_relative_to(ROOT):
        return False
    if not (ROOT / "src").exists() and path.is_relative_to(ROOT / "src/lenet5c"):
        path = Path(lenet5c.__file__).parent / path.relative_to(ROOT / "src/lenet5c")
    # An sdist, which has PKG-INFO, has the pictures of the tutorial only.
    picture = path.is_relative_to(DOCS / "images") and (ROOT / "PKG-INFO").exists()
    return picture or path.exists()


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    broken = []
    for link in links(path):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = unquote(link).partition("#")
        there = (path.parent / target).resolve() if target else path
        if not is_there(there) or (
            anchor and there.suffix == ".md" and anchor not in anchors(there)
        ):
            broken.append(link)
    assert broken == []


def test_the_list_of_guides_has_each_once():
    listed = re.findall(
        r"^[a-z-]+$", (DOCS / "howto" / "index.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert sorted(listed) == sorted(
        path.stem for path in (DOCS / "howto").glob("*.md") if path.stem != "index"
    )


def test_links_are_found():
    assert "docs/design.md" in links(ROOT / "README.md")
    assert "one-sample-a-step" in anchors(DOCS / "explanation" / "net-of-1998.md")


@pytest.mark.skipif(not (ROOT / "src").is_dir(), reason="needs a checkout")
def test_files_named_in_contributing_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:src|tests|docs|benchmarks|tools)/[\w./-]+)`", text))
    assert len(named) > 15
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []


def test_every_exercise_has_a_check_and_a_hidden_solution():
    text = (DOCS / "tutorial" / "exercises.md").read_text(encoding="utf-8")
    exercises = text.split("\n## ")[1:]
    assert len(exercises) == 5
    for exercise in exercises:
        task, _, solution = exercise.partition("<details>\n<summary>Solution</summary>\n")
        assert "```python" in solution and solution.rstrip().endswith("</details>"), task


@pytest.mark.slow
def test_the_docs_build(tmp_path):
    for module in ("furo", "myst_parser", "numpydoc", "sphinx"):
        pytest.importorskip(module)
    command = [sys.executable, str(DOCS / "build.py"), "--out", str(tmp_path / "html")]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    built = tmp_path / "html"
    for page in (
        "index",
        "tutorial/quickstart",
        "tutorial/3-the-gradient-backwards",
        "reference/generated/names/lenet5c.nn.LeNet5",
    ):
        assert (built / f"{page}.html").is_file()
    assert "lenet5c.nn.LeNet5" in (built / "genindex.html").read_text(encoding="utf-8")
    assert "explanation/convolution" in (built / "searchindex.js").read_text(encoding="utf-8")
    assert "check_gradients" in (built / "files/examples/own_layer.ipynb.html").read_text("utf-8")
    for page in built.rglob("*.html"):  # nothing is fetched when a page is read
        assert not re.search(
            r"<(?:script|link|img)[^>]*(?:src|href)=\"(?:https?:)?//",
            page.read_text(encoding="utf-8"),
        ), page
