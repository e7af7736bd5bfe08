"""`lenet5c predict` from the command line."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from processes import HANGING, output, run_python

from lenet5c.__main__ import main
from lenet5c.commands.predict import EXAMPLES
from lenet5c.datasets import Preparation, mnist
from lenet5c.nn import LeNet5
from lenet5c.training import TrainedModel, save_model

Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def digits():
    return mnist()[1].images[:5, 0]  # 7 2 1 0 4


@pytest.fixture
def folder(tmp_path, digits):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for label, digit in zip("721", digits, strict=False):
        Image.fromarray(255 - digit.repeat(3, axis=0).repeat(3, axis=1)).save(
            folder / f"{label}.png"
        )
    return folder


def run(capsys, *arguments):
    code = main(["predict", *arguments])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def test_a_line_for_each_picture(folder, capsys):
    code, out, err = run(capsys, folder / "2.png", folder / "1.png")
    assert (code, err) == (0, [])
    for line, label in zip(out, "21", strict=True):
        name, digit, probability, then, *_ = line.split()
        assert name == str(folder / f"{label}.png") and digit == label and then == "then"
        assert float(probability.rstrip("%")) > 90
    assert run(capsys, folder / "2.png", "--top", 1)[1][0].count("%") == 1
    assert run(capsys, folder / "2.png", "--top", 99)[1][0].count("%") == 10


def test_a_folder_means_its_pictures(folder, capsys):
    code, out, _ = run(capsys, folder)
    assert code == 0 and [line.split()[1] for line in out] == ["1", "2", "7"]


def test_patterns_that_no_shell_has_expanded(folder, capsys):
    code, out, _ = run(capsys, folder / "[27].png")
    assert code == 0 and [line.split()[1] for line in out] == ["2", "7"]
    code, out, err = run(capsys, folder / "*.gif")
    assert (code, out) == (2, []) and "no file matches" in err[0]


def test_one_bad_file_does_not_stop_the_others(folder, capsys):
    (folder / "bad.png").write_bytes(b"\x89PNG nonsense")
    code, out, err = run(
        capsys, folder / "7.png", folder / "bad.png", folder / "none.png", folder / "1.png"
    )
    assert code == 2 and [line.split()[1] for line in out] == ["7", "1"]
    assert len(err) == 2 and "bad.png" in err[0] and "none.png: No such file" in err[1]
    code, out, err = run(capsys, folder, "--json")
    rows = [json.loads(line) for line in out]
    assert code == 2 and len(rows) == 4 and set(rows[-1]) == {"file", "error"}


def test_json_has_everything(folder, capsys):
    _, out, _ = run(capsys, folder / "7.png", "--json")
    (row,) = map(json.loads, out)
    assert row["file"] == str(folder / "7.png") and row["label"] == "7" and row["rejected"] is False
    assert row["probability"] == row["probabilities"]["7"] and list(row["probabilities"]) == list(
        "0123456789"
    )
    assert len(row["box"]) == 4


def test_rejections_are_told(folder, capsys):
    Image.fromarray(np.full((50, 50), 250, np.uint8)).save(folder / "blank.png")
    code, out, err = run(capsys, folder / "blank.png", folder / "7.png")
    assert (
        (code, err) == (3, [])
        and "rejected: there is no writing" in out[0]
        and out[1].split()[1] == "7"
    )
    row = json.loads(run(capsys, folder / "blank.png", "--json")[1][0])
    assert (
        row["rejected"]
        and row["label"] is None
        and row["probabilities"] == {}
        and "no writing" in row["reason"]
    )


def test_many(folder, digits, capsys):
    sheet = np.pad(np.hstack(digits), 8)
    Image.fromarray(np.vstack([sheet, sheet])).save(folder / "sheet.png")
    code, out, _ = run(capsys, folder / "sheet.png", "--digits", "many")
    assert (
        code == 0
        and "10 digits" in out[0]
        and [line.strip() for line in out[1:]] == ["72104", "72104"]
    )
    row = json.loads(run(capsys, folder / "sheet.png", "--digits", "many", "--json")[1][0])
    assert row["text"] == "72104\n72104" and [len(line) for line in row["lines"]] == [5, 5]
    assert row["lines"][1][0]["label"] == "7" and row["lines"][1][0]["box"][0] > 40
    code, out, _ = run(capsys, folder / "sheet.png")
    assert code == 3 and "rejected" in out[0]


def test_standard_input(folder):
    content = (folder / "2.png").read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "lenet5c", "predict", "-"],
        input=content,
        capture_output=True,
        timeout=HANGING,
    )
    assert done.returncode == 0 and done.stdout.split()[:2] == [b"-", b"2"]
    done = subprocess.run(
        [sys.executable, "-m", "lenet5c", "predict", "-"],
        input=b"",
        capture_output=True,
        timeout=HANGING,
    )
    assert done.returncode == 2 and done.stderr.decode().splitlines() == [
        "lenet5c predict: error: standard input is empty"
    ]


def test_steps_are_drawn(folder, tmp_path, capsys):
    (folder / "deep").mkdir()
    (folder / "deep" / "7.png").write_bytes((folder / "7.png").read_bytes())
    steps = tmp_path / "steps"
    code, _, _ = run(capsys, folder / "7.png", folder / "deep" / "7.png", "--explain", steps)
    assert code == 0 and sorted(path.name for path in steps.iterdir()) == [
        "7.png-2.steps.png",
        "7.png.steps.png",
    ]
    one = tmp_path / "one.png"
    assert run(capsys, folder / "7.png", "--explain", one)[0] == 0
    with Image.open(one) as image:
        assert image.size[0] > 600
    code, _, err = run(capsys, folder, "--explain", one)
    assert code == 2 and "must be a folder for 3 pictures" in err[0]
    code, _, err = run(capsys, folder / "7.png", "--explain", folder / "1.png" / "below")
    assert code in (1, 2) and len(err) == 1


def test_explain_into_a_file_is_bad_use(folder, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    code, out, err = run(capsys, folder / "7.png", "--explain", tmp_path / "notes.txt")
    assert code == 2 and out == [] and len(err) == 1 and "--explain must be a folder" in err[0]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_models(folder, tmp_path, capsys):
    trained = TrainedModel(
        LeNet5(3, in_channels=3, rng=0),
        Preparation.named("default"),
        ("cat", "dog", "fish"),
        (3, 32, 32),
        "whole",
        framing=None,
    )
    save_model(tmp_path / "model.safetensors", trained)
    code, out, _ = run(capsys, folder / "7.png", "--model", tmp_path, "--json")
    assert set(json.loads(out[0])["probabilities"]) == {"cat", "dog", "fish"}
    _, best, _ = run(capsys, folder / "7.png", "--model", "best", "--json")
    assert best == run(capsys, folder / "7.png", "--json")[1]
    for arguments, words in [
        (("--model", tmp_path / "none"), "which does not exist"),
        (("--model", folder), "without model.safetensors"),
        (("--model", folder / "7.png"), "must be a lenet5c model file"),
        (("--model", tmp_path, "--digits", "many"), "whole"),
        (
            ("--model", tmp_path, "--reading", "ink"),
            "must be trained on digits on a plain background",
        ),
    ]:
        code, out, err = run(capsys, folder / "7.png", *arguments)
        assert code == 2 and out == [] and len(err) == 1 and words in err[0]


def test_an_empty_folder(tmp_path, capsys):
    code, out, err = run(capsys, tmp_path)
    assert (code, out) == (2, []) and "without pictures" in err[0]


def test_an_empty_folder_does_not_stop_the_others(tmp_path, folder, capsys):
    (tmp_path / "empty").mkdir()
    code, out, err = run(capsys, tmp_path / "empty", folder / "7.png", folder / "*.gif")
    assert code == 2 and [line.split()[1] for line in out] == ["7"] and len(err) == 2


def test_names_cannot_move_the_cursor(tmp_path, folder, capsys):
    name = "\x1b[31mred\nline 7 \u0437.png"
    try:
        (tmp_path / name).write_bytes((folder / "7.png").read_bytes())
    except OSError:
        pytest.skip("the file system has no such names")
    code, out, _ = run(capsys, tmp_path / name)
    assert code == 0 and len(out) == 1 and "\x1b" not in out[0] and "\\x1b" in out[0]
    assert json.loads(run(capsys, tmp_path / name, "--json")[1][0])["file"] == str(tmp_path / name)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("variables", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colors_are_for_terminals(folder, monkeypatch, variables, colored):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["predict", folder / "7.png"]) == 0
    assert ("\x1b[" in terminal.getvalue()) is colored


def test_without_pillow(folder):
    done = run_python(
        "import sys; sys.modules['PIL'] = None\n"
        "from lenet5c.__main__ import main; sys.exit(main(['predict', *sys.argv[1:]]))",
        folder / "7.png",
    )
    assert (
        done.returncode in (1, 2)
        and len(done.stderr.splitlines()) == 1
        and "Traceback" not in done.stderr
    )


def test_nothing_optional_is_imported_early():
    code = (
        "import sys; from lenet5c.commands.parser import make_parser; make_parser('predict'); "
        "print('PIL' in sys.modules)"
    )
    assert output(code) == ["False"]


def test_examples_are_in_the_help():
    assert "lenet5c predict sheet.png --digits many" in EXAMPLES


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk to write to")
def test_a_full_disk_is_an_error():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lenet5c", "data", "list"], stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 1
    assert b"standard output: No space left on device" in done.stderr
