"""Weights of images and classes in the training loss."""

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet5c.datasets import Dataset, Distortion, EpochDistortion
from lenet5c.nn.cross_entropy import ClassLoss

BALANCED = "balanced"
#: Range of class weights, whose products with image weights float32 represents.
MINIMUM, MAXIMUM = 1e-6, 1e6
ClassWeight = str | Mapping[Any, float] | None


def class_weights(class_weight: ClassWeight, dataset: Dataset) -> NDArray[np.float64] | None:
    """Return the weight of each class.

    Parameters
    ----------
    class_weight : None, 'balanced' or dict
        Weights by class name, 1e-6 to 1e6; other classes have weight 1. 'balanced' is defined as in
        scikit-learn: n / (K * count), with the count of the class among n images of K classes,
        weighted by `sample_weight`, which gives all classes the same total weight. A class without
        images has weight 1.
    dataset : lenet5c.datasets.Dataset
        The training images.

    Returns
    -------
    ndarray of float64 (K,), or None

    Raises
    ------
    ValueError
        If `class_weight` is invalid, or has a class that the data does not have.

    Examples
    --------
    >>> import numpy as np
    >>> from lenet5c.datasets import Dataset
    >>> from lenet5c.training.weights import class_weights
    >>> data = Dataset(np.zeros((4, 1, 8, 8), np.uint8), np.array([0, 0, 0, 1]), 3)
    >>> class_weights("balanced", data)
    array([0.66666667, 2.        , 1.        ])
    >>> class_weights({"1": 5}, data)
    array([1., 5., 1.])
    """
    if class_weight is None:
        return None
    weights = np.ones(dataset.num_classes)
    if isinstance(class_weight, str) and class_weight == BALANCED:
        counts = np.bincount(dataset.labels, dataset.sample_weight, dataset.num_classes)
        found = counts > 0
        weights[found] = counts.sum() / (found.sum() * counts[found])
        return weights
    if not isinstance(class_weight, Mapping):
        raise ValueError(
            f"class_weight must be None, 'balanced' or a dict of classes, got {class_weight!r:.80}"
        )
    for name, weight in class_weight.items():
        if str(name) not in dataset.class_names:
            from lenet5c._text import list_some

            raise ValueError(
                f"class_weight must have classes of the data as keys, "
                f"{list_some(dataset.class_names)}, got {str(name)!r}"
            )
        is_number = isinstance(weight, Real) and not isinstance(weight, bool)
        if not (is_number and MINIMUM <= weight <= MAXIMUM):
            raise ValueError(
                f"class_weight must be a number from {MINIMUM:g} to {MAXIMUM:g} for each class, "
                f"got {weight!r} for {str(name)!r}"
            )
        weights[dataset.class_names.index(str(name))] = weight
    return weights


def weigh_loss(
    loss: Any, weights: NDArray[np.float64] | None
) -> tuple[Any, NDArray[np.float64] | None]:
    """Return the loss with class weights, or the equivalent sample weights.

    Cross-entropy uses the weights itself, as in PyTorch, including in label smoothing. Equal
    weights have no effect.
    """
    if weights is None or (weights == weights[0]).all():
        return loss, None
    if not isinstance(loss, ClassLoss):
        return loss, weights
    loss = copy(loss)
    own = 1.0 if loss.weight is None else loss.weight.astype(np.float64)
    loss.weight = (own * weights).astype(np.float32)
    return loss, None


def weigh(dataset: Dataset, weights: NDArray[np.float64] | None) -> Dataset:
    """Return a data set with its sample weights multiplied by class weights.

    Equal weights are omitted, as they have no effect.
    """
    total = dataset.sample_weight
    if weights is not None:
        of_class = weights[dataset.labels]
        total = (of_class if total is None else of_class * total).astype(np.float32)
    if total is None or (total == total[0]).all():
        return dataset if dataset.sample_weight is None else replace(dataset, sample_weight=None)
    return replace(dataset, sample_weight=total)


