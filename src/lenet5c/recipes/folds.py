"""Cross-validation: runs of a configuration, each tested on another fold of the data."""

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import lenet5c
from lenet5c import _files
from lenet5c.datasets import Dataset, Source
from lenet5c.datasets.folds import assign_folds, take_fold
from lenet5c.errors import RunError, TrainingError
from lenet5c.recipes.executors import check_workers, open_executor
from lenet5c.recipes.jobs import Job, Outcome, run_jobs
from lenet5c.recipes.run import Run, check_config, data_digest, record_data, train
from lenet5c.recipes.sweep import train_job
from lenet5c.recipes.sweep_bar import SweepBar
from lenet5c.recipes.worker_pool import SerialExecutor
from lenet5c.training import Evaluation, MeanInterval, mean_interval
from lenet5c.training.run_folder import RunFolder

if TYPE_CHECKING:
    from lenet5c.recipes.run_config import RunConfig

RECORD = "cross-validation.json"


@dataclass(eq=False)
class CrossValidation:
    """Results of all folds, see `cross_validate`.

    Attributes
    ----------
    config : RunConfig
    dataset : lenet5c.datasets.Dataset
        The images that were divided into folds.
    rows : list of dict
        For each finished fold: its number from 1, correct, count, accuracy and loss.
    evaluation : lenet5c.training.Evaluation or None
        Predictions for all images in the order of `dataset`, each by the model that was not trained
        on it; None if interrupted.
    interrupted : bool
        True if `stop` ended the runs.
    stopped : Run or None
        The interrupted run, if it was in this process.
    """

    config: "RunConfig"
    dataset: Dataset
    rows: list[dict[str, Any]]
    evaluation: Evaluation | None = None
    interrupted: bool = False
    stopped: Run | None = None

    @property
    def matrix(self) -> NDArray[np.int64]:
        """Confusion matrix of all images, (K, K)."""
        return self._whole.matrix

    @property
    def interval(self) -> MeanInterval:
        """Mean and Student's interval of the accuracies of the folds, from 0 to 1."""
        return mean_interval([row["accuracy"] for row in self.rows])

    def to_dict(self) -> dict[str, Any]:
        """Return the results for JSON, as fractions from 0 to 1, with null for undefined values."""
        whole, over = self._whole, self.interval
        scores = whole.scores
        return {
            "folds": len(self.rows),
            "mean": over.mean,
            "sd": over.sd,
            "interval": [over.low, over.high],
            "correct": whole.correct,
            "count": whole.count,
            "loss": whole.loss if isfinite(whole.loss) else None,
            "classes": [
                {
                    "name": name,
                    "count": int(scores.count[i]),
                    "recall": float(scores.recall[i]) if scores.count[i] else None,
                }
                for i, name in enumerate(self.dataset.class_names)
            ],
            "rows": self.rows,
            "recipe": self.config.recipe,
            "seed": self.config.seed,
            "lenet5c": lenet5c.__version__,
        }

    @property
    def _whole(self) -> Evaluation:
        if self.evaluation is None:
            raise ValueError("all folds must be finished, got an interrupted cross-validation")
        return self.evaluation


