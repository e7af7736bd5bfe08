"""`lenet5c predict --data` from the command line."""

import csv
import json
import os
import shlex
import subprocess
import sys

import numpy as np
import pytest
from processes import HANGING

from lenet5c import _files
from lenet5c.__main__ import main
from lenet5c.report import predictions
from lenet5c.training import open_model


@pytest.fixture
def run(capsys):
    """Run the command in this process; return the exit code, output and errors."""

    def command(*arguments):
        try:
            code = main(["predict", *arguments])
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    return command


@pytest.fixture
def labels(mnist_slice):
    """Return the labels that the shipped model predicts for the test images of the slice."""
    return open_model().predict(mnist_slice[1].images).tolist()


def test_a_data_set_becomes_a_file(run, tmp_path, idx_files, labels, mnist_slice):
    out = tmp_path / "predictions.csv"
    out.write_text("before")
    code, said, told = run("--data", idx_files, "--out", out)
    assert (code, said) == (0, "")
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [int(row["label"]) for row in rows] == labels
    assert [int(row["true_label"]) for row in rows] == mnist_slice[1].labels.tolist()
    right = int((np.array(labels) == mnist_slice[1].labels).sum())
    assert told == f"500 images in {out}; accuracy {right / 500:.2%} ({right} correct)\n"
    out = tmp_path / "predictions.jsonl"
    assert run("--data", idx_files, "--out", out, "--probabilities")[0] == 0
    assert len(json.loads(out.read_text().splitlines()[0])) == 14


