"""Which images a model takes for what: the confusion matrix, and what follows from it."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lenet5c.errors import RunError
from lenet5c.nn import CrossEntropyLoss, softmax


def confusion_matrix(labels, predictions, num_classes):
    """Count how often each class is taken for each.

    Parameters
    ----------
    labels, predictions : array_like of int, shape (N,)
        The given and the predicted class of each image, 0 to `num_classes` - 1.
    num_classes : int

    Returns
    -------
    ndarray of int64, shape (num_classes, num_classes)
        Rows are given classes, columns predicted ones.

    Raises
    ------
    ValueError
        The arguments are not of the same length, not integers, or out of range.

    Examples
    --------
    >>> from lenet5c.training import confusion_matrix
    >>> confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1], 2)
    array([[1, 1],
           [0, 2]])
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    for name, classes in (("labels", labels), ("predictions", predictions)):
        if classes.ndim != 1 or (classes.size and classes.dtype.kind not in "iu"):
            raise ValueError(
                f"{name} is {classes.dtype} {classes.shape}; it should be a row of integers"
            )
        if classes.size and not 0 <= classes.min() <= classes.max() < num_classes:
            raise ValueError(
                f"{name} runs from {classes.min()} to {classes.max()}; it should lie in 0 to {num_classes - 1}"
            )
    if len(labels) != len(predictions):
        raise ValueError(
            f"labels has {len(labels)} images, predictions {len(predictions)}; both should have all"
        )
    cells = labels.astype(np.int64) * num_classes + predictions.astype(np.int64)
    return (
        np.bincount(cells, minlength=num_classes**2)
        .reshape(num_classes, num_classes)
        .astype(np.int64)
    )


@dataclass(frozen=True, eq=False)
class ClassScores:
    """How well each class is recognised; made by `class_scores`.

    Attributes
    ----------
    precision : ndarray of float64, shape (K,)
        Of the images that were taken for the class, the share that are of it; 0 if there are none.
    recall : ndarray of float64, shape (K,)
        Of the images of the class, the share that were taken for it; 0 if there are none.
    f1 : ndarray of float64, shape (K,)
        The harmonic mean of both.
    count : ndarray of int64, shape (K,)
        Images of the class.
    predicted : ndarray of int64, shape (K,)
        Images that were taken for it.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    count: np.ndarray
    predicted: np.ndarray

    @property
    def macro(self):
        """(precision, recall, f1), the means over the classes that are given or predicted at least once."""
        seen = (self.count > 0) | (self.predicted > 0)
        return tuple(
            float(values[seen].mean()) for values in (self.precision, self.recall, self.f1)
        )


def class_scores(matrix):
    """Precision, recall and F1 score of each class, from a confusion matrix.

    Parameters
    ----------
    matrix : ndarray of int (K, K)
        As `confusion_matrix` has it, with at least one image.

    Returns
    -------
    ClassScores

    Examples
    --------
    >>> from lenet5c.training import class_scores, confusion_matrix
    >>> scores = class_scores(confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1], 2))
    >>> scores.recall, scores.f1.round(3)
    (array([0.5, 1. ]), array([0.667, 0.8  ]))
    """
    right, count, predicted = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return ClassScores(
        precision=right / np.maximum(predicted, 1),
        recall=right / np.maximum(count, 1),
        f1=2 * right / np.maximum(count + predicted, 1),
        count=count,
        predicted=predicted,
    )


def confused_pairs(matrix, most=None):
    """The mistakes by class, the most frequent first.

    Parameters
    ----------
    matrix : ndarray of int (K, K)
        As `confusion_matrix` has it.
    most : int, optional
        How many to return; all if not given.

    Returns
    -------
    list of (int, int, int)
        Given class, predicted class, and how many images; at equal numbers in the order of the classes.

    Examples
    --------
    >>> from lenet5c.training import confused_pairs, confusion_matrix
    >>> confused_pairs(confusion_matrix([0, 0, 1, 2], [0, 1, 2, 1], 3))
    [(0, 1, 1), (1, 2, 1), (2, 1, 1)]
    """
    wrong = np.array(matrix)
    np.fill_diagonal(wrong, 0)
    given, predicted = np.nonzero(wrong)
    order = np.argsort(-wrong[given, predicted], kind="stable")[:most]
    return [(int(given[i]), int(predicted[i]), int(wrong[given[i], predicted[i]])) for i in order]


@dataclass(frozen=True, eq=False)
class Classification:
    """What a model says of each image of a data set; made by `classify`.

    Attributes
    ----------
    labels, predictions : ndarray of int, shape (N,)
        The given and the predicted class.
    confidences : ndarray of float32, shape (N,)
        The probability that the model gives to its prediction.
    num_classes : int
    loss : float
        Mean cross-entropy.
    """

    labels: np.ndarray
    predictions: np.ndarray
    confidences: np.ndarray
    num_classes: int
    loss: float

    @property
    def count(self):
        return len(self.labels)

    @property
    def correct(self):
        return int((self.labels == self.predictions).sum())

    @property
    def accuracy(self):
        """0 to 1."""
        return self.correct / self.count

    @cached_property
    def matrix(self):
        """The `confusion_matrix`."""
        return confusion_matrix(self.labels, self.predictions, self.num_classes)

    def worst(self, most=None):
        """Indices of the wrong images, the one whose wrong class the model is surest of first. ndarray of int."""
        wrong = np.flatnonzero(self.labels != self.predictions)
        return wrong[np.argsort(-self.confidences[wrong], kind="stable")][:most]


def classify(trained, dataset):
    """Ask a model about every image of a data set.

    Parameters
    ----------
    trained : TrainedModel
    dataset : lenet5c.datasets.Dataset
        Its classes are the model's.

    Returns
    -------
    Classification

    Raises
    ------
    RunError
        What the model says is no finite number.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.training import classify, pretrained
    >>> _, test = mnist()
    >>> result = classify(pretrained(), test)
    >>> result.correct, result.worst(3)
    (9958, array([3422, 9729, 2654]))
    """
    logits = trained.logits(dataset.images)
    if broken := int((~np.isfinite(logits)).any(axis=1).sum()):
        raise RunError(
            f"the model's outputs are no finite numbers for {broken} of {len(logits)} images; its weights are damaged, "
            f"or its training had gone wrong: use another model"
        )
    loss, _ = CrossEntropyLoss()(logits, dataset.labels)
    predictions = logits.argmax(axis=1)
    confidences = softmax(logits)[np.arange(len(logits)), predictions]
    return Classification(dataset.labels, predictions, confidences, logits.shape[1], float(loss))
