"""Running a recipe: data, training, evaluation and output files."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, cast

from lenet5c import kernels
from lenet5c.datasets import Source
from lenet5c.datasets.source import NAMES
from lenet5c.errors import MissingExtraError, RunError
from lenet5c.recipes.build import divide, make_schedule
from lenet5c.recipes.digests import data_digest
from lenet5c.recipes.distributed import compare_runs, compare_weights, resume_ranks
from lenet5c.recipes.executors import check_workers
from lenet5c.recipes.run_config import RunConfig
from lenet5c.recipes.run_summary import summarize
from lenet5c.recipes.start import fit_source, read_model_digest, take_net
from lenet5c.recipes.teacher_jobs import train_at_once
from lenet5c.recipes.teachers import run_teachers
from lenet5c.training import Evaluation, TrainedModel, Trainer, evaluate, open_model
from lenet5c.training.event_file import EventFile
from lenet5c.training.model_file import check_class_names
from lenet5c.training.orientation import warn_if_sideways
from lenet5c.training.parallel import ALONE, Ranks
from lenet5c.training.run_folder import RunFolder

Frame = Callable[[Source, TrainedModel], tuple[Source, list[str]]]


@dataclass(eq=False)
class Run:
    """A run and its results, see `train`.

    Attributes
    ----------
    config : RunConfig
    source : lenet5c.datasets.Source
    trainer : lenet5c.training.Trainer
    folder : lenet5c.training.run_folder.RunFolder or None
    summary : dict or None
        The results in summary.json; None if there is no folder or the run was interrupted.
    interrupted : bool
        True if `stop` ended the training; the folder contains a checkpoint to resume from.
    start : TrainedModel or None
        The model from which training started.
    rehearsed : lenet5c.datasets.Source or None
        The data mixed in to prevent forgetting.
    teacher : TrainedModel or None
        The model whose probabilities were the targets.
    """

    config: RunConfig
    source: Source
    trainer: Trainer
    folder: RunFolder | None = None
    summary: dict[str, Any] | None = None
    interrupted: bool = False
    start: TrainedModel | None = None
    rehearsed: Source | None = None
    teacher: TrainedModel | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        """Rows of the finished epochs."""
        return self.trainer.history

    @cached_property
    def trained(self) -> TrainedModel:
        """The model with its final (kept or averaged) weights."""
        # The checkpoint of a finished run does not contain the kept or averaged weights.
        if self.folder and self.summary:
            return open_model(self.folder.path)
        return cast(TrainedModel, self.trainer.trained)

    @cached_property
    def evaluation(self) -> Evaluation:
        """Evaluation of the model on the test images, computed on first use."""
        return evaluate(self.trained, self.source.test)

    @property
    def accuracy(self) -> float:
        """Test accuracy, 0 to 1."""
        return self.evaluation.accuracy


def train(
    config: RunConfig,
    source: Source | None = None,
    *,
    start: TrainedModel | None = None,
    frame: Frame | None = None,
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    on_message: Callable[[str], object] | None = None,
    on_start: Callable[[Trainer, RunConfig], object] | None = None,
    on_step: Callable[[Trainer, int], object] | None = None,
    on_epoch: Callable[[Trainer, dict[str, Any]], object] | None = None,
    stop: Callable[[], bool] | None = None,
    ranks: Ranks = ALONE,
    jobs: int = 1,
) -> Run:
    """Execute a run: load the data, build the trainer or resume, train, evaluate, save.

    Parameters
    ----------
    config : RunConfig
        Configuration; the files of the run are written to its folder, if any.
    source : lenet5c.datasets.Source, optional
        The data, if already in memory.
    start : TrainedModel, optional
        The initial model, if already in memory; only for a run without a folder.
    frame : callable, optional
        ``frame(source, start)`` converts pictures to the framing of the initial model and
        returns them with a list of notes. Called if that model reads ink and the data has whole
        pictures.
    resume : bool
        Resume from the checkpoint in the folder; the result has the same bytes as without an
        interruption. If the run is finished, its result is returned without training, and missing
        files are written. If the configuration has more epochs than the run in the folder, that run
        is extended; the result has the same bytes as a single run if the learning rate does not
        depend on the number of epochs, else the schedule continues as that of all epochs.
    overwrite : bool
        Replace an existing run in the folder.
    tensorboard : bool
        Also write a TensorBoard event file; a resumed run continues an existing one.
    on_message : callable, optional
        Called with lines of text about the data.
    on_start : callable, optional
        Called as ``on_start(trainer, config)`` before the first step, except for a finished run.
    on_step, on_epoch : callable, optional
        See `lenet5c.training.Trainer.run`.
    stop : callable, optional
        Called after each run of steps; if it returns True, a checkpoint is written and training
        stops. If it is a context manager, it is entered during training.
    ranks : lenet5c.training.parallel.Ranks
        Processes that all call this function with the same arguments to train together; the result
        has the same bytes as that of one process. Only the first one uses the folder.
    jobs : int
        Number of the recipe's teachers to train in parallel, each in a separate process; they share
        the threads, and `on_start`, `on_step` and `on_epoch` are called only for the net itself.
        A script then needs the guard ``if __name__ == "__main__":``.

    Returns
    -------
    Run

    Raises
    ------
    RunError
        If the folder cannot be used or is in use by another run, or the settings do not match the
        data or have changed.
    OSError
        If a file cannot be written; the last checkpoint stays intact.
    NonFiniteError
        If training failed.
    RankError
        If ranks have different data or weights.

    Examples
    --------
    >>> from lenet5c.recipes import RunConfig, train
    >>> run = train(RunConfig.named("fast", epochs=1, train_size=3000))
    >>> run.accuracy > 0.8, len(run.history)
    (True, 1)
    """
    began = time.perf_counter()
    if jobs != 1:
        jobs = check_workers(None, jobs) or 1
    if tensorboard:
        EventFile.check()
    saves = ranks.broadcast(config.folder is not None)
    if not ranks.first:
        config = replace(config, folder=None)
    with _threads(config.threads), ExitStack() as held:
        run = _open(config, source, start, frame, resume, overwrite, on_message, held, ranks)
        finished = resume_ranks(run, ranks)
        config, trainer, folder = run.config, run.trainer, run.folder
        resumed = trainer.steps_taken > 0 or (resume and config.settings.teachers > 0)
        events = _events(run, tensorboard, on_message)
        if finished:
            return run
        if config.settings.teachers:
            called: dict[str, Any] = {
                "on_start": on_start,
                "on_step": on_step,
                "on_epoch": on_epoch,
                "stop": stop,
            }
            alike: Any = partial(
                train, overwrite=overwrite, on_message=on_message, ranks=ranks, **called
            )
            rest, held_out = divide(config.settings, run.source, config.seed)
            images = replace(run.source, train=rest, validation=held_out)
            at_once = None
            if jobs > 1 and ranks.size == 1:
                at_once = partial(
                    train_at_once,
                    train=train,
                    jobs=jobs,
                    resume=resume,
                    on_message=on_message or (lambda line: None),
                    stop=stop,
                    overwrite=overwrite,
                )
            if not run_teachers(run, images, alike, resume, on_message, at_once):
                return run
        if on_start:
            on_start(trainer, config)

        def after_epoch(trainer: Trainer, row: dict[str, Any]) -> None:
            if config.watch_test:
                with trainer.weights_to_evaluate():
                    result = evaluate(
                        trainer.model, run.source.test, trainer.preparation, ranks=ranks
                    )
                row["test_accuracy"] = result.accuracy
            compare_weights(run, ranks)
            if folder:
                folder.save_checkpoint(trainer)
            if events:
                events.add(row)
            if on_epoch:
                on_epoch(trainer, row)

        stopping: Any = stop if hasattr(stop, "__enter__") else nullcontext()
        with stopping:
            done = trainer.run(on_step, after_epoch, stop)
            if not done and folder:
                folder.save_checkpoint(trainer)
        run.interrupted = not done
        if done and saves:
            summary = summarize(run, resumed, time.perf_counter() - began, ranks)
            if folder:
                folder.finish(run.trained, summary, trainer.history)
            run.summary = summary
    return run


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Set the number of threads, unless None."""
    before = kernels.get_num_threads()
    try:
        if count is not None:
            kernels.set_num_threads(count)
        yield
    finally:
        if count is not None:
            kernels.set_num_threads(before)


