"""Hyperparameter search with Optuna, based on the validation accuracy."""

import csv
import io
import sys
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from lenet5c import _files
from lenet5c._optional import require
from lenet5c.datasets import Source
from lenet5c.errors import NonFiniteError, RunError, TrainingError
from lenet5c.recipes.executors import check_workers, open_executor
from lenet5c.recipes.jobs import Job, JobContext, JobStoppedError, Outcome, run_jobs
from lenet5c.recipes.run import data_digest
from lenet5c.recipes.run_config import RunConfig
from lenet5c.recipes.search_space import Space, check_space, default_space
from lenet5c.recipes.sweep import open_data
from lenet5c.recipes.worker_pool import SerialExecutor
from lenet5c.training import Trainer

RECORD, JOURNAL, BEST, TABLE = "tune.json", "study.journal", "best.json", "trials.csv"
STUDY, _WORKER = "lenet5c", ".worker-{}.lock"
_LOCK_SECONDS = 30  # after which the lock of a stalled process is broken


@dataclass(eq=False)
class Tuning:
    """Results of a search, see `tune`.

    Attributes
    ----------
    config : RunConfig
        Configuration with the best settings so far; None if no trial is finished.
    best : dict or None
        The best settings by name.
    accuracy : float or None
        Validation accuracy of the best settings.
    trials : list of dict
        Number, state, epochs, accuracy and settings of each trial.
    interrupted : bool
    """

    config: RunConfig | None
    best: dict[str, Any] | None
    accuracy: float | None
    trials: list[dict[str, Any]]
    interrupted: bool = False


def tune(
    config: RunConfig,
    space: Space | None = None,
    source: Source | None = None,
    *,
    trials: int = 50,
    on_message: Callable[[str], object] | None = None,
    on_trial: Callable[[dict[str, Any]], object] | None = None,
    on_start: Callable[[Trainer, RunConfig], object] | None = None,
    on_step: Callable[[Trainer, int], object] | None = None,
    stop: Callable[[], object] | None = None,
    executor: Executor | None = None,
    jobs: int | None = 1,
) -> Tuning:
    """Search for the settings of a run with the best validation accuracy.

    Trials are sampled by Optuna's tree-structured Parzen estimator. After each epoch, a trial below
    the median of the others at that epoch is pruned. Test images are not used.

    Parameters
    ----------
    config : RunConfig
        Common configuration of all trials. The study is written to its folder, if any; a later call
        with the same folder continues it. Several processes may use the same folder at the same
        time.
    space : mapping of str to Span or Options, optional
        Search space of each setting; default: `default_space`.
    source : Source, optional
        The data, if already in memory.
    trials : int
        Total number of finished trials in the study, including those of other processes.
    on_message : callable, optional
        Called with lines of text about the data.
    on_trial : callable, optional
        Called as ``on_trial(row)`` after each trial of this process, with its row of
        `Tuning.trials`.
    on_start, on_step
        See `train`; called in each trial of this process.
    stop : callable, optional
        See `train`; applies to all trials.
    executor : concurrent.futures.Executor, optional
    jobs : int, optional
        Executor and number of parallel trials, see `run_many`; by default one trial in this
        process. Trials are sampled based on those finished so far, so with parallel trials, the
        samples depend on their speed.

    Returns
    -------
    Tuning

    Raises
    ------
    RunError
        If the folder contains another search, there are no validation images, or a setting is out
        of range.
    TrainingError
        If a trial failed in another process.
    MissingExtraError
        If Optuna is not installed.
    """
    given, jobs = source, check_workers(executor, jobs)
    optuna = require("optuna", "tune", "hyperparameter searches")
    source = source or config.open(on_message)
    config = config.choose_recipe(source.train, on_message)
    space = default_space(config.settings) if space is None else space
    if config.settings.validation == 0 and source.validation is None:
        raise RunError("validation must be greater than 0 for trials, got 0; use --validation 0.1")
    check_space(config.settings, space)
    with ExitStack() as held:
        held.enter_context(_quiet(optuna))
        if config.folder is not None:
            config = _record(config, space, source)
        executor, slots = held.enter_context(open_executor(executor, jobs, trials))
        here = isinstance(executor, SerialExecutor)
        folder = config.folder
        if folder is None and not here:  # workers access the study by its file
            folder = Path(held.enter_context(TemporaryDirectory()))
        study, worker = _open_study(optuna, config, folder, held)
        result = Tuning(None, None, None, [])
        search = _Search(optuna, study, worker, config, space, trials, on_trial, result)
        if here:
            call = partial(_run, optuna, source=source, on_start=on_start, on_step=on_step)
            todo = (
                Job(str(each.number), call, (each, search.configure(each))) for each in search.ask()
            )
        else:
            shared = folder and folder.resolve(), study.pruner, given
            todo = (
                Job(str(each.number), _run_apart, (each._trial_id, search.configure(each), *shared))
                for each in search.ask()
            )
        done = run_jobs(todo, executor, search.end, slots=slots, folder=folder, stop=stop)
        result.interrupted = not done
        _finish(optuna, study, config, space, result)
    if search.error is not None:
        raise search.error
    return result


