"""`lenet5c reproduce` on a small data set: trainings, record, report, interrupts, messages."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from own_files import change_record
from processes import HANGING

from lenet5c.__main__ import main
from lenet5c.datasets import Source
from lenet5c.recipes import RECIPES, reported
from lenet5c.recipes.reported import REACHED, REPORTED, Reported
from lenet5c.reproduction import read_record, reproduce
from lenet5c.reproduction.record import write_reached
from lenet5c.reproduction.runs import plan
from lenet5c.training import RunError, mcnemar, mean_interval, open_model, wilson_interval

pytest.importorskip("matplotlib")

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def call(tmp_path, idx_files, monkeypatch, capsys):
    """Run the command in this process; return its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, data=idx_files):
        code = main(["reproduce", *map(str, arguments), "--data", str(data)])
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def paper(monkeypatch):
    """Let a recipe have a published curve and sizes."""
    facts = Reported(
        95.0,
        epochs=20,
        test_errors=(9.0, 7.0, 5.0),
        train_errors=(20.0, 9.0, 6.0),
        sizes={500: 9, 2000: 5},
    )
    monkeypatch.setitem(REPORTED, "fast", facts)


def assert_one_line(result, code, *words):
    assert result[0] == code, result
    (line,) = result[2].splitlines()
    assert line.startswith("lenet5c reproduce: error: ")
    for word in words:
        assert str(word) in line


def test_trainings_record_report_and_pictures(tmp_path, call, paper, mnist_slice):
    arguments = ["fast", "default", "--seeds", 3, "--epochs", 1, "--out", "report", "--jobs", 2]
    code, said, errors = call(*arguments)
    assert (code, errors) == (0, "")
    assert said.count(" in ") == 9 and "kept" not in said
    record = read_record(tmp_path / "report/reproductions.json")
    assert record["command"].startswith("python -m lenet5c reproduce fast default --seeds 3")
    assert (record["data"], record["changes"], record["rejected"]["index"]) == (
        "data",
        {"epochs": 1},
        [],
    )
    fast, small, default = record["results"]
    assert [(r["recipe"], r["train_size"]) for r in record["results"]] == [
        ("fast", None),
        ("fast", 500),
        ("default", None),
    ]
    assert (
        small["settings"]["train_size"] == 500
        and small["accuracy"]["mean"] < fast["accuracy"]["mean"]
    )
    assert (
        "test_accuracy" in fast["runs"][0]["history"]
        and "test_accuracy" not in default["runs"][0]["history"]
    )

    for result in record["results"]:
        runs = result["runs"]
        assert [run["seed"] for run in runs] == [0, 1, 2] and all(
            run["seconds"] > 0.1 for run in runs
        )
        found = mean_interval([run["test_correct"] / 5 for run in runs])
        assert result["accuracy"] == pytest.approx(vars(found), abs=1e-6)
        (median,) = [run for run in runs if run["seed"] == result["median_seed"]]
        assert median["test_correct"] == sorted(run["test_correct"] for run in runs)[1]
        assert result["wilson"] == pytest.approx(
            [100 * end for end in wilson_interval(median["test_correct"], 500)]
        )
        assert result["errors"]["index"] == median["wrong"]
        assert all(len(run["wrong"]) == 500 - run["test_correct"] for run in runs)

    # One result against the model itself.
    (folder,) = (tmp_path / "runs/reproduce").glob(f"default-{default['median_seed']}-*")
    test = mnist_slice[1]
    probabilities = open_model(folder / "model.safetensors").probabilities(test.images)
    wrong = default["errors"]["index"]
    assert np.flatnonzero(probabilities.argmax(axis=1) != test.labels).tolist() == wrong
    assert default["errors"]["label"] == test.labels[wrong].tolist()
    assert default["errors"]["predicted"] == probabilities.argmax(axis=1)[wrong].tolist()
    assert default["errors"]["confidence"] == pytest.approx(
        probabilities.max(axis=1)[wrong].tolist(), abs=1e-4
    )

    (pair,) = record["comparisons"]
    right = [~np.isin(np.arange(500), result["errors"]["index"]) for result in (fast, default)]
    expected = mcnemar(*right)
    assert pair == {"a": "fast", "b": "default", **vars(expected)}

    text = (tmp_path / "report/reproductions.md").read_text("utf-8")
    pictures = re.findall(r"!\[.+\]\((.+)\)", text)
    assert {Path(name).name for name in pictures} == {
        "overview.png",
        "curve-fast.png",
        "sizes-fast.png",
        "errors-fast.png",
    }
    for name in pictures:
        assert (tmp_path / "report" / name).read_bytes().startswith(b"\x89PNG")
    assert (
        "| [fast](#fast) | 95.00 % | **{mean:.2f} %** ± {sd:.2f} |".format(**fast["accuracy"])
        in text
    )
    assert "| 1 (20) | 52,710 |" in text and "epochs = 1, data = data" in text
    assert f"| 500 | 9.00 % | {100 - small['accuracy']['mean']:.2f} %" in text
    assert "parallel runs shared the cores" in text and "None" not in text and "nan" not in text
    for row in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in row.splitlines()}) == 1

    # The same again trains nothing.
    code, said, _ = call(*arguments)
    assert code == 0 and said.count("already finished") == 9 and " in " not in said
    assert read_record(tmp_path / "report/reproductions.json")["results"] == record["results"]


