"""`lenet5c train --resume --epochs`: more epochs, and invalid changes."""

import json

from train_command import assert_bad_use, digest, train

FILES = ("model.safetensors", "checkpoint.safetensors", "metrics.jsonl", "config.json")


def test_a_run_at_a_constant_rate_is_lengthened_to_the_same_bytes(tmp_path, quick):
    options = ["--schedule", "constant", "--lr", 2e-3, "--train-size", 100]
    quick("--epochs", 1, *options)
    quick("--epochs", 3, *options, out="whole")
    result = train("--resume", "--epochs", 3, "--out", tmp_path / "run", cwd=tmp_path)
    assert result.returncode == 0 and "schedule" not in result.stdout
    for name in FILES:
        assert digest(tmp_path / "run" / name) == digest(tmp_path / "whole" / name)


def test_another_schedule_goes_on_as_the_longer_one(tmp_path, quick):
    quick("--epochs", 2, "--train-size", 100)
    run = tmp_path / "run"
    result = train("--resume", "--epochs", 4, "--out", run, cwd=tmp_path)
    assert "The schedule one-cycle continues as that of 4 epochs" in result.stdout
    quick("--epochs", 4, "--train-size", 100, out="whole")
    rates = [
        [json.loads(line)["lr"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (run, tmp_path / "whole")
    ]
    assert rates[0][2:] == rates[1][2:] and rates[0][:2] != rates[1][:2]
    assert_bad_use(
        train("--resume", "--epochs", 3, "--out", run, cwd=tmp_path),
        "--epochs must be at least 4, as in the run in",
        "got 3",
    )


def test_a_lost_checkpoint_is_refused(tmp_path, quick):
    quick("--epochs", 1, "--train-size", 100)
    run = tmp_path / "run"
    (run / "checkpoint.safetensors").unlink()
    assert train("--resume", "--out", run, cwd=tmp_path).returncode == 0  # its result is there
    before = digest(run / "metrics.jsonl")
    for options, lost in ((["--epochs", 2], []), ([], ["summary.json"])):
        for name in lost:
            (run / name).unlink()
        assert_bad_use(
            train("--resume", *options, "--out", run, cwd=tmp_path),
            "checkpoint.safetensors must exist to resume",
            "repeat the run in another folder: lenet5c train",
        )
    assert digest(run / "metrics.jsonl") == before


def test_a_run_that_patience_ended_is_not_lengthened(tmp_path, quick):
    options = ["--patience", 1, "--keep", "best", "--lr", 1e-9, "--train-size", 100]
    quick("--epochs", 9, *options)
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) < 9
    assert_bad_use(
        train("--resume", "--epochs", 12, "--out", tmp_path / "run", cwd=tmp_path),
        "was stopped by its patience of 1",
        "lenet5c train --from",
    )
