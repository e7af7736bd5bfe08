"""Distillation: targets for each augmented image; resumed runs have the same files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lenet5c
from lenet5c import reference
from lenet5c.datasets import Preparation, Source
from lenet5c.errors import RunError
from lenet5c.recipes import RunConfig, train
from lenet5c.recipes.config_file import read_config_file
from lenet5c.recipes.placement import place
from lenet5c.training import make_ensemble, open_model, save_model
from lenet5c.training.distillation import DistillationTargets

SMALL = {"epochs": 2, "channels": (4, 8), "units": (20,), "validation": 0}


@pytest.fixture(scope="module")
def few(mnist_slice):
    train_set, test = mnist_slice
    return Source(train_set.take(range(600)), test.take(range(200)))


@pytest.fixture(scope="module")
def teacher(few):
    """Return an ensemble of two small, briefly trained nets."""
    made = [lenet5c.trainer("fast", few, seed, **SMALL) for seed in (0, 1)]
    for each in made:
        each.run()
    return make_ensemble([each.trained for each in made])


@pytest.fixture(scope="module")
def teacher_file(teacher, tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "pair.safetensors"
    save_model(path, teacher)
    return path


def augmented(trainer, index):
    """Return pixels of the trainer's images as its net sees them in this epoch, before scaling."""
    plain = Preparation(trainer.preparation.size, std=1 / 255)
    return plain.samples(trainer.train_set.images, index, trainer.epoch_distortion()).values()


def expected_targets(trainer, teacher, pixels, temperature, weight, index):
    """Compute targets by the definition, in float64."""
    values = pixels * teacher.preparation.scale + teacher.preparation.offset(1)
    logits = teacher.model.logits(teacher.model.forward(values.astype(np.float32)))
    said = reference.softmax(logits.astype(np.float64) / temperature)
    return weight * said + (1 - weight) * np.eye(10)[trainer.train_set.labels[index]]


@pytest.mark.parametrize("distortion", [None, "modern"])
@pytest.mark.parametrize(("temperature", "weight"), [(1, 1), (3, 0.25)])
def test_targets_are_what_the_teacher_says(few, teacher, distortion, temperature, weight):
    settings = {"temperature": temperature, "weight": weight, "distortion": distortion}
    trainer = lenet5c.distill(teacher, "fast", few, **settings, **SMALL)
    index = np.array([5, 0, 599, 17, 30, 31, 32])
    seen = []
    for _ in range(2):
        found, weights = trainer.targets.for_steps(index, trainer.epoch_distortion())
        pixels = augmented(trainer, index)
        wanted = expected_targets(trainer, teacher, pixels, temperature, weight, index)
        assert weights is None
        np.testing.assert_allclose(found, wanted, atol=1e-5)
        seen.append(found)
        trainer.epoch += 1
    assert np.array_equal(*seen) == (distortion is None)


def test_a_teacher_of_a_larger_input_sees_the_image_padded(few):
    """The model in the package takes 32 by 32 pixels, the net here 28 by 28."""
    trainer = lenet5c.distill("best", "fast", few, temperature=2, distortion="modern", **SMALL)
    index = np.arange(40)
    found, _ = trainer.targets.for_steps(index, trainer.epoch_distortion())
    pixels = np.pad(augmented(trainer, index), ((0, 0), (0, 0), (2, 2), (2, 2)))
    wanted = expected_targets(trainer, open_model(), pixels, 2, 1, index)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_teacher_of_a_smaller_input_sees_it_cropped(few, teacher):
    settings = {**SMALL, "distortion": "modern"}
    trainer = lenet5c.distill(teacher, "default", few, temperature=2, **settings)
    index = np.arange(40)
    found, _ = trainer.targets.for_steps(index, trainer.epoch_distortion())
    pixels = augmented(trainer, index)[:, :, 2:30, 2:30]
    wanted = expected_targets(trainer, teacher, pixels, 2, 1, index)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_net_learns_without_labels(few):
    """The labels are wrong, and have no weight."""
    wrong = replace(few.train, labels=(few.train.labels + 1) % 10)
    settings = SMALL | {"epochs": 6}
    trainer = lenet5c.distill("best", "fast", Source(wrong, few.test), **settings)
    trainer.run()
    assert (trainer.trained.predict(few.test.images) == few.test.labels).mean() > 0.6


def test_the_temperature_is_that_of_the_teacher_s_logits(few):
    """Without images to fit it on, a net that learned logits / 4 has the temperature 1/4."""
    made = lenet5c.distill("best", "fast", few, temperature=4, **SMALL)
    assert made.trained.temperature == 0.25 and made.loss.label_smoothing == 0
    mixed = lenet5c.distill("best", "fast", few, temperature=4, weight=0.5, **SMALL)
    tuned = lenet5c.distill("best", data=few, start="best", epochs=1, validation=0)
    assert mixed.trained.temperature == tuned.trained.temperature == 1


def test_a_checkpoint_is_of_its_teacher(few, teacher, tmp_path):
    make = lambda model: lenet5c.distill(model, "fast", few, **SMALL)  # noqa: E731
    trainer = make(teacher)
    trainer.save(tmp_path / "checkpoint")
    make(teacher).load(tmp_path / "checkpoint")
    with pytest.raises(RunError, match="must come from a training with teachers"):
        make("best").load(tmp_path / "checkpoint")


