"""Training, evaluation, inspection and prediction of data in files of many kinds."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from data_files import encode_png, make_digits, make_table, name_pixels, write, write_parquet

import lenet5c
from lenet5c.__main__ import main

IMAGES, LABELS = make_digits(80)
ROWS = IMAGES.reshape(80, -1)
TRAIN = ("--epochs", "1", "--batch-size", "8", "--no-report")


@pytest.fixture
def command(capsys):
    """Run a command in this process: exit code, output and errors."""

    def run(*words):
        try:
            code = main(list(map(str, words)))
        except SystemExit as ended:
            code = ended.code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return SimpleNamespace(code=code or 0, out=captured.out, err=captured.err)

    return run


def make_csv(folder):
    write(folder / "train.csv", make_table(IMAGES, LABELS, name_pixels(64)))
    write(folder / "test.csv", make_table(IMAGES[:9], header=name_pixels(64, [])))
    return folder, ()


def make_last(folder):
    return write(folder / "a.csv", make_table(IMAGES, LABELS, last=True)), ("--label-column", "-1")


def make_wide(folder):
    table = make_table(IMAGES[:, :5], LABELS)
    return write(folder / "a.csv", table), ("--image-shape", "5x8")


def make_npz(folder):
    np.savez(folder / "a.npz", x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS)
    return folder / "a.npz", ()


def make_parquet(folder):
    pytest.importorskip("pyarrow")
    pytest.importorskip("PIL.Image")
    columns = {"image": list(map(encode_png, IMAGES)), "label": LABELS}
    return write_parquet(folder / "a.parquet", columns), ()


def make_mat(folder):
    savemat = pytest.importorskip("scipy.io").savemat
    savemat(folder / "a.mat", {"X": np.moveaxis(IMAGES, 0, 2), "y": LABELS})
    return folder / "a.mat", ()


@pytest.mark.parametrize("make", [make_csv, make_last, make_wide, make_npz, make_parquet, make_mat])
def test_all_commands(make, command, tmp_path):
    (tmp_path / "data").mkdir()
    data, options = make(tmp_path / "data")
    run = tmp_path / "run"
    done = command("train", "--data", data, *options, *TRAIN, "--out", run)
    assert done.code == 0 and "Test accuracy" in done.out, done.err
    config = json.loads((run / "config.json").read_text())
    for name, value in zip(options[::2], options[1::2], strict=True):
        assert config[name.strip("-").replace("-", "_")] == value
    # The run's own data need no options.
    done = command("evaluate", run, "--json")
    assert done.code == 0 and json.loads(done.out)["count"] in (12, 16, 80), done.err
    found = json.loads(command("data", "inspect", data, *options, "--json").out)
    assert sum(next(iter(found["counts"].values()))) == 80 and not found["faults"]
    if make is not make_csv:
        done = command("evaluate", run, "--data", data, *options, "--json")
        assert done.code == 0 and json.loads(done.out)["count"] == 80, done.err
    out = tmp_path / "out.csv"
    done = command("predict", "--model", run, "--data", data, *options, "--out", out)
    assert done.code == 0, done.err
    assert len(out.read_text().splitlines()) == 1 + (9 if make is make_csv else 80)
    # Begun again, it is the same run.
    done = command("train", "--resume", "--out", run)
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--label-column", "foo"), "label_column must be a column of"),
        (("--image-shape", "8"), "--image-shape must be HxW or CxHxW, such as 28x20, got 8"),
        (("--image-shape", "9x9"), "got 65 columns"),
    ],
)
def test_options_that_do_not_fit(words, message, command, tmp_path):
    path = write(tmp_path / "a.csv", make_table(IMAGES, LABELS))
    out = tmp_path / "run"
    done = command("train", "--data", path, *words, *TRAIN, "--out", out)
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1
    assert not out.exists()
    done = command("data", "inspect", path, *words)
    assert done.code == 2 and done.err.count("\n") == 1


def test_in_python(tmp_path):
    path = write(tmp_path / "a.csv", make_table(IMAGES, LABELS % 2, last=True))
    trainer = lenet5c.trainer("fast", path, epochs=1, batch_size=8, label_column="-1")
    trainer.fit(progress=False)
    assert trainer.trained.class_names == ("0", "1")
