"""Teachers that a recipe trains first, whose probabilities are the targets."""

import hashlib
from itertools import count

import numpy as np
import pytest

from lenet5c import kernels
from lenet5c.datasets import Source
from lenet5c.errors import NonFiniteError, RunError
from lenet5c.recipes import RunConfig, cross_validate, recipe, train, trainer
from lenet5c.recipes.run import open_run
from lenet5c.recipes.teacher_jobs import default_jobs
from lenet5c.recipes.teachers import draw_seed
from lenet5c.training import open_model
from lenet5c.training.distillation import DistillationTargets
from lenet5c.training.loss_terms import describe_loss
from lenet5c.training.run_folder import RunFolder

TAUGHT = {
    "epochs": 2,
    "channels": [2, 4],
    "units": [12],
    "teachers": 2,
    "teacher": {"channels": [3, 6], "epochs": 1},
    "draws": 2,
}


@pytest.fixture
def source(mnist_slice):
    train_set, test = mnist_slice
    return Source(train_set.take(range(600)), test.take(range(200)))


def digests(folder):
    files = [*sorted(folder.rglob("model.safetensors")), folder / "checkpoint.safetensors"]
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def stop_at(call):
    """Return a function that returns True at the call with this number."""
    calls = count(1)
    return lambda: next(calls) == call


def test_a_run_is_taught_by_nets_of_its_own(source, tmp_path):
    config = RunConfig.named("best", seed=3, folder=tmp_path, **TAUGHT)
    lines, begun = [], []
    run = train(
        config,
        source,
        on_message=lines.append,
        on_start=lambda trainer, config: begun.append(config),
    )
    teachers = [open_model(tmp_path / f"teacher-{number}") for number in (1, 2)]
    assert [each.model.config["channels"] for each in teachers] == [[3, 6], [3, 6]]
    assert [each.seed for each in begun] == [draw_seed(3, 1), draw_seed(3, 2), 3]
    assert lines == ["Teacher 1 of 2", "Teacher 2 of 2"]
    targets = run.trainer.targets
    assert isinstance(targets, DistillationTargets)
    assert [each.model.vector.tolist() for each in targets.teachers] == [
        each.model.vector.tolist() for each in teachers
    ]
    assert targets.temperature == 4 and len(targets.drawn) == 2
    assert "soft targets" in describe_loss(run.trainer)
    again = trainer("best", source, seed=3, **TAUGHT)  # in memory
    again.run()
    assert again.model.vector.tobytes() == run.trained.model.vector.tobytes()


@pytest.mark.parametrize("stops", [[1], [2, 1, 2], [3], [2, 2, 1]])
def test_an_interrupted_run_resumes_to_the_same_bytes(source, tmp_path, stops):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(RunConfig.named("best", folder=whole, **TAUGHT), source)
    config = RunConfig.named("best", folder=parts, **TAUGHT)
    for number, call in enumerate(stops):
        run = train(config, source, resume=number > 0, stop=stop_at(call))
        assert run.interrupted and run.summary is None
    run = train(config, source, resume=True)
    assert digests(parts) == digests(whole) and run.summary["resumed"]
    opened = open_run(RunFolder(parts), source)
    assert (opened.evaluation.predictions == run.evaluation.predictions).all()


def test_teachers_see_the_images_that_the_net_is_trained_on(source, tmp_path):
    config = RunConfig.named("best", folder=tmp_path, validation=50, **TAUGHT)
    run = train(config, source)
    assert len(run.trainer.train_set) == 550
    rows = [RunFolder(tmp_path / f"teacher-{number}").read_summary() for number in (1, 2)]
    assert [row["validation_count"] for row in rows] == [50, 50]


def test_teachers_trained_at_the_same_time_are_the_same(source, tmp_path):
    train(RunConfig.named("best", folder=tmp_path / "one", **TAUGHT), source)
    lines = []
    run = train(
        RunConfig.named("best", folder=tmp_path / "two", **TAUGHT),
        source,
        on_message=lines.append,
        jobs=2,
    )
    assert digests(tmp_path / "two") == digests(tmp_path / "one")
    assert lines[0] == "2 teachers, 2 at a time"
    assert sorted(lines[1:]) == ["Teacher 1 of 2 is trained", "Teacher 2 of 2 is trained"]
    in_memory = train(RunConfig.named("best", **TAUGHT), source, jobs=2)
    assert in_memory.trained.model.vector.tobytes() == run.trained.model.vector.tobytes()


