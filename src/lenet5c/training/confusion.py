"""Confusion matrix and scores derived from it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


def confusion_matrix(
    labels: ArrayLike, predictions: ArrayLike, num_classes: int
) -> NDArray[np.int64]:
    """Count images by true label and predicted label.

    Parameters
    ----------
    labels, predictions : array_like of int, shape (N,)
        True and predicted label of each image, 0 to `num_classes` - 1.
    num_classes : int

    Returns
    -------
    ndarray of int64, shape (num_classes, num_classes)
        Rows are true labels, columns are predicted labels.

    Raises
    ------
    ValueError
        If the arguments differ in length, are not integers, or are out of range.

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
                f"{name} must be integers of shape (N,), got {classes.dtype} {classes.shape}"
            )
        if classes.size and not 0 <= classes.min() <= classes.max() < num_classes:
            raise ValueError(
                f"{name} must be from 0 to {num_classes - 1}, got {classes.min()} to "
                f"{classes.max()}"
            )
    if len(labels) != len(predictions):
        raise ValueError(
            f"predictions must have one value for each of {len(labels)} labels, got "
            f"{len(predictions)}"
        )
    cells = labels.astype(np.int64) * num_classes + predictions.astype(np.int64)
    matrix = np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
    return matrix.astype(np.int64)


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Precision, recall and F1 score of each class, see `class_scores`.

    Attributes
    ----------
    precision : ndarray of float64, shape (K,)
        Fraction of images with this predicted label that have this true label; 0 if there are none.
    recall : ndarray of float64, shape (K,)
        Fraction of images with this true label that have this predicted label; 0 if there are none.
    f1 : ndarray of float64, shape (K,)
        Harmonic mean of precision and recall.
    count : ndarray of int64, shape (K,)
        Number of images with this true label.
    predicted : ndarray of int64, shape (K,)
        Number of images with this predicted label.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]
    count: NDArray[np.int64]
    predicted: NDArray[np.int64]

    @property
    def macro(self) -> tuple[float, float, float]:
        """Means (precision, recall, f1) over the classes that occur as label or prediction."""
        seen = (self.count > 0) | (self.predicted > 0)
        precision, recall, f1 = (
            float(values[seen].mean()) for values in (self.precision, self.recall, self.f1)
        )
        return precision, recall, f1


def class_scores(matrix: NDArray[np.integer]) -> ClassScores:
    """Return precision, recall and F1 score of each class.

    Parameters
    ----------
    matrix : ndarray of int (K, K)
        A `confusion_matrix` of at least one image.

    Examples
    --------
    >>> from lenet5c.training import class_scores, confusion_matrix
    >>> scores = class_scores(confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1], 2))
    >>> scores.recall, scores.f1.round(3)
    (array([0.5, 1. ]), array([0.667, 0.8  ]))
    """
    correct, count, predicted = np.diagonal(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return ClassScores(
        precision=correct / np.maximum(predicted, 1),
        recall=correct / np.maximum(count, 1),
        f1=2 * correct / np.maximum(count + predicted, 1),
        count=count,
        predicted=predicted,
    )


def confused_pairs(
    matrix: NDArray[np.integer], max_pairs: int | None = None
) -> list[tuple[int, int, int]]:
    """Return the numbers of misclassified images by pair of classes, most frequent first.

    Parameters
    ----------
    matrix : ndarray of int (K, K)
        A `confusion_matrix`.
    max_pairs : int, optional
        Maximum number of pairs to return; all by default.

    Returns
    -------
    list of (int, int, int)
        True label, predicted label and number of images; equal numbers are in the order of classes.

    Examples
    --------
    >>> from lenet5c.training import confused_pairs, confusion_matrix
    >>> confused_pairs(confusion_matrix([0, 0, 1, 2], [0, 1, 2, 1], 3))
    [(0, 1, 1), (1, 2, 1), (2, 1, 1)]
    """
    wrong = np.array(matrix)
    np.fill_diagonal(wrong, 0)
    label, predicted = np.nonzero(wrong)
    order = np.argsort(-wrong[label, predicted], kind="stable")[:max_pairs]
    return [(int(label[i]), int(predicted[i]), int(wrong[label[i], predicted[i]])) for i in order]
