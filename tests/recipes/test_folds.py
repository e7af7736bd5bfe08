"""Cross-validation: stratified folds, one run each, and the same files after a stop."""

import json
from dataclasses import replace

import numpy as np
import pytest
from run_digests import digests

from lenet5c import kernels
from lenet5c.__main__ import main
from lenet5c.datasets import Dataset, Source, mnist
from lenet5c.datasets.folds import assign_folds
from lenet5c.errors import RunError
from lenet5c.recipes import RunConfig, cross_validate, train
from lenet5c.training import mean_interval
from lenet5c.training.run_folder import RunFolder


def make(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    return Dataset(np.zeros((len(labels), 1, 8, 8), np.uint8), labels, len(counts))


@pytest.fixture(scope="module")
def data():
    return mnist()[0].take(np.arange(240))


def config(**changes):
    return RunConfig.named("fast", **{"folds": 3, "epochs": 1, "batch_size": 16} | changes)


@pytest.mark.parametrize("counts, folds", [((30, 7, 2), 3), ((5, 5), 10), ((11, 2, 40, 3), 4)])
def test_folds_have_their_share_of_each_class(counts, folds):
    dataset = make(counts)
    found = assign_folds(dataset, folds, seed=0)
    table = np.array(
        [
            np.bincount(dataset.labels[found == k], minlength=len(counts))
            for k in range(1, folds + 1)
        ]
    )
    assert (np.ptp(table, axis=0) <= 1).all() and np.ptp(table.sum(axis=1)) <= 1
    assert (assign_folds(dataset, folds, seed=0) == found).all()
    assert (assign_folds(dataset, folds, seed=1) != found).any()


def test_too_few_images_are_refused():
    with pytest.raises(RunError, match="folds must be at most 4, the number of images, got 5"):
        assign_folds(make((2, 2)), 5, 0)
    with pytest.raises(RunError, match="leave an image of each class for training, got one .* '1'"):
        assign_folds(make((5, 1)), 2, 0)


def test_each_image_is_predicted_by_the_model_that_has_not_seen_it(data):
    seen = []
    result = cross_validate(config(seed=3), data, on_fold=seen.append)
    folds = assign_folds(data, 3, seed=3)
    for fold, run in enumerate(seen, 1):
        part = folds == fold
        assert len(run.trainer.train_set) == (~part).sum()
        assert (run.evaluation.predictions == result.evaluation.predictions[part]).all()
        assert (run.source.test.labels == data.labels[part]).all()
        row = result.rows[fold - 1]
        assert (row["correct"], row["count"]) == (run.evaluation.correct, part.sum())
    assert (result.evaluation.labels == data.labels).all()
    assert result.evaluation.correct == sum(row["correct"] for row in result.rows)
    values = result.to_dict()
    over = mean_interval([row["accuracy"] for row in result.rows])
    assert (values["mean"], values["sd"], values["interval"]) == (
        over.mean,
        over.sd,
        [over.low, over.high],
    )
    assert [each["name"] for each in values["classes"]] == list("0123456789")
    # Of data that is divided, the training images.
    divided = cross_validate(config(seed=3), Source(data, make((3, 3))))
    assert divided.to_dict() == values


def test_a_stopped_cross_validation_goes_on_to_the_same_bytes(data, tmp_path):
    before = kernels.get_num_threads()
    cross_validate(config(folder=tmp_path / "whole", class_weight="balanced"), data)
    steps = iter(range(100))
    part = config(folder=tmp_path / "part", class_weight="balanced", threads=1)
    stopped = cross_validate(
        part,
        data,
        on_start=lambda trainer, _: setattr(trainer, "stretch_seconds", 0),  # each step is asked
        stop=lambda: next(steps) == 12,
    )
    assert stopped.interrupted and stopped.evaluation is None and len(stopped.rows) == 1
    with pytest.raises(RunError, match="already holds a run"):
        cross_validate(part, data)
    with pytest.raises(RunError, match="data must be the same mnist .* got other images"):
        stored = RunConfig.from_dict({**part.to_dict(), "data_digest": "0" * 64}, tmp_path / "part")
        cross_validate(stored, data, resume=True)
    result = cross_validate(part, data, resume=True)
    assert digests(tmp_path / "part") == digests(tmp_path / "whole")
    record = json.loads((tmp_path / "part/cross-validation.json").read_text())
    assert record == json.loads(json.dumps(result.to_dict()))
    again = cross_validate(part, data, resume=True)  # nothing is trained anew
    assert again.to_dict() == result.to_dict()
    fewer = config(folder=tmp_path / "part", folds=2, class_weight="balanced")
    cross_validate(fewer, data, overwrite=True)
    assert len(list((tmp_path / "part").glob("fold-*/config.json"))) == 2
    longer = replace(fewer, settings=fewer.settings.change(epochs=2))
    assert cross_validate(longer, data, resume=True).rows != again.rows
    assert len((tmp_path / "part/fold-2/metrics.jsonl").read_text().splitlines()) == 2
    assert kernels.get_num_threads() == before


def test_a_single_training_takes_no_folds(data):
    with pytest.raises(RunError, match="folds must be None for a single training, got 3"):
        train(config(), Source(data, data))
    with pytest.raises(RunError, match="folds must be at least 2"):
        cross_validate(config(folds=None), data)
    with pytest.raises(ValueError, match="fold must be at most 3, the number of folds, got 4"):
        config(fold=4)


def test_the_command(idx_files, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--recipe", "fast", "--epochs", "1", "--train-size", "300", "--no-report"]
    command = ["train", "--data", str(idx_files), "--folds", "2", *options]
    assert main([*command, "--out", str(out), "--quiet"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    record = json.loads((out / "cross-validation.json").read_text())
    half = 100 * (record["interval"][1] - record["mean"])
    assert line == (
        f"Accuracy over 2 folds: {100 * record['mean']:.2f}% ± {half:.2f} (95 % interval of the "
        f"mean); {record['correct']} of 2000 images"
    )
    assert main(["train", "--resume", "--out", str(out), "--target-accuracy", "1"]) == 3
    printed = capsys.readouterr()
    assert f"Fold 2 of 2: {100 * record['rows'][1]['accuracy']:.2f}% (" in printed.out
    assert "mean accuracy is below the target of 100%" in printed.err
    # A fold is a run: it is measured on the images of its own.
    assert main(["evaluate", str(out / "fold-2"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["correct"] == record["rows"][1]["correct"]
    assert main(["train", "--resume", "--out", str(out / "fold-2"), "--no-report"]) == 0
    stored = RunConfig.read(RunFolder(out / "fold-2"))
    assert (stored.folds, stored.fold, len(stored.open().test)) == (2, 2, 1000)