def _open(
    config: RunConfig,
    source: Source | None,
    start: TrainedModel | None,
    frame: Frame | None,
    resume: bool,
    overwrite: bool,
    on_message: Callable[[str], object] | None,
    held: ExitStack,
    ranks: Ranks = ALONE,
) -> Run:
    """Return a run that is ready to train, with its folder locked by `held`, or finished."""
    if source is None:
        source = config.open(on_message)
        if on_message and config.data not in NAMES and config.transpose is None:
            # This model does not apply to classes other than digits.
            warning = warn_if_sideways(open_model(), source.train)
            if warning:
                on_message(f"{config.data}: warning: {warning}")
    config = config.choose_recipe(source.train, on_message)
    start, teacher = start or config.open_start(), config.open_teacher()
    rehearsed = config.open_rehearsed(source, on_message)
    folder = None if config.folder is None else RunFolder(config.folder)
    with ThreadPoolExecutor(1) as pool:
        # In parallel, because hashlib releases the GIL.
        present = None if folder is None else pool.submit(data_digest, source, rehearsed)
        try:
            if start is not None:
                config = replace(config, settings=take_net(config.settings, start))
                source = _fit(source, start, config, frame, on_message)
            if folder is not None:  # report problems with saving before training
                check_class_names(source.train.class_names, source.train.num_classes)
                if start is not None:
                    config = replace(config, start_digest=read_model_digest(start))
                if teacher is not None:
                    config = replace(config, taught_by_digest=read_model_digest(teacher))
            more = rehearsed.train if rehearsed else None
            trainer, _ = config.build(source, start, more, teachers=[teacher] if teacher else ())
        except (ValueError, TypeError) as error:
            raise RunError(error) from None
        if present is not None:
            config = record_data(config, present.result())
    run = Run(config, source, trainer, folder, start=start, rehearsed=rehearsed, teacher=teacher)
    compare_runs(run, ranks)
    if folder is not None and resume:
        _resume(run, folder, on_message, held)
    elif folder is not None:
        held.enter_context(folder.lock(on_message))
        needed = ((start, folder.start_file), (teacher, folder.teacher_file))
        models = [(model.path, copy) for model, copy in needed if model and model.path]
        if overwrite and any(path in folder.files for path, _ in models):
            raise RunError(
                f"folder of a new run must not contain the initial model or the teacher, "
                f"got {folder.path}; choose another folder"
            )
        folder.create(config.to_dict(), overwrite)
        for path, copy in models:
            folder.keep(copy, path)
    return run