class _Search:
    """The trials of one call and their results."""

    def __init__(
        self,
        optuna: Any,
        study: Any,
        worker: str,
        config: RunConfig,
        space: Space,
        trials: int,
        on_trial: Callable[[dict[str, Any]], object] | None,
        result: Tuning,
    ) -> None:
        self.optuna, self.study, self.worker = optuna, study, worker
        self.config, self.space, self.trials = config, space, trials
        self.on_trial, self.result = on_trial, result
        self.error: Exception | None = None

    def ask(self) -> Iterator[Any]:
        """Yield the next trial while there are any to start."""
        while _count(self.optuna, self.study) < self.trials and self.error is None:
            trial = self.study.ask()
            trial.set_user_attr("worker", self.worker)
            yield trial

    def configure(self, trial: Any) -> RunConfig:
        """Return the configuration of a trial."""
        changes = {name: each.suggest(trial, name) for name, each in self.space.items()}
        try:
            settings = self.config.settings.change(**changes)
        except (ValueError, TypeError) as error:
            _give_back(self.optuna, self.study, trial.number)
            raise RunError(f"trial {trial.number}: {error}") from None
        return replace(self.config, settings=settings)

    def end(self, job: Job, outcome: Outcome) -> None:
        """Report the result of a trial to the study."""
        number = int(job.name)
        if outcome.state != "done":
            _give_back(self.optuna, self.study, number)
            if outcome.error is not None:
                error = outcome.error
                if isinstance(error, TrainingError):  # its worker died
                    text = f"trial {number} failed: {error}; run the same search again to repeat it"
                    error = TrainingError(text)
                self.error = self.error or error
            return
        if outcome.value is None:
            self.study.tell(number, state=self.optuna.trial.TrialState.PRUNED)
        else:
            self.study.tell(number, outcome.value)
        if self.on_trial:
            self.on_trial(_describe(self.study.trials[number]))


def _record(config: RunConfig, space: Space, source: Source) -> RunConfig:
    """Write the search space, or check that the folder has the same search."""
    folder = Path(config.folder or ".")
    config = replace(config, data_digest=data_digest(source))
    wanted = {"run": config.to_dict(), "space": {name: space[name].to_json() for name in space}}
    folder.mkdir(parents=True, exist_ok=True)
    try:
        found, _ = _files.read_record(folder / RECORD, "tuning")
    except FileNotFoundError:
        _files.write_record(folder / RECORD, "tuning", wanted)
        return config
    for part, here in wanted.items():
        there = found.get(part, {})
        if names := sorted(key for key in {*there, *here} if there.get(key) != here.get(key)):
            raise RunError(
                f"folder must be new or contain the same search, got {folder}, whose {part} "
                f"differs in {', '.join(names)}; choose another folder"
            )
    return config


def _open_storage(optuna: Any, folder: Path) -> Any:
    """Return the storage of the study in a folder."""
    journal = optuna.storages.journal
    # The lock is a link to the file. With a broken link, such as a relative one from the folder of
    # a study, other processes would wait forever if its process was killed.
    path = str((folder / JOURNAL).resolve())
    # On Windows, few users may create symbolic links.
    windows = sys.platform == "win32"
    kind = journal.JournalFileOpenLock if windows else journal.JournalFileSymlinkLock
    lock = kind(path, grace_period=_LOCK_SECONDS)
    return optuna.storages.JournalStorage(journal.JournalFileBackend(path, lock))


