"""`python -m lenet5c.train --resume`: the same files as without a stop, and invalid changes."""

import json
import os
import shlex
import signal
import subprocess
import time

import pytest
from own_files import change_record
from processes import HANGING
from train_command import assert_bad_use, command, digest, train

from lenet5c.training import open_model

GENERAL = shlex.split(
    "--optimizer rmsprop --optimizer-settings alpha=0.9 momentum=0.5 --lr 5e-4 --average 0.9 "
    "--schedule reduce-on-plateau --schedule-settings patience=0 factor=0.5 --keep best "
    "--patience 8 --dropout 0.2 --batch-norm --pooling avg --split last --preparation mean-image"
)


def wait_for(condition, process):
    deadline = time.monotonic() + HANGING
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(
    "number, code", [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_stopped_run_resumes_to_the_same_bytes(tmp_path, quick, idx_files, number, code):
    options = ["--epochs", 12, "--batch-size", 16]
    assert quick(*options, out="whole").returncode == 0

    stopped = tmp_path / "stopped"
    argv, popen = command(
        "--data", idx_files, "--out", stopped, "--validation", 0.1, *options, cwd=tmp_path
    )
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **popen)
    metrics = stopped / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= 3, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=HANGING)
    assert process.returncode == code
    assert not (stopped / "summary.json").exists()
    if number != signal.SIGKILL:
        assert f"lenet5c train --resume --out {stopped}" in errors

    result = train("--resume", "--out", stopped, "--threads", 1, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for name in ("model.safetensors", "checkpoint.safetensors", "metrics.jsonl", "metrics.csv"):
        assert digest(stopped / name) == digest(tmp_path / "whole" / name)
    assert json.loads((stopped / "summary.json").read_text())["resumed"] is True


def test_resuming_a_finished_run_says_its_result_again(tmp_path, quick):
    first = quick("--epochs", 1)
    before = {path.name: digest(path) for path in (tmp_path / "run").iterdir()}
    again = train("--resume", "--out", tmp_path / "run", cwd=tmp_path)
    assert again.returncode == 0
    assert again.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]
    assert {path.name: digest(path) for path in (tmp_path / "run").iterdir()} == before