def test_rejected_labels_are_marked(tmp_path, call, mnist_slice):
    from lenet5c.reproduction import pictures, report

    assert call("fast", "--seeds", 1, "--epochs", 1, "--out", "report")[0] == 0
    record = read_record(tmp_path / "report/reproductions.json")
    assert record["results"][0]["accuracy"]["sd"] is None  # one seed
    wrong = record["results"][0]["errors"]
    right = min(set(range(500)) - set(wrong["index"]))
    plain = (tmp_path / "report/images/reproductions/errors-fast.png").read_bytes()
    record["rejected"] = {"index": [wrong["index"][0], right], "label": [wrong["label"][0], 7]}
    pictures.draw(record, mnist_slice[1], tmp_path / "report/images/reproductions")
    assert (tmp_path / "report/images/reproductions/errors-fast.png").read_bytes() != plain
    report.write(tmp_path / "report/reproductions.md", record, {})
    text = (tmp_path / "report/reproductions.md").read_text("utf-8")
    assert text.count("| yes |") == 1
    assert f"| {wrong['index'][0]} | {wrong['label'][0]} | {wrong['predicted'][0]} |\n" in text
    assert f"| {right} | 7 | as labeled |\n" in text
    assert "The labels of 1 of them are rejected" in text


def test_the_same_in_python(tmp_path, idx_files):
    lines = []
    record = reproduce(
        ["fast"],
        seeds=1,
        epochs=1,
        data=str(idx_files),
        out=tmp_path / "report",
        work=tmp_path / "work",
        on_message=lines.append,
    )
    assert record == read_record(tmp_path / "report/reproductions.json")
    assert len(lines) == 1 and (tmp_path / "report/reproductions.md").exists()


def test_the_interrupted_go_on(tmp_path, call):
    arguments = ["fast", "--seeds", 2, "--epochs", 1, "--out", "report"]
    assert call(*arguments)[0] == 0
    (folder,) = (tmp_path / "runs/reproduce").glob("fast-1-*")
    for name in ("summary.json", "model.safetensors", "process.json"):
        (folder / name).unlink()
    before = read_record(tmp_path / "report/reproductions.json")["results"][0]
    code, said, _ = call(*arguments)
    assert (
        code == 0
        and "fast, seed 1" in said
        and "resumed, not timed" in said
        and said.count("already finished") == 1
    )
    after = read_record(tmp_path / "report/reproductions.json")["results"][0]
    assert [run["wrong"] for run in after["runs"]] == [run["wrong"] for run in before["runs"]]
    assert after["runs"][1]["seconds"] is None and after["seconds"]["count"] == 1
    assert "1 interrupted and resumed runs are omitted" in (
        tmp_path / "report/reproductions.md"
    ).read_text("utf-8")


