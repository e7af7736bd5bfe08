"""`lenet5c reproduce --records`: the table of times to an accuracy."""

import json

import pytest

from lenet5c.__main__ import main
from lenet5c.recipes import recipe
from lenet5c.reproduction import records
from lenet5c.training import mean_interval


@pytest.fixture
def few(monkeypatch):
    """Replace the records by two short ones."""
    rows = {
        30.0: ("fast", {"train_size": 1500}),
        99.9: ("default", {"epochs": 1, "train_size": 300}),
    }
    monkeypatch.setattr(records, "RECORDS", rows)


def test_the_table_and_its_record(tmp_path, monkeypatch, capsys, few):
    monkeypatch.chdir(tmp_path)
    command = ["reproduce", "--records", "--seeds", "2", "--jobs", "2", "--out", "report"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert said.count(" in ") == 4 and said.endswith("Report: report/records.md\n")
    record = json.loads((tmp_path / "report/records.json").read_text())
    assert record["command"] == "python -m lenet5c reproduce --records --seeds 2 --jobs 2"
    reachable, out_of_reach = record["rows"]
    for row in record["rows"]:
        found = mean_interval([run["accuracy"] for run in row["runs"]])
        assert row["accuracy"]["mean"] == pytest.approx(found.mean, abs=1e-6)
        assert [run["seed"] for run in row["runs"]] == [0, 1] and row["seconds"]["mean"] > 0
    assert reachable["command"] == "lenet5c train --recipe fast --seed S --train-size 1500"
    assert (reachable["parameters"], out_of_reach["parameters"]) == (52710, 61706)
    page = (tmp_path / "report/records.md").read_text("utf-8")
    (line,) = (line for line in page.splitlines() if line.startswith("| 30.0 %"))
    assert "✓" in line and f"{reachable['accuracy']['mean']:.2f} %" in line
    (line,) = (line for line in page.splitlines() if line.startswith("| 99.9 %"))
    assert "✓" not in line
    # Once more: everything is kept, and nothing differs but the date.
    assert main(command) == 0
    assert capsys.readouterr().out.count("already finished") == 4


def test_what_does_not_go_with_records(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words in (["fast"], ["--epochs", "1"], ["--data", "signs"], ["--reached", "x"]):
        assert main(["reproduce", "--records", *words]) == 2
        assert "--records cannot be combined with recipes" in capsys.readouterr().err


def test_the_rows_are_recipes_and_rise():
    for name, changes in records.RECORDS.values():
        recipe(name, **changes)
    assert list(records.RECORDS) == sorted(records.RECORDS)