def cross_validate(
    config: "RunConfig",
    source: Source | Dataset | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    executor: Executor | None = None,
    jobs: int | None = 1,
    progress: bool = False,
    on_fold: Callable[[Run], object] | None = None,
    stop: Callable[[], object] | None = None,
    **options: Any,
) -> CrossValidation:
    """Train once for each of ``config.folds`` folds, on the images of all other folds.

    The folds are determined by the seed and stratified: each has the same fraction of every class,
    to within one image. They divide all images of undivided data, or else the training images;
    validation images are held out from the training images of each run as usual.

    Parameters
    ----------
    config : RunConfig
        Configuration with `folds` of at least 2. Its folder receives a folder ``fold-1``, ... for
        each run, and the results in cross-validation.json; nothing is written if it is None.
    source : lenet5c.datasets.Source or Dataset, optional
        The data, if already in memory; the training images of a Source.
    resume : bool
        Continue from the contents of the folder; the result has the same bytes as without an
        interruption.
    overwrite : bool
        Replace the contents of the folder.
    executor : concurrent.futures.Executor, optional
    jobs : int, optional
        Executor and number of parallel runs, see `run_many`; by default one run in this process.
    progress : bool
        Show a bar for the epochs of all runs, if they are in other processes.
    on_fold : callable, optional
        Called as ``on_fold(run)`` after each finished run.
    stop : callable, optional
        See `train`; applies to all runs.
    **options
        Other arguments of `train` for each run, such as `on_message`. Callbacks during a run, such
        as `on_epoch`, are only supported for runs in this process.

    Returns
    -------
    CrossValidation

    Raises
    ------
    RunError, OSError, NonFiniteError
        See `train`; also if a class has only one image.
    TrainingError
        If a fold has failed in another process; all others are finished.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.recipes import RunConfig, cross_validate
    >>> data = mnist()[0].take(range(1200))
    >>> result = cross_validate(RunConfig.named("fast", folds=3), data)
    >>> [row["count"] for row in result.rows], result.evaluation.count
    ([400, 400, 400], 1200)
    >>> result.interval.low < result.interval.mean > 0.8
    True
    """
    count = config.folds
    if count is None:
        raise RunError("folds must be at least 2 to cross-validate, got None")
    jobs = check_workers(executor, jobs)
    given: Source | None = source if isinstance(source, Source) else None
    if source is None:
        source = config.open_whole(options.get("on_message"))
    elif isinstance(source, Dataset):
        given = source = Source(source, source)
    config = config.choose_recipe(source.train, options.get("on_message"))
    if config.folder is not None:
        config = record_data(config, data_digest(source))
    result = CrossValidation(config, source.train, [])
    folds = assign_folds(source.train, count, config.seed)
    work = _Folds(result, source, folds, given, options, on_fold)
    with ExitStack() as held:
        if config.folder is not None:
            _open_folder(config, resume, overwrite, held, options.get("on_message"))
        executor, slots = held.enter_context(open_executor(executor, jobs, count))
        if isinstance(executor, SerialExecutor):
            call, stop, work.here = partial(work.train, stop=stop), None, True
            todo = (Job(str(fold), call, (fold,)) for fold in work.left())
        else:
            if config.folder is None:
                work.folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
            todo = (Job(str(fold), train_job, work.arguments(fold)) for fold in work.left())
            work.bar = SweepBar([work.configure(fold) for fold in range(1, count + 1)], progress)
            held.callback(work.bar.close)
        done = run_jobs(
            todo,
            executor,
            work.end,
            slots=slots,
            folder=work.folder,
            on_message=options.get("on_message"),
            poll=work.bar.look if work.bar else None,
            stop=stop,
        )
        result.interrupted = result.interrupted or not done
        work.finish()
    return result