def _open_study(
    optuna: Any, config: RunConfig, folder: Path | None, held: ExitStack
) -> tuple[Any, str]:
    """Return the study and the name of this process in it; repeat trials of dead processes."""
    storage, worker = None, uuid.uuid4().hex
    if folder is not None:
        storage = _open_storage(optuna, folder)
        held.enter_context(_hold(folder / _WORKER.format(worker)))
    study = optuna.create_study(
        storage=storage, study_name=STUDY, direction="maximize", load_if_exists=True
    )
    if folder is not None:
        for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            other = trial.user_attrs.get("worker")
            if other and _is_gone(folder / _WORKER.format(other)):
                with suppress(ValueError, RuntimeError):  # another process was faster
                    _give_back(optuna, study, trial.number)
    study.sampler = _make_sampler(optuna, config.seed)
    epochs = config.settings.epochs
    study.pruner = optuna.pruners.MedianPruner(5, n_warmup_steps=max(1, epochs // 4))
    return study, worker


def _make_sampler(optuna: Any, seed: int) -> Any:
    """Return a tree-structured Parzen estimator whose draws depend only on seed and trial.

    Processes that start at the same time then draw different trials, and an interrupted search
    continues as it would have.
    """

    class ByTrial(optuna.samplers.BaseSampler):
        def __init__(self) -> None:
            self.drawn: tuple[int, Any] = (-1, None)

        def of(self, study: Any, trial: Any) -> Any:
            if self.drawn[0] != trial.number:
                # An interrupted trial is repeated under another number.
                failed = study.get_trials(False, (optuna.trial.TrialState.FAIL,))
                place = trial.number - sum(each.number < trial.number for each in failed)
                drawn = np.random.SeedSequence([seed, place]).generate_state(1)
                sampler = optuna.samplers.TPESampler(
                    seed=int(drawn[0]), multivariate=True, constant_liar=True
                )
                self.drawn = trial.number, sampler
            return self.drawn[1]

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            return self.of(study, trial).infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            return self.of(study, trial).sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
            return self.of(study, trial).sample_independent(study, trial, name, distribution)

    return ByTrial()


def _give_back(optuna: Any, study: Any, number: int) -> None:
    """End an interrupted trial and let the next one use its settings."""
    params = study.trials[number].params
    study.tell(number, state=optuna.trial.TrialState.FAIL)
    if params:
        study.enqueue_trial(params)


def _count(optuna: Any, study: Any) -> int:
    """Return the number of finished and running trials."""
    state = optuna.trial.TrialState
    return len(study.get_trials(False, (state.COMPLETE, state.PRUNED, state.RUNNING)))


def _run(
    optuna: Any,
    context: JobContext,
    trial: Any,
    config: RunConfig,
    *,
    source: Source,
    on_start: Callable[[Trainer, RunConfig], object] | None = None,
    on_step: Callable[[Trainer, int], object] | None = None,
) -> float | None:
    """Run a trial; return its validation accuracy, None if it is pruned.

    Raises
    ------
    JobStoppedError
        If it was asked to stop.
    """
    try:
        model, rehearsed = config.open_start(), config.open_rehearsed(source)
        trainer = config.build(source, model, rehearsed.train if rehearsed else None)[0]
    except (ValueError, TypeError) as error:
        raise RunError(f"trial {trial.number}: {error}") from None

    def after_epoch(_: Trainer, row: dict[str, Any]) -> None:
        trial.report(row["validation_accuracy"], row["epoch"])
        if trial.should_prune():
            raise optuna.TrialPruned

    if on_start:
        on_start(trainer, config)
    try:
        trainer.run(on_step, after_epoch, context.stopped)
    except (NonFiniteError, optuna.TrialPruned):
        return None
    if not trainer.done:
        raise JobStoppedError
    return float((trainer.kept_row or {})["validation_accuracy"])


def _run_apart(
    context: JobContext,
    trial_id: int,
    config: RunConfig,
    folder: Path,
    pruner: Any,
    source: Source | None,
) -> float | None:
    """Run a trial of the study in a folder, in another process than the search."""
    optuna = require("optuna", "tune", "hyperparameter searches")
    with _quiet(optuna):
        storage = _open_storage(optuna, folder)
        study = optuna.load_study(study_name=STUDY, storage=storage, pruner=pruner)
        trial = optuna.trial.Trial(study, trial_id)
        data = source or open_data(config, context.on_message)
        return _run(optuna, context, trial, config, source=data)


def _describe(trial: Any) -> dict[str, Any]:
    """Return the row of a frozen trial."""
    epochs = trial.intermediate_values
    value = trial.value if trial.value is not None else epochs.get(max(epochs, default=0))
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        "epochs": len(epochs),
        "validation_accuracy": value,
        **trial.params,
    }


def _finish(optuna: Any, study: Any, config: RunConfig, space: Space, result: Tuning) -> None:
    """Set the results and write them."""
    state = optuna.trial.TrialState
    result.trials = [
        _describe(trial) for trial in study.trials if trial.state not in (state.FAIL, state.WAITING)
    ]
    if any(row["state"] == "complete" for row in result.trials):
        best = study.best_trial
        result.best = {name: space[name].value(drawn) for name, drawn in best.params.items()}
        result.accuracy = best.value
        settings = config.settings.change(**result.best)
        result.config = replace(config, settings=settings, folder=None, data_digest=None)
    if config.folder is None:
        return
    if result.config is not None:
        _files.write_json(config.folder / BEST, result.config.changes())
    text = io.StringIO(newline="")
    names = list(dict.fromkeys(name for row in result.trials for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(result.trials)
    _files.write_bytes(config.folder / TABLE, text.getvalue().encode())


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Keep Optuna from writing to the terminal."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


@contextmanager
def _hold(path: Path) -> Iterator[None]:
    """Lock a file for the lifetime of this process, then remove it."""
    with _files.open_to_change(path) as file:
        _files.try_lock(file.fileno())
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()


def _is_gone(path: Path) -> bool:
    """Return True if the process that locked a file is dead, after removing the file."""
    if not path.exists():
        return True
    with _files.open_to_change(path) as file:
        if _files.try_lock(file.fileno()) is not True:
            return False
        with suppress(OSError):
            path.unlink()
    return True
