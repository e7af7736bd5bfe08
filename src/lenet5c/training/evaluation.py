"""Evaluation of a model on a data set."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets import Dataset, Preparation
from lenet5c.datasets.mapped import take
from lenet5c.nn import CrossEntropyLoss, Sequential, softmax
from lenet5c.training.confusion import ClassScores, class_scores, confusion_matrix
from lenet5c.training.model_file import TrainedModel, check_outputs, compute_outputs, scale_logits
from lenet5c.training.notebook import show_evaluation
from lenet5c.training.parallel import ALONE, Ranks
from lenet5c.training.ranking import Rejections, reject_by_confidence, roc_areas
from lenet5c.training.reliability import (
    BINS,
    Reliability,
    brier_score,
    measure_reliability,
    negative_log_likelihood,
)

#: Number of images whose loss is computed at once.
BLOCK = 1 << 16


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predictions of a model for a data set, and metrics derived from them; see `evaluate`.

    Attributes
    ----------
    labels, predictions : ndarray of int, shape (N,)
        True and predicted label of each image.
    probabilities : ndarray of float32, shape (N, K)
        Predicted probability of each class, at the model's temperature.
    loss : float
        Mean loss of the outputs; not affected by the temperature.
    class_names : tuple of str
        Class names of the data set.
    """

    labels: NDArray[np.integer]
    predictions: NDArray[np.integer]
    probabilities: NDArray[np.float32]
    loss: float
    class_names: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Number of images."""
        return len(self.labels)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Correctness of each prediction, bool of shape (N,)."""
        return self.labels == self.predictions

    @property
    def correct(self) -> int:
        """Number of correctly predicted images."""
        return int(self.right.sum())

    @property
    def accuracy(self) -> float:
        """Fraction of correct predictions, 0 to 1."""
        return self.correct / self.count

    @property
    def confidences(self) -> NDArray[np.float32]:
        """Probability of each prediction, shape (N,)."""
        return self.probabilities[np.arange(self.count), self.predictions]

    @cached_property
    def nll(self) -> float:
        """Mean negative log-likelihood of the true labels, by `probabilities`."""
        return negative_log_likelihood(self.probabilities, self.labels)

    @cached_property
    def brier(self) -> float:
        """Brier score, summed over the classes: 0 to 2."""
        return brier_score(self.probabilities, self.labels)

    def reliability(self, bins: int = BINS, equal: str = "width") -> Reliability:
        """Return confidence and accuracy in bins, see `measure_reliability`."""
        return measure_reliability(self.confidences, self.right, bins, equal)

    @cached_property
    def ece(self) -> float:
        """Expected calibration error, in 15 bins of equal width."""
        return self.reliability().ece

    @cached_property
    def rejections(self) -> Rejections:
        """Error rate as a function of rejections, by `confidences`."""
        return reject_by_confidence(self.confidences, self.right)

    @cached_property
    def areas(self) -> NDArray[np.float64]:
        """Area under the ROC curve of each class versus the rest (K,), NaN if undefined."""
        return roc_areas(self.probabilities, self.labels)

    @property
    def auc(self) -> float:
        """Mean of `areas` over the classes for which it is defined; NaN if there are none."""
        defined = self.areas[~np.isnan(self.areas)]
        return float(defined.mean()) if len(defined) else float("nan")

    @cached_property
    def matrix(self) -> NDArray[np.int64]:
        """The `confusion_matrix`, shape (K, K)."""
        return confusion_matrix(self.labels, self.predictions, self.probabilities.shape[1])

    @property
    def scores(self) -> ClassScores:
        """Precision, recall and F1 score of each class."""
        return class_scores(self.matrix)

    def worst(self, max_images: int | None = None) -> NDArray[np.intp]:
        """Return the indices of up to `max_images` misclassified images, most confident first."""
        wrong = np.flatnonzero(~self.right)
        return wrong[np.argsort(-self.confidences[wrong], kind="stable")][:max_images]

    def __str__(self) -> str:
        """Return the accuracy as text, such as 99.65% (9965/10000)."""
        return f"{100 * self.accuracy:.2f}% ({self.correct}/{self.count})"

    _repr_html_ = show_evaluation


def evaluate(
    model: TrainedModel | Sequential,
    dataset: Dataset,
    preparation: Preparation | None = None,
    loss: Any = None,
    ranks: Ranks = ALONE,
) -> Evaluation:
    """Evaluate a model on a data set.

    Parameters
    ----------
    model : TrainedModel or lenet5c.nn.Sequential
    dataset : lenet5c.datasets.Dataset
        Data set with the classes of the model.
    preparation : lenet5c.datasets.Preparation, optional
        Required for a `Sequential`; a `TrainedModel` has its own. Images that already have its size
        are not resized.
    loss : CrossEntropyLoss, MSELoss, MLELoss or MAPLoss, optional
        Loss, which uses the soft `targets` and `sample_weight` of the data set, if any. By default,
        cross-entropy of the labels with equal weights, like the accuracy.
    ranks : lenet5c.training.parallel.Ranks
        Processes that all call this, and compute a part of the outputs each.

    Returns
    -------
    Evaluation

    Raises
    ------
    RunError
        An output of the model is not a finite number.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.training import evaluate, open_model
    >>> _, test = mnist()
    >>> result = evaluate(open_model(), test)
    >>> print(result)
    99.65% (9965/10000)
    >>> result.worst(3)
    array([9729, 3422, 5654])
    """
    temperature = 1.0
    if isinstance(model, TrainedModel):
        preparation, temperature = model.preparation, model.temperature
        model = model.model
    if preparation is None:
        raise TypeError("preparation must be passed for a model without one, got None")
    given, weight = loss, None
    target: NDArray[Any] = dataset.labels
    if given:
        target = dataset.labels if dataset.targets is None else dataset.targets
        weight = dataset.sample_weight
    loss = given or CrossEntropyLoss()
    count = len(dataset)
    predictions, probabilities = np.empty(count, np.int64), np.empty((count, 0), np.float32)
    losses, totals = [], []
    for start in range(0, count, BLOCK):
        block = slice(start, min(start + BLOCK, count))
        outputs = compute_outputs(model, preparation, take(dataset.images, block), ranks)
        check_outputs(outputs)
        logits = model.logits(outputs)
        if start == 0:
            probabilities = np.empty((count, logits.shape[1]), np.float32)
        predictions[block] = logits.argmax(axis=1)
        softmax(scale_logits(logits, temperature), out=probabilities[block])
        values = outputs if given else logits
        part = target[block], None if weight is None else weight[block]
        losses.append(loss.value(values, *part))
        totals.append(loss.total_weight(part[0], values.shape, part[1]))
    # The loss of a single block is not changed by rounding.
    mean = losses[0] if len(losses) == 1 else float(np.average(losses, weights=totals))
    return Evaluation(dataset.labels, predictions, probabilities, mean, dataset.class_names)