class _Folds:
    """The runs of a cross-validation and their results."""

    def __init__(
        self,
        result: CrossValidation,
        source: Source,
        folds: NDArray[np.int64],
        given: Source | None,
        options: dict[str, Any],
        on_fold: Callable[[Run], object] | None,
    ) -> None:
        self.result, self.source, self.folds = result, source, folds
        self.given, self.options, self.on_fold = given, options, on_fold
        self.folder, self.here = result.config.folder, False
        self.evaluations: dict[int, Evaluation] = {}
        self.failed: dict[int, Exception] = {}
        self.bar: SweepBar | None = None

    def left(self) -> Iterator[int]:
        """Yield the numbers of the folds until interrupted or until one fails in this process."""
        for fold in range(1, (self.result.config.folds or 0) + 1):
            if self.result.interrupted:
                return
            if self.bar:
                self.bar.begin(fold - 1)
            yield fold

    def configure(self, fold: int) -> "RunConfig":
        """Return the configuration of a fold."""
        path = None if self.folder is None else (self.folder / f"fold-{fold}").resolve()
        return replace(self.result.config, fold=fold, folder=path, data_digest=None)

    def train(self, context: object, fold: int, stop: Any = None) -> Run:
        """Run a fold in this process, or return its finished run."""
        config = self.configure(fold)
        resume = config.folder is not None and RunFolder(config.folder).config_file.exists()
        part = take_fold(self.source, self.folds, fold)
        return train(config, part, resume=resume, stop=stop, **self.options)

    def arguments(self, fold: int) -> tuple[Any, ...]:
        """Return the job arguments of a fold; data with a name is read by the worker."""
        part = None if self.given is None else take_fold(self.given, self.folds, fold)
        names = ("frame", "tensorboard")
        kept = {name: self.options[name] for name in names if name in self.options}
        return self.configure(fold), part, kept

    def end(self, job: Job, outcome: Outcome) -> None:
        """Store the result of a fold."""
        fold, error = int(job.name), outcome.error
        if error is not None and self.here:  # the next one would probably fail as well
            raise error
        if outcome.state == "stopped":
            return
        run = None
        if error is None:  # the result of a run in another process is read
            run = outcome.value or self.train(None, fold)
            if run.interrupted:
                self.result.interrupted, self.result.stopped = True, run
                return
            self.evaluations[fold] = run.evaluation
        if self.bar:
            self.bar.end(fold - 1, failed=run is None)
        with self.bar.above() if self.bar else nullcontext():
            if run is not None and self.on_fold:
                self.on_fold(run)
            elif error is not None:
                self.failed[fold] = error
                if on_message := self.options.get("on_message"):
                    on_message(f"Fold {fold} failed: {error}")

    def finish(self) -> None:
        """Combine and write the results; raise a TrainingError if a fold has failed."""
        result = self.result
        result.rows = [_describe(fold, self.evaluations[fold]) for fold in sorted(self.evaluations)]
        if self.failed:
            fold = min(self.failed)
            raise TrainingError(
                f"fold {fold} failed: {self.failed[fold]}; finished folds are kept in "
                f"{result.config.folder}: fix the error and resume there"
            )
        if result.interrupted:
            return
        every = [self.evaluations[fold] for fold in sorted(self.evaluations)]
        result.evaluation = _join(self.source.train, self.folds, every)
        if result.config.folder is not None:
            _files.write_json(result.config.folder / RECORD, result.to_dict())


def _open_folder(
    config: "RunConfig",
    resume: bool,
    overwrite: bool,
    held: ExitStack,
    on_message: Callable[[str], object] | None,
) -> None:
    """Lock the folder of all runs and write its configuration, or check that it is the same."""
    folder = RunFolder(config.folder or Path())
    if resume:
        check_config(config, folder)
    held.enter_context(folder.lock(on_message, (RECORD,)))
    if resume:
        if check_config(config, folder) < config.settings.epochs:
            folder.lengthen(config.to_dict())
        return
    if overwrite:  # including additional folds of the previous run
        (folder.path / RECORD).unlink(missing_ok=True)
        of_folds = "fold-*", "fold-*/teacher-*"
        for path in (path for each in of_folds for path in folder.path.glob(each)):
            for file in reversed(RunFolder(path).files):
                file.unlink(missing_ok=True)
    folder.create(config.to_dict(), overwrite)


def _describe(fold: int, result: Evaluation) -> dict[str, Any]:
    return {
        "fold": fold,
        "correct": result.correct,
        "count": result.count,
        "accuracy": result.accuracy,
        "loss": result.loss if isfinite(result.loss) else None,
    }


def _join(dataset: Dataset, folds: NDArray[np.int64], evaluations: list[Evaluation]) -> Evaluation:
    """Combine the evaluations of all folds, in the order of the data set."""
    predictions = np.empty(len(dataset), np.int64)
    probabilities = np.empty((len(dataset), dataset.num_classes), np.float32)
    for fold, result in enumerate(evaluations, 1):
        predictions[folds == fold] = result.predictions
        probabilities[folds == fold] = result.probabilities
    losses, counts = zip(*((each.loss, each.count) for each in evaluations), strict=True)
    loss = float(np.average(losses, weights=counts))
    return Evaluation(dataset.labels, predictions, probabilities, loss, dataset.class_names)