def test_teachers_stopped_at_the_same_time_go_on(source, tmp_path):
    train(RunConfig.named("best", folder=tmp_path / "one", **TAUGHT), source)
    config = RunConfig.named("best", folder=tmp_path / "two", **TAUGHT)
    stopped = train(config, source, stop=lambda: True, jobs=2)
    assert stopped.interrupted and not (tmp_path / "two" / "model.safetensors").exists()
    train(config, source, resume=True, jobs=2)
    assert digests(tmp_path / "two") == digests(tmp_path / "one")


def test_a_teacher_that_fails_elsewhere_ends_the_run(source, tmp_path):
    settings = TAUGHT | {"teacher": {"epochs": 1, "optimizer": "sgd", "lr": 1e30}}
    with pytest.raises(NonFiniteError):
        train(RunConfig.named("best", folder=tmp_path, **settings), source, jobs=2)
    with pytest.raises(ValueError, match="jobs must be an integer of at least 1, or None, got 0"):
        train(RunConfig.named("fast"), source, jobs=0)


@pytest.mark.parametrize(
    "threads, batch, jobs", [(2, 64, 1), (8, 64, 2), (64, 64, 5), (64, 1024, 4), (3, 16, 3)]
)
def test_as_many_at_a_time_as_do_not_take_threads_away(monkeypatch, threads, batch, jobs):
    monkeypatch.setattr(kernels, "get_num_threads", lambda: threads)
    assert default_jobs(recipe("best", teachers=5, batch_size=batch)) == jobs


def test_other_teachers_are_not_mixed_in(source, tmp_path):
    train(RunConfig.named("best", folder=tmp_path, **TAUGHT), source)
    other = RunConfig.named("best", folder=tmp_path, seed=1, **TAUGHT)
    with pytest.raises(RunError, match="which already holds a run"):
        train(other, source)
    train(other, source, overwrite=True)
    train(RunConfig.named("best", folder=tmp_path / "new", seed=1, **TAUGHT), source)
    assert (
        digests(tmp_path)["teacher-1/model.safetensors"]
        == (digests(tmp_path / "new")["teacher-1/model.safetensors"])
    )


def test_folds_have_teachers_of_their_own(source, tmp_path):
    few = TAUGHT | {"teachers": 1, "epochs": 1, "folds": 2}
    cross_validate(RunConfig.named("best", folder=tmp_path, **few), source)
    first, second = (open_model(tmp_path / f"fold-{fold}/teacher-1") for fold in (1, 2))
    assert not np.array_equal(first.model.vector, second.model.vector)
    result = cross_validate(
        RunConfig.named("best", folder=tmp_path, seed=1, **few), source, overwrite=True
    )
    assert len(result.rows) == 2


@pytest.mark.parametrize("name, value", [("teaching_temperature", 4), ("teaching_weight", 0.5)])
def test_what_only_a_teacher_would_use_is_refused_without_one(name, value):
    for make in (RunConfig.named, trainer):
        with pytest.raises(
            ValueError, match=f"{name} must be omitted without a teacher, got {value}"
        ):
            make("fast", **{name: value})
    assert RunConfig.named("best", teachers=1, **{name: value}).get(name) == value
    taught = RunConfig.named("fast", taught_by="best", **{name: value})
    assert taught.get(name) == value


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"label_smoothing": 0.1}, "label_smoothing must be 0 with teachers"),
        ({"distortion": "pictures-mixup"}, "teachers must be 0 with mixup, got 2"),
        ({"net": "lenet5_1998", "loss": "mle"}, "teachers must be 0 with the loss mle"),
        ({"teacher": {"chanels": [3, 6]}}, "teacher: changes must be .* did you mean channels"),
        ({"teacher": {"epochs": 0}}, "teacher: epochs must be an integer"),
        ({"teacher": {"teachers": 1}}, "teacher must not change teachers"),
        ({"teacher": {"validation": 0.1}}, "teacher must not change validation"),
        ({"teaching_temperature": 0.0}, "teaching_temperature must be a number greater than 0"),
    ],
)
def test_settings_that_do_not_fit(changes, message):
    with pytest.raises(ValueError, match=message):
        recipe("best", teachers=2).change(**changes)


def test_a_model_to_start_from_is_not_taught(source):
    with pytest.raises(ValueError, match="teachers must be 0 with an initial model, got 1"):
        trainer("finetune", source, start="best", teachers=1)


def test_the_command_repeats_the_run():
    config = RunConfig.named("best", teachers=2, teacher={"channels": [3, 6], "lr": 0.01})
    assert config.command() == (
        "lenet5c train --recipe best --seed 0 --teachers 2 --teacher 'channels=[3,6]' lr=0.01"
    )
    assert RunConfig.from_dict(config.to_dict()) == config
