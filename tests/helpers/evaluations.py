"""Evaluations with given predictions."""

import numpy as np

from lenet5c.training import Evaluation


def make_evaluation(labels, predictions, confidences, num_classes):
    """Return an `Evaluation` with these predictions and their confidences."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    probabilities = np.zeros((len(labels), num_classes), np.float32)
    probabilities[np.arange(len(labels)), predictions] = confidences
    return Evaluation(labels, predictions, probabilities, 0.0)