def count_epochs(work):
    """Return the number of epochs of the only run in a work folder."""
    return sum(len(file.read_text().splitlines()) for file in work.glob("*/metrics.jsonl"))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_signal_stops_the_trainings_and_the_same_command_goes_on(tmp_path, idx_files):
    command = [sys.executable, "-m", "lenet5c", "reproduce", "fast"]
    command += ["--seeds", "1", "--epochs", "60", "--data", idx_files]
    epochs = 0
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        process = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + HANGING
        while count_epochs(tmp_path / "runs/reproduce") <= epochs:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(getattr(signal, name))
        _, errors = process.communicate(timeout=HANGING)
        assert process.returncode == 128 + getattr(signal, name), name
        assert "run the same command again to continue" in errors and "Traceback" not in errors
        (folder,) = (tmp_path / "runs/reproduce").iterdir()
        assert (folder / "checkpoint.safetensors").exists()
        assert not (folder / "summary.json").exists()
        epochs = count_epochs(tmp_path / "runs/reproduce")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=HANGING)
    assert done.returncode == 0, done.stderr
    assert "resumed, not timed" in done.stdout and (tmp_path / "docs/reproductions.md").exists()


def test_a_training_that_fails(tmp_path, call):
    assert call("fast", "--seeds", 1, "--epochs", 1, "--out", "report")[0] == 0
    (folder,) = (tmp_path / "runs/reproduce").iterdir()
    (folder / "summary.json").unlink()
    (folder / "config.json").write_text("{")
    result = call("fast", "--seeds", 1, "--epochs", 1, "--out", "report")
    assert_one_line(
        result,
        1,
        "fast, seed 0",
        folder.name,
        "config.json must be the configuration of a run",
        "same command again",
    )


def test_a_model_that_does_not_fit_its_summary(tmp_path, call):
    assert call("fast", "--seeds", 1, "--epochs", 1, "--out", "report")[0] == 0
    (folder,) = (tmp_path / "runs/reproduce").iterdir()
    path = folder / "summary.json"
    before = path.read_bytes()
    change_record(path, "summary", lambda old: old | {"test_correct": old["test_correct"] - 1})
    result = call("fast", "--seeds", 1, "--epochs", 1, "--out", "report")
    assert_one_line(result, 2, "model.safetensors", "delete", folder.name)
    path.write_bytes(before.replace(b'"threads"', b'"tHreads"'))
    result = call("fast", "--seeds", 1, "--epochs", 1, "--out", "report")
    assert_one_line(result, 2, "summary.json", "delete", folder.name)


def test_bad_use(tmp_path, call, monkeypatch):
    assert_one_line(call("fast", "fastest"), 2, "recipe must be one of default, fast", "'fastest'")
    assert_one_line(call("fast", data=tmp_path / "nowhere"), 2, "nowhere", "a file or folder")
    (tmp_path / "file").touch()
    assert_one_line(call("fast", "--out", "file"), 2, "out must be a writable folder")
    assert_one_line(
        call("fast", "--out", "report", "--work", "file"), 2, "work must be a writable folder"
    )
    (tmp_path / "report/reproductions.json").write_text('{"format": "other"}')
    assert_one_line(call("fast", "--out", "report"), 2, "reproductions.json must be a record")
    assert_one_line(call("fast", "--reached", "x", "--out", "new"), 2, "reached cannot be combined")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert_one_line(call("fast"), 2, "pip install 'lenet5c[plots]'")
    for arguments in (["--seeds", "0"], ["--jobs", "x"], ["--out", ""]):
        with pytest.raises(SystemExit) as caught:
            main(["reproduce", *arguments])
        assert caught.value.code == 2


def test_a_report_is_not_replaced_by_one_of_fewer_recipes(tmp_path, call):
    (tmp_path / "docs").mkdir()
    record = {
        "format": "lenet5c reproductions 1",
        "results": [{"recipe": "fast"}, {"recipe": "default"}],
    }
    (tmp_path / "docs/reproductions.json").write_text(json.dumps(record))
    assert_one_line(call("fast"), 2, "must include default", "--out")


