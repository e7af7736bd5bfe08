"""Training images nearest to an image in the last hidden layer of a model."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet5c.datasets import Dataset, mnist
from lenet5c.training.explanation.layers import compute_features
from lenet5c.training.explanation.pixels import take_image
from lenet5c.training.model_file import TrainedModel


class Nearest(NamedTuple):
    """The nearest images, nearest first."""

    indices: NDArray[np.int64]  #: indices in the data set, (count,)
    labels: NDArray[np.int64]  #: true labels, (count,)
    distances: NDArray[np.float64]  #: Euclidean distances between features, (count,)


class Neighbors:
    """Features of a data set in which to search for nearest images.

    Creating it takes a forward pass over all images.

    Parameters
    ----------
    trained : TrainedModel
        Of any `Sequential`.
    dataset : Dataset, optional
        Default: the training images of MNIST.

    Attributes
    ----------
    dataset : Dataset
    features : ndarray of float32 (N, D)
        Input of the model's last layer with weights: for LeNet-5, the 84 units of F6.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.recognition.why import Neighbors
    >>> from lenet5c.training import open_model
    >>> train, test = mnist()
    >>> neighbors = Neighbors(open_model(), train.take(range(1000)))
    >>> neighbors.find(test.images[0], 3).labels
    array([7, 7, 7])
    """

    def __init__(self, trained: TrainedModel, dataset: Dataset | None = None) -> None:
        self.trained = trained
        self.dataset = mnist()[0] if dataset is None else dataset
        channels, shape = trained.image_shape[0], self.dataset.images.shape
        if len(shape) != 4 or shape[1] != channels or len(self.dataset) == 0:
            raise ValueError(
                f"dataset must have images of shape (N, {channels}, h, w) for this model, got "
                f"{shape}; use another data set"
            )
        self.features = self._compute(self.dataset.images)
        self._squares = np.einsum("nd,nd->n", self.features, self.features, dtype=np.float64)

    def _compute(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return compute_features(self.trained.model, self.trained.preparation, images)

    def find(self, image: ArrayLike, count: int = 5) -> Nearest:
        """Return the `count` nearest images of the data set.

        Images at equal distances are in the order of the data set. Distances are computed in
        float64 for candidates selected by a fast float32 product, allowing for its rounding error.

        Parameters
        ----------
        image : array_like (h, w) or (C, h, w)
            As `TrainedModel.logits` takes it.
        count : int
            Number of images, from 1 to the size of the data set.
        """
        if isinstance(count, bool) or not 1 <= count <= len(self.features):
            raise ValueError(f"count must be from 1 to {len(self.features):,}, got {count!r}")
        (query,) = self._compute(take_image(self.trained, image)[np.newaxis])
        square, size = float(np.dot(query, query.astype(np.float64))), len(query)
        # |f - q|^2 without |q|^2, and an error bound of a dot product of `size` terms.
        rough = self._squares - 2.0 * (self.features @ query)
        bound = 2 * (size + 2) * np.finfo(np.float32).eps * (self._squares.max() + square)
        limit = np.partition(rough, count - 1)[count - 1] + 2 * bound
        candidates = np.flatnonzero(rough <= limit)
        apart = self.features[candidates].astype(np.float64) - query
        distances = np.sqrt(np.square(apart).sum(axis=1))
        order = np.argsort(distances, kind="stable")[:count]
        found = candidates[order].astype(np.int64)
        return Nearest(found, self.dataset.labels[found].astype(np.int64), distances[order])


def nearest(
    trained: TrainedModel, image: ArrayLike, count: int = 5, *, dataset: Dataset | None = None
) -> Nearest:
    """Training images nearest to an image by the features of the last hidden layer.

    For several images, create `Neighbors` once.

    Parameters
    ----------
    trained : TrainedModel
        Of any `Sequential`.
    image : array_like (h, w) or (C, h, w)
        As `TrainedModel.logits` takes it.
    count : int
    dataset : Dataset, optional
        Data set to search. Default: the training images of MNIST.

    Returns
    -------
    Nearest
        `indices`, `labels` and `distances`, each (count,), the nearest first.

    Examples
    --------
    >>> from lenet5c.datasets import mnist
    >>> from lenet5c.recognition.why import nearest
    >>> from lenet5c.training import open_model
    >>> train, test = mnist()
    >>> nearest(open_model(), test.images[0], 2, dataset=train.take(range(500))).labels
    array([7, 7])
    """
    return Neighbors(trained, dataset).find(image, count)
