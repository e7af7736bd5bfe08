"""`lenet5c train --from`, `--freeze` and `--rehearse` on the command line."""

import json

import numpy as np
import pytest
from train_command import assert_bad_use, train

from lenet5c.datasets import mnist
from lenet5c.training import open_model

FEW = ("--from", "best", "--train-size", 60, "--epochs", 1, "--epoch-images", 0, "--no-report")


def test_frozen_layers_keep_their_weights(tmp_path):
    run = tmp_path / "run"
    options = ("--freeze", "conv1", "conv2", "--rehearse", "none", "--out", run)
    result = train(*FEW, *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Starts from best; frozen: conv1, conv2" in result.stdout
    start, trained = open_model().model, open_model(run).model
    for name, weight in start.state_dict().items():
        same = np.array_equal(weight, trained.state_dict()[name])
        assert same == name.startswith(("conv1", "conv2")), name
    config = json.loads((run / "config.json").read_text())
    assert config["freeze"] == ["conv1", "conv2"] and config["rehearse"] == "none"
    assert (config["recipe"], len(config["start_digest"])) == ("finetune", 64)


@pytest.mark.parametrize(
    "options, words",
    [
        (("--freeze", "conv9"), ("--freeze must contain layers", "conv9")),
        (("--rehearse", "nowhere"), ("--rehearse", "nowhere")),
        (("--from", "nowhere"), ("nowhere",)),
        (("--activation", "tanh"), ("--activation must be 'relu'",)),
    ],
)
def test_what_does_not_fit_the_start_is_refused(tmp_path, options, words):
    assert_bad_use(train(*FEW, *options, "--out", tmp_path / "run", cwd=tmp_path), *words)
    assert not (tmp_path / "run").exists()


def test_data_to_rehearse_needs_a_start(tmp_path):
    result = train("--rehearse", "mnist", "--out", tmp_path / "run", cwd=tmp_path)
    assert_bad_use(result, "rehearse", "without an initial model")


def test_a_model_that_is_turned_is_told(tmp_path):
    """Only once, at the start of the training."""
    train_set = mnist()[0].take(np.arange(120))
    np.savez(tmp_path / "mirrored.npz", x=train_set.images[:, 0, :, ::-1], y=train_set.labels)
    options = ("--from", "best", "--data", "mirrored.npz", "--rehearse", "none", "--epochs", 1)
    options = (*options, "--epoch-images", 0, "--no-report", "--out", "run")
    result = train(*options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    words = "The images seem to be mirrored compared with those of the model, so its filters"
    assert words in result.stdout
    again = train("--resume", "--epochs", 2, "--no-report", "--out", "run", cwd=tmp_path)
    assert again.returncode == 0 and words not in again.stdout