def record_data(config: RunConfig, present: str) -> RunConfig:
    """Return the configuration with the digest of its data; reject different data."""
    if (config.data_digest or present) != present:
        raise RunError(
            f"data must be the same {config.data} as at the start of the run in {config.folder}, "
            f"got other images or labels; start a new run"
        )
    return replace(config, data_digest=present)


def _fit(
    source: Source,
    start: TrainedModel,
    config: RunConfig,
    frame: Frame | None,
    on_message: Callable[[str], object] | None,
) -> Source:
    """Return the data in the framing of the initial model."""
    notes: list[str] = []
    if frame and config.reading is None and (source.reading, start.reading) == ("whole", "ink"):
        source, notes = frame(source, start)
    source, changed = fit_source(start, source)
    for note in (*notes, *changed):
        if on_message:
            on_message(f"{config.data}: {note}")
    return source


def _resume(
    run: Run, folder: RunFolder, on_message: Callable[[str], object] | None, held: ExitStack
) -> None:
    """Restore a run from its folder; extend the latter if it has fewer epochs."""
    config, trainer = run.config, run.trainer
    epochs = check_config(config, folder)
    longer = epochs < trainer.epochs
    finished = folder.read_summary() is not None and not longer
    if finished:
        folder.tidy()
    else:
        held.enter_context(folder.lock(on_message))
    if not folder.load_checkpoint(trainer) and not finished and folder.has_results():
        raise RunError(
            f"{folder.checkpoint_file} must exist to resume the run, got only its results; "
            f"restore it, or repeat the run in another folder: {config.command()} --out DIR"
        )
    if longer:
        if trainer.done:
            raise RunError(
                f"epochs must be {epochs}, because the run in {folder.path} was stopped by its "
                f"patience of "
                f"{trainer.patience} after epoch {trainer.epoch}, got {trainer.epochs}; use "
                f"another folder: lenet5c train --from {folder.path} --out DIR"
            )
        folder.lengthen(config.to_dict())
        before = make_schedule(replace(config.settings, epochs=epochs), trainer.steps_per_epoch)
        if on_message and before != trainer.schedule:
            on_message(
                f"The schedule {config.settings.schedule} continues as that of {trainer.epochs} "
                f"epochs; with {epochs}, previous learning rates were different."
            )
    # Checked again, because the holder of the lock may have finished the run.
    run.summary = folder.read_summary(trainer.history)
    if trainer.history:
        folder.write_metrics(trainer.history)


def check_config(config: RunConfig, folder: RunFolder) -> int:
    """Check that a folder contains the run of this configuration; return its number of epochs.

    The number of epochs may be smaller.
    """
    stored, given = folder.read_config(), config.to_dict()
    epochs = stored.get("epochs")
    if type(epochs) is int and 1 <= epochs < given["epochs"]:
        given["epochs"] = epochs
    for name in sorted((stored | given).keys() - {"lenet5c"}):  # may be another version
        if stored.get(name) != given.get(name):
            raise RunError(
                f"{folder.config_file} must have {name} {given.get(name)!r} to resume this run, "
                f"got {stored.get(name)!r}; choose another folder, or start a new run"
            )
    return int(given["epochs"])


def open_run(folder: RunFolder, source: Source) -> Run:
    """Load a finished run from its folder.

    Raises
    ------
    RunError
        If there is none, or one of its files is invalid.
    """
    config = RunConfig.read(folder)
    if folder.read_summary() is None:
        raise RunError(f"folder must contain a finished run, got {folder.path}")
    with ExitStack() as held:
        return _open(config, source, None, None, True, False, None, held)


def _events(
    run: Run, tensorboard: bool, on_message: Callable[[str], object] | None
) -> EventFile | None:
    """Return the TensorBoard event file of a run with its epochs so far, None if there is none."""
    if run.folder is None or not (tensorboard or run.folder.events_file.exists()):
        return None
    try:
        events = EventFile(run.folder.events_file)
    except MissingExtraError as error:
        if on_message:
            on_message(f"cannot continue {run.folder.events_file}: {error}")
        return None
    events.begin(run.history)
    return events
