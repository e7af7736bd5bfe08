"""The list of messages for proofreading, `tools/list-messages`."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parent.parent / "tools" / "list-messages"


def list_messages(*arguments):
    """Run the tool; return the first line of each entry."""
    command = [sys.executable, TOOL, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return [line for line in done.stdout.splitlines() if line.startswith("src/")]


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
def test_each_kind_has_its_entries(kind, most, known):
    lines = list_messages("--kind", kind)
    assert len(lines) >= most and all(f": {kind}: " in line for line in lines)
    for text in known:
        assert any(text in line for line in lines), text


def test_every_line_of_the_list_is_where_it_says():
    root = TOOL.parent.parent
    for line in list_messages("--kind", "errors", "--sample", "40"):
        file, number, _ = line.split(":", 2)
        source = (root / file).read_text(encoding="utf-8").splitlines()[int(number) - 1]
        assert "raise " in source or "return " in source, line


def test_a_sample_follows_from_its_seed():
    first = list_messages("--sample", "20", "--seed", "3")
    assert first == list_messages("--sample", "20", "--seed", "3") and len(first) == 20
    assert first != list_messages("--sample", "20", "--seed", "4")
