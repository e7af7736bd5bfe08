"""The list of messages for proofreading, `tools/list-messages`."""

import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest
from processes import HANGING

TOOL = Path(__file__).resolve().parent.parent / "tools" / "list-messages"


@pytest.fixture(scope="module")
def tool():
    """Return the tool as a module that reads the sources once for all tests."""
    loader = SourceFileLoader("list_messages", str(TOOL))
    module = module_from_spec(spec_from_loader("list_messages", loader))
    sys.modules["list_messages"] = module
    loader.exec_module(module)
    found = list(module.entries(TOOL.parent.parent))
    module.entries = lambda root: iter(found)
    yield module
    del sys.modules["list_messages"]


@pytest.fixture
def list_messages(tool, monkeypatch, capsys):
    """Call the tool in this process; return its lines that begin an entry."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(TOOL), *arguments])
        tool.main()
        return entry_lines(capsys.readouterr().out)

    return run


def entry_lines(output):
    return [line for line in output.splitlines() if line.startswith("src/")]


@pytest.mark.parametrize(
    ("kind", "most", "known"),
    [
        (
            "errors",
            900,
            (
                "num_threads must be an integer from 1 to 1024, got {num_threads}",
                "labels must have shape ({count},), one for each image",
                "shape must be three sizes of at least 0, got {shape}",  # in Cython
            ),
        ),
        (
            "help",
            190,
            (
                "print a line of JSON for each picture",
                "epochs of training",  # a setting of recipes
                "zero padding on each side of the convolution inputs",  # an option of nets
            ),
        ),
        ("docstrings", 2000, ("LeNet-5 on a CPU", "Return the column matrix of")),
        ("page", 200, ("Fine-tune all layers", "Pen width", "Confusion matrix")),
    ],
)
def test_each_kind_has_its_entries(list_messages, kind, most, known):
    lines = list_messages("--kind", kind)
    assert len(lines) >= most and all(f": {kind}: " in line for line in lines)
    for text in known:
        assert any(text in line for line in lines), text


def test_every_line_of_the_list_is_where_it_says():
    root = TOOL.parent.parent
    command = [sys.executable, TOOL, "--kind", "errors", "--sample", "40"]
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", timeout=HANGING
    )
    assert (done.returncode, done.stderr) == (0, "")
    lines = entry_lines(done.stdout)
    assert len(lines) == 40
    for line in lines:
        file, number, _ = line.split(":", 2)
        source = (root / file).read_text(encoding="utf-8").splitlines()[int(number) - 1]
        assert "raise " in source or "return " in source, line


def test_a_sample_follows_from_its_seed(list_messages):
    first = list_messages("--sample", "20", "--seed", "3")
    assert first == list_messages("--sample", "20", "--seed", "3") and len(first) == 20
    assert first != list_messages("--sample", "20", "--seed", "4")
