"""Curves of runs as lines of text."""

import io
from math import inf, nan

import pytest

from lenet5c._text import has_colors
from lenet5c.training.sparkline import (
    ASCII,
    BLOCKS,
    blocks_for,
    sparkline,
    summarize,
    summarize_for,
)


def rows(count, **others):
    return [
        {
            "train_loss": 2 / n,
            "train_accuracy": 1 - 0.5 / n,
            "validation_loss": 3 / n,
            "validation_accuracy": 1 - 0.6 / n,
        }
        | others
        for n in range(1, count + 1)
    ]


@pytest.mark.parametrize(
    "values, expected",
    [
        ([], ""),
        ([1.5], "▄"),
        ([2, 2, 2], "▄▄▄"),
        ([0, 7], "▁█"),
        ([nan, 1, nan, 2, inf, -inf], " ▁ █  "),
        ([nan, nan], "  "),
        ([-1e308, 1e308, 0], "▁█▅"),
        (range(8), BLOCKS),
    ],
)
def test_heights(values, expected):
    assert sparkline(values) == expected


def test_logarithms_only_where_there_are_any():
    assert sparkline([1, 10, 100], logarithmic=True, blocks="_-=") == "_-="
    assert sparkline([1, 10, 100], logarithmic=False, blocks="_-=") == "__="
    assert sparkline([0, 10, 100], logarithmic=True, blocks="_-=") == "__="
    assert sparkline([nan, 1, 10, 100], logarithmic=True, blocks="_-=") == " _-="


@pytest.mark.parametrize("count", [1, 9, 10, 11, 99, 1000])
def test_many_values_are_averaged_in_groups(count):
    line = sparkline(range(count), width=10)
    assert len(line) == min(count, 10) and list(line) == sorted(line)
    assert sparkline([nan] * count, width=10) == " " * min(count, 10)
    assert len(sparkline(range(count), width=0)) == 1


def test_a_group_is_its_finite_values():
    assert sparkline([0, nan, 5, 5, 9, inf], width=3) == sparkline([0, 5, 9])


def test_two_lines_for_training_and_validation():
    lines = summarize(rows(3)).splitlines()
    assert lines == [
        "train       loss 2.0000 █▄▁ 0.6667   accuracy 50.00% ▁▆█ 83.33%",
        "validation  loss 3.0000 █▄▁ 1.0000   accuracy 40.00% ▁▆█ 80.00%",
    ]
    without = [{"train_loss": 2.0, "train_accuracy": 0.5}] * 2
    assert summarize(without) == "train  loss 2.0000 ▄▄ 2.0000   accuracy 50.00% ▄▄ 50.00%"
    assert (
        summarize(rows(3, test_accuracy=0.9)).splitlines()[-1]
        == "test        accuracy 90.00% ▄▄▄ 90.00%"
    )


def test_one_epoch_needs_no_line():
    assert summarize(rows(1)[:1]).splitlines()[0] == "train       loss 2.0000   accuracy 50.00%"
    assert summarize([]) == ""


@pytest.mark.parametrize("width", [1000, 120, 79, 60, 44, 40, 38])
@pytest.mark.parametrize("count", [2, 20, 1000])
def test_lines_are_no_wider_than_the_terminal(width, count):
    lines = summarize(rows(count), width).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) == 2 or width < 90
    assert min(sum(character in BLOCKS for character in line) for line in lines) >= 1
    assert len(summarize(rows(count), 10).splitlines()) == 4


def test_odd_figures():
    odd = [
        {"train_loss": nan, "train_accuracy": 0.1},
        {"train_loss": 1e30, "train_accuracy": None},
        {},
    ]
    assert summarize(odd) == "train  loss nan  ▄  nan   accuracy 10.00% ▄   nan%"
    assert (
        summarize([{"train_loss": inf}, {"train_loss": -12345.6}]) == "train  loss inf  ▄ -1.23e+04"
    )


class Stream(io.TextIOWrapper):
    def __init__(self, encoding, terminal):
        super().__init__(io.BytesIO(), encoding)
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.fixture(autouse=True)
def usual_environment(monkeypatch):
    for name in ("NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_characters_that_the_stream_has():
    assert blocks_for(Stream("utf-8", False)) == BLOCKS
    for encoding in ("ascii", "latin-1", "cp1252"):
        assert blocks_for(Stream(encoding, False)) == ASCII
        summarize_for(rows(5), Stream(encoding, False)).encode(encoding)
    assert blocks_for(None) == blocks_for(object()) == ASCII


def test_colors_on_terminals_alone(monkeypatch):
    terminal = Stream("utf-8", True)
    assert has_colors(terminal) and "\x1b[36m█" in summarize_for(rows(5), terminal)
    assert not has_colors(Stream("utf-8", False)) and not has_colors(None)
    assert "\x1b" not in summarize_for(rows(5), Stream("utf-8", False))
    monkeypatch.setenv("NO_COLOR", "")
    assert has_colors(terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not has_colors(terminal)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colors(terminal)
    closed = io.StringIO()
    closed.close()
    monkeypatch.setenv("TERM", "xterm")
    assert not has_colors(closed)


def test_the_width_of_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("NO_COLOR", "1")
    assert max(map(len, summarize_for(rows(100), Stream("utf-8", True)).splitlines())) <= 49
    assert 50 < max(map(len, summarize_for(rows(100), Stream("utf-8", False)).splitlines())) <= 79