class Targets:
    """Targets and weights of the training images for training steps.

    Parameters
    ----------
    dataset : lenet5c.datasets.Dataset
        Soft targets, if any, replace the labels.
    loss : lenet5c.nn loss
    batch_size : int
    distortion : lenet5c.datasets.Distortion, optional
        If it mixes images, targets are mixed too: an image counts in the loss with its mixing
        weight times its sample weight.

    Raises
    ------
    ValueError
        If the loss does not support soft targets, or the weights would have no effect.
    """

    def __init__(
        self, dataset: Dataset, loss: Any, batch_size: int, distortion: Distortion | None = None
    ) -> None:
        self.mixed = mixed = distortion is not None and distortion.mixup > 0
        soft, mean = dataset.targets is not None, getattr(loss, "reduction", "") == "mean"
        self.targets: NDArray[Any] = dataset.labels if dataset.targets is None else dataset.targets
        self.weight = dataset.sample_weight
        self.loss, self.batch_size = loss, batch_size
        self.classes = dataset.num_classes
        if soft or mixed:
            try:
                loss.arguments(np.ones((1, self.classes), np.float32), (1, self.classes))
            except ValueError:
                purpose = "soft targets" if soft else "mixup"
                raise ValueError(
                    f"loss must be CrossEntropyLoss or MSELoss for {purpose}, got {loss!r}"
                ) from None
        if self.weight is not None and not (self.weight > 0).all():
            raise ValueError(
                "sample_weight must be greater than 0 for each training image, got "
                f"{self.weight.min():g}; remove images with zero weight"
            )
        ignored = None if soft else getattr(loss, "ignore_index", None)
        if mixed and ignored is not None and (dataset.labels == ignored).any():
            weight = np.ones(len(dataset)) if self.weight is None else self.weight
            self.weight = np.where(dataset.labels == ignored, 0, weight).astype(np.float32)
        weighted = self.weight is not None or getattr(loss, "weight", None) is not None
        if weighted and mean and batch_size == 1:
            raise ValueError(
                "batch_size must be at least 2 with weights, as they cancel out in batches of one "
                "image, got 1"
            )
        self.scale = 0.0
        if mean and (weighted or (ignored is not None and (dataset.labels == ignored).any())):
            self.scale = len(dataset) / self._total(np.arange(len(dataset)))

    def __getitem__(self, index: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """Return targets and weights of some images."""
        return self.targets[index], None if self.weight is None else self.weight[index]

    def for_steps(
        self, index: NDArray[np.int64], distortion: EpochDistortion | None
    ) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
        """Return targets and weights of the images of some batches; the last may be smaller.

        Parameters
        ----------
        index : ndarray of int (N,)
        distortion : lenet5c.datasets.EpochDistortion or None
            Defines how images are mixed: each with the next one of its batch, the last one with the
            first.
        """
        target, weight = self[index]
        if distortion is None or not self.mixed:
            return target, weight
        share = distortion.mix_shares(index)
        places = np.arange(len(index))
        following = np.minimum(places + 1, len(index) - 1)
        ends = np.append(places[self.batch_size - 1 :: self.batch_size], len(index) - 1)
        following[ends] = ends // self.batch_size * self.batch_size
        own, others = share, 1 - share
        if weight is not None:
            own, others = own * weight, others * weight[following]
            weight = (own + others).astype(np.float32)
            total = np.where(weight > 0, own + others, 1)
            own, others = own / total, others / total
        if target.ndim > 1:
            mixed = own[:, None] * target + others[:, None] * target[following]
            return mixed.astype(np.float32), weight
        mixed = np.zeros((len(index), self.classes), np.float32)
        known = (target >= 0) & (target < self.classes)
        mixed[places[known], target[known]] = own[known]
        known = known[following]
        mixed[places[known], target[following][known]] += others[known]
        return mixed, weight

    def count(self, batch: NDArray[Any]) -> float:
        """Return the total weight of a batch in the mean loss of an epoch.

        Mixed images count as without mixing.
        """
        return self._total(batch) * self.scale if self.scale else len(batch)

    def digest(self) -> str | None:
        """Return a digest of the teachers, None if the targets are those of the data set."""
        return None

    def _total(self, index: NDArray[Any]) -> float:
        targets, weight = self[index]
        if self.mixed:  # as for soft targets, the divisor has no class weights
            return float(len(index) if weight is None else weight.sum(dtype=np.float64))
        return float(self.loss.total_weight(targets, (len(index), self.classes), weight))
