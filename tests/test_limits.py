"""The page on limits has the values of the source."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from lenet5c import kernels

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "limits.md"
UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "MB": 10**6}
ROW = re.compile(
    r"^\| (?P<what>.+) \| (?P<figure>[\d,]+) ?(?P<unit>[KMG]i?B)? \| .+ \| `(?P<name>\S+)` \|$"
)


def rows():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.endswith("` |")]


@pytest.mark.parametrize("line", rows())
def test_a_figure_is_the_constant(line):
    row = ROW.fullmatch(line)
    assert row, line
    module, _, name = row["name"].rpartition(".")
    value = getattr(import_module(f"lenet5c.{module}"), name)
    assert int(row["figure"].replace(",", "")) * UNITS[row["unit"] or ""] == value


def test_there_are_rows():
    assert len(rows()) > 40


def test_threads():
    kernels.set_num_threads(1024)
    kernels.set_num_threads(None)
    with pytest.raises(ValueError, match="1 to 1024"):
        kernels.set_num_threads(1025)