def test_a_run_with_general_features_resumes_to_the_same_bytes(tmp_path, quick):
    assert quick(*GENERAL, "--epochs", 4, out="whole").returncode == 0
    whole = tmp_path / "whole"
    config = json.loads((whole / "config.json").read_text())
    assert config["model"] == {"dropout": 0.2, "batch_norm": True}
    assert config["optimizer_settings"] == {"alpha": 0.9, "momentum": 0.5}
    assert (config["average"], config["keep"], config["patience"]) == (0.9, "best", 8)
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["validation_accuracy"] == max(row["validation_accuracy"] for row in rows)
    assert rows[summary["kept_epoch"] - 1]["validation_accuracy"] == summary["validation_accuracy"]
    model = open_model(whole / "model.safetensors")
    assert model.model.config["batch_norm"] and model.preparation.mean_image is not None

    argv, options = command(
        "--data",
        tmp_path / "data",
        "--out",
        tmp_path / "stopped",
        "--validation",
        0.1,
        *GENERAL,
        "--epochs",
        4,
        cwd=tmp_path,
    )
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    metrics = tmp_path / "stopped/metrics.jsonl"
    wait_for(lambda: metrics.exists() and len(metrics.read_text().splitlines()) >= 2, process)
    process.kill()
    process.communicate(timeout=HANGING)
    result = train("--resume", "--out", tmp_path / "stopped", "--threads", 1, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for name in ("model.safetensors", "checkpoint.safetensors", "metrics.jsonl", "metrics.csv"):
        assert digest(tmp_path / "stopped" / name) == digest(whole / name)
    assert_bad_use(
        train("--resume", "--out", whole, "--pooling", "max", cwd=tmp_path),
        "--pooling must be avg",
        "got max",
    )
    assert_bad_use(
        train("--resume", "--out", whole, "--c5", "conv", cwd=tmp_path),
        "--c5 must be linear",
        "got conv",
    )
    assert_bad_use(
        train("--resume", "--out", whole, "--distortion", "modern", cwd=tmp_path),
        "--distortion must be none",
        "got modern",
    )
    assert (
        train(
            "--resume", "--out", whole, "--distortion", "none", "--c5", "linear", cwd=tmp_path
        ).returncode
        == 0
    )
    assert_bad_use(
        train("--resume", "--out", whole, "--average", 0.5, cwd=tmp_path),
        "--average must be 0.9",
        "got 0.5",
    )
    assert train("--resume", "--out", whole, *GENERAL, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("name", ["lenet5c", "seed", "skip_bad", "epochs", "optimizer_settings"])
def test_a_configuration_that_lacks_a_setting(tmp_path, quick, name):
    quick("--epochs", 1)
    lacking = lambda config: {key: config[key] for key in config if key != name}  # noqa: E731
    change_record(tmp_path / "run/config.json", "config", lacking)
    result = train("--resume", "--out", tmp_path / "run", cwd=tmp_path)
    assert_bad_use(result, "config.json", f"lacks the setting {name}", "another folder")


def test_bad_resumes(tmp_path, quick, idx_files):
    assert_bad_use(train("--resume", cwd=tmp_path), "--resume", "--out")
    assert_bad_use(
        train("--resume", "--out", "nothing", cwd=tmp_path), "nothing", "which has no config.json"
    )
    (tmp_path / "file").write_text("x")
    assert_bad_use(
        train("--out", "file", "--data", idx_files, cwd=tmp_path),
        "folder of a run must be writable, got file",
    )

    def unfinished(name, **arguments):
        quick("--epochs", 2, *arguments.get("options", ()), out=name)
        for file in ("model.safetensors", "summary.json"):
            (tmp_path / name / file).unlink()
        return tmp_path / name

    one, other = unfinished("one"), unfinished("other", options=["--seed", 9])
    (one / "checkpoint.safetensors").write_bytes((other / "checkpoint.safetensors").read_bytes())
    assert_bad_use(
        train("--resume", "--out", one, cwd=tmp_path),
        "checkpoint.safetensors",
        "whose config.json is in the same folder",
    )
    (one / "checkpoint.safetensors").write_bytes(b"garbage")
    assert_bad_use(train("--resume", "--out", one, cwd=tmp_path), "checkpoint.safetensors")
    (one / "config.json").write_text("{")
    assert_bad_use(train("--resume", "--out", one, cwd=tmp_path), "config.json")
    for change in (
        {"epochs": "many"},
        {"lr": 10**400},
        {"seed": -1},
        {"seed": "x"},
        {"model": {"no": 1}},
        {"data": "gone"},
        {"data": 3},
    ):
        before = (other / "config.json").read_bytes()
        change_record(other / "config.json", "config", lambda config, new=change: config | new)
        assert_bad_use(train("--resume", "--out", other, cwd=tmp_path))
        (other / "config.json").write_bytes(before)
    edited = before.replace(b'"epochs": 2', b'"epochs": 3')
    (other / "config.json").write_bytes(edited)
    assert_bad_use(
        train("--resume", "--out", other, cwd=tmp_path),
        "config.json must match its stored digest",
        "start a run with other settings in another folder",
    )


@pytest.mark.parametrize("part", ["train", "t10k"])
def test_changed_data_is_noticed_on_resume(tmp_path, quick, idx_files, part):
    quick("--epochs", 1)
    (tmp_path / "run/summary.json").unlink()
    labels = idx_files / f"{part}-labels-idx1-ubyte"
    content = bytearray(labels.read_bytes())
    content[-1] = (content[-1] + 1) % 10
    labels.write_bytes(bytes(content))
    assert_bad_use(
        train("--resume", "--out", tmp_path / "run", cwd=tmp_path), "data must be", "got other"
    )


@pytest.mark.parametrize(
    "lost", [["metrics.jsonl"], ["model.safetensors"], ["summary.json", "metrics.jsonl"]]
)
def test_what_a_kill_at_the_end_left_out_is_made_up_for(tmp_path, quick, lost):
    quick("--epochs", 2)
    run = tmp_path / "run"
    before = {name: digest(run / name) for name in ("model.safetensors", "metrics.jsonl")}
    for name in lost:
        (run / name).unlink()
    assert train("--resume", "--out", run, cwd=tmp_path).returncode == 0
    assert {name: digest(run / name) for name in before} == before
    assert (run / "summary.json").exists()


def test_a_damaged_summary_is_bad_use(tmp_path, quick):
    quick("--epochs", 1)
    path = tmp_path / "run/summary.json"
    before = path.read_bytes()
    for change in (
        {"test_correct": 1, "test_count": 0},
        {"test_correct": "1", "test_count": "2"},
        {"seconds": None},
        {"files": {}},
        {"files": None},
    ):
        path.write_bytes(before)
        change_record(path, "summary", lambda summary, new=change: summary | new)
        assert_bad_use(train("--resume", "--out", tmp_path / "run", cwd=tmp_path), "summary.json")
    for content in (b"{}", b"[]", b"{", before.replace(b'"threads"', b'"tHreads"')):
        path.write_bytes(content)
        assert_bad_use(train("--resume", "--out", tmp_path / "run", cwd=tmp_path), "summary.json")
