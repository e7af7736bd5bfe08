"""Comparison of runs, as a table and as curves."""

import json

import pytest

from lenet5c.__main__ import main
from lenet5c.errors import RunError
from lenet5c.recipes import RunConfig, train
from lenet5c.report.runs import differing_options, draw_runs, list_runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make three finished runs, a stopped one and a damaged one."""
    root = tmp_path_factory.mktemp("runs")
    for name, options in (
        ("a", {"seed": 0}),
        ("b", {"seed": 1}),
        ("deep/c", {"seed": 1, "lr": 1e-3}),
        ("stopped", {"seed": 2}),
        ("damaged", {"seed": 3}),
    ):
        (root / name).parent.mkdir(exist_ok=True)
        config = RunConfig.named(
            "fast", epochs=2, train_size=400, validation=0.25, folder=root / name, **options
        )
        train(config)
    (root / "stopped" / "summary.json").unlink()
    file = root / "damaged" / "summary.json"
    file.write_text(file.read_text().replace('"seed": 3', '"seed": 4'))
    (root / "none").mkdir()
    return root


def test_a_run_is_a_row(folder):
    rows = {row.name: row for row in list_runs(folder)}
    assert rows.keys() == {"a", "b", "deep/c", "stopped", "damaged"}
    assert [rows[name].status for name in ("a", "stopped", "damaged")] == [
        "finished",
        "stopped",
        "failed",
    ]
    one = rows["a"]
    summary = json.loads((folder / "a" / "summary.json").read_text())
    assert one.test_accuracy == summary["test_accuracy"]
    assert one.interval[0] < one.test_accuracy < one.interval[1]
    assert (one.epochs, len(one.history), one.seconds) == (2, 2, summary["seconds"])
    assert "digest" in rows["damaged"].fault and rows["stopped"].test_accuracy is None
    finished = [row.test_accuracy for row in list_runs(folder) if row.status == "finished"]
    assert finished == sorted(finished, reverse=True)


def test_settings_that_all_runs_have_are_left_out(folder):
    rows = [row for row in list_runs(folder) if row.name in ("b", "deep/c")]
    differing = dict(zip([row.name for row in rows], differing_options(rows), strict=True))
    assert differing == {"b": [], "deep/c": ["lr 0.001"]}


def test_the_command_prints_a_table_json_and_a_picture(folder, tmp_path, capsys):
    assert main(["runs", folder, "--plot", tmp_path / "runs.png"]) == 0
    out, err = capsys.readouterr()
    assert "deep/c" in out and "lr 0.001" in out and "stopped" in out and "damaged: " in err
    assert (tmp_path / "runs.png").read_bytes().startswith(b"\x89PNG")
    assert main(["runs", folder, "--json"]) == 0
    assert {row["name"] for row in json.loads(capsys.readouterr().out)} >= {"a", "stopped"}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere"], "must contain runs, got nowhere"),
        (["{none}"], "which contains none"),
        (["{none}", "--plot", "a.jpg"], "--plot must be a PNG file name"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(folder, capsys, arguments, message):
    words = [word.format(none=folder / "none") for word in arguments]
    assert main(["runs", *words]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_curves_are_of_runs_with_epochs(folder):
    figure = draw_runs(list_runs(folder))
    assert [ax.get_title() for ax in figure.axes] == ["validation loss", "validation accuracy in %"]
    assert len(figure.axes[0].lines) == 4
    with pytest.raises(RunError, match="got none"):
        draw_runs([])
