"""`python -m lenet5c.train` from the command line: processes, files, exit codes, messages."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
from idx_files import write_idx_files
from own_files import RUN_FILES
from train_command import assert_bad_use, command, digest, train

from lenet5c.datasets import Dataset
from lenet5c.training import open_model


def test_a_run_and_what_it_leaves(tmp_path, quick):
    result = quick("--epochs", 3)
    assert result.returncode == 0, result.stderr
    last = result.stdout.splitlines()[-1]
    accuracy, correct, count = re.fullmatch(
        r"Test accuracy: (\d+\.\d\d)% \((\d+)/(\d+)\)(?:, 95 % interval \d+ to \d+ %)?", last
    ).groups()
    assert int(count) == 500 and accuracy == f"{int(correct) / 5:.2f}" and int(correct) > 400
    assert {p.name for p in (tmp_path / "run").iterdir()} == RUN_FILES
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert (
        summary["test_correct"] == int(correct) and summary["test_accuracy"] == int(correct) / 500
    )
    assert summary["seconds"] > 0 and "resumed" not in summary
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    assert json.loads((tmp_path / "run/config.json").read_text())["epochs"] == 3
    assert "\r" not in result.stdout + result.stderr  # no bar in a log


def test_the_model_file_gives_the_printed_accuracy(tmp_path, quick, mnist_slice):
    result = quick("--epochs", 1)
    trained = open_model(tmp_path / "run/model.safetensors")
    test = mnist_slice[1]
    correct = int((trained.logits(test.images).argmax(axis=1) == test.labels).sum())
    assert f"({correct}/500)" in result.stdout.splitlines()[-1]


def test_few_images_and_weights_are_said(tmp_path, mnist_slice):
    """Intervals for 12 test and 7 validation images; terms of the loss; a rare class."""
    train_set, test_set = mnist_slice
    some = train_set.take(np.flatnonzero((train_set.labels != 4) | (np.arange(2000) < 60))[:300])
    data = write_idx_files(tmp_path / "data", some, test_set.take(np.arange(12)))
    options = ("--data", data, "--epochs", 2, "--validation", 7, "--out")
    result = train(*options, "run", cwd=tmp_path)
    lines = result.stdout.splitlines()
    interval = r"\d+\.\d\d% \(\d+/{}\), 95 % interval \d+ to \d+ %"
    assert re.fullmatch("Test accuracy: " + interval.format(12), lines[-1]), result.stderr
    of_validation = "Few validation images: " + interval.format(7)
    assert any(re.fullmatch(of_validation, line) for line in lines)
    loss = json.loads((tmp_path / "run/summary.json").read_text())["test_loss"]
    assert lines[-2].startswith("Temperature: ")
    assert lines[-3] == (
        "The losses above are cross-entropy with label smoothing 0.05 (at least 0.282); the plain "
        f"cross-entropy on the test images is {loss:.4f}."
    )
    (hint,) = (line for line in lines if "--class-weight balanced --distortion modern" in line)
    assert hint.startswith("The class 4 has ")
    for words, stored in ((["balanced"], "balanced"), (["4=20", "7=0.5"], {"4": 20.0, "7": 0.5})):
        out = tmp_path / words[0]
        result = train(*options, out, "--class-weight", *words, cwd=tmp_path)
        assert result.returncode == 0 and "The class 4" not in result.stdout, result.stderr
        assert "smoothing 0.05 and weights" in result.stdout
        assert json.loads((out / "config.json").read_text())["class_weight"] == stored


@pytest.mark.parametrize(
    "words, message",
    [
        (["cat=2"], "--class-weight must have classes of the data as keys, 0, 1, 2"),
        (["3=0"], "--class-weight must be balanced, or class names with weights from 1e-06"),
        (["equal"], "--class-weight must be balanced, or class names with weights from 1e-06"),
        (["balanced", "3=2"], "--class-weight must be balanced or NAME=VALUE pairs"),
        (["3=2", "3=5"], "--class-weight must have each name once, got '3' twice"),
    ],
)
def test_wrong_class_weights_are_bad_use(tmp_path, words, message):
    result = train("--out", "run", "--class-weight", *words, cwd=tmp_path)
    assert_bad_use(result, message)
    assert not (tmp_path / "run").exists()


def test_the_course_of_the_run_is_shown_at_its_end(tmp_path, quick):
    result = quick("--epochs", 3)
    *_, last = lines = result.stdout.splitlines()
    epoch = next(i for i, line in enumerate(lines) if line.startswith("  3/3 "))
    train, validation = lines[epoch + 1 : epoch + 3]
    blocks = r"[▁▂▃▄▅▆▇█_.=+*%#-]{{3}}"
    row = rf"{{}}  loss \d\.\d{{{{4}}}} {blocks} \d\.\d{{{{4}}}}   "
    row += rf"accuracy \d+\.\d\d% {blocks} \d+\.\d\d%"
    assert re.fullmatch(row.format("train     "), train) and re.fullmatch(
        row.format("validation"), validation
    )
    assert last.startswith("Test accuracy") and "\x1b" not in result.stdout


def test_metrics_are_a_table_as_well(tmp_path, quick):
    assert quick("--epochs", 2, "--watch-test").returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    with open(tmp_path / "run/metrics.csv", newline="", encoding="utf-8") as file:
        table = [
            {name: json.loads(cell) for name, cell in row.items()} for row in csv.DictReader(file)
        ]
    assert table == rows
    (tmp_path / "run/metrics.csv").rename(tmp_path / "kept.csv")
    (tmp_path / "run/summary.json").unlink()
    assert train("--resume", "--out", tmp_path / "run", cwd=tmp_path).returncode == 0
    assert digest(tmp_path / "run/metrics.csv") == digest(tmp_path / "kept.csv")


def test_quiet_prints_the_last_line_only(quick):
    result = quick("--epochs", 1, "--quiet")
    assert len(result.stdout.splitlines()) == 1 and result.stderr == ""


def test_two_epochs_have_the_same_bytes_at_any_thread_count(tmp_path, quick):
    digests = set()
    for i, threads in enumerate((1, 2, 3, 8, 2)):
        assert quick("--epochs", 2, "--threads", threads, out=f"run{i}").returncode == 0
        digests.add(
            (
                digest(tmp_path / f"run{i}/model.safetensors"),
                digest(tmp_path / f"run{i}/metrics.jsonl"),
            )
        )
    assert len(digests) == 1


def test_seeds_differ(tmp_path, quick):
    quick("--epochs", 1, "--seed", 1, out="a")
    quick("--epochs", 1, "--seed", 2, out="b")
    assert digest(tmp_path / "a/model.safetensors") != digest(tmp_path / "b/model.safetensors")


def test_target_accuracy_is_the_exit_code(quick):
    assert quick("--epochs", 1, "--target-accuracy", 0.2, out="a").returncode == 0
    result = quick("--epochs", 1, "--target-accuracy", 1, out="b")
    assert result.returncode == 3
    assert result.stdout.splitlines()[-1].startswith("Test accuracy: ")


def test_an_exploding_run_stops_and_says_where(tmp_path, quick):
    result = quick("--optimizer", "sgd", "--lr", 1e30, "--schedule", "constant", "--epochs", 1)
    assert result.returncode == 1
    assert re.search(
        r"training failed: the loss is \S+ at step \d+ \(epoch 1\): .*(conv|fc|act|pool)",
        result.stderr,
    )
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run/model.safetensors").exists()


def test_default_out_is_a_new_folder_each_time(tmp_path, idx_files):
    for _ in range(2):
        assert (
            train(
                "--data", idx_files, "--epochs", 1, "--validation", 0, "--quiet", cwd=tmp_path
            ).returncode
            == 0
        )
    assert len(list((tmp_path / "runs").iterdir())) == 2


@pytest.mark.parametrize("shape, classes", [((8, 9), 3), (((48, 40)), 26), ((28, 28), 2)])
def test_images_of_other_sizes_and_other_classes(tmp_path, shape, classes):
    rng = np.random.default_rng(0)

    def data(count):
        labels = np.arange(count) % classes
        images = rng.integers(0, 60, (count, 1, *shape), np.uint8)
        for image, label in zip(images, labels, strict=True):  # a bright row for each class
            image[0, label * shape[0] // classes] = 255
        return Dataset(images, labels, classes)

    folder = write_idx_files(tmp_path / "other", data(520), data(130))
    result = train(
        "--data", folder, "--out", tmp_path / "run", "--epochs", 8, "--validation", 0, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    trained = open_model(tmp_path / "run/model.safetensors")
    assert trained.model.config["num_classes"] == classes == len(trained.class_names)
    if classes < 26:
        assert json.loads((tmp_path / "run/summary.json").read_text())["test_accuracy"] > 0.9


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--recipe", "nonsense"], ["--recipe", "nonsense", "default"]),
        (["--optimizer", "adamm"], ["--optimizer", "adamm"]),
        (["--epochs", "0"], ["--epochs", "0"]),
        (["--epochs", "-3"], ["--epochs"]),
        (["--epochs", "two"], ["--epochs", "two"]),
        (["--batch-size", "0"], ["--batch-size"]),
        (
            ["--batch-size", "1801"],
            ["--batch-size must be at most 1800, the number of training images", "got 1801"],
        ),
        (
            ["--batch-size", "99999999999999"],
            ["--batch-size must be at most 1800, the number of training images"],
        ),
        (["--lr", "0"], ["--lr"]),
        (["--lr", "nan"], ["--lr", "nan"]),
        (["--lr", "inf"], ["--lr"]),
        (["--threads", "0"], ["--threads"]),
        (["--seed", "-1"], ["--seed"]),
        (["--target-accuracy", "99"], ["--target-accuracy", "99"]),
        (["--validation", "2000"], ["validation", "2000"]),
        (["--momentum", "1"], ["momentum"]),
        (["--no-such-option"], ["--no-such-option"]),
        (["--validation", "1e-9"], ["validation", "1e-09", "2000"]),
        (["--validation", "10.5"], ["validation", "10.5"]),
        (["--data", ""], ["--data", "mnist"]),
        (["--out", ""], ["--out", "folder name"]),
        (["--preparation", "seed9"], ["--preparation", "seed9"]),
        (["--preparation", "resized", "--fit", "pad"], ["fit", "pad", "resized"]),
        (["--keep", "best", "--validation", "0"], ["keep", "validation"]),
        (
            ["--schedule", "reduce-on-plateau", "--validation", "0"],
            ["reduce-on-plateau", "validation"],
        ),
        (["--average", "1"], ["average", "1"]),
        (["--patience", "-1"], ["--patience"]),
        (["--dropout", "1"], ["--dropout", "less than 1, got 1"]),
        (["--batch-norm", "--batch-size", "1"], ["batch_size", "batch normalization"]),
        (["--pooling", "min"], ["--pooling", "min"]),
        (["--optimizer-settings", "eps"], ["--optimizer-settings", "eps", "NAME=VALUE"]),
        (["--optimizer-settings", "nesterov=true"], ["nesterov", "adamw", "betas"]),
        (["--optimizer-settings", "eps=-1"], ["eps must be"]),
        (["--optimizer-settings", "betas=3"], ["betas must be", "got 3"]),
        (["--optimizer-settings", 'eps="x"'], ["eps"]),
        (["--schedule", "step", "--schedule-settings", "every=0"], ["every must be", "got 0"]),
        (["--loss", "mse", "--label-smoothing", "0.1"], ["--label-smoothing", "mse"]),
    ],
)
def test_bad_options(tmp_path, quick, arguments, words):
    assert_bad_use(quick(*arguments), *words)
    assert not (tmp_path / "run").exists()


def test_patience_is_told_and_counted(tmp_path, quick):
    result = quick("--epochs", 30, "--patience", 1, "--schedule", "constant", "--keep", "best")
    assert result.returncode == 0, result.stderr
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["epochs"] < 30 and summary["kept_epoch"] == summary["epochs"] - 1
    assert "No improvement in 1 epochs" in result.stdout
    assert f"eights of epoch {summary['kept_epoch']}" in result.stdout


def test_bad_data_folders(tmp_path, idx_files):
    def run(data):
        return train("--data", data, "--out", tmp_path / "run", cwd=tmp_path)

    assert_bad_use(run("nowhere"), "nowhere", "mnist")
    (tmp_path / "empty").mkdir()
    assert_bad_use(run("empty"), "empty")
    (idx_files / "train-images-idx3-ubyte").write_bytes(b"not an IDX file")
    assert_bad_use(run(idx_files), "train-images-idx3-ubyte")
    assert not (tmp_path / "run").exists()


def test_another_runs_folder_is_not_touched(tmp_path, quick):
    quick("--epochs", 1)
    before = {path.name: digest(path) for path in (tmp_path / "run").iterdir()}
    assert_bad_use(quick("--epochs", 1), "already holds a run", "--resume")
    assert_bad_use(quick("--resume", "--epochs", 1, "--lr", 5), "--lr", "5")
    assert {path.name: digest(path) for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.skipif(os.name == "nt", reason="POSIX shell")
@pytest.mark.parametrize("redirection", ["2>&-", "| head -n 1", "<&- >/dev/null"])
def test_training_goes_on_when_nobody_listens(tmp_path, idx_files, redirection):
    argv, options = command(
        "--data", idx_files, "--out", "run", "--epochs", 2, "--validation", 0, cwd=tmp_path
    )
    subprocess.run(
        f"{shlex.join(argv)} {redirection}", shell=True, capture_output=True, check=True, **options
    )
    assert {p.name for p in (tmp_path / "run").iterdir()} == RUN_FILES


def test_names_that_the_terminal_cannot_show(tmp_path, idx_files):
    argv, options = command(
        "--data", idx_files, "--out", "zürich", "--epochs", 1, "--validation", 0, cwd=tmp_path
    )
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    assert subprocess.run(argv, capture_output=True, env=environment, **options).returncode == 0


@pytest.mark.parametrize("module", [["lenet5c.train"], ["lenet5c", "train"]])
def test_an_unknown_instruction_set_is_bad_use(tmp_path, module):
    argv = [sys.executable, "-m", *module, "--help"]
    environment = os.environ | {"LENET5C_ISA": "mmx"}
    result = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert_bad_use(result, "mmx", "baseline")


def test_lenet5c_train_is_the_same_command(tmp_path, idx_files):
    argv = [
        sys.executable,
        "-m",
        "lenet5c",
        "train",
        "--data",
        idx_files,
        "--epochs",
        "1",
        "--quiet",
        "--no-report",
        "--out",
        "run",
    ]
    result = subprocess.run(list(map(str, argv)), cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout.startswith("Test accuracy: ")


def test_help_and_unknown_commands(tmp_path):
    def run(*arguments):
        argv = [sys.executable, "-m", "lenet5c", *arguments]
        return subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)

    assert run().returncode == 0 and all(
        name in run().stdout for name in ("train", "recipes", "doctor")
    )
    assert run("--help").stdout == run().stdout
    assert "examples:" in run("train", "--help").stdout
    result = run("fly")
    assert result.returncode == 2 and "fly" in result.stderr and "Traceback" not in result.stderr


def test_the_test_set_is_watched_for_the_record_only(tmp_path, quick):
    assert quick("--epochs", 2, out="plain").returncode == 0
    watched = quick("--epochs", 2, "--watch-test", out="watched")
    assert watched.returncode == 0, watched.stderr
    assert digest(tmp_path / "plain/model.safetensors") == digest(
        tmp_path / "watched/model.safetensors"
    )
    plain, rows = (
        [json.loads(line) for line in (tmp_path / out / "metrics.jsonl").read_text().splitlines()]
        for out in ("plain", "watched")
    )
    summary = json.loads((tmp_path / "watched/summary.json").read_text())
    assert rows[-1]["test_accuracy"] == summary["test_accuracy"] != rows[0]["test_accuracy"]
    assert [{**row, "test_accuracy": 0} for row in plain] == [
        {**row, "test_accuracy": 0} for row in rows
    ]
    result = train("--resume", "--out", tmp_path / "plain", "--watch-test", cwd=tmp_path)
    assert_bad_use(result, "--watch-test must be no", "got yes")


def test_a_part_of_the_training_images(tmp_path, quick):
    result = quick("--epochs", 1, "--train-size", 300)
    assert result.returncode == 0 and "270 images for training, 30 for validation" in result.stdout
    assert json.loads((tmp_path / "run/config.json").read_text())["train_size"] == 300
    assert_bad_use(
        quick("--train-size", 2001, out="b"),
        "--train-size must be at most the 2000 training images, got 2001",
        "omit it",
    )


def test_an_augmentation_by_its_settings(tmp_path, quick):
    settings = {"flip_vertical": 0.5, "mixup": 0.4}
    result = quick("--epochs", 1, "--train-size", 300, "--distortion", json.dumps(settings))
    assert result.returncode == 0
    assert json.loads((tmp_path / "run/config.json").read_text())["distortion"] == settings
    for wrong, text in (
        ('{"tint": 1}', "distortion: values must only have the keys"),
        ('{"hue": 181}', "distortion: hue must be from 0 to 180, got 181.0"),
        ("{'hue': 1}", "--distortion must be a name or settings as JSON"),
        ("pictuers", "did you mean pictures?"),
    ):
        assert_bad_use(quick("--distortion", wrong, out="wrong"), text)


def test_few_images_are_told_what_makes_more_of_them(quick):
    hint = "For so few images, try"
    assert hint in quick("--train-size", 64, "--epochs", 1, out="few").stdout
    assert "--batch-size 9." in quick("--train-size", 10, "--epochs", 1, out="ten").stdout
    assert (
        hint
        not in quick(
            "--train-size", 64, "--epochs", 1, "--distortion", "modern", out="distorted"
        ).stdout
    )
    assert hint not in quick("--train-size", 1500, "--epochs", 1, out="more").stdout