def test_each_training_has_a_folder_by_its_settings(mnist_slice):
    source, other = Source(*mnist_slice), Source(*mnist_slice[::-1])

    def folders(epochs=None, source=source, work="w"):
        return [run.folder for run in plan(["default", "fast"], 2, work, "mnist", epochs, source)]

    assert len(set(folders() + folders(epochs=3) + folders(source=other))) == 12
    assert folders() == folders() and folders(work="v") != folders()
    runs = plan(["fast", "default"], None, "w", "mnist", None, source)
    assert len(runs) == reported("fast").seeds + reported("default").seeds
    assert (runs[-1].recipe, runs[-1].seed, runs[-1].data) == ("default", 19, "mnist")
    assert runs[-1].settings == RECIPES["default"] and not runs[-1].watch_test
    assert plan(["paper1998"], 1, "w", "mnist", None, source)[0].watch_test


def test_what_recipes_reached_is_that_of_the_committed_record(tmp_path):
    if not (DOCS / "reproductions.json").exists():
        pytest.skip("there is no committed record")
    record = read_record(DOCS / "reproductions.json")
    assert (record["data"], record["changes"]) == ("mnist", {})
    write_reached(tmp_path / "reached.json", record)
    assert (tmp_path / "reached.json").read_text() == REACHED.read_text()
    # One starts from a model, two are for other images.
    others = {"finetune", "signs", "small-color"}
    assert json.loads(REACHED.read_text()).keys() == RECIPES.keys() - others


def test_the_report_is_that_of_the_committed_record(tmp_path):
    from lenet5c.reproduction import report

    text = (DOCS / "reproductions.md").read_text("utf-8")
    files = re.findall(r"\((images/reproductions/(\w+?)(?:-(.+))?\.png)\)", text)
    addresses = {(kind, name): address for address, kind, name in files}
    report.write(tmp_path / "new.md", read_record(DOCS / "reproductions.json"), addresses)
    assert (tmp_path / "new.md").read_text("utf-8") == text


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": "lenet5c reproductions 1"}', '{"format": 1, "results": []}'],
)
def test_files_that_are_no_records(tmp_path, content):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(RunError, match="must be a record"):
        read_record(tmp_path / "record.json")


def test_facts_are_sound():
    for name, facts in REPORTED.items():
        assert len(facts.test_errors) == len(facts.train_errors), name
        assert facts.seeds >= 1 and replace(facts) == facts
        assert facts.accuracy is None or (90 < facts.accuracy < 100 and facts.time and facts.epochs)
    paper = REPORTED["paper1998"]
    assert len(paper.test_errors) == 21 and paper.test_errors[-1] == pytest.approx(
        100 - paper.accuracy
    )
    assert max(paper.sizes) == 60_000 and reported("default") == Reported()


def test_what_rebuilds_a_system_has_its_figures():
    for name, recipe in RECIPES.items():
        assert bool(recipe.reproduces) == (reported(name).accuracy is not None), name
    assert str(reported("mirrored")) == "97.28 % train" and str(reported("fast")) == ""


def test_the_command_is_listed():
    done = subprocess.run(
        [sys.executable, "-m", "lenet5c", "reproduce", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "usage: lenet5c reproduce" in done.stdout


def test_curves_of_trainings_that_stopped_early():
    from lenet5c.reproduction import pictures

    histories = [{"epoch": list(range(1, n + 1)), "train_accuracy": [0.9] * n} for n in (3, 5, 4)]
    figure = pictures.curve(
        {"recipe": "fast", "runs": [{"history": history} for history in histories]}
    )
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [3, 5, 4, 3]


def test_an_unknown_instruction_set_is_bad_use(tmp_path):
    argv = [sys.executable, "-m", "lenet5c", "reproduce", "--help"]
    environment = os.environ | {"LENET5C_ISA": "mmx"}
    result = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert result.returncode == 2
    (message,) = result.stderr.strip().splitlines()
    assert (
        message.startswith("lenet5c reproduce: error: LENET5C_ISA must be") and "'mmx'" in message
    )
