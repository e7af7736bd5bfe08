"""`lenet5c predict --digits sum` from the command line."""

import io
import json
import sys

import numpy as np
import pytest
from drawn.sums import Pen, picture_of, set_line

from lenet5c.__main__ import main
from lenet5c.commands.written_sums import show_sums
from lenet5c.datasets import mnist
from lenet5c.recognition.reading import Prediction

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sums")
    digits = mnist()[0].take(np.arange(55_000, 60_000))
    for name, text in (
        ("right", "12+7=19"),
        ("wrong", "12+7=18"),
        ("none", "12+"),
        ("two", "1+2\n3+6=9"),
    ):
        hand = Pen(np.random.default_rng(4), digits)
        hand.size, hand.width, hand.traced, hand.slant, hand.apart = 70, 5.0, True, 0.05, 0.35
        lines = [set_line(hand, line)[0] for line in text.splitlines()]
        Image.fromarray(picture_of(hand, lines)).save(folder / f"{name}.png")
    return folder


def run(capsys, *arguments):
    code = main(["predict", "--digits", "sum", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def test_a_line_says_what_is_written_and_whether_it_is_right(folder, capsys):
    code, out, err = run(capsys, folder / "right.png", folder / "wrong.png")
    assert (code, err) == (0, [])
    assert out[0].split()[1:3] == ["12+7=19", "✓"] and out[0].endswith("%")
    assert out[1].split()[1:4] == ["12+7=18", "✗", "19"]


def test_what_cannot_be_read_is_exit_code_3(folder, capsys):
    code, out, _ = run(capsys, folder / "none.png")
    assert code == 3 and "rejected: it looks like 12+, which is no sum" in out[0]


def test_several_lines(folder, capsys):
    code, out, _ = run(capsys, folder / "two.png")
    assert code == 0 and out[0].endswith("2 lines")
    assert out[1].split()[:3] == ["1+2", "=", "3"] and out[2].split()[:2] == ["3+6=9", "✓"]


def test_json_has_the_sum_and_its_signs(folder, capsys):
    code, out, _ = run(capsys, folder / "wrong.png", "--json")
    reading = json.loads(out[0])
    assert code == 0
    wanted = {"text": "12+7=18", "expression": "12+7=18", "value": "19", "correct": False}
    assert {name: reading[name] for name in wanted} == wanted
    (line,) = reading["lines"]
    assert {name: line[name] for name in wanted} == wanted and len(line["box"]) == 4
    assert [sign["label"] for sign in line["signs"]] == list("12+7=18")
    assert all(len(sign["box"]) == 4 and 0 < sign["probability"] <= 1 for sign in line["signs"])


def test_steps_are_drawn(folder, capsys, tmp_path):
    assert run(capsys, folder / "right.png", "--explain", tmp_path / "steps.png")[0] == 0
    with Image.open(tmp_path / "steps.png") as image:
        assert max(image.size) == 1400


def test_terminals_that_cannot_show_signs_get_ascii(monkeypatch):
    line = Prediction(
        text="3×4=11", expression="3*4=11", value="12", correct=False, probability=0.9
    )
    reading = Prediction(text=line.text, sums=(line,))
    shown = {}
    for encoding in ("utf-8", "ascii", "cp1252"):
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
        shown[encoding] = show_sums(reading, lambda text, color: text)
    assert shown["utf-8"] == "3×4=11  ✗ 12  90.0%"
    assert shown["ascii"] == shown["cp1252"] == "3*4=11  wrong: 12  90.0%"


@pytest.mark.parametrize(
    ("expression", "value", "correct", "remark", "shown"),
    [
        ("12+7=19", "19", True, None, "12+7=19  ✓  90.0%"),
        ("12+7=", "19", None, None, "12+7=  19  90.0%"),
        ("12+7", "19", None, None, "12+7  = 19  90.0%"),
        ("42", "42", None, None, "42  90.0%"),
        ("7/0", None, None, "it divides by zero", "7/0  (it divides by zero)  90.0%"),
        (
            "1/3=0.33",
            "1/3",
            False,
            "0.33 is 1/3 rounded",
            "1/3=0.33  ✗ 1/3 (0.33 is 1/3 rounded)  90.0%",
        ),
    ],
)
def test_verdicts(monkeypatch, expression, value, correct, remark, shown):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "utf-8"))
    line = Prediction(
        text=expression,
        expression=expression,
        value=value,
        correct=correct,
        remark=remark,
        probability=0.9,
    )
    assert show_sums(Prediction(text=expression, sums=(line,)), lambda text, color: text) == shown