def test_folders_of_pictures(run, tmp_path, mnist_slice, labels):
    Image = pytest.importorskip("PIL.Image")
    names = {0: "null", 1: "eins"}
    _, test = mnist_slice
    for i in range(30):
        for folder in ("flat", f"classes/{names.get(test.labels[i], test.labels[i])}"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(test.images[i, 0]).save(tmp_path / folder / f"{i}.png")
    code, said, told = run("--data", tmp_path / "flat")
    rows = list(csv.DictReader(said.splitlines()))
    assert code == 0 and list(rows[0]) == ["id", "label", "probability"]
    assert [row["id"] for row in rows] == [f"{i}.png" for i in range(30)]
    assert [int(row["label"]) for row in rows] == labels[:30]
    assert told == "30 images\n"
    code, said, told = run("--data", tmp_path / "classes")
    rows = list(csv.DictReader(said.splitlines()))
    assert {row["id"] for row in rows if row["true_label"] == "eins"} == {
        f"eins/{i}.png" for i in range(30) if test.labels[i] == 1
    }
    # Names that are no classes of the model: no accuracy rather than a wrong one.
    assert told == "30 images\n"


def test_a_table_and_its_notes(run, tmp_path, mnist_slice, labels):
    _, test = mnist_slice
    pixels = 255 - test.images[:20].reshape(20, -1)
    for name, part in (("test.csv", slice(None)), ("train.csv", slice(3))):
        heading = "id," + ",".join(f"pixel{i}" for i in range(784))
        ids = np.arange(500, 520)[:, None]
        table = np.concatenate([ids, pixels], axis=1)[part]
        np.savetxt(tmp_path / name, table, "%d", ",", header=heading, comments="")
    (tmp_path / "other.csv").write_text("id,label\n")
    code, said, told = run("--data", tmp_path)
    rows = list(csv.DictReader(said.splitlines()))
    assert code == 0 and [row["id"] for row in rows] == [str(i) for i in range(500, 520)]
    assert told.splitlines() == [
        "Note: not read, in addition to train and test: other.csv.",
        "lenet5c predict: warning: the images are dark on light, but the training images "
        "were light on dark; invert them",
        "20 images",
    ]


def test_the_part_is_told_where_there_is_no_test_set(run, tmp_path, mnist_slice):
    images, labels = mnist_slice[1].images, mnist_slice[1].labels
    parts = {"train": slice(8), "val": slice(8, 11)}
    arrays = {f"x_{part}": images[rows] for part, rows in parts.items()}
    arrays |= {f"y_{part}": labels[rows] for part, rows in parts.items()}
    np.savez(tmp_path / "a.npz", **arrays)
    code, said, told = run("--data", tmp_path / "a.npz")
    assert code == 0 and len(said.splitlines()) == 9
    assert "Note: no test set: the train images are used, not those of validation." in told


def test_standard_output_has_nothing_but_the_table(run, idx_files, labels):
    for arguments in ((), ("--out", "-")):
        code, said, told = run("--data", idx_files, *arguments)
        rows = list(csv.DictReader(said.splitlines()))
        assert code == 0 and [int(row["label"]) for row in rows] == labels
        assert told.startswith("500 images; ")


def test_a_sample_gives_columns_and_rows(run, tmp_path, idx_files, labels):
    sample, out = tmp_path / "sample_submission.csv", tmp_path / "mine.csv"
    sample.write_text("ImageId,Label\n" + "".join(f"{i},0\n" for i in range(1, 501)))
    assert run("--data", idx_files, "--like", sample, "--out", out)[0] == 0
    expected = ["ImageId,Label", *(f"{i},{label}" for i, label in enumerate(labels, start=1))]
    assert out.read_text().splitlines() == expected


def assert_bad_use(result, *words):
    code, said, complained = result
    assert (code, said) == (2, "")
    (message,) = complained.splitlines()
    assert message.startswith("lenet5c predict: error: ")
    for word in words:
        assert word in message


def test_bad_use(run, tmp_path, idx_files):
    assert_bad_use(run(), "IMAGE must be a picture", "--data")
    assert_bad_use(run("a.png", "--data", idx_files), "IMAGE cannot be combined with --data")
    assert_bad_use(run("--json", "--data", idx_files), "--json cannot be combined with --data")
    (tmp_path / "test.csv").write_text("pixel0,pixel1\n0,0\n")
    assert_bad_use(
        run(tmp_path / "test.csv"), f"use lenet5c predict --data {tmp_path / 'test.csv'}"
    )
    (tmp_path / "test.csv").unlink()
    for option in ("--out", "--like"):
        assert_bad_use(run("a.png", option, "x.csv"), f"{option} requires --data")
    assert_bad_use(run("--data", "nowhere"), "--data must be", "nowhere")
    for name in ("x.txt", "x", "data"):
        got = run("--data", idx_files, "--out", tmp_path / name)
        assert_bad_use(got, "ends in .csv, .tsv, .jsonl, .ndjson or .parquet")
    sample = tmp_path / "sample.csv"
    sample.write_text("id,label\n0,0\n")
    both = ("--data", idx_files, "--like", sample)
    assert_bad_use(run(*both, "--out", sample), "differ from the input file")
    assert_bad_use(run(*both, "--probabilities"), "combined with --like")
    assert_bad_use(run(*both, "--out", tmp_path / "x.csv"), "each of 500 images, got 1")
    assert_bad_use(run("--data", idx_files, "--model", "nowhere"), "nowhere")
    assert {path.name for path in tmp_path.iterdir()} == {"data", "sample.csv"}
    assert sample.read_text() == "id,label\n0,0\n"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_cannot_be_finished_leaves_nothing(run, tmp_path, idx_files, suffix, monkeypatch):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    monkeypatch.setattr(predictions, "CHUNK", 100)
    out = tmp_path / f"out{suffix}"
    out.write_text("before")
    real, calls = os.write, []

    def fill_the_disk(descriptor, content):
        calls.append(len(content))
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        return real(descriptor, content)

    with monkeypatch.context() as patch:
        patch.setattr(_files.os, "write", fill_the_disk)
        code, _, told = run("--data", idx_files, "--out", out)
    assert code == 1 and told.endswith(f"cannot write {out}: No space left on device\n")
    assert out.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"data", out.name}


@pytest.mark.skipif(os.name == "nt", reason="POSIX shell")
def test_a_reader_that_has_enough():
    command = f"{shlex.quote(sys.executable)} -m lenet5c predict --data mnist | head -n 2"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=HANGING)
    assert done.stdout.startswith("id,label,probability,true_label\n0,7,0.99997")
    assert done.stderr == "10,000 images; accuracy 99.65% (9,965 correct)\n"
