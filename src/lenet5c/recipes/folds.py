"""Cross-validation: the runs of a configuration, each measured on another fold of the data."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import lenet5c
from lenet5c import _files
from lenet5c.datasets import Dataset, Source
from lenet5c.datasets.folds import assign_folds, take_fold
from lenet5c.errors import RunError
from lenet5c.recipes.run import Run, check_config, data_digest, record_data, train
from lenet5c.training import Evaluation, MeanInterval, mean_interval
from lenet5c.training.run_folder import RunFolder

if TYPE_CHECKING:
    from lenet5c.recipes.run_config import RunConfig

RECORD = "cross-validation.json"


@dataclass(eq=False)
class CrossValidation:
    """The results of all folds; made by `cross_validate`.

    Attributes
    ----------
    config : RunConfig
    dataset : lenet5c.datasets.Dataset
        The images that were divided into folds.
    rows : list of dict
        Of each finished fold: its number from 1, correct, count, accuracy and loss.
    evaluation : lenet5c.training.Evaluation or None
        The predictions for all images in the order of `dataset`, each by the model that was not
        trained on it; None if the runs were interrupted.
    interrupted : Run or None
        The run that `stop` ended.
    """

    config: "RunConfig"
    dataset: Dataset
    rows: list[dict[str, Any]]
    evaluation: Evaluation | None = None
    interrupted: Run | None = None

    @property
    def matrix(self) -> NDArray[np.int64]:
        """Confusion matrix of all images, (K, K)."""
        return self._whole.matrix

    @property
    def interval(self) -> MeanInterval:
        """Mean and Student's interval of the accuracies of the folds, from 0 to 1."""
        return mean_interval([row["accuracy"] for row in self.rows])

    def to_dict(self) -> dict[str, Any]:
        """Return the results for JSON: shares from 0 to 1, null for what is not defined."""
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
    on_fold: Callable[[Run], object] | None = None,
    **options: Any,
) -> CrossValidation:
    """Train once for each of ``config.folds`` folds, on the images of all others.

    The folds are stratified and follow from the seed: each has the same share of every class, to
    within one image. They are of all images where the data is not divided into parts, otherwise of
    the training images; images to validate are held out of the rest of each run as of any other.

    Parameters
    ----------
    config : RunConfig
        With `folds`, at least 2. Its folder gets a folder ``fold-1``, ... for each run, and the
        results in cross-validation.json; without one nothing is written.
    source : lenet5c.datasets.Source or Dataset, optional
        The data, where they are in memory already; of a Source the training images.
    resume : bool
        Go on from what is in the folder, to the same bytes as without a stop.
    overwrite : bool
        Replace what is in the folder.
    on_fold : callable, optional
        ``on_fold(run)`` after each finished run.
    **options
        Further arguments of `train`, for each run, such as `tell`, `on_epoch` or `stop`.

    Returns
    -------
    CrossValidation

    Raises
    ------
    RunError, OSError, NonFiniteError
        As of `train`; also if a class has a single image.

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
    if source is None:
        source = config.open_whole(options.get("tell"))
    elif isinstance(source, Dataset):
        source = Source(source, source)
    config = config.choose_recipe(source.train, options.get("tell"))
    if config.folder is not None:
        config = record_data(config, data_digest(source))
    result = CrossValidation(config, source.train, [])
    folds = assign_folds(source.train, count, config.seed)
    evaluations = []
    with ExitStack() as held:
        if config.folder is not None:
            _open_folder(config, resume, overwrite, held, options.get("tell"))
        for fold in range(1, count + 1):
            path = None if config.folder is None else config.folder / f"fold-{fold}"
            of_fold = replace(config, fold=fold, folder=path, data_digest=None)
            run = train(
                of_fold,
                take_fold(source, folds, fold),
                resume=path is not None and RunFolder(path).config_file.exists(),
                **options,
            )
            if run.interrupted:
                result.interrupted = run
                return result
            evaluations.append(run.evaluation)
            result.rows.append(_describe(fold, run.evaluation))
            if on_fold:
                on_fold(run)
        result.evaluation = _join(source.train, folds, evaluations)
        if config.folder is not None:
            _files.write_json(config.folder / RECORD, result.to_dict())
    return result


def _open_folder(
    config: "RunConfig",
    resume: bool,
    overwrite: bool,
    held: ExitStack,
    tell: Callable[[str], object] | None,
) -> None:
    """Lock the folder of all runs, and write its configuration, or see that it is the same."""
    folder = RunFolder(config.folder or Path())
    if resume:
        check_config(config, folder)
    held.enter_context(folder.lock(tell, (RECORD,)))
    if resume:
        if check_config(config, folder) < config.settings.epochs:
            folder.lengthen(config.to_dict())
        return
    if overwrite:  # all folds, which may have been more
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
    """Return the evaluations of all folds as one, in the order of the data set."""
    predictions = np.empty(len(dataset), np.int64)
    probabilities = np.empty((len(dataset), dataset.num_classes), np.float32)
    for fold, result in enumerate(evaluations, 1):
        predictions[folds == fold] = result.predictions
        probabilities[folds == fold] = result.probabilities
    losses, counts = zip(*((each.loss, each.count) for each in evaluations), strict=True)
    loss = float(np.average(losses, weights=counts))
    return Evaluation(dataset.labels, predictions, probabilities, loss, dataset.class_names)
