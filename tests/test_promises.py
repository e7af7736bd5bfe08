"""The claims of the README, on all of MNIST: takes minutes, only with ``-m slow``."""

import hashlib
import json
import statistics
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def train(folder, *arguments):
    """Run the command; returns the run's summary and the digest of its model."""
    argv = [
        sys.executable,
        "-m",
        "lenet5c.train",
        "--quiet",
        "--no-report",
        "--out",
        folder,
        *arguments,
    ]
    subprocess.run(list(map(str, argv)), check=True)
    summary = json.loads((folder / "summary.json").read_text())
    return summary, hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_the_default_reaches_99_25_percent_over_five_seeds(tmp_path):
    accuracies = [
        train(tmp_path / str(seed), "--seed", seed)[0]["test_accuracy"] for seed in range(5)
    ]
    print(
        f"mean {statistics.mean(accuracies):.4%}, standard deviation "
        f"{statistics.stdev(accuracies):.4%}: {accuracies}"
    )
    assert statistics.mean(accuracies) >= 0.9925


def test_two_epochs_have_one_digest_at_any_thread_count(tmp_path):
    digests = {
        train(tmp_path / f"{threads}-{again}", "--epochs", 2, "--threads", threads)[1]
        for threads in (1, 2, 3, 8)
        for again in range(2)
    }
    assert len(digests) == 1
