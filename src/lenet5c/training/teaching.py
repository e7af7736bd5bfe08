"""Soft targets from trained models: distillation of an ensemble into one net."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lenet5c.datasets import Dataset
from lenet5c.datasets.mapped import blocks
from lenet5c.errors import RunError
from lenet5c.kernels import softmax
from lenet5c.training.model_file import TrainedModel, scale_logits


def teach(
    dataset: Dataset, teachers: Sequence[TrainedModel], temperature: float = 1.0, share: float = 1.0
) -> Dataset:
    """Return a data set whose soft targets are what an ensemble of models predicts for its images.

    A net that is trained on them learns from the probabilities of all classes, not from the label
    alone [1]_. The targets are ``share`` times the mean over the models of
    ``softmax(logits / temperature)``, and ``1 - share`` times the target that the image has: its
    label, unless it has soft targets already. Labels stay, and accuracies are measured on them.

    Parameters
    ----------
    dataset : lenet5c.datasets.Dataset
    teachers : sequence of TrainedModel
        At least one, each of the data set's classes in the same order.
    temperature : float
        More than 0; above 1 it makes unlikely classes count more. The models' own has no effect.
    share : float
        More than 0, at most 1.

    Raises
    ------
    ValueError
        There are no models, or a number is out of range.
    RunError
        A model has other classes, or its output is not a finite number.

    References
    ----------
    .. [1] G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network", 2015.

    Examples
    --------
    >>> import lenet5c
    >>> from lenet5c.training import open_model, teach
    >>> train, _ = lenet5c.datasets.mnist()
    >>> taught = teach(train.take(range(500)), [open_model()], temperature=2)
    >>> trainer = lenet5c.trainer("fast", data=taught, label_smoothing=0)
    >>> history = trainer.fit(progress=False)
    """
    if not teachers:
        raise ValueError("teachers must be at least one model, got none")
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature must be a number above 0, got {temperature!r}")
    if not 0 < share <= 1:
        raise ValueError(f"share must be more than 0 and at most 1, got {share!r}")
    for teacher in teachers:
        if teacher.class_names != dataset.class_names:
            raise RunError(
                f"teachers must have the classes {dataset.class_names}, got one of "
                f"{teacher.class_names}; train it on this data"
            )
    targets = dataset.targets
    if targets is None:
        targets = np.eye(dataset.num_classes, dtype=np.float32)[dataset.labels]
    taught = np.empty_like(targets)
    start = 0
    for images in blocks(dataset.images):
        rows = slice(start, start := start + len(images))
        said = [softmax(scale_logits(each.logits(images), temperature)) for each in teachers]
        taught[rows] = share * np.mean(said, axis=0) + (1 - share) * targets[rows]
    return replace(dataset, targets=taught)
