"""Teachers of a recipe: nets trained first, whose probabilities are the targets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet5c.datasets import Dataset, Source
from lenet5c.errors import RunError
from lenet5c.training import TrainedModel, Trainer, temperature
from lenet5c.training.distillation import DistillationTargets
from lenet5c.training.run_folder import RunFolder

if TYPE_CHECKING:
    from lenet5c.recipes.recipe import Recipe
    from lenet5c.recipes.run import Run
    from lenet5c.recipes.run_config import RunConfig

#: Settings of distillation.
TEACHING = ("teaching_temperature", "teaching_weight")
#: Settings that a teacher shares with the student or does not have.
SHARED = (*("teachers", "teacher", *TEACHING), *("train_size", "validation", "split"))


def make_teacher_recipe(recipe: "Recipe") -> "Recipe":
    """Return the recipe of the teachers: that of the student with the changes in it.

    Raises
    ------
    ValueError
        If a change is unknown, out of range or not allowed.
    """
    for name in recipe.teacher:
        if name in SHARED:
            raise ValueError(f"teacher must not change {name}, which is shared with the student")
    untaught = replace(recipe, teachers=0, teacher={}, train_size=None)
    try:
        return untaught.change(**{"draws": 0} | recipe.teacher)
    except (TypeError, ValueError) as error:
        raise ValueError(f"teacher: {error}") from None


def draw_seed(seed: int, number: int) -> int:
    """Return the random seed of a teacher, numbered from 1, for the seed of a run."""
    return int(np.random.SeedSequence([seed, 8, number]).generate_state(1)[0])


def train_teachers(
    recipe: "Recipe", rest: Dataset, held_out: Dataset | None, seed: int
) -> list[TrainedModel]:
    """Train the teachers of a recipe on the images of the student, in memory."""
    source = Source(rest, rest, validation=held_out)
    teachers = []
    for number in range(1, recipe.teachers + 1):
        trainer, trained = make_teacher_recipe(recipe).build(source, draw_seed(seed, number))
        trainer.run()
        teachers.append(trained)
    return teachers


def run_teachers(
    run: "Run",
    images: Source,
    train: Callable[..., "Run"],
    resume: bool,
    on_message: Callable[[str], object] | None = None,
    at_once: Callable[..., list[TrainedModel] | None] | None = None,
) -> bool:
    """Train the teachers of a run, each as a separate run in a subfolder.

    Parameters
    ----------
    run : Run
        Run whose trainer receives the teachers; interrupted if one of them is.
    images : Source
        Training, validation and test images of the run.
    train : callable
        ``train(config, images, resume=...)`` executes a run.
    resume : bool
        Resume from the contents of the folders.
    on_message : callable, optional
        Called with a line of text for each teacher.
    at_once : callable, optional
        ``at_once(configs, images)`` carries out the runs of several at the same time.

    Returns
    -------
    bool
        True if all are trained.
    """
    config, recipe = run.config, run.config.settings
    alike = replace(config, folds=None, fold=None, watch_test=False, data_digest=None)
    numbers = range(1, recipe.teachers + 1)
    configs = [
        replace(
            alike,
            settings=make_teacher_recipe(recipe),
            seed=draw_seed(config.seed, number),
            folder=config.folder and config.folder / f"teacher-{number}",
        )
        for number in numbers
    ]
    if at_once is not None and recipe.teachers > 1:
        trained = at_once(configs, images)
        if trained is None:
            run.interrupted = True
            return False
        set_teachers(run.trainer, recipe, trained)
        return True
    teachers = []
    for number, of_teacher in zip(numbers, configs, strict=True):
        if on_message:
            on_message(f"Teacher {number} of {recipe.teachers}")
        folder = of_teacher.folder
        begun = folder is not None and RunFolder(folder).config_file.exists()
        made = train(of_teacher, images, resume=resume and begun)
        if made.interrupted:
            run.interrupted = True
            return False
        teachers.append(made.trained)
    set_teachers(run.trainer, recipe, teachers)
    return True


def set_teachers(trainer: Trainer, recipe: "Recipe", teachers: Sequence[TrainedModel]) -> None:
    """Set the targets of a trainer to the predictions of teachers.

    Raises
    ------
    ValueError, RunError
        See `DistillationTargets`.
    """
    try:
        trainer.targets = DistillationTargets(
            trainer.train_set,
            trainer.loss,
            trainer.batch_size,
            teachers,
            recipe.teaching_temperature,
            trainer.draws,
            share=recipe.teaching_weight,
            fit=trainer.preparation.fit,
        )
    except (ValueError, RunError) as error:
        name = "teachers" if recipe.teachers else "taught_by"
        raise type(error)(str(error).replace("teachers must", f"{name} must")) from None


def default_temperature(recipe: "Recipe") -> float:
    """Return the temperature of a distilled net, before one is fitted.

    A net that has learned probabilities at temperature T has the teachers' logits divided by T,
    unless its targets include labels.
    """
    if recipe.teaching_weight < 1:
        return 1.0
    return float(np.clip(1 / recipe.teaching_temperature, temperature.MINIMUM, temperature.MAXIMUM))


def check_teaching(changes: Mapping[str, Any], recipe: "Recipe", taught_by: object) -> None:
    """Raise a ValueError if settings of distillation are changed in a run without a teacher.

    Parameters
    ----------
    changes : mapping
    recipe : Recipe
        The recipe with the changes.
    taught_by : object
        The teacher model, or None.
    """
    if taught_by is not None or recipe.teachers:
        return
    for name in TEACHING:
        if name in changes:
            raise ValueError(
                f"{name} must be omitted without a teacher, got {changes[name]!r}; pass a teacher "
                "as taught_by (--taught-by MODEL), or train some with teachers (--teachers N)"
            )


def check_taught(config: "RunConfig") -> None:
    """Raise a ValueError for settings that are incompatible with a trained teacher."""
    if config.taught_by is None:
        if config.taught_by_digest is not None:
            raise ValueError(
                f"taught_by_digest must be None without taught_by, got {config.taught_by_digest!r}"
            )
        return
    recipe = config.settings
    mixup = (recipe.distortion or {}).get("mixup", 0.0)
    for name, value, rule in (
        (
            "folds",
            config.folds,
            "omitted with taught_by, a model that may have been trained on all of them",
        ),
        ("teachers", recipe.teachers, "0 with taught_by, the teacher"),
        ("label_smoothing", recipe.label_smoothing, "0 with taught_by, whose targets are soft"),
        ("mixup", mixup, "0 with taught_by"),
    ):
        if value:
            raise ValueError(f"{name} must be {rule}, got {value!r}")