def config(teacher_file, folder, **changes):
    settings = SMALL | {"distortion": "modern", "epochs": 3, "data": "mnist"} | changes
    return RunConfig.named("fast", taught_by=teacher_file, folder=folder, **settings)


def test_a_stopped_run_resumes_to_the_same_bytes(few, teacher_file, tmp_path, monkeypatch):
    whole = train(config(teacher_file, tmp_path / "whole"), few)
    assert whole.config.taught_by == str(teacher_file) and whole.teacher is not None
    assert 0 < whole.summary["teacher_test_accuracy"] < 1 and "teacher_p_value" in whole.summary
    steps = iter(range(100))
    monkeypatch.setattr(lenet5c.training.Trainer, "stretch_seconds", 0.0)
    stop = lambda: next(steps) == 13  # noqa: E731  # in the second epoch
    stopped = train(config(teacher_file, tmp_path / "stopped"), few, stop=stop)
    assert stopped.interrupted and stopped.trainer.step > 0
    monkeypatch.undo()
    again = RunConfig.read(lenet5c.training.run_folder.RunFolder(tmp_path / "stopped"))
    train(replace(again, threads=1), few, resume=True)
    for name in ("model.safetensors", "checkpoint.safetensors", "metrics.jsonl"):
        assert (tmp_path / "stopped" / name).read_bytes() == (
            tmp_path / "whole" / name
        ).read_bytes()


def test_a_missing_or_changed_teacher_is_told(few, teacher_file, tmp_path):
    own = tmp_path / "own.safetensors"
    own.write_bytes(teacher_file.read_bytes())
    folder = tmp_path / "run"
    begun = train(config(own, folder), few, stop=lambda: True)
    assert begun.interrupted
    copy = folder / "teacher.safetensors"
    assert copy.read_bytes() == own.read_bytes()
    stored = json.loads((folder / "config.json").read_text())
    assert stored["taught_by"] == str(own) and len(stored["taught_by_digest"]) == 64
    own.unlink()  # the run has a copy
    resumed = train(RunConfig.read(begun.folder), few, resume=True, stop=lambda: True)
    assert resumed.interrupted
    save_model(copy, open_model())
    with pytest.raises(
        RunError, match="taught_by must be the model with which the run in .* started"
    ):
        train(RunConfig.read(begun.folder), few, resume=True)
    copy.unlink()
    with pytest.raises(RunError, match=r"own\.safetensors, which does not exist"):
        train(RunConfig.read(begun.folder), few, resume=True)


def test_a_run_is_repeated_from_its_configuration(few, teacher_file, tmp_path):
    first = train(config(teacher_file, tmp_path / "first", epochs=1), few)
    assert f" --taught-by {teacher_file} " in first.config.command()
    again = read_config_file(tmp_path / "first" / "config.json", folder=tmp_path / "again")
    train(replace(again, data_digest=None), few)
    digests = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "again")]
    assert digests[0] == digests[1]


def test_runs_of_another_teacher_are_other_runs(teacher_file, tmp_path):
    """Their folders in a sweep are named by the digest of the teacher's file, too."""
    own = tmp_path / "own.safetensors"
    own.write_bytes(teacher_file.read_bytes())
    named = [place([config(own, None)], tmp_path)[0].folder for _ in range(2)]
    save_model(own, open_model())
    other = place([config(own, None)], tmp_path)[0].folder
    assert named[0] == named[1] != other


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_smoothing": 0.1}, "label_smoothing must be 0 with taught_by"),
        ({"folds": 3}, "folds must be omitted with taught_by"),
        ({"distortion": "pictures-mixup"}, "mixup must be 0 with taught_by"),
        ({"teachers": 2}, "teachers must be 0 with taught_by"),
        ({"teaching_weight": 0}, "teaching_weight must be a number greater than 0 and at most 1"),
        ({"teaching_temperature": 0}, "teaching_temperature must be a number greater than 0"),
        ({"taught_by": Path("none")}, "none, which does not exist"),
        ({"taught_by": "signs"}, "taught_by must have the classes"),
        (
            {"input_size": 40, "fit": "resize"},
            r"taught_by must have the input size of the student, \(1, 40, 40\)",
        ),
        ({"loss": "mse", "loss_settings": {}}, None),
    ],
)
def test_what_does_not_go_with_a_teacher(few, teacher_file, changes, message):
    settings = {"taught_by": teacher_file} | SMALL | changes
    make = lambda: lenet5c.trainer("fast", few, **settings)  # noqa: E731
    if message is None:
        assert isinstance(make().targets, DistillationTargets)
        return
    with pytest.raises((ValueError, RunError), match=message):
        make()


def test_a_net_of_penalties_cannot_be_taught(few, teacher_file):
    with pytest.raises(ValueError, match="loss must be CrossEntropyLoss or MSELoss"):
        lenet5c.distill(teacher_file, "paper1998", few, epochs=1, validation=0)


def test_an_ensemble_is_no_model_to_start_from(few, teacher):
    with pytest.raises(ValueError, match="start must be a single net, got an Ensemble of 2 LeNet5"):
        lenet5c.trainer(data=few, start=teacher)
