"""Robustness of a model: metrics on corrupted images, and comparison of models."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets import Dataset
from lenet5c.datasets.corruptions import CORRUPTIONS, corrupt
from lenet5c.datasets.mapped import blocks, take
from lenet5c.training.evaluation import evaluate
from lenet5c.training.matching import match_size
from lenet5c.training.model_file import TrainedModel
from lenet5c.training.statistics import McNemar, holm, mcnemar

#: Kind of uncorrupted images.
CLEAN = "none"


@dataclass(frozen=True, eq=False)
class Corrupted:
    """Metrics of a model on images corrupted in one way.

    Attributes
    ----------
    kind : str
        One of `lenet5c.datasets.corruptions.CORRUPTIONS`, or 'none' for uncorrupted images.
    severity : int
        1 to 5, or 0.
    correct : ndarray of bool, shape (N,)
        True if an image is predicted correctly.
    confidence, ece, nll : float
        Mean probability of the predictions, calibration error and negative log-likelihood.
    """

    kind: str
    severity: int
    correct: NDArray[np.bool_]
    confidence: float
    ece: float
    nll: float

    @property
    def error(self) -> float:
        """Fraction of misclassified images."""
        return 1 - float(self.correct.mean())


@dataclass(frozen=True, eq=False)
class Robustness:
    """Metrics of a model by kind of corruption and severity, see `measure_robustness`.

    Attributes
    ----------
    clean : Corrupted
        Metrics on uncorrupted images.
    rows : tuple of Corrupted
    """

    clean: Corrupted
    rows: tuple[Corrupted, ...]

    @property
    def mean_error(self) -> float:
        """Mean corruption error, without dividing by the errors of a baseline."""
        return float(np.mean([row.error for row in self.rows]))

    @property
    def mean_ece(self) -> float:
        """Mean of the expected calibration errors."""
        return float(np.mean([row.ece for row in self.rows]))

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of corruption, in order."""
        return tuple(dict.fromkeys(row.kind for row in self.rows))

    @cached_property
    def severities(self) -> tuple[int, ...]:
        """Severities, in order."""
        return tuple(dict.fromkeys(row.severity for row in self.rows))

    def compare(self, other: "Robustness") -> list[tuple[McNemar, float]]:
        """Compare each row with that of another model on the same images.

        Returns
        -------
        list of (McNemar, float)
            Tests with p-values adjusted by `holm` for the number of rows.
        """
        pairs = zip(self.rows, other.rows, strict=True)
        tests = [mcnemar(a.correct, b.correct) for a, b in pairs]
        return list(zip(tests, holm([test.p_value for test in tests]), strict=True))


def measure_robustness(
    trained: TrainedModel,
    dataset: Dataset,
    *,
    severities: Sequence[int] = (3,),
    kinds: Sequence[str] = CORRUPTIONS,
    max_images: int = 10_000,
    seed: int = 0,
    others: Sequence[tuple[TrainedModel, Dataset]] = (),
    on_kind: Callable[[str, int], object] | None = None,
) -> list[Robustness]:
    """Evaluate models on corrupted images.

    Parameters
    ----------
    trained : TrainedModel
    dataset : lenet5c.datasets.Dataset
        Data set with the classes and image shape of the model.
    severities : sequence of int
        1 to 5.
    kinds : sequence of str
        Kinds in `lenet5c.datasets.corruptions.CORRUPTIONS`.
    max_images : int
        Maximum number of images, chosen by the seed.
    seed : int
        Random seed of the corruptions.
    others : sequence of (TrainedModel, Dataset)
        Models to evaluate on the same images, resized if necessary, each with the same data set
        with its classes.
    on_kind : callable, optional
        Called as ``on_kind(kind, severity)`` after each corruption.

    Returns
    -------
    list of Robustness
        Results of the model and of each of the others.

    Raises
    ------
    RunError
        If an output of a model is not finite.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.training import measure_robustness, open_model
    >>> _, test = mnist()
    >>> (found,) = measure_robustness(open_model(), test, kinds=["fog", "rotate"], max_images=500)
    >>> [(row.kind, row.severity) for row in found.rows]
    [('fog', 3), ('rotate', 3)]
    >>> found.clean.error < found.mean_error
    True
    """
    for name, chosen in (("severities", severities), ("kinds", kinds)):
        if len(chosen) == 0:
            raise ValueError(f"{name} must have at least one value, got none")
    index = np.arange(len(dataset))
    if len(dataset) > max_images:
        index = np.sort(np.random.default_rng([seed, 8]).choice(index, max_images, replace=False))
    images = np.concatenate(list(blocks(take(dataset.images, index))))
    models = [(trained, dataset), *others]
    labels = [each.labels[index] for _, each in models]

    def measure(kind: str, severity: int, made: NDArray[np.uint8]) -> list[Corrupted]:
        rows = []
        for (model, data), own in zip(models, labels, strict=True):
            fitted, _ = match_size(model, made)
            part = Dataset(fitted, own, data.num_classes, class_names=data.class_names)
            result = evaluate(model, part)
            sure = float(result.confidences.mean(dtype=np.float64))
            rows.append(Corrupted(kind, severity, result.right, sure, result.ece, result.nll))
        return rows

    clean = measure(CLEAN, 0, images)
    table: list[list[Corrupted]] = []
    for kind in kinds:
        for severity in severities:
            table.append(measure(kind, severity, corrupt(images, kind, severity, seed)))
            if on_kind:
                on_kind(kind, severity)
    return [
        Robustness(first, tuple(rows))
        for first, rows in zip(clean, zip(*table, strict=True), strict=True)
    ]
