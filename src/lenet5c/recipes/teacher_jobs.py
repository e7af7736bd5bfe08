"""Concurrent training of teachers, each in its own process."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet5c import kernels
from lenet5c.datasets import Source
from lenet5c.recipes.executors import open_executor
from lenet5c.recipes.jobs import Job, JobContext, JobStoppedError, Outcome, run_jobs
from lenet5c.training import TrainedModel, open_model
from lenet5c.training.run_folder import RunFolder

if TYPE_CHECKING:
    from lenet5c.recipes.recipe import Recipe
    from lenet5c.recipes.run import Run
    from lenet5c.recipes.run_config import RunConfig

# Samples per shard of a batch, and the maximum number of shards.
PART, PARTS = 16, 16


def default_jobs(recipe: "Recipe") -> int:
    """Return the number of teachers that can train concurrently without competing for threads.

    It is at least 1. A single training uses at most one thread per shard of its batch.
    """
    useful = min(-(-recipe.batch_size // PART), PARTS)
    return max(1, min(recipe.teachers, kernels.get_num_threads() // useful))


def train_at_once(
    configs: Sequence["RunConfig"],
    images: Source,
    train: Callable[..., "Run"],
    jobs: int,
    resume: bool,
    on_message: Callable[[str], object],
    stop: Callable[[], object] | None = None,
    **options: Any,
) -> list[TrainedModel] | None:
    """Train several teachers concurrently and return their models in order.

    Parameters
    ----------
    configs : sequence of RunConfig
        Runs of the teachers, all with folders or all without.
    images : Source
        Training images of all teachers.
    train : callable
        The function `lenet5c.recipes.train`.
    jobs : int
        Number of teachers to train concurrently; they share the threads of this process.
    resume : bool
        Resume from the contents of the folders.
    on_message : callable
        Called with a line of text when a teacher ends.
    stop : callable, optional
        Stop request, as in `run_jobs`.
    **options
        Further arguments of `train`.

    Returns
    -------
    list of TrainedModel or None
        The models, or None if `stop` ended the work.

    Raises
    ------
    RunError, OSError, NonFiniteError, TrainingError
        If a teacher failed; the others have saved checkpoints.
    """
    count, stopped = len(configs), False

    def end(job: Job, outcome: Outcome) -> None:
        nonlocal stopped
        if outcome.error is not None:
            raise outcome.error
        if outcome.state == "stopped":
            stopped = True
        else:
            on_message(f"Teacher {job.name} of {count} is trained")

    with ExitStack() as held:
        if configs[0].folder is None:
            files = Path(held.enter_context(tempfile.TemporaryDirectory()))
            configs = [
                replace(config, folder=files / str(number)) for number, config in enumerate(configs)
            ]
        executor, slots = held.enter_context(open_executor(None, jobs, count))
        on_message(f"{count} teachers, {slots} at a time")
        configs = [
            replace(config, folder=Path(config.folder or "").resolve()) for config in configs
        ]
        todo = [
            Job(str(number), _train_teacher, (train, config, images, resume, options))
            for number, config in enumerate(configs, 1)
        ]
        done = run_jobs(todo, executor, end, slots=slots, stop=stop)
        if stopped or not done:
            return None
        return [open_model(config.folder or "") for config in configs]


def _train_teacher(
    context: JobContext,
    train: Callable[..., "Run"],
    config: "RunConfig",
    images: Source,
    resume: bool,
    options: dict[str, Any],
) -> None:
    """Train a teacher in a worker."""
    begun = RunFolder(config.folder or "").config_file.exists()
    made = train(config, images, resume=resume and begun, stop=context.stopped, **options)
    if made.interrupted:
        raise JobStoppedError
